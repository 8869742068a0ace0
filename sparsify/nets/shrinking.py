"""Physical removal: a copy of a network without the filters and neurons that a mask removes, with the same outputs."""

from __future__ import annotations

import math
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sparsify.data.dataset import Inputs, part_of
from sparsify.devices import exactly
from sparsify.errors import SparsifyError, SparsifyWarning, unknown
from sparsify.nets.evaluation import call, evaluating
from sparsify.nets.layers import Layer
from sparsify.nets.mask import Mask, apply_mask, check_fit, masked
from sparsify.nets.parametrized import copied, with_own_weights
from sparsify.nets.parts import Part
from sparsify.nets.probing import Source
from sparsify.nets.structure import Cut, Structure
from sparsify.nets.surgery import cut
from sparsify.nets.tracing import tensors

TOLERANCE = 1e-5
"""How far the logits of the masked network and of its shrunk form may differ, as a fraction of the largest logit."""


@dataclass(frozen=True)
class Removal:
    """The mask, and the outputs of each layer that are removed: indices in the original numbering, ascending.

    `inputs` are the inputs of other layers that these outputs fed. `coupled` are the groups of layers whose outputs are
    combined channel by channel, so that they lose the same ones.
    """

    mask: Mask
    outputs: dict[str, list[int]]
    inputs: dict[str, list[int]]
    coupled: tuple[tuple[str, ...], ...]


def shrink(model: nn.Module, mask: Mask | Sequence[Cut], example: Inputs) -> nn.Module:
    """Return a copy of the network without the filters and neurons that a mask, or cuts, remove.

    A filter or neuron is removed if its weights, its bias and all that goes with them are masked: scale and shift of
    the normalisation behind it, the same channel of layers that are added to it. Other masked elements stay as zeros:
    single weights, and outputs of the network itself. `example` holds normalised inputs with a batch dimension; the
    network is traced on the first, and the copy is checked on all of them. Raises SparsifyError for a mask that does
    not fit, a network that cannot be traced or followed, a layer of which nothing would be left, and if the masked and
    the shrunk network would not compute the same function.

    >>> model, example = run.model(), torch.zeros(1, 1, 28, 28)
    >>> mask = sparsify.make_mask(model, example, layers="conv3", ratio=0.5)
    >>> sparsify.shrink(model, mask, example).conv3.weight.shape
    torch.Size([60, 16, 5, 5])
    """
    return shrink_by(Structure(with_own_weights(model), part_of(example, slice(1))), mask, example)


def shrink_by(structure: Structure, mask: Mask | Sequence[Cut], example: Inputs) -> nn.Module:
    """Do what `shrink` does, for a network whose structure has been traced."""
    removal = plan_removal(structure, mask)
    small = remove_outputs(structure, removal.outputs, mask=removal.mask)
    require_same_outputs(output_difference(structure.model, removal.mask, small, example))
    return small


def plan_removal(structure: Structure, mask: Mask | Sequence[Cut]) -> Removal:
    """Return what `shrink` removes. Raises SparsifyError as `shrink` does, but does not check the outputs of a copy."""
    structure, model = structure.unwarned(), structure.model
    with _warnings_as_refusals():
        mask = mask if isinstance(mask, Mapping) else structure.remove(mask)[0]
        check_fit(model, mask)
        drops = _wholly_masked(structure, mask)
        cuts = [
            Cut(structure.layers[name], structure.layers[name].grain("filter"), drop) for name, drop in drops.items()
        ]
        structure.remove(cuts)  # for its warnings
    outputs = {name: drop.nonzero().flatten().tolist() for name, drop in drops.items()}
    removed = structure.goes_with(drops)
    fed = {name: removed.inputs[name].nonzero()[0].tolist() for name in structure.layers if name in removed.inputs}
    groups = structure.coupled_groups([cut.layer for cut in cuts])
    coupled = [tuple(name for name in group if name in outputs) for group in groups]
    return Removal(dict(mask), outputs, fed, tuple(group for group in dict.fromkeys(coupled) if len(group) > 1))


