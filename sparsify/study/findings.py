"""Findings: all that a study's sweeps say, in numbers and in sentences that follow from them only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sparsify.optim.registry import OPTIMIZERS
from sparsify.study.contrasts import CONTROL, Affordable, Contrast, affordable, contrasts, control_of
from sparsify.study.results import ArmResult, Cell, Point, StudyResult, cells
from sparsify.text import capitalised, layers_in_words, listed, p_in_words


@dataclass(frozen=True)
class Findings:
    """Every cell with its interval, every arm against its reference, what each arm can lose, and the verdicts."""

    cells: list[Cell]
    contrasts: list[Contrast]
    affordable: list[Affordable]
    verdicts: list[str]


def find(result: StudyResult) -> Findings:
    """The findings of a study, at 95% confidence: `cells`, `contrasts`, `affordable` and `verdicts` of it."""
    compared = contrasts(result)
    return Findings(cells(result), compared, affordable(result), verdicts(result, compared))


MEASURED = {
    "accuracy": "",
    "recalibrated_accuracy": "BatchNorm recalibrated on training images",
    "finetuned_accuracy": "fine-tuned",
}
"""How each measure of a sweep was come by."""


def verdicts(result: StudyResult, contrasts: Sequence[Contrast]) -> list[str]:
    """Does selecting keep more than its control? A sentence for each contrast of an arm that selects with its own.

    And one on the arms that could have a control and have none in the study.
    """
    controls = {arm.label: control_of(result, arm) for arm in result.arms}
    found = [
        verdict(one) for one in contrasts if controls[one.arm] is not None and controls[one.arm].label == one.reference
    ]
    alone = [arm.label for arm in result.arms if _could_have_a_control(arm) and controls[arm.label] is None]
    if alone:
        found.append(
            f"What the selection adds to {listed(alone)} is not shown: its control, an arm that differs from it in "
            f"opt = '{CONTROL}' alone, is not in the study"
        )
    return found


def _could_have_a_control(arm: ArmResult) -> bool:
    """Whether the arm's optimizer has a control."""
    return any(OPTIMIZERS[run.config.opt].control == CONTROL for run in arm.finished)


def verdict(contrast: Contrast) -> str:
    """A contrast as a sentence. A difference is called one where Holm's p is below 1 − confidence.

    Where its own interval leaves out 0 and Holm's p is not, it is said to be no more than what chance may do in one of
    so many comparisons.
    """
    one, where = contrast, capitalised(point_in_words(contrast))
    sampled = "one seed" if one.seeds == 1 else f"the {one.seeds} seeds show no spread"
    if not one.over:
        difference = f"{100 * one.difference:+.2f} points; {sampled}, and there are no answers for single images"
        return f"{where} nothing can be said of {one.arm} against {one.reference}: {difference}"
    held = one.p_adjusted < 1 - one.confidence
    shown = held or one.low * one.high > 0
    turn = -1 if shown and one.difference < 0 else 1  # "0.3 points less" has the interval 0.1 to 0.5
    ends = sorted((turn * 100 * one.low, turn * 100 * one.high))
    interval = " to ".join(f"{end:.2f}" if shown else f"{end:+.2f}" for end in ends)
    n = f"n = {one.seeds} seeds" if one.over == "seeds" else f"n = {one.images:,} images"
    adjusted = f"Holm-adjusted {p_in_words(one.p_adjusted)}"
    evidence = f"({100 * one.confidence:g}% interval {interval}, {n}, {adjusted}"
    evidence += ")" if one.over == "seeds" else f"; {sampled}: only images are sampled)"
    if not shown:
        difference = f"{100 * one.difference:+.2f} points {evidence}"
        return f"{where} no difference between {one.arm} and {one.reference} can be shown: {difference}"
    more = "more" if one.difference > 0 else "less"
    chance = "" if held else ": among all comparisons of the study, that may be chance"
    return (
        f"{where} {one.arm} keeps {100 * abs(one.difference):.2f} points {more} than {one.reference} {evidence}{chance}"
    )


def point_in_words(point: Point) -> str:
    """ "with 60% of conv3 and fc1 removed by magnitude"."""
    removed = f"{100 * point.ratio:.10g}% of {layers_in_words(point.layers)}" if point.ratio else "nothing"
    by = f" by {point.by}" if point.ratio else ""
    how = MEASURED[point.measure]
    return f"with {removed} removed{by}" + (f" and {how}" if how else "")
