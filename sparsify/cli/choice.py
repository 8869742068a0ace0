"""Which runs a command is about."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from sparsify import console

if TYPE_CHECKING:
    from sparsify.runs import Run

RunsDir = Annotated[Path, Parameter(help="the folder of runs")]


def finished_run(name: str | None, runs_dir: Path) -> Run:
    """The finished run of that name, or the newest one, which is then printed."""
    from sparsify.runs import find_run, newest_run

    if name is None:
        run = newest_run(runs_dir)
        console.say(f"run: {run.name} (the newest)")
        return run
    run = find_run(name, runs_dir)
    run.require_finished()
    return run


def compared_runs(names: Sequence[str], runs_dir: Path) -> list[Run]:
    """The runs that are named, else the newest of each optimizer that shares the newest one's model, data and seed."""
    from sparsify.optim import OPTIMIZERS
    from sparsify.runs import list_runs, newest_run

    if names:
        return [finished_run(name, runs_dir) for name in names]
    newest = newest_run(runs_dir)
    found = {}
    for run in list_runs(runs_dir):
        if run.status == "finished" and _kind(run) == _kind(newest):
            found.setdefault(run.config.opt, run)
    chosen = [found[opt] for opt in sorted(found, key=list(OPTIMIZERS).index)]
    console.say(f"runs: {', '.join(run.name for run in chosen)}")
    return chosen


def _kind(run: Run) -> tuple:
    return run.config.model, run.config.data, run.config.seed


def label(run: Run, chosen: Sequence[Run]) -> str:
    """The optimizer's name, or the run's where two runs share the optimizer."""
    return run.config.opt if [one.config.opt for one in chosen].count(run.config.opt) == 1 else run.name


def title(chosen: Sequence[Run]) -> str:
    kinds = dict.fromkeys(f"{run.config.model} on {run.config.data_name}" for run in chosen)
    return ", ".join(kinds)
