"""One network under many masks in one pass over the images: what several masks leave alike is computed once."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sparsify.devices import exactly
from sparsify.nets.evaluation import evaluating
from sparsify.nets.mask import Mask, check_fit, masked
from sparsify.nets.modules import computes_outputs_apart, stages_of


@torch.inference_mode()
def predict_masked(
    model: nn.Module,
    images: Tensor,
    masks: Sequence[Mask],
    normalise: Callable[[Tensor], Tensor] = Tensor.float,
    *,
    batch_size: int = 1000,
    precision: str = "exact",
    listener: Callable[[int, int], None] | None = None,
) -> Tensor:
    """The predicted class of every image under every mask: (masks, images), int64.

    From the same logits, to the bit, as `evaluate` with that batch size under one mask after the other. Each batch is
    normalised once and walks the tree of what the masks do to the network's stages (`stages_of`), depth first: masks
    part at the first stage that differs. So no more is held than a batch's activations at each parting, and equal masks
    are evaluated once. A network that is no plain nn.Sequential is a single stage, evaluated for each distinct mask.

    In evaluation mode the modules must be functions of their input and their parameters. `listener` is called with the
    number of masks that are done and that there are, a mask's batches being fractions of it, rounded down. Raises
    SparsifyError for a mask that does not fit.
    """
    stages, unsplit = (_stages(model, masks, split=split) for split in (True, False))
    predictions = torch.empty(len(masks), len(images), dtype=torch.int64, device=images.device)
    # no cache of casts: it would hand out a parameter as it was under another mask
    autocast = torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "fast", cache_enabled=False)
    starts, everyone = range(0, len(images), batch_size), list(range(len(masks)))
    done = 0
    with evaluating(model), exactly(precision), autocast:
        for start in starts:
            batch = slice(start, start + batch_size)
            try:
                found = list(_walk(stages, normalise(images[batch]), everyone))
            except _NotFinite:
                found = list(_walk(unsplit, normalise(images[batch]), everyone))
            for points, logits in found:
                answers = logits.float().argmax(1)
                for point in points:
                    predictions[point, batch] = answers
                    done += 1
                    if listener is not None:
                        listener(done // len(starts), len(masks))
    return predictions


class _NotFinite(Exception):
    """Among the inputs of a layer is an infinity or a NaN, which a weight of 0 does not make 0."""


@dataclass(frozen=True)
class _Stage:
    """`run(activations, point)`; a point is the place of a mask, `alike[point]` the first one that `run` is the same
    for."""

    run: Callable[[Any, int], Any]
    alike: list[int]

    def branches(self, points: list[int]) -> list[list[int]]:
        """The points, those together that this stage does not tell apart."""
        groups: dict[int, list[int]] = {}
        for point in points:
            groups.setdefault(self.alike[point], []).append(point)
        return list(groups.values())


def _walk(stages: Sequence[_Stage], activations: Any, points: list[int]) -> Iterator[tuple[list[int], Tensor]]:
    """The outputs behind the last stage, each with the points that have it in common.

    Depth first, so that a module that remembers something for a later one remembers that of the same branch.
    """
    for depth, stage in enumerate(stages):
        *others, points = stage.branches(points)
        for branch in others:  # with a copy, because stages may work in place
            yield from _walk(stages[depth + 1 :], stage.run(_copied(activations), branch[0]), branch)
        activations = stage.run(activations, points[0])
    yield points, activations


def _copied(activations: Any) -> Any:
    """Between modules anything may pass, mostly a tensor; a clone does not copy all that it is a view of."""
    return activations.clone() if isinstance(activations, Tensor) else copy.deepcopy(activations)


def _stages(model: nn.Module, masks: Sequence[Mask], *, split: bool) -> list[_Stage]:
    """`split`: a layer of which masks remove whole outputs is computed with them, once, and then they are set to 0."""
    for mask in masks:
        check_fit(model, mask)
    names = {p: name for name, p in model.named_parameters()}  # that of a shared parameter is its name in the first
    devices = {name: p.device for p, name in names.items()}
    # what keeps everything changes nothing: ratio 0 is the same point in every set of layers
    removing = [{name: keep.to(devices[name]) for name, keep in m.items() if not keep.all()} for m in masks]
    stages = []
    for module in stages_of(model):
        own = {name: names[p] for name, p in module.named_parameters()}
        parts = [{name: mask[full] for name, full in own.items() if full in mask} for mask in removing]
        stage = None
        if split and any(parts) and computes_outputs_apart(module):
            removed = [_whole_outputs(part, module) for part in parts]
            if any(outputs.any() for outputs in removed):
                parts = [_without(part, outputs) for part, outputs in zip(parts, removed, strict=True)]
                stage = _zeroing(removed, behind=module.weight.ndim - 2)
        stages.append(_computing(module, parts, finite=stage is not None))
        stages += [] if stage is None else [stage]
    return stages


def _computing(module: nn.Module, parts: list[Mask], *, finite: bool) -> _Stage:
    """The module under the part of each mask on its own parameters; `finite` refuses other inputs by _NotFinite."""

    def run(activations: Any, point: int) -> Any:
        if finite and not activations.sum().isfinite():  # a sum that overflows is refused as well, which does no harm
            raise _NotFinite
        with masked(module, parts[point]):
            return module(activations)

    def equal(one: Mask, other: Mask) -> bool:
        return one.keys() == other.keys() and all(torch.equal(keep, other[name]) for name, keep in one.items())

    return _Stage(run, _alike(parts, equal))


def _zeroing(removed: list[Tensor], *, behind: int) -> _Stage:
    """The removed outputs of each point, (outputs,), set to 0 in place; `behind` their dimension are so many more."""

    def run(outputs: Tensor, point: int) -> Tensor:
        return outputs.masked_fill_(removed[point].view(-1, *[1] * behind), 0)

    return _Stage(run, _alike(removed, torch.equal))


def _whole_outputs(part: Mask, layer: nn.Module) -> Tensor:
    """Which outputs of a layer go with all their weights and their bias: (outputs,), True goes."""
    removed = torch.ones(len(layer.weight), dtype=torch.bool, device=layer.weight.device)
    for name, _ in layer.named_parameters():
        removed &= ~part[name].reshape(len(removed), -1).any(1) if name in part else False
    return removed


def _without(part: Mask, outputs: Tensor) -> Mask:
    """What a part of a mask removes beside these outputs."""
    rest = {name: keep | outputs.view(-1, *[1] * (keep.ndim - 1)) for name, keep in part.items()}
    return {name: keep for name, keep in rest.items() if not keep.all()}


def _alike(items: Sequence[Any], equal: Callable[[Any, Any], bool]) -> list[int]:
    """For each item the place of the first one that is equal to it."""
    return [next(place for place, other in enumerate(items) if equal(item, other)) for item in items]
