"""Cuts: the grains that one point removes, in one round or several, and the mask that removes them."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Unpack

import torch
from torch import Tensor, nn

from sparsify.data.dataset import Split
from sparsify.nets.evaluation import modes_kept
from sparsify.nets.layers import Layer, find_layers
from sparsify.nets.mask import Mask, apply_mask
from sparsify.nets.structure import Cut, removed_grains
from sparsify.pruning.plan import PointOptions, PointPlan
from sparsify.pruning.ranking import Ranking, Scorer, warn_of_mixed_grains
from sparsify.pruning.subject import Subject


def cuts_in_rounds(
    subject: Subject,
    layers: Mapping[str, Layer],
    ranking: Ranking,
    ratio: float,
    *,
    grain: str = "auto",
    rounds: int = 1,
    train: Callable[[Mask], None] = lambda mask: None,
) -> list[Cut]:
    """What is gone from each layer after all rounds: round i removes up to round(ratio·i/rounds·n) grains in all.

    The first round goes by the scores of `ranking`, the others by those of the same criterion on what is left then;
    what has gone stays gone. Between two rounds `train` may train the network on in place, under the mask that it is
    given. The network is left as the last round found it, masked: keep it with `restored`. One round changes nothing.
    """
    structure = subject.structure
    drops = ranking.drops(ratio * (1 / rounds))
    for number in range(2, rounds + 1):
        mask, _ = structure.remove(_cuts(layers, drops, grain))
        apply_mask(subject.model, mask)
        train(mask)
        gone = {name: removed_grains(mask, layer, grain) for name, layer in layers.items()}
        scores = Scorer(subject, grain)(layers, ranking.criterion, draw=ranking.draw, gone=gone)
        # a layer's own first, so that they stay gone; then those that went with layers that are coupled with it
        first = {name: drops[name].int() + gone[name].int() for name in layers}
        ranking = dataclasses.replace(ranking, scores=scores, first=first)
        drops = ranking.drops(ratio * (number / rounds))
    return _cuts(layers, drops, grain)


def _cuts(layers: Mapping[str, Layer], drops: Mapping[str, Tensor], grain: str) -> list[Cut]:
    return [Cut(layer, layer.grain(grain), drops[name]) for name, layer in layers.items()]


@contextlib.contextmanager
def restored(model: nn.Module) -> Iterator[nn.Module]:
    """The network, to be masked or trained in place; afterwards weights, buffers, gradients and modes are as before."""
    values = {tensor: tensor.detach().clone() for tensor in (*model.parameters(), *model.buffers())}
    gradients = {p: p.grad for p in model.parameters()}
    for p in gradients:
        p.grad = None
    try:
        with modes_kept(model):
            yield model
    finally:
        with torch.no_grad():
            for tensor, value in values.items():
                tensor.copy_(value)
        for p, gradient in gradients.items():
            p.grad = gradient


def cuts_of(subject: Subject, point: PointPlan) -> list[Cut]:
    """What one point removes from each of its layers, without any training between its rounds.

    Raises SparsifyError for unknown layers, and for a criterion that needs what the subject does not have.
    """
    found = find_layers(subject.model, point.layers, subject.name)
    warn_of_mixed_grains(point, [found])
    scores = Scorer(subject, point.grain)(found, point.criterion)
    ranking = Ranking(point.criterion, scores, point.scope, point.reverse)
    with restored(subject.model):
        return cuts_in_rounds(subject, found, ranking, point.ratio, grain=point.grain, rounds=point.rounds)


def make_mask(model: nn.Module, example: Tensor, point: PointPlan | None = None, **asked: Unpack[PointOptions]) -> Mask:
    """The mask of one point, a `PointPlan` or its keywords; ratio 0 keeps everything.

    `example` is one normalised input with a batch dimension. In each of the point's layers round(ratio·n) grains go,
    the lowest scores first, ties by index. Raises SparsifyError as `cuts_of` does.
    """
    point = PointPlan(**asked) if point is None else point
    subject = Subject(model, Split(example, torch.zeros(len(example), dtype=torch.long)), lambda images: images)
    return subject.structure.remove(cuts_of(subject, point))[0]