def remove_outputs(
    structure: Structure,
    outputs: Mapping[str, Sequence[int]],
    *,
    mask: Mask | None = None,
    model: nn.Module | None = None,
) -> nn.Module:
    """Return a copy of the network, masked if there is a mask, without these outputs, given by the layers' names.

    With a `model`, which has the structure's modules and shapes under the same names, it is a copy of that one. Indices
    are those of the original network. Raises SparsifyError for unknown layers, for indices out of range, for a layer of
    which nothing would be left, and for a network that cannot be run or copied, or be without them.
    """
    model = structure.model if model is None else model
    drops = {}
    for name, indices in outputs.items():
        if name not in structure.layers:
            raise unknown("layer", name, structure.layers)
        structure.require(structure.layers[name])
        drops[name] = _checked(structure.layers[name], indices)
    removed = structure.goes_with(drops)
    small = copied(model)
    apply_mask(small, mask or {})
    cut(small, structure.coupling.parts, removed)
    before = dict(model.named_parameters())
    for name, parameter in small.named_parameters():
        # what is cut is new and contiguous; weights of convolutions are slower among others in channels last
        parameter.requires_grad_(before[name].requires_grad)
        if before[name].ndim == 4 and before[name].is_contiguous(memory_format=torch.channels_last):
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return small


def output_difference(model: nn.Module, mask: Mask, small: nn.Module, inputs: Inputs) -> float:
    """Return max |a − b| / max |a| for the outputs a of the masked and b of the shrunk network for `inputs`.

    Both are evaluated in their own precision, without TF32 and cuDNN. The result is infinite if the shapes differ.
    Raises SparsifyError if the shrunk network does not run, or if the outputs are no tensor.
    """
    with masked(model, mask), evaluating(model), _comparable(), torch.inference_mode():
        expected = call(model, inputs)
    try:
        with evaluating(small), _comparable(), torch.inference_mode():
            return _difference(expected, call(small, inputs))
    except Exception as error:  # whatever a forward raises that is made for the network's own number of channels
        reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        raise SparsifyError(
            f"the network cannot be shrunk: {_where(small, error)} does not take fewer channels ({reason}); its masks "
            "are exact, and other layers may be shrunk"
        ) from error


def _where(model: nn.Module, error: Exception) -> str:
    """Return the innermost module of the network whose forward raised an error: "the forward of 'stage2'"."""
    names = {id(module): name for name, module in model.named_modules()}
    running = [frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__)]
    own = [names[id(one)] for one in running if id(one) in names]
    return f"the forward of '{own[-1]}'" if own and own[-1] else "its forward"


def _difference(expected: Any, actual: Any) -> float:
    """Return the largest `relative_difference` of the tensors that two networks give."""
    pairs = list(zip(tensors(expected), tensors(actual), strict=True))
    if not pairs:
        raise SparsifyError(f"the network gives a {type(expected).__name__} without a tensor, so nothing is compared")
    return max(relative_difference(one, other) for one, other in pairs)


def require_same_outputs(difference: float) -> None:
    """Raise SparsifyError unless the outputs of the masked and the shrunk network differ by no more than TOLERANCE."""
    if not difference <= TOLERANCE:  # also if it is not a number
        raise SparsifyError(
            f"the network cannot be shrunk: its outputs would differ from the masked network's by {difference:.1e} of "
            f"the largest, more than {TOLERANCE:g}"
        )


def relative_difference(expected: Tensor, actual: Tensor) -> float:
    """Return max |a − b| / max |a|; only max |a − b| if a is 0, and infinity if the shapes differ."""
    if expected.shape != actual.shape:
        return math.inf
    size, difference = expected.abs().max().item(), (expected - actual).abs().max().item()
    return difference / size if size else difference


