"""Predictions of one network under many masks in one pass; what the masks have in common is computed once."""

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
from sparsify.nets.modules import Prunable, computes_outputs_apart, stages_of


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
    """Return the predicted class of every image under every mask: (masks, images), int64.

    The logits are the same, to the bit, as those of `evaluate` with that batch size under each mask. Each batch is
    normalised once and then goes through the network's stages (`stages_of`) as through a tree, depth first: masks
    branch at the first stage at which they differ. Only the activations of a batch at each branching are kept in
    memory, and equal masks are evaluated once. A network that is no plain nn.Sequential is a single stage, which is
    evaluated for each distinct mask.

    In evaluation mode the modules must be functions of their input and their parameters. `listener` is called with the
    number of masks that are done, batches counted as fractions and rounded down, and the number of all masks. Raises
    SparsifyError for a mask that does not fit.
    """
    stages, unsplit = (_stages(model, masks, split=split) for split in (True, False))
    predictions = torch.empty(len(masks), len(images), dtype=torch.int64, device=images.device)
    # no cache of casts: it would return a parameter as it was under another mask
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
    """An input of a layer is infinite or NaN, so that a weight of 0 does not make it 0."""


@dataclass(frozen=True)
class _Stage:
    """One stage of the network, `run(activations, point)`, where a point is the place of a mask.

    `alike[point]` is the first point for which `run` does the same.
    """

    run: Callable[[Any, int], Any]
    alike: list[int]

    def branches(self, points: list[int]) -> list[list[int]]:
        """Return the points in groups for which this stage does the same."""
        groups: dict[int, list[int]] = {}
        for point in points:
            groups.setdefault(self.alike[point], []).append(point)
        return list(groups.values())


def _walk(stages: Sequence[_Stage], activations: Any, points: list[int]) -> Iterator[tuple[list[int], Tensor]]:
    """Yield the outputs of the last stage, each with the points that share it.

    It goes depth first, so that a module that keeps something for a later one keeps that of the same branch.
    """
    for depth, stage in enumerate(stages):
        *others, points = stage.branches(points)
        for branch in others:  # with a copy, because stages may work in place
            yield from _walk(stages[depth + 1 :], stage.run(_copied(activations), branch[0]), branch)
        activations = stage.run(activations, points[0])
    yield points, activations


def _copied(activations: Any) -> Any:
    """Return a copy of what a module passes on. A tensor is cloned: a deep copy would copy all that it is a view of."""
    return activations.clone() if isinstance(activations, Tensor) else copy.deepcopy(activations)


def _stages(model: nn.Module, masks: Sequence[Mask], *, split: bool) -> list[_Stage]:
    """Return the network's stages.

    With `split`, a layer of which masks remove whole outputs is computed once, before they are set to 0.
    """
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
    """Return a stage that runs the module under each mask. With `finite`, it raises _NotFinite for other inputs."""

    def run(activations: Any, point: int) -> Any:
        if finite and not activations.sum().isfinite():  # a sum that overflows is refused, too, which does no harm
            raise _NotFinite
        with masked(module, parts[point]):
            return module(activations)

    def equal(one: Mask, other: Mask) -> bool:
        return one.keys() == other.keys() and all(torch.equal(keep, other[name]) for name, keep in one.items())

    return _Stage(run, _alike(parts, equal))


def _zeroing(removed: list[Tensor], *, behind: int) -> _Stage:
    """Return a stage that sets the removed outputs of each point, (outputs,), to 0, in place.

    `behind` is the number of dimensions after that of the outputs.
    """

    def run(outputs: Tensor, point: int) -> Tensor:
        return outputs.masked_fill_(removed[point].view(-1, *[1] * behind), 0)

    return _Stage(run, _alike(removed, torch.equal))


def _whole_outputs(part: Mask, layer: Prunable) -> Tensor:
    """Return which outputs of a layer go with all their weights and their bias: (outputs,), True goes."""
    removed = torch.ones(len(layer.weight), dtype=torch.bool, device=layer.weight.device)
    for name, _ in layer.named_parameters():
        removed &= ~part[name].reshape(len(removed), -1).any(1) if name in part else False
    return removed


def _without(part: Mask, outputs: Tensor) -> Mask:
    """Return a part of a mask without the removal of these outputs."""
    rest = {name: keep | outputs.view(-1, *[1] * (keep.ndim - 1)) for name, keep in part.items()}
    return {name: keep for name, keep in rest.items() if not keep.all()}


def _alike(items: Sequence[Any], equal: Callable[[Any, Any], bool]) -> list[int]:
    """Return for each item the place of the first item that equals it."""
    return [next(place for place, other in enumerate(items) if equal(item, other)) for item in items]
