"""Predictions of one network under many masks in one pass; what the masks have in common is computed once."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sparsify.data.dataset import Inputs, Split, each, mapped, part_of
from sparsify.devices import autocast, exactly, widest
from sparsify.nets.evaluation import PREDICTION_BATCH, Normaliser, call, evaluating, normaliser
from sparsify.nets.mask import Mask, check_fit, masked
from sparsify.nets.modules import Convolution, computes_outputs_apart, stages_of
from sparsify.nets.outputs import Score, logits_of, predicted, scores_of


@torch.inference_mode()
def predict_masked(
    model: nn.Module,
    images: Inputs,
    masks: Sequence[Mask],
    normalise: Normaliser | None = None,
    *,
    batch_size: int = PREDICTION_BATCH,
    precision: str = "exact",
    listener: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Return the predicted class of every image under every mask: (masks, images), int64.

    The logits are the same, to the bit, as those of `evaluate` with that batch size under each mask. Each batch is
    normalised once and then goes through the network's stages (`stages_of`) as through a tree, depth first: masks
    branch at the first stage at which they differ. Only the activations of a batch at each branching are kept in
    memory, and equal masks are evaluated once. A network that is no plain nn.Sequential, or that takes several inputs,
    is a single stage, which is evaluated for each distinct mask.

    In evaluation mode the modules must be functions of their input and their parameters. `listener` is called with the
    number of masks that are done, batches counted as fractions and rounded down, and the number of all masks. Raises
    SparsifyError for a mask that does not fit, and for outputs as `logits_of` does.
    """
    count = len(each(images)[0])

    def answer(output: object, place: slice) -> Tensor:
        return predicted(logits_of(output, len(range(count)[place])).float())

    return _answers(model, images, masks, normalise, answer, torch.int64, batch_size, precision, listener)


@torch.inference_mode()
def score_masked(
    model: nn.Module,
    split: Split[Inputs],
    masks: Sequence[Mask],
    normalise: Normaliser | None = None,
    *,
    score: Score,
    batch_size: int = PREDICTION_BATCH,
    precision: str = "exact",
    listener: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Return the score of every image under every mask, (masks, images), in float64 if the device has it.

    The rest is as in `predict_masked`. Raises SparsifyError for a mask that does not fit, and as `scores_of`.
    """

    def answer(output: object, place: slice) -> Tensor:
        return scores_of(score, output, split.labels[place])

    kind = widest(split.device)
    return _answers(model, split.images, masks, normalise, answer, kind, batch_size, precision, listener)


def _answers(
    model: nn.Module,
    images: Inputs,
    masks: Sequence[Mask],
    normalise: Normaliser | None,
    answer: Callable[[object, slice], Tensor],
    kind: torch.dtype,
    batch_size: int,
    precision: str,
    listener: Callable[[int, int], None] | None,
) -> Tensor:
    """Return `answer(output, place)` for the images at each place of the split, under every mask: (masks, images)."""
    prepare, first = normaliser(model, normalise), each(images)[0]
    stages, unsplit = (_stages(model, masks, images, split=split) for split in (True, False))
    # that of the network: images for which it has no room are moved batch by batch
    device = next((p.device for p in model.parameters()), first.device)
    answers = torch.empty(len(masks), len(first), dtype=kind, device=device)
    starts, everyone = range(0, len(first), batch_size), list(range(len(masks)))
    done = 0
    # no cache of casts: it would return a parameter as it was under another mask
    with evaluating(model), exactly(precision), autocast(precision, device, cached=False):
        for start in starts:
            place = slice(start, start + batch_size)
            batch = mapped(lambda tensor: tensor.to(device), part_of(images, place))
            try:  # outputs are answered one by one: all of a batch may be too many to keep
                found = [(points, answer(one, place)) for points, one in _walk(stages, prepare(batch), everyone)]
            except _NotFinite:
                found = [(points, answer(one, place)) for points, one in _walk(unsplit, prepare(batch), everyone)]
            for points, values in found:
                for point in points:
                    answers[point, place] = values.to(kind)
                    done += 1
                    if listener is not None:
                        listener(done // len(starts), len(masks))
    return answers


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


def _walk(stages: Sequence[_Stage], activations: Any, points: list[int]) -> Iterator[tuple[list[int], Any]]:
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


def _stages(model: nn.Module, masks: Sequence[Mask], images: Inputs, *, split: bool) -> list[_Stage]:
    """Return the network's stages; it is a single one if there are several inputs.

    With `split`, a layer of which masks remove whole outputs is computed once, before they are set to 0.
    """
    for mask in masks:
        check_fit(model, mask)
    names = {p: name for name, p in model.named_parameters()}  # that of a shared parameter is its name in the first
    devices = {name: p.device for p, name in names.items()}
    # what keeps everything changes nothing: ratio 0 is the same point in every set of layers
    removing = [{name: keep.to(devices[name]) for name, keep in m.items() if not keep.all()} for m in masks]
    stages: list[_Stage] = []
    for module in stages_of(model) if isinstance(images, Tensor) else [model]:
        own = {name: names[p] for name, p in module.named_parameters()}
        parts = [{name: mask[full] for name, full in own.items() if full in mask} for mask in removing]
        stage = None
        if split and any(parts) and computes_outputs_apart(module):
            removed = [_whole_outputs(part, module) for part in parts]
            if any(outputs.any() for outputs in removed):
                parts = [_without(part, outputs) for part, outputs in zip(parts, removed, strict=True)]
                stage = _zeroing(removed, behind=module.weight.ndim - 2)
        stages.append(_computing(module, parts, finite=stage is not None, first=not stages))
        stages += [] if stage is None else [stage]
    return stages


def _computing(module: nn.Module, parts: list[Mask], *, finite: bool, first: bool) -> _Stage:
    """Return a stage that runs the module under each mask. With `finite`, it raises _NotFinite for other inputs.

    Only the first stage is called with the network's inputs; what the others get is one argument, a tuple included.
    """

    def run(activations: Any, point: int) -> Any:
        if finite and not activations.sum().isfinite():  # a sum that overflows is refused, too, which does no harm
            raise _NotFinite
        with masked(module, parts[point]):
            return call(module, activations) if first else module(activations)

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


def _whole_outputs(part: Mask, layer: Convolution | nn.Linear) -> Tensor:
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