def remaining_zeros(structure: Structure, removal: Removal) -> dict[str, tuple[int, int]]:
    """Return (masked elements, elements) of each parameter of the shrunk network in which masked elements are left."""
    ones = copied(structure.model)
    for parameter in ones.parameters():
        nn.init.ones_(parameter)  # so that the zeros in what is left are the mask's
    left = remove_outputs(structure, removal.outputs, mask=removal.mask, model=ones).named_parameters()
    counts = {name: (int((parameter == 0).sum()), parameter.numel()) for name, parameter in left}
    return {name: count for name, count in counts.items() if count[0]}


def _wholly_masked(structure: Structure, mask: Mask) -> dict[str, Tensor]:
    """Return the outputs of layers that a mask removes with all that goes with them: (outputs,), True goes.

    Left out are outputs of the network itself, outputs that feed no layer, and layers that lose none.
    """
    coupling = structure.coupling
    masked = [_masked_channels(structure, source, mask) for source in coupling.sources]
    goes = coupling.inner & np.concatenate([np.empty(0, dtype=bool), *masked])
    while True:
        goes = coupling.whole(goes)
        removed = coupling.removed(goes)
        kept = {
            name: gone & ~_masked_inside(coupling.parts[name], mask)
            for name, gone in removed.inputs.items()
            if coupling.parts[name].passes
        }
        if not any(channels.any() for channels in kept.values()):
            return {name: torch.from_numpy(gone) for name, gone in removed.outputs.items()}
        goes &= ~coupling.entering(kept)


def _masked_channels(structure: Structure, source: Source, mask: Mask) -> np.ndarray:
    """Return which channels of a source are masked as a whole: bool, (channels,)."""
    if source.parameter:
        parameters = [source.parameter]
        found = [mask[name].movedim(source.dimension, 0) for name in parameters if name in mask]
    else:
        layer = structure.layers[source.part]
        parameters = [layer.parameter] if layer.bias is None else [layer.parameter, layer.bias]
        found = [layer.rows(mask[name]) for name in parameters if name in mask]
    return _all_false(found, source.count, of=len(parameters))


def _masked_inside(part: Part, mask: Mask) -> np.ndarray:
    """Return which channels of a part that passes them on are masked in all its parameters: bool, (channels,)."""
    own = [name for name, _ in part.module.named_parameters(part.name, recurse=False)]
    return _all_false([mask[name] for name in own if name in mask], part.inputs, of=len(own))


def _all_false(tensors: Sequence[Tensor], count: int, *, of: int) -> np.ndarray:
    """Return where all of `of` tensors, (count, …) each, are False throughout: (count,); nowhere if one is missing."""
    false = np.full(count, len(tensors) == of)
    for tensor in tensors:
        false &= ~tensor.reshape(count, -1).any(1).cpu().numpy()
    return false


def _checked(layer: Layer, indices: Sequence[int]) -> Tensor:
    count = layer.outputs
    wrong = [index for index in indices if not 0 <= index < count]
    if wrong:
        raise SparsifyError(f"{layer.name} has outputs 0 to {count - 1}, and none of index {wrong[0]}")
    drop = torch.zeros(count, dtype=torch.bool)
    drop[list(indices)] = True
    if drop.all():
        raise SparsifyError(f"nothing would be left of {layer.name}: all of its {count} outputs are to be removed")
    return drop


@contextmanager
def _comparable() -> Iterator[None]:
    """Make torch round alike for any number of channels.

    cuDNN may use Winograd's transforms for some numbers of channels only, which alone can differ by TOLERANCE.
    """
    enabled = torch.backends.cudnn.enabled
    torch.backends.cudnn.enabled = False
    try:
        with exactly("exact"):
            yield
    finally:
        torch.backends.cudnn.enabled = enabled


@contextmanager
def _warnings_as_refusals() -> Iterator[None]:
    """Raise a SparsifyError for a warning that a removal would compute another function than the mask."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", SparsifyWarning)
        try:
            yield
        except SparsifyWarning as warning:
            raise SparsifyError(f"the network cannot be shrunk: {warning}") from warning
