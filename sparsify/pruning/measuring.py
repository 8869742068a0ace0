"""Measuring: what each point of a sweep removes, and how the network does without it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sparsify.devices import enough_memory, keep_freed_memory
from sparsify.errors import SparsifyError, unknown
from sparsify.nets.evaluation import RECALIBRATION_BATCH, batch_norms, recalibrated, require_batches
from sparsify.nets.layers import GRAINS, Layer, find_sets, prunable_layers
from sparsify.nets.mask import Mask, apply_mask, masked
from sparsify.nets.prediction import predict_masked
from sparsify.nets.structure import Cost, Cut, Structure, removed_grains
from sparsify.pruning.criteria import CRITERIA
from sparsify.pruning.cuts import cuts_in_rounds, restored
from sparsify.pruning.plan import RATIOS, check_draws, check_rounds, check_scope, parse_ratios
from sparsify.pruning.ranking import Ranking, rankings, scorer
from sparsify.pruning.subject import Subject, subject_of
from sparsify.pruning.sweep import MEASURES, LedgerRow, Outcomes, Sweep, SweepRow
from sparsify.runs import Run
from sparsify.training.finetuning import Recipe, finetune

if TYPE_CHECKING:
    from sparsify.pruning.subject import Subject


def prune(
    target: Run | Subject,
    *,
    layers: str | Sequence[str],
    ratios: str | Sequence[float] = RATIOS,
    criterion: str = "magnitude",
    grain: str = "auto",
    scope: str = "layer",
    reverse: bool = False,
    controls: bool = False,
    draws: int | None = None,
    recalibrate_bn: bool = False,
    finetune_epochs: int = 0,
    rounds: int = 1,
    device: str = "auto",
    data_dir: Path | str | None = None,
    listener: PointListener | None = None,
    visit: Visitor | None = None,
) -> Sweep:
    """Sweep the ratios over each set of `layers`: "conv3,fc1" is one set, ["conv3", "conv3,fc1"] are two.

    `target` is a finished Run, or a Subject: any network with the images to measure it on. The network is left as it
    was. `scope` and `reverse` are those of `Selection`. `controls` adds to each set, with as many grains of each layer,
    "random" and the reversed order of the criterion. `draws` repeats "random": once, or five times as a control.
    `recalibrate_bn` also measures each point with BatchNorm's statistics re-estimated on 5,000 training images
    augmented as in the training, `finetune_epochs` after that many epochs of training on under its mask (`Recipe`).
    `rounds`: the grains of a point go in so many (`cuts_in_rounds`), with that many epochs after each; its accuracy is
    that after the last round, before the epochs that follow it. `visit` is called at each point with what is removed (a
    SweepPoint) and its mask, while the network is masked and as it was measured last: fine-tuned, or else recalibrated,
    where that is asked for; what it keeps of it, it copies, as `shrink` does. Raises SparsifyError for unknown layers,
    criteria, grains and scopes, for ratios outside 0 to 1, and for a criterion that needs a path, gradients or a
    normalisation where there is none.
    """
    if criterion not in CRITERIA:
        raise unknown("criterion", criterion, CRITERIA)
    if grain not in GRAINS:
        raise unknown("grain", grain, GRAINS)
    draws = check_draws(draws, criterion, controls)
    parsed = parse_ratios(ratios)
    subject = target if isinstance(target, Subject) else subject_of(target, device=device, data_dir=data_dir)
    if subject.split.images.device.type == "cpu":
        keep_freed_memory()
    found = find_sets(subject.model, layers, subject.name)
    check_scope(scope, found.values(), grain)
    if recalibrate_bn and not batch_norms(subject.model):
        raise SparsifyError(f"--recalibrate-bn: {subject.name} has no BatchNorm with statistics to re-estimate")
    if (recalibrate_bn or finetune_epochs) and subject.training is None:
        flag = "--recalibrate-bn" if recalibrate_bn else "--finetune"
        raise SparsifyError(f"{flag}: {subject.name} comes without training images")
    if finetune_epochs and not any(p.requires_grad for p in subject.model.parameters()):
        raise SparsifyError(
            f"--finetune: no parameter of {subject.name} requires a gradient, so that nothing can train"
        )
    if finetune_epochs < 0:
        raise SparsifyError(f"--finetune is {finetune_epochs}; it must be a whole number of at least 0")
    check_rounds(rounds, controls, scope)
    image = subject.normalise(subject.split.images[:1])
    if recalibrate_bn:
        require_batches(subject.model, image, len(subject.sample), RECALIBRATION_BATCH, "--recalibrate-bn")
    if finetune_epochs:
        require_batches(subject.model, image, len(subject.training), Recipe.batch_size, "--finetune")
    with enough_memory("the sweep", "take --device cpu"):
        structure = Structure(subject.model, image)
        scores = scorer(subject, structure, grain)
        tried = {"scope": scope, "reverse": reverse, "controls": controls, "draws": draws}
        points = [
            SweepPoint(names, asked, selection, ratio)
            for names, asked in found.items()
            for selection in rankings(scores, asked, criterion, **tried)
            for ratio in parsed
        ]
        how = {"grain": grain, "rounds": rounds, "finetune_epochs": finetune_epochs, "recalibrate_bn": recalibrate_bn}
        return measure(subject, structure, points, **how, listener=listener, visit=visit)


PointListener = Callable[[int, int], None]
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
    selection: Ranking
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
    listener: PointListener | None = None,
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
