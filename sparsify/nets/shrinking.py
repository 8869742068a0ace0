"""Physical removal: a copy of a network without the filters and neurons that a mask removes, with the same outputs."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sparsify.devices import exactly
from sparsify.errors import SparsifyError, SparsifyWarning, unknown
from sparsify.nets.evaluation import evaluating
from sparsify.nets.layers import Layer, prunable_layers
from sparsify.nets.mask import Mask, apply_mask, check_fit, masked
from sparsify.nets.structure import Cut, Structure

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


def shrink(model: nn.Module, mask: Mask | Sequence[Cut], example: Tensor) -> nn.Module:
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
    return shrink_by(Structure(model, example[:1]), mask, example)


def shrink_by(structure: Structure, mask: Mask | Sequence[Cut], example: Tensor) -> nn.Module:
    """Do what `shrink` does, for a network whose structure has been traced."""
    removal = plan_removal(structure, mask)
    small = remove_outputs(structure, removal.outputs, mask=removal.mask)
    require_same_outputs(output_difference(structure.model, removal.mask, small, example))
    return small


def plan_removal(structure: Structure, mask: Mask | Sequence[Cut]) -> Removal:
    """Return what `shrink` removes. Raises SparsifyError as `shrink` does, but does not check the outputs of a copy."""
    structure, model = structure.unwarned(), structure.model
    layers = prunable_layers(model)
    by_module: dict[nn.Module, Layer] = {layer.module: layer for layer in layers}
    drops = {layer.name: torch.zeros(len(layer.weight), dtype=torch.bool) for layer in layers}
    coupled = set()
    with _warnings_as_refusals():
        mask = mask if isinstance(mask, Mapping) else structure.remove(mask)[0]
        check_fit(model, mask)
        for layer in layers:
            members = structure.group(layer, _removable(structure, layer, mask))
            if all(member.output_side for member in members):
                continue  # these outputs feed no layer: they are the network's own
            together = [member for member in members if member.output_side and member.module in by_module]
            for member in together:
                drops[by_module[member.module].name][member.indices] = True
            coupled.add(frozenset(by_module[member.module].name for member in together))
        cuts = [Cut(layer, layer.grain("filter"), drops[layer.name]) for layer in layers if drops[layer.name].any()]
        structure.remove(cuts)  # for its warnings
    outputs = {cut.layer.name: cut.drop.nonzero().flatten().tolist() for cut in cuts}
    fed: dict[str, set[int]] = {}
    for member in (member for cut in cuts for member in structure.group(cut.layer, cut.drop)):
        if not member.output_side:
            fed.setdefault(by_module[member.module].name, set()).update(member.indices.tolist())
    inputs = {name: sorted(fed[name]) for name in drops if name in fed}
    groups = [tuple(name for name in drops if name in group) for group in coupled if len(group) > 1]
    return Removal(dict(mask), outputs, inputs, tuple(sorted(groups, key=lambda group: list(drops).index(group[0]))))


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
    which nothing would be left, and for a network that cannot be traced or followed.
    """
    layers = {layer.name: layer for layer in prunable_layers(structure.model)}
    names = {module: name for name, module in structure.model.named_modules()}
    model = structure.model if model is None else model
    removed: dict[tuple[str, bool], set[int]] = {}
    functions = {}
    for name, indices in outputs.items():
        if name not in layers:
            raise unknown("layer", name, layers)
        for member in structure.group(layers[name], _checked(layers[name], indices)):
            side = names[member.module], member.output_side
            removed.setdefault(side, set()).update(member.indices.tolist())
            functions[side] = member.cut
    small = copy.deepcopy(model)
    apply_mask(small, mask or {})
    # each side of each module once, with the union of its indices: a first cut would shift the indices of a second
    for (name, output_side), gone in removed.items():
        functions[name, output_side](small.get_submodule(name), sorted(gone))
    before = dict(model.named_parameters())
    for name, parameter in small.named_parameters():
        # Torch-Pruning makes new, contiguous weights; those of convolutions are slower among others in channels last
        parameter.requires_grad_(before[name].requires_grad)
        if before[name].ndim == 4 and before[name].is_contiguous(memory_format=torch.channels_last):
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return small


def output_difference(model: nn.Module, mask: Mask, small: nn.Module, inputs: Tensor) -> float:
    """Return max |a − b| / max |a| for the outputs a of the masked and b of the shrunk network for `inputs`.

    Both are evaluated in their own precision, without TF32 and cuDNN. The result is infinite if the shapes differ.
    Raises SparsifyError if the shrunk network does not run, or if the outputs are no tensor.
    """
    with masked(model, mask), evaluating(model), _comparable(), torch.inference_mode():
        expected = model(inputs)
    if not isinstance(expected, Tensor):
        raise SparsifyError(f"the network gives a {type(expected).__name__}, and only a tensor can be compared")
    try:
        with evaluating(small), _comparable(), torch.inference_mode():
            return relative_difference(expected, small(inputs))
    except RuntimeError as error:
        raise SparsifyError(f"the network cannot be shrunk: without what was removed it fails: {error}") from error


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
    ones = copy.deepcopy(structure.model)
    for parameter in ones.parameters():
        nn.init.ones_(parameter)  # so that the zeros in what is left are the mask's
    left = remove_outputs(structure, removal.outputs, mask=removal.mask, model=ones).named_parameters()
    counts = {name: (int((parameter == 0).sum()), parameter.numel()) for name, parameter in left}
    return {name: count for name, count in counts.items() if count[0]}


def _removable(structure: Structure, layer: Layer, mask: Mask) -> Tensor:
    """Return which outputs are masked with everything that goes with them on the output side: bool, (outputs,)."""
    names = {module: name for name, module in structure.model.named_modules()}
    goes = _wholly_masked(layer.module, layer.name, mask)
    kept: set[int | None] = set()
    for member in structure.group(layer, goes):
        if member.output_side:
            gone = _wholly_masked(member.module, names[member.module], mask)[member.indices].tolist()
            kept |= {root for root, is_gone in zip(member.root, gone, strict=True) if not is_gone}
    for root in kept:
        goes[slice(None) if root is None else root] = False
    return goes


def _wholly_masked(module: nn.Module, name: str, mask: Mask) -> Tensor:
    """Return for which outputs all elements of the module's own parameters are masked: bool, (outputs,)."""
    parameters = dict(module.named_parameters(name, recurse=False))
    count = len(next(iter(parameters.values())))
    gone = [~mask[name].cpu().reshape(count, -1).any(1) if name in mask else torch.zeros(count, dtype=torch.bool)
            for name in parameters]  # fmt: skip
    return torch.stack(gone).all(0)


def _checked(layer: Layer, indices: Sequence[int]) -> Tensor:
    count = len(layer.weight)
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
