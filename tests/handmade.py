"""Studies that are made by hand: of each run, which images it gets wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from sweeps import sweep_of

from sparsify.config import Config
from sparsify.pruning.outcomes import Outcomes
from sparsify.pruning.plan import SweepPlan
from sparsify.pruning.sweep import Sweep, SweepRow
from sparsify.study.contrasts import Affordable, Contrast, affordable, contrasts
from sparsify.study.design import Arm, Study
from sparsify.study.results import ArmResult, StudyResult

IMAGES = 1000
Wrong = Sequence[int]
"""The images that one run gets wrong."""


def sweep(
    points: Mapping[float, Wrong | Sequence[Wrong]],
    *,
    kept: bool = True,
    again: float | None = None,
    support: tuple[float, Wrong] | None = None,
) -> Sweep:
    """A sweep of conv3: at each ratio, one run's wrong answers, or several draws' of them, among `IMAGES` images.

    The `support` is the part outside of it, and what the network without that gets wrong.
    """
    rows, answers = [], []
    for ratio, wrong in points.items():
        draws = wrong if wrong and not isinstance(wrong[0], int) else [wrong]
        for draw, images in enumerate(draws):
            right = IMAGES - len(images)
            sizes = {"params": 1, "macs": 1, "compression": 1.0, "speedup": 1.0}
            criterion = "random" if len(draws) > 1 else "magnitude"
            row = SweepRow(criterion, "auto", "layer", "conv3", ratio, draw, right, IMAGES, right / IMAGES, **sizes)
            rows.append(dataclasses.replace(row, recalibrated_accuracy=again))
            answers.append(np.isin(np.arange(IMAGES), images).astype(int))
    if support is not None:
        ratio, images = support
        right = IMAGES - len(images)
        values = {"criterion": "support", "ratio": ratio, "draw": 0, "correct": right, "accuracy": right / IMAGES}
        rows.append(dataclasses.replace(rows[0], **values))
        answers.append(np.isin(np.arange(IMAGES), images).astype(int))
    outcomes = Outcomes.of(np.zeros(IMAGES, int), np.stack(answers))
    return sweep_of(tuple(rows), (), {"accuracy": outcomes} if kept else {})


def recalibrated(as_it_is: Sweep, with_it: Sweep) -> Sweep:
    """A sweep whose networks answer like those of another one when BatchNorm is recalibrated."""
    rows = tuple(
        dataclasses.replace(row, recalibrated_accuracy=other.accuracy)
        for row, other in zip(as_it_is.rows, with_it.rows, strict=True)
    )
    outcomes = as_it_is.outcomes | {"recalibrated_accuracy": with_it.outcomes["accuracy"]}
    return sweep_of(rows, (), outcomes)


def arm(label: str, sweeps: Mapping[int, Sweep], **settings: object) -> ArmResult:
    """An arm's sweeps by their seeds; its settings are those of its optimizer."""
    settings.setdefault("opt", label)
    summary = {"held_out": "test", "accuracy": 0.9, "seconds_per_epoch": 1.0, "support": {}}
    summary |= {"count": IMAGES, "classes": list("0123456789")}
    runs = tuple(
        SimpleNamespace(
            name=f"{label}-s{seed}", config=Config(seed=seed, **settings), status="finished", summary=summary
        )
        for seed in sweeps
    )
    return ArmResult(label, runs, (tuple(sweeps.values()),))


def study(*arms: ArmResult, ratios: Sequence[float] = (0.0, 0.6), **plan: object) -> StudyResult:
    plans = (SweepPlan(layers=("conv3",), ratios=tuple(ratios), **plan),)
    asked = tuple(Arm(one.label, tuple(run.config for run in one.runs)) for one in arms)
    return StudyResult(Study("made", "Made", asked, plans), arms, Path("runs/studies/made"))


def seeds(*counts: int, first: int = 0, **options: object) -> dict[int, Sweep]:
    """One sweep a seed, of so many wrong answers at ratio 0.6 and 10 with nothing removed."""
    wrong = [{0.0: list(range(10)), 0.6: list(range(count))} for count in counts]
    return {seed: sweep(points, **options) for seed, points in enumerate(wrong, start=first)}


def raw(result: StudyResult, **asked: object) -> list[Contrast]:
    """The contrasts of accuracies; those of changes have tests of their own."""
    return [one for one in contrasts(result, **asked) if one.compared == "accuracy"]


def falling(*pairs: tuple[int, int], **options: object) -> dict[int, Sweep]:
    """One sweep a seed, of so many wrong answers with nothing and with 60% removed."""
    return {
        seed: sweep({0.0: list(range(whole)), 0.6: list(range(pruned))}, **options)
        for seed, (whole, pruned) in enumerate(pairs)
    }


def losing(*wrong: Sequence[int], **options: object) -> ArmResult:
    """An arm: of each seed, how many answers are wrong with 0, 10, 20, … % removed."""
    sweeps = [sweep({k / 10: list(range(n)) for k, n in enumerate(counts)}, **options) for counts in wrong]
    return arm("slbi", dict(enumerate(sweeps)))


def largest(one: ArmResult, tolerance: float) -> Affordable:
    ratios = [row.ratio for row in one.sweeps[0][0].rows]
    (found,) = affordable(study(one, ratios=ratios), tolerances=[tolerance])
    return found
