"""`sparsify` alone: what to do next, from what is there. And the offer of completion, made once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from sparsify.cli import console
from sparsify.errors import SparsifyError
from sparsify.files import parse_json, regular
from sparsify.folders import run_states
from sparsify.text import plural

_WIDTH = 38
_HELP = (
    "sparsify --help lists the commands, sparsify COMMAND --help explains one, sparsify doctor looks at what is here"
)


def start(runs_dir: Path = Path("runs")) -> int:
    """Say what is in the folder of runs, and the commands that go on from there. No run is loaded, however many."""
    names = list(run_states(runs_dir))
    ended = [name for name in names if (runs_dir / name / "summary.json").exists()]
    newest = next((name for name in ended if _finished(runs_dir / name)), None)
    swept = newest is not None and _swept(runs_dir)
    console.say(f"{runs_dir}: {_state(len(names), len(ended), swept=swept)}")
    study = ("sparsify study", "trains, prunes and compares: about a minute, nothing is downloaded")
    train = ("sparsify train --data digits", "one network, LeNet with DessiLBI, on embedded data")
    prune = ("sparsify prune --layers all", f"accuracy against sparsity of {newest}")
    draw = ("sparsify viz sweep", "draws accuracy against sparsity; sparsify viz --help has more")
    others = ("sparsify study --list", "the studies that are built in")
    for command, what in (draw, prune, others) if swept else (study, train) if newest is None else (prune, study):
        console.say(f"  {command:<{_WIDTH}}{what}")
    if len(ended) < len(names):
        console.say(
            f"  {'the command that trained it':<{_WIDTH}}goes on with an unfinished run; sparsify runs lists them"
        )
    console.say(_HELP)
    return 0


def _state(runs: int, ended: int, *, swept: bool) -> str:
    if not runs:
        return "nothing is trained yet"
    unfinished = f", {runs - ended:,} unfinished" if ended < runs else ""
    return f"{plural(runs, 'run')}{unfinished}" + ("" if not ended else ", swept" if swept else ", none swept")


def _finished(run: Path) -> bool:
    """Whether a training has ended with a result. What is damaged has none; what reads the run says so."""
    try:
        summary = parse_json(regular(run / "summary.json").read_bytes(), dict[str, Any])
    except (OSError, SparsifyError):
        return False
    return bool(summary.get("status", "finished") == "finished")


def _swept(runs_dir: Path) -> bool:
    """Whether any folder in the folder of runs holds a sweep, those of runs from elsewhere included."""
    with os.scandir(runs_dir) as folders:
        return any(_has_sweep(Path(folder)) for folder in folders if folder.is_dir())


def _has_sweep(folder: Path) -> bool:
    return any(name.startswith("sweep-") and name.endswith(".csv") for name in os.listdir(folder))


_SILENT = ("CI", "PYTEST_CURRENT_TEST")
"""Environment variables with which nobody is offered anything."""


def offer_completion() -> None:
    """Say once, on a terminal, that the shell can complete commands; a file in the user's cache folder remembers it.

    Where that file cannot be written nothing is said, for it would be said each time.
    """
    if not (console.out.is_terminal and console.err.is_terminal) or any(os.environ.get(name) for name in _SILENT):
        return
    import platformdirs

    told = platformdirs.user_cache_path("sparsify") / "completion-offered"
    try:
        told.parent.mkdir(parents=True, exist_ok=True)
        told.open("x").close()
    except OSError:  # it has been said, or the folder cannot be written to
        return
    console.tell("sparsify --install-completion makes your shell complete commands and flags (said this once)")
