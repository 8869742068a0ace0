"""What a study's sweeps measured: the accuracies that each of its tables and figures is about."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from sparsify.arms import SweepPlan
from sparsify.study import StudyResult
from sparsify.sweep import Sweep


@dataclass(frozen=True)
class Measure:
    """One kind of accuracy: a field of `SweepRow`, its name in a file's, and how it was measured, in words."""

    field: str = "accuracy"
    name: str = ""
    how: str = ""

    def of(self, sweep: Sweep) -> bool:
        """Whether a sweep has it."""
        return getattr(sweep.rows[0], self.field) is not None

    def value(self, sweep: Sweep, layers: str, ratio: float, criterion: str | None = None) -> float:
        """The mean over the draws at one point: of the criterion that was asked for, or of a control."""
        return statistics.mean(getattr(row, self.field) for row in sweep.points(layers, ratio, criterion))


PLAIN = Measure()


def measures(plan: SweepPlan) -> list[Measure]:
    """The accuracies that a sweep of a study is about, the plain one first."""
    found = [PLAIN]
    if plan.recalibrate_bn:
        found.append(Measure("recalibrated_accuracy", "recalibrated", ", BatchNorm recalibrated on training images"))
    if plan.finetune_epochs:
        epochs = f"{plan.finetune_epochs} epoch{'s' * (plan.finetune_epochs > 1)}"
        found.append(Measure("finetuned_accuracy", "finetuned", f", trained on for {epochs}"))
    return found


def controls(result: StudyResult, number: int) -> list[str]:
    """The criteria that sweep `number` of a study has as controls: "random" and the reversed one, or none."""
    return list(dict.fromkeys(name for arm in result.arms for sweep in arm.sweeps[number] for name in sweep.controls))


def held_out(result: StudyResult) -> str:
    """The split that the study is measured on: "test" or "val"."""
    return next((run.summary["held_out"] for arm in result.arms for run in arm.finished), "test")


def listed(names: Iterable[str]) -> str:
    """ "a, b and c"."""
    *first, last = list(names) or [""]
    return f"{', '.join(first)} and {last}" if first else last


def in_words(layers: str) -> str:
    """ "conv3,fc1" as "conv3 and fc1"."""
    return listed(layers.split(","))
