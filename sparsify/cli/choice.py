"""Which runs a command is about."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from sparsify import console
from sparsify.config import OPTIONS

if TYPE_CHECKING:
    from sparsify.runs import Run

RunsDir = Annotated[Path, Parameter(help="the folder of runs")]


def finished_run(name: str | None, runs_dir: Path) -> Run:
    """The finished run of that name, or the newest one."""
    from sparsify.runs import find_run, newest_run

    if name is None:
        return newest_run(runs_dir)
    run = find_run(name, runs_dir)
    run.require_finished()
    return run


def compared_runs(names: Sequence[str], runs_dir: Path) -> list[Run]:
    """The runs that are named, else the newest of each optimizer among those of the newest one's kind."""
    from sparsify.optim import OPTIMIZERS
    from sparsify.runs import finished_runs, newest_run

    if names:
        return [finished_run(name, runs_dir) for name in names]
    newest = newest_run(runs_dir)
    found = {}
    for run in finished_runs(runs_dir):
        if _kind(run) == _kind(newest):
            found.setdefault(run.config.opt, run)
    chosen = [found[opt] for opt in sorted(found, key=list(OPTIMIZERS).index)]
    console.say(f"runs: {', '.join(run.name for run in chosen)}")
    differ = differing(chosen, without=("opt", "lr", *OPTIONS))
    if differ:
        console.say(f"they differ in: {', '.join(differ)}")
    return chosen


def differing(runs: Sequence[Run], without: Sequence[str] = ()) -> list[str]:
    """The settings in which runs differ, with their values, as in "epochs (3, 40)"."""
    configs = [run.config.to_dict() for run in runs]
    found = {name: list(dict.fromkeys(config[name] for config in configs)) for name in configs[0]}
    return [
        f"{name} ({', '.join(map(str, values))})"
        for name, values in found.items()
        if len(values) > 1 and name not in without
    ]


def _kind(run: Run) -> tuple:
    """What runs that are compared share; a ticket has a mask."""
    return run.config.model, run.config.data, run.config.seed, run.config.mask


def label(run: Run, chosen: Sequence[Run]) -> str:
    """The optimizer's name, or the run's where two runs share the optimizer, or its folder where they share that."""
    for names in ([one.config.opt for one in chosen], [one.name for one in chosen]):
        name = names[list(chosen).index(run)]
        if names.count(name) == 1:
            return name
    return str(run.path)


def title(chosen: Sequence[Run]) -> str:
    """The networks and data sets of the runs."""
    kinds = dict.fromkeys(f"{run.config.model} on {run.config.data_name}" for run in chosen)
    return ", ".join(kinds)
