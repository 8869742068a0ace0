"""Cuts: the grains that one point removes, in one round or several; and the mask that removes them."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Unpack

import torch
from torch import Tensor, nn

from sparsify.data.dataset import Split
from sparsify.nets.evaluation import modes_kept
from sparsify.nets.layers import Layer, find_layers
from sparsify.nets.mask import Mask, apply_mask
from sparsify.nets.structure import Cut, removed_grains
from sparsify.nets.units import Unit, find_units
from sparsify.pruning.plan import PointOptions, PointPlan
from sparsify.pruning.ranking import Ranking, Scorer, strata_of, warn_of_mixed_grains
from sparsify.pruning.subject import Subject


def cuts_in_rounds(
    subject: Subject,
    units: Mapping[str, Unit],
    ranking: Ranking,
    ratio: float,
    *,
    rounds: int = 1,
    train: Callable[[Mask], None] = lambda mask: None,
) -> list[Cut]:
    """Return the cuts of one point: the grains that are removed from each layer after all rounds.

    After round i, round(ratio·i/rounds·n) grains are removed in all; n is the number of grains of a layer, or of the
    whole set with the scope "global". The first round uses the scores of `ranking`; each later round scores the
    remaining grains again by the same criterion. Removed grains stay removed. Between two rounds `train` may train the
    network in place, under the mask that it is given.

    One round does not change the network. With several, the network stays masked by what the rounds before the last
    one removed, and trained by `train`; `restored` undoes that.
    """
    structure = subject.structure
    drops = ranking.drops(ratio * (1 / rounds))
    for number in range(2, rounds + 1):
        mask, _ = structure.remove(_cuts(units, drops))
        apply_mask(subject.model, mask)
        train(mask)
        gone = {name: unit.gone(_removed(mask, unit)) for name, unit in units.items()}
        scores = Scorer(subject)(units, ranking.criterion, draw=ranking.draw, gone=gone)
        # first the grains that the unit itself lost, so that they stay removed; then those that went with others
        first = {name: drops[name].int() + gone[name].int() for name in units}
        ranking = dataclasses.replace(ranking, scores=scores, first=first)
        drops = ranking.drops(ratio * (number / rounds))
    return _cuts(units, drops)


def _cuts(units: Mapping[str, Unit], drops: Mapping[str, Tensor]) -> list[Cut]:
    return [cut for name, unit in units.items() for cut in unit.cuts(drops[name])]


def _removed(mask: Mask, unit: Unit) -> dict[str, Tensor]:
    return {name: removed_grains(mask, layer, unit.grain) for name, layer in unit.asked.items()}


@contextlib.contextmanager
def restored(model: nn.Module) -> Iterator[nn.Module]:
    """Give a network to be masked or trained in place; then restore its weights, buffers, gradients and modes."""
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
    """Return the cuts of one point, one for each of its layers, without training between its rounds.

    Raises SparsifyError for unknown layers, and for a criterion that needs something that the subject lacks.
    """
    left_out = functools.partial(subject.structure.left_out, point.grain)
    found = find_layers(subject.model, point.layers, subject.name, left_out)
    warn_of_mixed_grains(point, [found])
    units = units_by_name(subject, found, point.grain)
    scores = Scorer(subject)(units, point.criterion)
    ranking = Ranking(point.criterion, scores, point.scope, point.reverse, strata=strata_of(units))
    with restored(subject.model):
        return cuts_in_rounds(subject, units, ranking, point.ratio, rounds=point.rounds)


def units_by_name(subject: Subject, layers: Mapping[str, Layer], grain: str) -> dict[str, Unit]:
    """Return the units of these layers (`find_units`) by their names."""
    return {unit.name: unit for unit in find_units(subject.structure, layers, grain)}


def make_mask(model: nn.Module, example: Tensor, point: PointPlan | None = None, **asked: Unpack[PointOptions]) -> Mask:
    """Return the mask of one point, which is given as a `PointPlan` or by its keywords.

    `example` is one normalised input with a batch dimension. Of each unit of the point's layers, the round(ratio·n)
    grains with the lowest scores are removed; of equal scores, those with the lowest index. A ratio of 0 removes
    nothing.
    Raises SparsifyError as `cuts_of` does.

    >>> mask = sparsify.make_mask(run.model(), torch.zeros(1, 1, 28, 28), layers="fc1", ratio=0.5)
    >>> mask["fc1.weight"].float().mean()
    tensor(0.5000)
    """
    point = PointPlan.of(point, **asked)
    subject = Subject(model, Split(example, torch.zeros(len(example), dtype=torch.long)), lambda images: images)
    return subject.structure.remove(cuts_of(subject, point))[0]
