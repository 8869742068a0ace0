"""Measuring: what each point of a sweep removes, and how accurate the network is without it."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import numpy as np
import torch
from torch import Tensor, nn

from sparsify.config import Places
from sparsify.data.dataset import Data
from sparsify.devices import enough_memory, halving, keep_freed_memory
from sparsify.errors import SparsifyError, quoted
from sparsify.nets.evaluation import (
    PREDICTION_BATCH,
    RECALIBRATION_BATCH,
    batch_norms,
    batch_size_for,
    recalibrated,
    require_batches,
)
from sparsify.nets.layers import Layer, find_sets, prunable_layers
from sparsify.nets.mask import Mask, apply_mask, masked
from sparsify.nets.prediction import predict_masked, score_masked
from sparsify.nets.structure import Cost, Cut, removed_grains
from sparsify.nets.units import Unit
from sparsify.progress import counting
from sparsify.pruning.criteria import CRITERIA
from sparsify.pruning.cuts import cuts_in_rounds, restored, units_by_name
from sparsify.pruning.ledger import LedgerRow
from sparsify.pruning.measures import MEASURES
from sparsify.pruning.outcomes import Outcomes, Scores
from sparsify.pruning.plan import SweepOptions, SweepPlan
from sparsify.pruning.ranking import Ranking, Scorer, of_support, rankings, warn_of_mixed_grains
from sparsify.pruning.subject import Subject, require_loss, subject_for
from sparsify.pruning.sweep import Sweep, SweepRow
from sparsify.runs import Run
from sparsify.training.display import shown
from sparsify.training.finetuning import Recipe, finetune

PointListener = Callable[[int, int], None]
"""A function that is called with the work done and the work in total; first with 0, when all input is checked.

Each point counts one, and one more if BatchNorm's statistics are re-estimated, and one more for each fine-tuning.
"""


Visitor = Callable[["SweepPoint", Mask], None]
"""A function that is called at each point with its mask, while the network is in the state that was measured last.

