"""Measuring: what each point of a sweep removes, and what the network is without it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sparsify.cost import Cost, Cut, Structure, removed_grains
from sparsify.evaluation import recalibrated
from sparsify.finetuning import Recipe, finetune
from sparsify.iterative import cuts_in_rounds, restored
from sparsify.layers import Layer, prunable_layers
from sparsify.mask import Mask, apply_mask, masked
from sparsify.onepass import predict_masked
from sparsify.outcomes import Outcomes
from sparsify.selection import Selection
from sparsify.sweep import MEASURES, LedgerRow, Sweep, SweepRow

if TYPE_CHECKING:
    from sparsify.pruning import Subject

Listener = Callable[[int, int], None]
"""Called with how much is done and how much there is, first with 0 when all input is checked.

A point counts as one, as one more for BatchNorm's statistics re-estimated and for each time that it is trained on.
"""


Visitor = Callable[["SweepPoint", Mask], None]
"""Called at each point with its mask, while the network is what was measured last: fine-tuned, or else recalibrated."""


@dataclass(frozen=True)
class SweepPoint:
    """What is removed at one ratio from a set of layers; `names` is the set as it was asked for."""

    names: str
    layers: Mapping[str, Layer]
    selection: Selection
    ratio: float


def measure(
    subject: Subject,
    structure: Structure,
    points: Sequence[SweepPoint],
    *,
    grain: str = "auto",
    rounds: int = 1,
    finetune_epochs: int = 0,
    recalibrate_bn: bool = False,
    listener: Listener | None = None,
    visit: Visitor | None = None,
) -> Sweep:
    """The sweep of these points, with the options of `prune`; the network is left as it was."""
    model, images = subject.model, subject.split.images
    how = {"normalise": subject.normalise, "precision": subject.precision}
    recipe = Recipe(epochs=finetune_epochs)
    total = len(points) * (1 + recalibrate_bn + rounds * bool(finetune_epochs))
    done = 0

    def hear(more: int) -> None:
        nonlocal done
        done += more
        if listener is not None:
            listener(done, total)

    def train(mask: Mask) -> None:
        finetune(model, mask, subject.training, recipe=recipe, seed=subject.seed, **how)
        hear(1)

    def remove(point: SweepPoint, train: Callable[[Mask], None] = lambda mask: None) -> tuple[list[Cut], Mask, Cost]:
        what = (point.layers, point.selection, point.ratio)
        cuts = cuts_in_rounds(subject, structure, *what, grain=grain, rounds=rounds, train=train)
        return cuts, *structure.remove(cuts)

    _, whole = structure.remove([])
    removed = []
    for point in points:
        with restored(model):
            removed.append(remove(point))
    hear(0)
    trained_apart = rounds > 1 and finetune_epochs > 0  # else the weights that are left are the same at every point
    answers: dict[str, list[Tensor]] = {measure: [] for measure in MEASURES}
    if not trained_apart:
        masks = [mask for _, mask, _ in removed]
        answers["accuracy"] += predict_masked(model, images, masks, listener=lambda count, _: hear(count - done), **how)
    for place, point in enumerate(points):
        with restored(model):
            if trained_apart:
                removed[place] = remove(point, train)
                answers["accuracy"] += predict_masked(model, images, [removed[place][1]], **how)
                hear(1)
            _, mask, _ = removed[place]
            if recalibrate_bn:
                # from the start, because each mask gives other statistics to the layers that it does not touch as well
                with masked(model, mask), recalibrated(model, subject.sample.images, **how):
                    answers["recalibrated_accuracy"] += predict_masked(model, images, [{}], **how)
                    if visit is not None and not finetune_epochs:
                        visit(point, mask)
                hear(1)
            if finetune_epochs:
                train(mask)
                answers["finetuned_accuracy"] += predict_masked(model, images, [{}], **how)
            if visit is not None and (finetune_epochs or not recalibrate_bn):
                apply_mask(model, mask)
                visit(point, mask)
    labels = subject.split.labels.cpu().numpy()
    outcomes = {
        measure: Outcomes.of(labels, torch.stack(found).cpu().numpy()) for measure, found in answers.items() if found
    }
    accuracies = {measure: found.accuracies for measure, found in outcomes.items()}
    rows: list[SweepRow] = []
    ledger: list[LedgerRow] = []
    for place, (point, (cuts, mask, cost)) in enumerate(zip(points, removed, strict=True)):
        selection = point.selection
        rows.append(
            SweepRow(
                criterion=selection.name,
                grain=grain,
                scope=selection.scope,
                layers=point.names,
                ratio=point.ratio,
                draw=selection.draw,
                correct=int(outcomes["accuracy"].right[place].sum()),
                count=len(labels),
                params=cost.params,
                macs=cost.macs,
                compression=whole.params / cost.params if cost.params else math.inf,
                speedup=whole.macs / cost.macs if cost.macs else math.inf,
                finetune_epochs=finetune_epochs,
                rounds=rounds,
                **{measure: found[place] for measure, found in accuracies.items()},
            )
        )
        ledger += _ledger(point, cuts, mask, prunable_layers(model))
    return Sweep(tuple(rows), tuple(ledger), outcomes)


def _ledger(point: SweepPoint, cuts: Sequence[Cut], mask: Mask, layers: Sequence[Layer]) -> list[LedgerRow]:
    """A row for each layer that was named, and for each other one that loses grains with them."""
    what = (point.selection.name, point.names, point.ratio, point.selection.draw)
    rows = []
    for name, cut in zip(point.layers, cuts, strict=True):
        asked, gone = int(cut.drop.sum()), int(removed_grains(mask, cut.layer, cut.grain).sum())
        rows.append(LedgerRow(*what, name, cut.grain, asked, cut.drop.numel(), gone - asked))
    named = {cut.layer.module for cut in cuts}
    for layer in layers:
        gone = 0 if layer.module in named else int(removed_grains(mask, layer, "filter").sum())
        if gone:
            rows.append(LedgerRow(*what, layer.name, layer.grain("filter"), 0, len(layer.weight), gone))
    return rows
