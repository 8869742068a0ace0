"""Long form: every point of every sweep as one row of a pandas DataFrame."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING

from sparsify.config import Config
from sparsify.runs import Run
from sparsify.sweep import Sweep, SweepRow

if TYPE_CHECKING:
    import pandas as pd

_POINT = [field.name for field in dataclasses.fields(SweepRow)]
_SETTINGS = [field.name for field in dataclasses.fields(Config) if field.name != "seed"]


def long_form(sweeps: Iterable[tuple[str, Run, int, Sweep]]) -> pd.DataFrame:
    """One row for each point of each (arm, run, number of the sweep, sweep).

    Columns: `arm`, `run`, `seed`, `sweep`, those of a sweep's row, and every other field of the run's Config; what an
    optimizer does not take, and what was not measured, is missing.
    """
    import pandas as pd  # slow to import: only when it is needed

    rows = [
        {"arm": arm, "run": run.name, "seed": run.config.seed, "sweep": number}
        | dataclasses.asdict(row)
        | {name: getattr(run.config, name) for name in _SETTINGS}
        for arm, run, number, sweep in sweeps
        for row in sweep.rows
    ]
    return pd.DataFrame(rows, columns=["arm", "run", "seed", "sweep", *_POINT, *_SETTINGS])
