"""The list of runs that `sparsify runs` shows. What has not changed comes from an index, without torch being imported.

The index, `.index.json` in the folder of runs, is written where there are many runs. It holds what each run's row
shows, with the state of the files that it was read from. It is made anew where it is damaged, or its rows are of
another kind, and where it cannot be written the list is the same.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypedDict

from sparsify.errors import SparsifyError
from sparsify.files import regular, typed, write_bytes
from sparsify.folders import run_states
from sparsify.sums import sealed, unsealed

INDEX = ".index.json"
WORTH = 100
"""The number of runs from which on there is an index."""
ROWS = 2
"""To be raised when the row of a run shows other things than before, or shows them in another way."""

Side = Literal["left", "right"]
Heads = list[tuple[str, Side]]


class _Index(TypedDict):
    """The kind of its rows, the headings with their sides, and for each run's name its state and its row."""

    kind: int
    heads: Heads
    rows: dict[str, tuple[str, list[str]]]


@dataclass(frozen=True)
class RunsList:
    """The headings, with their sides, and the rows of the list of runs; it has none if there is no run."""

    heads: Heads
    rows: list[list[str]]


def runs_list(runs_dir: Path) -> RunsList:
    """The list of the runs of a folder, in the order of `list_runs`. A damaged run has its reason in its row."""
    states = run_states(runs_dir)
    index = _read(runs_dir)
    fresh = {name: row for name, (state, row) in index["rows"].items() if states.get(name) == state}
    stale = [name for name in states if name not in fresh]
    heads = index["heads"]
    if stale:
        from sparsify.report.tables import runs_table  # they import torch: only when there is something to read
        from sparsify.runs import Run

        table = runs_table([Run(runs_dir / name) for name in stale])
        heads = [(column.heading, column.format.side) for column in table.columns]
        fresh.update(zip(stale, table.texts(), strict=True))
    if len(states) >= WORTH and (stale or len(index["rows"]) != len(states)):
        rows = {name: (state, fresh[name]) for name, state in states.items()}
        _write(runs_dir, {"kind": ROWS, "heads": heads, "rows": rows})
    return RunsList(heads, [fresh[name] for name in states])


def _read(runs_dir: Path) -> _Index:
    """The index; an empty one where there is none that can be used."""
    try:
        found = typed(unsealed(INDEX, regular(runs_dir / INDEX).read_bytes()), _Index)
    except (OSError, SparsifyError):
        return {"kind": ROWS, "heads": [], "rows": {}}
    return found if found["kind"] == ROWS else {**found, "rows": {}}


def _write(runs_dir: Path, index: _Index) -> None:
    names = [name for name in index["rows"] if name.isprintable()]
    index = {**index, "rows": {name: index["rows"][name] for name in names}}
    with contextlib.suppress(OSError, SparsifyError):  # a disk that is full or read-only, or a link: it is read anew
        write_bytes(runs_dir / INDEX, sealed(INDEX, index))
