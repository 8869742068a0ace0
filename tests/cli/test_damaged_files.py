"""Each file of a run damaged in turn: what reads it refuses in one line and writes nothing, and the rest works."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from commandline import Sparsify, cut, empty, flip, noise
from PIL import Image

from sparsify.cli.app import main
from sparsify.runs import newest_run

COMMANDS = {
    "mask": "mask one --layers conv3",
    "ticket": "ticket one --layers conv3",
    "compare": "compare other one",
    "export": "export one --onnx",
    "predict": "predict one picture.png",
    "filters": "viz filters one --layer conv1",
    "curves": "viz curves one",
    "path": "viz path one",
    "sweep": "viz sweep one",
    "cite": "cite one",
    "shrink": "prune one --layers conv3 --ratios 0.5 --shrink",
}
EVERY = set(COMMANDS)
PRUNING = {"mask", "ticket", "compare", "predict", "shrink"}
READ_BY = {
    "config.json": EVERY,
    "summary.json": EVERY,
    "environment.json": {"ticket"},
    "metrics.csv": {"curves"},
    "model.safetensors": {*PRUNING, "export", "filters", "path"},
    "path.npz": {*PRUNING, "filters", "path"},
    "z.safetensors": {*PRUNING, "filters"},
    "sweep.csv": {"sweep", "cite"},
    "sweep.json": {"sweep", "cite"},
    "sweep-ledger.csv": {"sweep", "cite"},
    "sweep-outcomes.npz": {"sweep", "cite"},
}
"""The commands that read a file of a run; "sweep" stands for the sweep's name."""


def edited(change: Callable[[dict], object]) -> Callable[[Path], None]:
    """Change the object that a JSON file holds."""

    def edit(path: Path) -> None:
        values = json.loads(path.read_text())
        change(values)
        path.write_text(json.dumps(values))

    return edit


ANY = {"cut": cut, "a bit": flip, "empty": empty, "gone": Path.unlink}
OF_JSON = {
    "no JSON": noise,
    "a key too few": edited(lambda values: values.popitem()),
    "a key too many": edited(lambda values: values.update(colour="red")),
}
DAMAGES = ANY | OF_JSON
CITED = {("gone", "summary.json", "cite"), ("gone", "sweep.csv", "cite")}
"""An unfinished run can be cited, and so can one whose sweep was interrupted, or deleted."""

LISTED = {
    "config.json": "damaged",
    "summary.json": "damaged",
    ("gone", "config.json"): "not there",
    ("gone", "summary.json"): "unfinished",
}
"""What `sparsify runs` says of a run; it reads these files alone."""

CASES = [(file, damage) for file in READ_BY for damage in (DAMAGES if file.endswith(".json") else ANY)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the same run twice, as one and as other, with a sweep, and with a picture; not to be written to."""
    folder = tmp_path_factory.mktemp("whole")
    runs = folder / "trained"
    train = f"train --data digits --epochs 1 --batch-size 512 --opt slbi --device cpu --runs-dir {runs}"
    assert main(shlex.split(train)) == 0
    run = newest_run(runs).path.rename(runs / "one")
    sweep = f"prune {run} --layers conv3 --ratios 0,0.5 --device cpu --runs-dir {runs}"
    assert main(shlex.split(sweep)) == 0
    shutil.copytree(run, runs / "other")
    runs.rename(folder / "runs")
    Image.new("L", (28, 28)).save(folder / "picture.png")
    return folder


@pytest.fixture
def run(whole: Path, tmp_path: Path, no_drawing: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run's folder in a copy of `whole`, in which the command line works; nothing is drawn or exported for long."""
    monkeypatch.setattr("sparsify.nets.deployment.to_onnx", lambda *_: (b"a network", 0.0))
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    return tmp_path / "runs" / "one"


def file_of(run: Path, name: str) -> Path:
    """The file of a run, of its only sweep if the name begins so."""
    (plan,) = run.glob("sweep-*.json")
    return run / (f"{plan.stem}{name.removeprefix('sweep')}" if name.startswith("sweep") else name)


def damage(path: Path, how: str) -> None:
    """Damage a file, which stays as old as it is."""
    before = path.stat()
    DAMAGES[how](path)
    if path.exists():
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(("file", "how"), CASES)
def test_what_reads_a_damaged_file_refuses_in_one_line_and_writes_nothing(file, how, run, refused, sparsify):
    path = file_of(run, file)
    damage(path, how)
    for command in READ_BY[file]:
        if (how, file, command) in CITED:
            assert sparsify(COMMANDS[command]).code == 0
        else:
            refused(COMMANDS[command], "one")
    assert listed(sparsify) == LISTED.get((how, file), LISTED.get(file, "finished"))


def listed(sparsify: Sparsify) -> str:
    """What `sparsify runs` says of the run, beside the whole one."""
    answer = sparsify("runs")
    assert answer.code == 0
    states = dict(line.split()[:2] for line in answer.out.splitlines() if line.split()[:1] in (["one"], ["other"]))
    assert states.pop("other") == "finished"
    return states.get("one", "not there")


@pytest.mark.parametrize("command", COMMANDS)
def test_what_does_not_read_a_damaged_file_works(command, run, sparsify):
    for file in (file for file, commands in READ_BY.items() if command not in commands):
        damage(file_of(run, file), "a bit")
    answer = sparsify(COMMANDS[command])
    assert (answer.code, answer.err) == (0, "")
