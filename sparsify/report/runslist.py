"""The list of runs that `sparsify runs` shows. What has not changed comes from an index, without torch being imported.

The index, `.index.json` in the folder of runs, is written where there are many runs. It holds what each run's row
shows, with the times and sizes of the files that it was read from. It is made anew where it is damaged, or of another
version, and where it cannot be written the list is the same.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal, TypedDict

from sparsify.errors import SparsifyError
from sparsify.files import regular, typed, write_bytes
from sparsify.sums import sealed, unsealed

INDEX = ".index.json"
WORTH = 100
"""The number of runs from which on there is an index."""

Side = Literal["left", "right"]
State = list[int]
Heads = list[tuple[str, Side]]


class _Index(TypedDict):
    """The version that wrote it, the headings with their sides, and for each run's name its state and its row."""

    version: str
    heads: Heads
    rows: dict[str, tuple[State, list[str]]]


@dataclass(frozen=True)
class RunsList:
    """The headings, with their sides, and the rows of the list of runs; it has none if there is no run."""

    heads: Heads
    rows: list[list[str]]


def runs_list(runs_dir: Path) -> RunsList:
    """The list of the runs of a folder, in the order of `list_runs`. A damaged run has its reason in its row."""
    states = dict(sorted(_states(runs_dir).items(), key=lambda one: (-one[1][0] / 1e9, one[0])))
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
        _write(runs_dir, {"version": metadata.version("sparsify-study"), "heads": heads, "rows": rows})
    return RunsList(heads, [fresh[name] for name in states])


def _states(runs_dir: Path) -> dict[str, State]:
    """For each run's name the times and sizes of summary.json and config.json, 0 where one is missing.

    Of an unfinished run also those of metrics.csv.
    """
    found = {}
    with contextlib.suppress(FileNotFoundError), os.scandir(runs_dir) as entries:
        for entry in entries:
            config = _state(f"{entry.path}/config.json")
            if any(config):
                summary = _state(f"{entry.path}/summary.json")
                rest = [] if any(summary) else _state(f"{entry.path}/metrics.csv")
                found[entry.name] = [*summary, *config, *rest]
    return found


def _state(path: str) -> State:
    try:
        status = os.stat(path)
    except OSError:  # there is none, or it cannot be looked at
        return [0, 0, 0]
    return [status.st_mtime_ns, status.st_ctime_ns, status.st_size]


def _read(runs_dir: Path) -> _Index:
    """The index; an empty one where there is none that can be used."""
    try:
        found = typed(unsealed(INDEX, regular(runs_dir / INDEX).read_bytes()), _Index)
    except (OSError, SparsifyError):
        return {"version": "", "heads": [], "rows": {}}
    return found if found["version"] == metadata.version("sparsify-study") else {**found, "rows": {}}


def _write(runs_dir: Path, index: _Index) -> None:
    names = [name for name in index["rows"] if name.isprintable()]
    index = {**index, "rows": {name: index["rows"][name] for name in names}}
    with contextlib.suppress(OSError, SparsifyError):  # a disk that is full or read-only, or a link: it is read anew
        write_bytes(runs_dir / INDEX, sealed(INDEX, index))
