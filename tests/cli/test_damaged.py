"""Damaged runs: refused in one line, never shown as whole."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from commandline import QUICK, cut, empty, flip, noise, run_of

from sparsify.cli.app import main


def edit(**changes: object) -> Callable[[Path], None]:
    """Set keys of a JSON file; None deletes one."""

    def change(path: Path) -> None:
        values = {**json.loads(path.read_text()), **changes}
        path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))

    return change


def text(content: str) -> Callable[[Path], None]:
    """Replace a text file."""
    return lambda path: path.write_text(content)


def header_only(path: Path) -> None:
    """Keep the first line."""
    path.write_text(path.read_text().splitlines()[0] + "\n")


NAMED = {
    "prune": "prune {} --layers conv3 --ratios 0.5",
    "entry": "prune {} --layers conv3 --ratios 0.5 --criterion entry",
    "filters": "viz filters {} --layer conv1",
    "curves": "viz curves {}",
    "sweep": "viz sweep {}",
    "path": "viz path {}",
}
EVERY = frozenset(NAMED)
WEIGHTS = frozenset({"prune", "entry", "filters"})
DAMAGES = {
    "weights cut": ("model.safetensors", cut, WEIGHTS),
    "a bit of the weights": ("model.safetensors", flip, WEIGHTS),
    "weights empty": ("model.safetensors", empty, WEIGHTS),
    "weights gone": ("model.safetensors", Path.unlink, WEIGHTS),
    "path cut": ("path.npz", cut, {"entry", "path"}),
    "a bit of the path": ("path.npz", flip, {"entry", "path"}),
    "path empty": ("path.npz", empty, {"entry", "path"}),
    "path is noise": ("path.npz", noise, {"entry", "path"}),
    "path gone": ("path.npz", Path.unlink, {"entry", "path"}),
    "Z cut": ("z.safetensors", cut, {"entry"}),
    "a bit of Z": ("z.safetensors", flip, {"entry"}),
    "Z gone": ("z.safetensors", Path.unlink, {"entry"}),
    "summary empty": ("summary.json", empty, EVERY),
    "summary a list": ("summary.json", text("[]"), EVERY),
    "summary null": ("summary.json", text("null"), EVERY),
    "summary without a key": ("summary.json", text("{}"), EVERY),
    "summary with a status only": ("summary.json", text('{"status": "finished"}'), WEIGHTS),
    "summary with another status": ("summary.json", edit(status="perfect"), EVERY),
    "summary with a list as status": ("summary.json", edit(status=["finished"]), EVERY),
    "summary without sums": ("summary.json", edit(sha256=None), WEIGHTS),
    "summary with a word as accuracy": ("summary.json", edit(accuracy="good"), frozenset()),
    "summary with a list as support": ("summary.json", edit(support=[1]), frozenset()),
    "summary with a shape of two": ("summary.json", edit(shape=[28, 28]), WEIGHTS),
    "summary is noise": ("summary.json", noise, EVERY),
    "config with an unknown key": ("config.json", edit(colour="red"), EVERY),
    "config with an unknown optimizer": ("config.json", edit(opt="magic"), EVERY),
    "config with a number as data": ("config.json", edit(data=5), EVERY),
    "config with a list as optimizer": ("config.json", edit(opt=["slbi"]), EVERY),
    "config empty": ("config.json", empty, EVERY),
    "config a list": ("config.json", text("[]"), EVERY),
    "config is noise": ("config.json", noise, EVERY),
    "metrics gone": ("metrics.csv", Path.unlink, {"curves"}),
    "metrics empty": ("metrics.csv", empty, {"curves"}),
    "metrics without rows": ("metrics.csv", header_only, {"curves"}),
    "metrics cut": ("metrics.csv", cut, {"curves"}),
    "metrics are words": ("metrics.csv", text("epoch,test_loss\none,low\n"), {"curves"}),
    "metrics are noise": ("metrics.csv", noise, {"curves"}),
    "sweep cut": ("sweep-*[0-9a-f].csv", cut, {"sweep"}),
    "sweep empty": ("sweep-*[0-9a-f].csv", empty, {"sweep"}),
    "sweep without rows": ("sweep-*[0-9a-f].csv", header_only, {"sweep"}),
    "sweep is noise": ("sweep-*[0-9a-f].csv", noise, {"sweep"}),
    "ledger gone": ("sweep-*-ledger.csv", Path.unlink, {"sweep"}),
}


FIRST = {pattern: case for case, (pattern, *_) in reversed(DAMAGES.items())}
"""The first damage of each file; what is refused then alone is tried again of another damage that is refused alike."""


@pytest.fixture(scope="session")
def swept(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SLBI run with a sweep, and an SGD run that is newer; not to be written to."""
    folder = tmp_path_factory.mktemp("swept") / "runs"
    for opt in ("slbi", "sgd"):
        name = run_of(trained, opt).name
        shutil.copytree(trained / name, folder / name)
    arguments = f"prune lenet-digits-slbi --layers conv3 --layers fc1 --ratios 0,0.5 --runs-dir {folder}"
    assert main(shlex.split(arguments)) == 0
    return folder


@pytest.mark.usefixtures("no_drawing")
@pytest.mark.parametrize("case", DAMAGES)
def test_a_damaged_run_is_refused_in_one_line_and_never_shown_as_whole(case, swept, sparsify, refused, tmp_path):
    pattern, damage, refusing = DAMAGES[case]
    runs = Path(shutil.copytree(swept, tmp_path / "runs"))
    folder, healthy = run_of(runs, "slbi"), run_of(runs, "sgd")
    for path in list(folder.glob(pattern)):
        if "ledger" in pattern or "ledger" not in path.name:
            before = path.stat()
            damage(path)
            if path.exists():
                os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # it stays as old as it is
    for name, command in NAMED.items():
        line = command.format(folder.name)
        if name in refusing:
            refused(line, folder.name)
        elif case == FIRST[pattern] or refusing != DAMAGES[FIRST[pattern]][2]:
            answer = sparsify(line)
            assert answer.code in (0, 2)
            assert answer.err.count("\n") == (1 if answer.code == 2 else 0)
    listed = sparsify("runs")
    assert listed.code == 0
    (whole,) = (line for line in listed.out.splitlines() if healthy.name in line)
    assert "finished" in whole
    if refusing == EVERY:
        assert "damaged" in listed.out
    assert sparsify("prune --layers conv3 --ratios 0.5").out.startswith(f"run: {healthy.name} (the newest)")


def test_asking_again_for_a_run_with_damaged_weights_is_refused(runs, refused):
    folder = run_of(runs, "slbi")
    flip(folder / "model.safetensors")
    answer = refused(f"train {QUICK} --opt slbi", folder.name, "model.safetensors", "damaged")
    assert "accuracy" not in answer.out
