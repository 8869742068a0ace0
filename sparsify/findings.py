"""Findings: all that a study's sweeps say, with what chance leaves open."""

from __future__ import annotations

from dataclasses import dataclass

from sparsify.affordable import Affordable, affordable
from sparsify.contrasts import Contrast, contrasts
from sparsify.points import Cell, cells
from sparsify.study import StudyResult
from sparsify.verdicts import verdicts


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
