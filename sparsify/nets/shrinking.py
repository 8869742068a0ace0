"""Physical removal: a copy of a network without the filters and neurons that a mask removes, with the same outputs."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from sparsify.data.dataset import Inputs, part_of
from sparsify.errors import SparsifyError, SparsifyWarning, some, unknown
from sparsify.nets.comparing import ADVICE, REFUSED, TOLERANCE, first_apart, output_difference
from sparsify.nets.coupling import Coupling
from sparsify.nets.layers import Layer
from sparsify.nets.mask import Mask, apply_mask, check_fit
from sparsify.nets.parametrized import copied, with_own_weights
from sparsify.nets.parts import Part
from sparsify.nets.probing import Source
from sparsify.nets.structure import Cut, Structure
from sparsify.nets.surgery import cut

REASONS = 3
"""So many reasons why something is not removed are listed."""


@dataclass(frozen=True)
class Removal:
    """The mask, and the outputs of each layer that are removed: indices in the original numbering, ascending.

    `inputs` are the inputs of other layers that these outputs fed. `coupled` are the groups of layers whose outputs are
    combined channel by channel, so that they lose the same ones. `kept` says what cannot be removed and stays as zeros:
    the reasons, each once.
    """

    mask: Mask
    outputs: dict[str, list[int]]
    inputs: dict[str, list[int]]
    coupled: tuple[tuple[str, ...], ...]
    kept: tuple[str, ...] = ()

    @classmethod
    def of(cls, structure: Structure, mask: Mask, outputs: dict[str, list[int]], kept: Iterable[str] = ()) -> Removal:
        """Return the removal of these outputs of the layers of a network."""
        layers = structure.layers
        removed = structure.goes_with({name: _dropped(layers[name], indices) for name, indices in outputs.items()})
        fed = {name: removed.inputs[name].nonzero()[0].tolist() for name in layers if name in removed.inputs}
        groups = structure.coupled_groups([layers[name] for name in outputs])
        coupled = [tuple(name for name in group if name in outputs) for group in groups]
        together = tuple(group for group in dict.fromkeys(coupled) if len(group) > 1)
        return cls(mask, outputs, fed, together, tuple(dict.fromkeys(kept)))


@dataclass(frozen=True)
class Shrinking:
    """A smaller network, what was removed, and max |a − b| / max |a| for the outputs a of the masked and b of it."""

    network: nn.Module
    removal: Removal
    difference: float


def shrink(model: nn.Module, mask: Mask | Sequence[Cut], example: Inputs) -> nn.Module:
    """Return a copy of the network without the filters and neurons that a mask, or cuts, remove.

    A filter or neuron is removed if its weights, its bias and all that goes with them are masked: scale and shift of
    the normalisation behind it, the same channel of layers that are added to it. Other masked elements stay as zeros:
    single weights, and outputs of the network itself. So do filters without which another function would be computed,
    as by a normalisation across channels. A warning (SparsifyWarning) says why these stay, and one says where single
    weights alone are masked, so that nothing is smaller.

    `example` holds normalised inputs with a batch dimension; the network is traced on the first, and the copy is
    checked on all of them. Raises SparsifyError for a mask that does not fit, a network that cannot be traced or
    followed, a layer of which nothing would be left, and if no filter of those that are masked can be removed.

    >>> model, example = run.model(), torch.zeros(1, 1, 28, 28)
    >>> mask = sparsify.make_mask(model, example, layers="conv3", ratio=0.5)
    >>> sparsify.shrink(model, mask, example).conv3.weight.shape
    torch.Size([60, 16, 5, 5])
    """
    structure = Structure(with_own_weights(model), part_of(example, slice(1)))
    shrinking = shrink_by(structure, mask, example)
    zeros = {} if shrinking.removal.outputs else remaining_zeros(structure, shrinking.removal)
    if zeros and not shrinking.removal.kept:
        counts = some(f"{name} ({masked:,} of {total:,})" for name, (masked, total) in zeros.items())
        warnings.warn(
            f"nothing is smaller: no filter or neuron that can go is wholly masked; zeros stay in {counts}",
            SparsifyWarning,
            stacklevel=2,
        )
    return shrinking.network


def shrink_by(structure: Structure, mask: Mask | Sequence[Cut], example: Inputs) -> Shrinking:
    """Do what `shrink` does, for a network whose structure has been traced.

    If what is masked cannot be removed together, it is tried group by group of coupled layers.
    """
    removal = plan_removal(structure, mask)
    try:
        shrinking = _shrunk(structure, removal, example)
    except SparsifyError:
        groups = _groups(removal)
        if len(groups) < 2:
            raise
        removal = _by_group(structure, removal, groups, example)
        shrinking = _shrunk(structure, removal, example)
    if removal.kept:
        reasons = removal.kept[:REASONS]
        more = f"; and {len(removal.kept) - REASONS} more places" if len(removal.kept) > REASONS else ""
        warnings.warn(
            f"some of what is masked stays as zeros, because it cannot be removed: {'; '.join(reasons)}{more}",
            SparsifyWarning,
            stacklevel=3,
        )
    return shrinking


def _shrunk(structure: Structure, removal: Removal, example: Inputs) -> Shrinking:
    """Return the network without what is removed. Raises SparsifyError unless it computes what the masked one does."""
    small = remove_outputs(structure, removal.outputs, mask=removal.mask)
    difference = output_difference(structure.model, removal.mask, small, example)
    if not difference <= TOLERANCE:  # also if it is not a number
        name = first_apart(structure.model, removal.mask, small, example)
        where = f", from '{name}' on: before it, something such as a mean over channels depends on how many there are"
        raise SparsifyError(
            f"{REFUSED}: its outputs would differ from the masked network's by {difference:.1e} of the largest, more "
            f"than {TOLERANCE:g}{where if name else ''}; {ADVICE}"
        )
    return Shrinking(small, removal, difference)


def _groups(removal: Removal) -> list[tuple[str, ...]]:
    """Return the layers that lose outputs, by groups that are coupled."""
    grouped = {name for group in removal.coupled for name in group}
    return [*removal.coupled, *((name,) for name in removal.outputs if name not in grouped)]


def _by_group(structure: Structure, removal: Removal, groups: Sequence[tuple[str, ...]], example: Inputs) -> Removal:
    """Return the removal of those groups of coupled layers that can be removed alone. Raises SparsifyError if none can.

    What the other groups lose is among what is kept, with the reason.
    """
    outputs: dict[str, list[int]] = {}
    kept = list(removal.kept)
    for group in groups:
        alone = {name: removal.outputs[name] for name in group}
        try:
            _shrunk(structure, Removal.of(structure, removal.mask, alone), example)
        except SparsifyError as error:
            kept.append(str(error).removeprefix(f"{REFUSED}: ").removesuffix(f"; {ADVICE}"))
        else:
            outputs |= alone
    if not outputs:
        raise SparsifyError(f"{REFUSED}: {kept[0]}; {ADVICE}", about="coupled")
    return Removal.of(structure, removal.mask, outputs, kept)


def plan_removal(structure: Structure, mask: Mask | Sequence[Cut]) -> Removal:
    """Return what `shrink` removes. Raises SparsifyError as `shrink` does, but does not check the outputs of a copy."""
    mask = mask if isinstance(mask, Mapping) else structure.mask(mask)
    check_fit(structure.model, mask)
    drops, kept = _wholly_masked(structure, mask)
    for name in drops:
        structure.require(structure.layers[name])
    if kept and not drops:
        raise SparsifyError(f"{REFUSED}: {kept[0]}; {ADVICE}", about="coupled")
    return Removal.of(structure, dict(mask), drops, kept)


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
        drops[name] = _dropped(structure.layers[name], indices)
    removed = structure.goes_with(drops)
    small = copied(model)
    apply_mask(small, mask or {})
    cut(small, structure.coupling.parts, removed)
    before = dict(model.named_parameters())
    for name, parameter in small.named_parameters():
        if name not in before:
            continue  # of a module that stands in another's place
        # what is cut is new and contiguous; weights of convolutions are slower among others in channels last
        parameter.requires_grad_(before[name].requires_grad)
        if before[name].ndim == 4 and before[name].is_contiguous(memory_format=torch.channels_last):
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return small


def remaining_zeros(structure: Structure, removal: Removal) -> dict[str, tuple[int, int]]:
    """Return (masked elements, elements) of each parameter of the shrunk network in which masked elements are left."""
    ones = copied(structure.model)
    for parameter in ones.parameters():
        nn.init.ones_(parameter)  # so that the zeros in what is left are the mask's
    left = remove_outputs(structure, removal.outputs, mask=removal.mask, model=ones).named_parameters()
    counts = {name: (int((parameter == 0).sum()), parameter.numel()) for name, parameter in left}
    return {name: count for name, count in counts.items() if count[0]}


def _wholly_masked(structure: Structure, mask: Mask) -> tuple[dict[str, list[int]], list[str]]:
    """Return the outputs of layers that a mask removes with all that goes with them, and why others stay as zeros.

    Left out are outputs of the network itself, outputs that feed no layer, and layers that lose none.
    """
    coupling = structure.coupling
    masked = [_masked_channels(structure, source, mask) for source in coupling.sources]
    whole = np.concatenate([np.empty(0, dtype=bool), *masked])
    goes = coupling.inner & whole
    reasons: list[str] = []
    while True:
        goes = coupling.whole(goes)
        removed = coupling.removed(goes)
        kept = {
            name: gone & ~_masked_inside(coupling.parts[name], mask)
            for name, gone in removed.inputs.items()
            if coupling.parts[name].passes
        }
        if not any(channels.any() for channels in kept.values()):
            inexact = structure.inexact(mask, removed)
            if not inexact:
                lost = {name: np.flatnonzero(gone).tolist() for name, gone in removed.outputs.items()}
                return lost, [*reasons, *_left(coupling, whole)]
            reasons += inexact.values()
            kept = {name: removed.inputs[name] for name in inexact}
        goes &= ~coupling.entering(kept)


def _left(coupling: Coupling, masked: np.ndarray) -> Iterator[str]:
    """Yield why some of the masked channels stay, a sentence for each layer whose outputs they are.

    They reach no other layer one by one, nor the output; or they are broadcast over channels of others that stay.
    """
    inner = [name for name in coupling.by_part if name not in coupling.to_output]
    for names, channels, why in (
        (inner, masked & ~coupling.inner, "mixed, or cut off, before they reach a layer"),
        (
            coupling.by_part,
            coupling.held(coupling.inner & masked),
            "combined with several channels each, some of which stay",
        ),
    ):
        found = (name for name in names if channels[coupling.channels_of(name)].any())
        yield from (f"the outputs of '{name}' are {why}" for name in found)


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


def _dropped(layer: Layer, indices: Sequence[int]) -> Tensor:
    """Return which outputs of a layer go, bool (outputs,), after a look at the indices."""
    count = layer.outputs
    wrong = [index for index in indices if not 0 <= index < count]
    if wrong:
        raise SparsifyError(f"{layer.name} has outputs 0 to {count - 1}, and none of index {wrong[0]}")
    drop = torch.zeros(count, dtype=torch.bool)
    drop[list(indices)] = True
    if drop.all():
        raise SparsifyError(f"nothing would be left of {layer.name}: all of its {count} outputs are to be removed")
    return drop
