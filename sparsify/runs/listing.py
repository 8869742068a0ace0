"""How the runs of a folder are listed and found."""

from __future__ import annotations

import warnings
from pathlib import Path

from sparsify.errors import SparsifyError, SparsifyWarning, some, unknown
from sparsify.folders import is_run, run_states
from sparsify.runs.run import Run
from sparsify.sums import OF_SHRUNK


def _believed(run: Run) -> bool:
    """Return whether a run is finished and readable; warn (SparsifyWarning) if it is damaged."""
    try:
        return run.status == "finished" and bool(run.config) and bool(run.environment)
    except SparsifyError as error:
        warnings.warn(f"left out: {error}", SparsifyWarning, stacklevel=3)
        return False


def list_runs(runs_dir: Path) -> list[Run]:
    """Return the runs of a folder, the last one that was trained or asked for first, unfinished ones at the end."""
    return [Run(Path(runs_dir) / name) for name in run_states(Path(runs_dir))]


def finished_runs(runs_dir: Path) -> list[Run]:
    """Return the finished runs, the newest first. A damaged run is left out with a SparsifyWarning."""
    return [run for run in list_runs(runs_dir) if _believed(run)]


def newest_run(runs_dir: Path, *, tickets: bool = True) -> Run:
    """Return the finished run that was trained or asked for last; without `tickets`, of those that have no mask.

    Raises SparsifyError if there is none.
    """
    for run in finished_runs(runs_dir):
        if tickets or run.config.mask is None:
            return run
    raise SparsifyError(f"no finished run in {runs_dir}; train one with: sparsify train")


def find_run(name: str, runs_dir: Path) -> Run:
    """Return the run whose folder is `name`, or whose name in `runs_dir` begins with `name`.

    Of several, the one that all others were trained from is meant, by its weights, a mask of it or its path: what names
    a run goes on naming it when its tickets are begun. Raises SparsifyError if there is no such run, or more than one.
    """
    for path in (Path(name), Path(runs_dir) / name):
        if name and is_run(path):
            return Run(path)
    runs = list_runs(runs_dir)
    found = [run for run in runs if name and run.name.startswith(name)]
    sources = _sources(found)
    if len(sources) == 1:
        return sources[0]
    if found:
        raise SparsifyError(f"'{name}' begins the names of {len(found)} runs: {some(r.name for r in found)}")
    if name and (Path(name) / OF_SHRUNK).is_file():
        reason = f"sparsify export {name} --onnx and sparsify.load() take it, other commands the run that it is of"
        raise SparsifyError(f"{name} is the folder of a shrunk network, no run: {reason}")
    if name and Path(name).is_dir():
        raise SparsifyError(f"{name} is a folder, but no run: it has no config.json")
    raise unknown("run", name, [run.name for run in runs], where=str(runs_dir))


def _sources(runs: list[Run]) -> list[Run]:
    """Return the runs that were not trained from another of them."""
    names = {run.name for run in runs}
    return [run for run in runs if not names & parents(run)]


def parents(run: Run) -> set[str]:
    """Return the names of the runs whose weights, mask or path a run was trained from."""
    try:
        config = run.config
    except SparsifyError:
        return set()  # it is damaged; what reads it says so
    named = {(config.init or "").split("@")[0], (config.mask or "").split("/")[0]}
    named.add((config.release or "").split("@")[0])
    return named - {"", run.name}
