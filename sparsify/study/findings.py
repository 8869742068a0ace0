"""Findings: what a study's sweeps say, in numbers and in sentences."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparsify.study.contrasts import Affordable, Contrast, affordable, contrasts
from sparsify.study.results import Cell, Point, StudyResult, cells
from sparsify.study.verdicts import verdicts

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
    compared, largest = contrasts(result), affordable(result)
    return Findings(cells(result), compared, largest, verdicts(result, compared, largest))
