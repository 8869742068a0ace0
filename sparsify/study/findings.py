"""Findings: what a study's sweeps say, in numbers and in sentences that follow from these numbers alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparsify.optim.registry import OPTIMIZERS
from sparsify.pruning.measures import MEASURES
from sparsify.study.contrasts import CONTROL, Affordable, Contrast, affordable, contrasts, control_of
from sparsify.study.results import ArmResult, Cell, Point, StudyResult, cells
from sparsify.text import capitalised, layers_in_words, listed, p_in_words, percentage, points

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Findings:
    """Every cell with its interval, every arm against its reference, how much of each can go, and the verdicts."""

    cells: list[Cell]
    contrasts: list[Contrast]
    affordable: list[Affordable]
    verdicts: list[str]

    def frames(self) -> dict[str, pd.DataFrame]:
        """Each kind of number as a DataFrame, by the name of its file: the columns are its fields."""
        kinds = {"cells": Cell, "contrasts": Contrast, "affordable": Affordable}
        return {name: frame(getattr(self, name), kind) for name, kind in kinds.items()}


def frame(rows: Sequence[Point], kind: type[Point]) -> pd.DataFrame:
    """One row each; the columns are the fields of `kind`, also where there is no row."""
    import pandas as pd  # slow to import: only when it is needed

    columns = [field.name for field in dataclasses.fields(kind)]
    return pd.DataFrame([dataclasses.asdict(row) for row in rows], columns=columns)


def find(result: StudyResult) -> Findings:
    """The findings of a study, at 95% confidence: `cells`, `contrasts`, `affordable` and `verdicts` of it.

    >>> sparsify.find(result).frames()["cells"][["arm", "ratio", "n"]]
       arm  ratio  n
    0  sgd    0.0  1
    1  sgd    0.5  1
    """
    compared = contrasts(result)
    return Findings(cells(result), compared, affordable(result), verdicts(result, compared))


def verdicts(result: StudyResult, contrasts: Sequence[Contrast]) -> list[str]:
    """One sentence for each contrast of an arm that selects with its control: which of the two is more accurate.

    A last sentence names the arms that could have a control and have none in the study.
    """
    controls = {arm.label: control_of(result, arm) for arm in result.arms}
    found = [
        verdict(one)
        for one in contrasts
        if (control := controls[one.arm]) is not None and control.label == one.reference
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
    """A contrast as a sentence. It states a difference if Holm's p is below 1 − confidence.

    If Holm's p is not below that, but the contrast's own interval leaves out 0, the sentence adds that the difference
    may be chance among so many comparisons.
    """
    one, where = contrast, capitalised(point_in_words(contrast))
    sampled = "one seed" if one.seeds == 1 else f"the {one.seeds} seeds show no spread"
    if not one.over:
        difference = f"{points(one.difference)} points; {sampled}, and there are no answers for single images"
        return f"{where} nothing can be said of {one.arm} against {one.reference}: {difference}"
    # what the interval is over, seeds or images, has given its ends and a p
    assert one.low is not None
    assert one.high is not None
    assert one.p_adjusted is not None
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
        difference = f"{points(one.difference)} points {evidence}"
        return f"{where} no difference between {one.arm} and {one.reference} can be shown: {difference}"
    more = "more" if one.difference > 0 else "less"
    chance = "" if held else ": among all comparisons of the study, that may be chance"
    return (
        f"{where} {one.arm} keeps {100 * abs(one.difference):.2f} points {more} than {one.reference} {evidence}{chance}"
    )


def point_in_words(point: Point) -> str:
    """ "with 60% of conv3 and fc1 removed by magnitude"."""
    removed = f"{percentage(point.ratio)} of {layers_in_words(point.layers)}" if point.ratio else "nothing"
    by = f" by {point.by}" if point.ratio else ""
    how = MEASURES[point.measure].words
    return f"with {removed} removed{by}" + (f" and {how}" if how else "")