That is the fine-tuned network, or else the recalibrated one, or else the one that is only masked.
"""


@dataclass(frozen=True)
class SweepPoint:
    """One ratio of one ranking of the units of a set; `names` is the set as it was asked for, as in "conv3,fc1"."""

    names: str
    units: Mapping[str, Unit]
    ranking: Ranking
    ratio: float


def prune(
    target: Run | Subject | nn.Module,
    plan: SweepPlan | None = None,
    *,
    data: Data | None = None,
    training: Data | None = None,
    batch_size: int | None = None,
    device: str = "auto",
    data_dir: Path | str | None = None,
    listener: PointListener | None = None,
    progress: bool = False,
    visit: Visitor | None = None,
    **asked: Unpack[SweepOptions],
) -> Sweep:
    """Measure every point of a sweep and return the Sweep. The network is left as it was.

    `target` is a finished Run; or any network, with the `data` to measure it on and, for the criteria "taylor"
    and "obd", recalibration and fine-tuning, `training` data: a DataLoader, (images, labels) or what else `Split.of`
    takes, moved to the network's device; or a Subject, which has its own data, and all that can be set. The sweep is
    given as a `SweepPlan` or by its keywords, as in layers="conv3,fc1", ratios="0:0.6:0.1". `device` and `data_dir` say
    where a Run is measured and where its data is; they are not used for other targets.

    `batch_size` is how many images are predicted at a time: by default 1000, or fewer where the memory has no room for
    them (`batch_size_for`, `halving`). It does not change the result but for the rounding of sums.

    `progress` shows a bar and the time left, in terminals and in notebooks (with ipywidgets). `visit` is called at each
    point with the SweepPoint and its mask. At that time the network is masked, and
    fine-tuned or else recalibrated if the plan asks for it; it is restored afterwards, so `visit` must copy what it
    keeps.

    Raises SparsifyError if both a plan and keywords are given, for unknown layers, for a criterion that needs a path,
    gradients or a normalisation that the target lacks, for data that cannot be read, and as `Subject.checked`.

    >>> sparsify.prune(run, layers="conv3,fc1", ratios="0:0.8:0.4", device="cpu")
    <Sweep ...: magnitude, 0% to 80% of conv3,fc1, 3 points>
    """
    plan = SweepPlan.of(plan, **asked)
    if batch_size is not None and not (isinstance(batch_size, int) and batch_size >= 1):
        raise SparsifyError(f"batch_size is {quoted(batch_size)}; it must be at least 1, a whole number")
    target = subject_for(target, data, training, Places.of(None, device=device, data_dir=data_dir))
    with enough_memory("the network", "take --device cpu"):
        target = target.checked()
    if target.split.device.type == "cpu":
        keep_freed_memory()
    found = find_sets(target.model, plan.layers, target.name, functools.partial(target.structure.left_out, plan.grain))
    plan = plan.on(found, batch_norm=True)
    warn_of_mixed_grains(plan, found.values())
    _require(target, plan)
    smaller = "" if batch_size is None else f"a batch_size below {batch_size}, or "
    with enough_memory("the sweep", f"take {smaller}--device cpu"):
        scores = Scorer(target)
        sets = {names: units_by_name(target, layers, plan.grain) for names, layers in found.items()}
        points = []
        for names, units in sets.items():
            each = itertools.product(rankings(scores, units, plan), plan.ratios)
            points += [SweepPoint(names, units, ranking, ratio) for ranking, ratio in each]
            if plan.support:
                points.append(SweepPoint(names, units, *of_support(target, units)))
        with shown(listener, counting("pruning") if progress else None) as heard:
            return measure(target, plan, points, batch_size=batch_size, listener=heard, visit=visit)


def _require(subject: Subject, plan: SweepPlan) -> None:
    """Raise SparsifyError if a subject lacks something that a plan needs."""
    if plan.recalibrate_bn and not batch_norms(subject.model):
        raise SparsifyError(f"--recalibrate-bn: {subject.name} has no BatchNorm with statistics to re-estimate")
    if (plan.recalibrate_bn or plan.finetune_epochs) and subject.training is None:
        flag = "--recalibrate-bn" if plan.recalibrate_bn else "--finetune"
        raise SparsifyError(f"{flag}: {subject.name} comes without training images")
    if plan.finetune_epochs:
        require_loss(subject, "--finetune")
    if CRITERIA[plan.criterion].gradients:
        require_loss(subject, f"criterion '{plan.criterion}'")
    if plan.finetune_epochs and not any(p.requires_grad for p in subject.model.parameters()):
        raise SparsifyError(
            f"--finetune: no parameter of {subject.name} requires a gradient, so that nothing can train"
        )
    if plan.recalibrate_bn and subject.sample is not None:
        images = len(subject.sample)
        require_batches(subject.model, subject.example, images, RECALIBRATION_BATCH, "--recalibrate-bn")
    if plan.finetune_epochs and subject.training is not None:
        require_batches(subject.model, subject.example, len(subject.training), Recipe.batch_size, "--finetune")


def measure(
    subject: Subject,
    plan: SweepPlan,
    points: Sequence[SweepPoint],
    *,
    batch_size: int | None = None,
    listener: PointListener | None = None,
    visit: Visitor | None = None,
) -> Sweep:
    """Measure these points of a plan and return the Sweep. The network is left as it was."""
    model, normalise, precision = subject.model, subject.normalise, subject.precision
    size = batch_size or batch_size_for(model, subject.example, PREDICTION_BATCH)
    recipe = Recipe(epochs=plan.finetune_epochs)
    each = 1 + (1 if plan.recalibrate_bn else 0) + (plan.rounds if plan.finetune_epochs else 0)
    total = len(points) * each
    done = 0

    def hear(more: int) -> None:
        nonlocal done
        done += more
        if listener is not None:
            listener(done, total)

    def train(mask: Mask) -> None:
        assert subject.training is not None  # `_require` has refused a subject without
        finetune(
            model,
            mask,
            subject.training,
            normalise,
            recipe=recipe,
            loss=subject.loss,
            seed=subject.seed,
            precision=precision,
        )
        hear(1)

    def remove(point: SweepPoint, train: Callable[[Mask], None] = lambda mask: None) -> _Removed:
        cuts = cuts_in_rounds(subject, point.units, point.ranking, point.ratio, rounds=plan.rounds, train=train)
        return _Removed(cuts, *subject.structure.remove(cuts))

    def predict(masks: Sequence[Mask], heard: Callable[[int, int], None] | None = None) -> Tensor:
        nonlocal size

        def in_batches(of: int) -> Tensor:
            split, score = subject.split, subject.score
            if score is None:
                return predict_masked(
                    model, split.images, masks, normalise, batch_size=of, precision=precision, listener=heard
                )
            return score_masked(
                model, split, masks, normalise, score=score, batch_size=of, precision=precision, listener=heard
            )

        if batch_size is not None:
            return in_batches(batch_size)
        found, size = halving(in_batches, size)
        return found

    removed = []
    for point in points:
        with restored(model):
            removed.append(remove(point))
    hear(0)
    answers: dict[str, list[Tensor]] = {measure: [] for measure in MEASURES}
    if not plan.trained_between:  # else the weights that are left differ from point to point
        answers["accuracy"] += predict([one.mask for one in removed], lambda count, _: hear(count - done))
    for place, point in enumerate(points):
        with restored(model):
            if plan.trained_between:
                removed[place] = remove(point, train)
                answers["accuracy"] += predict([removed[place].mask])
                hear(1)
            mask = removed[place].mask
            if plan.recalibrate_bn:
                assert subject.sample is not None  # `_require` has refused a subject without
                # from the start, because each mask gives other statistics to the layers that it does not touch as well
                with (
                    masked(model, mask),
                    recalibrated(model, subject.sample.images, normalise, precision=precision),
                ):
                    answers["recalibrated_accuracy"] += predict([{}])
                    if visit is not None and not plan.finetune_epochs:
                        visit(point, mask)
                hear(1)
            if plan.finetune_epochs:
                train(mask)
                answers["finetuned_accuracy"] += predict([{}])
            if visit is not None and (plan.finetune_epochs or not plan.recalibrate_bn):
                apply_mask(model, mask)
                visit(point, mask)
    outcomes = {measure: _outcomes(subject, torch.stack(found)) for measure, found in answers.items() if found}
    return _sweep(subject, plan, points, removed, outcomes)


def _outcomes(subject: Subject, answers: Tensor) -> Outcomes | Scores:
    """Return the outcomes of the predicted classes, or the scores, of each point: (points, images)."""
    values = answers.cpu().numpy()
    if subject.score is not None:
        return Scores(values.astype(np.float64))
    return Outcomes.of(subject.split.labels.cpu().numpy(), values)


@dataclass(frozen=True)
class _Removed:
    """The cuts and the mask of one point, and the cost of the network without the removed grains."""

    cuts: list[Cut]
    mask: Mask
    cost: Cost


def _sweep(
    subject: Subject,
    plan: SweepPlan,
    points: Sequence[SweepPoint],
    removed: Sequence[_Removed],
    outcomes: Mapping[str, Outcomes | Scores],
) -> Sweep:
    """Return the Sweep of these outcomes: put them into rows, and what was removed into a ledger."""
    _, whole = subject.structure.remove([])
    accuracies = {measure: found.accuracies for measure, found in outcomes.items()}
    correct = outcomes["accuracy"].correct
    layers = prunable_layers(subject.model)
    rows: list[SweepRow] = []
    ledger: list[LedgerRow] = []
    for place, (point, one) in enumerate(zip(points, removed, strict=True)):
        params, macs = one.cost.params, one.cost.macs
        rows.append(
            SweepRow(
                criterion=point.ranking.name,
                grain=plan.grain,
                scope=plan.scope,
                layers=point.names,
                ratio=point.ratio,
                draw=point.ranking.draw,
                correct=correct[place],
                count=len(subject.split),
                params=params,
                macs=macs,
                compression=whole.params / params if params else math.inf,
                speedup=whole.macs / macs if macs else math.inf,
                finetune_epochs=plan.finetune_epochs,
                rounds=plan.rounds,
                **{measure: found[place] for measure, found in accuracies.items()},
            )
        )
        ledger += _ledger(point, one.cuts, one.mask, layers)
    return Sweep(plan, tuple(rows), tuple(ledger), outcomes)


def _ledger(point: SweepPoint, cuts: Sequence[Cut], mask: Mask, layers: Sequence[Layer]) -> list[LedgerRow]:
    """Return a row for each layer that was named, and for each other layer that loses grains because of coupling."""
    what = (point.ranking.name, point.names, point.ratio, point.ranking.draw)
    rows = []
    named = {layer.name: name for unit in point.units.values() for name, layer in unit.asked.items()}
    for cut in (cut for cut in cuts if cut.layer.name in named):
        asked, gone = int(cut.drop.sum()), int(removed_grains(mask, cut.layer, cut.grain).sum())
        rows.append(LedgerRow(*what, named[cut.layer.name], cut.grain, asked, cut.drop.numel(), gone - asked))
    for layer in layers:
        gone = 0 if layer.name in named else int(removed_grains(mask, layer, "filter").sum())
        if gone:
            rows.append(LedgerRow(*what, layer.name, layer.grain("filter"), 0, layer.outputs, gone))
    return rows
