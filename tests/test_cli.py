"""The command line: what it answers, what it refuses in one line, and what it leaves on the disk."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import errno
import hashlib
import json
import os
import re
import resource
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from sparsify.cli import main
from sparsify.config import OPTIONS, Config
from sparsify.mask import save_mask
from sparsify.optim import OPTIMIZERS

QUICK = "--data digits --epochs 1 --device cpu"
COMMANDS = (
    *("train", "prune", "ticket", "compare", "export", "runs", "study"),
    *("viz", "viz filters", "viz curves", "viz sweep", "viz path"),
)
FLAGS = ["--" + field.name.replace("_", "-") for field in dataclasses.fields(Config)]


class Answer(NamedTuple):
    code: int
    out: str
    err: str


Sparsify = Callable[[str], Answer]
Disk = dict[str, tuple[str, int] | None]


def disk(folder: Path) -> Disk:
    """Every path below `folder`; of files the sum of the content and the time of the last change, but of locks."""
    found: Disk = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_file():
            changed = 0 if path.name == ".lock" else path.stat().st_mtime_ns  # taking a lock may touch its file
            found[name] = (hashlib.sha256(path.read_bytes()).hexdigest(), changed)
        else:
            found[name] = None
    return found


def files(folder: Path) -> Disk:
    """`disk` without folders and without the locks, which are empty."""
    return {k: v for k, v in disk(folder).items() if v is not None and not k.endswith(".lock")}


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working folder and a terminal's usual width."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("SPARSIFY_DATA", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def sparsify(capsys: pytest.CaptureFixture[str]) -> Sparsify:
    """Run one command line in this process. Whatever it is: no traceback, no ANSI codes, the terminal is none."""

    def call(line: str) -> Answer:
        capsys.readouterr()
        try:
            code = main(shlex.split(line))
        except SystemExit as exit_:
            pytest.fail(f"main raised SystemExit({exit_.code}); stderr: {capsys.readouterr().err!r}")
        answer = Answer(code, *capsys.readouterr())
        for text in (answer.out, answer.err):
            assert "Traceback" not in text
            assert "\x1b" not in text
        return answer

    return call


@pytest.fixture
def refused(sparsify: Sparsify, tmp_path: Path) -> Callable[..., Answer]:
    """The command ends with status 2 and one line that holds the fragments, and nothing on the disk changes."""

    def call(line: str, *fragments: str) -> Answer:
        before = disk(tmp_path)
        answer = sparsify(line)
        assert answer.code == 2, answer
        assert answer.err.startswith("error: ")
        assert answer.err.endswith("\n")
        assert answer.err.count("\n") == 1, answer.err
        assert disk(tmp_path) == before
        for fragment in fragments:
            assert fragment in answer.err
        return answer

    return call


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One tiny run of every optimizer, the SLBI one the newest but for the SGD one; not to be written to."""
    folder = tmp_path_factory.mktemp("trained") / "runs"
    for opt in ("sgd-pull", "slbi-adam", "slbi", "sgd"):
        assert main(shlex.split(f"train {QUICK} --opt {opt} --runs-dir {folder}")) == 0
        time.sleep(0.01)  # so that their ages differ
    return folder


@pytest.fixture
def runs(trained: Path, tmp_path: Path) -> Path:
    """A copy of `trained` as ./runs, ages included."""
    return Path(shutil.copytree(trained, tmp_path / "runs"))


def run_of(runs: Path, opt: str) -> Path:
    """The folder of the run with seed 0 of one optimizer."""
    return next(runs.glob(f"lenet-digits-{opt}-s0-*"))


def sweep_rows(folder: Path) -> list[dict[str, str]]:
    """The rows of the only sweep in a folder."""
    (path,) = (path for path in folder.glob("sweep-*.csv") if "ledger" not in path.name)
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are built, but not rendered, which is what takes the time."""
    from matplotlib.figure import Figure

    monkeypatch.setattr(Figure, "savefig", lambda _self, buffer, **_options: buffer.write(b"a picture"))


# ---------------------------------------------------------------------------------------------------------- help


def test_help_is_quick_for_nothing_heavy_is_imported():
    code = (
        "import sys, sparsify.cli\n"
        "heavy = {'torch', 'torchvision', 'matplotlib', 'numpy', 'sklearn', 'safetensors', 'PIL'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_every_command_has_help(command, sparsify, tmp_path):
    answer = sparsify(f"{command} --help")
    assert answer.code == 0
    assert "Usage: sparsify" in answer.out
    assert answer.err == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flag", FLAGS)
def test_every_field_of_config_is_a_flag_of_train_with_a_help_text(flag, sparsify):
    lines = sparsify("train --help").out.splitlines()
    (line,) = (line for line in lines if f" {flag} " in line)
    assert len(line.split(flag)[1].strip(" │").split()) > 1, "no help"


REACHING = {
    "sgd-pull": {"momentum": 0.5, "weight_decay": 0.001, "kappa": 2.0, "mu": 30.0, "path_scale": 1.5},
    "linbreg": {"momentum": 0.5, "strength": 0.02, "delta": 2.0, "density": 0.5},
}


def test_every_option_is_tried():
    assert {name for options in REACHING.values() for name in options} == set(OPTIONS)


@pytest.mark.parametrize("opt", REACHING)
def test_every_field_of_config_reaches_the_run(opt, runs, sparsify):
    parent = None if "density" in REACHING[opt] else run_of(runs, "sgd").name
    values = {
        **{"model": "lenet", "data": "digits", "opt": opt, "epochs": 2, "batch_size": 512, "lr": 0.01, "val": 0.25},
        **{"schedule": "linear", "augment": "crop-flip", "seed": 4, "init": parent, "precision": "fast"},
        **dict.fromkeys(OPTIONS),
        **REACHING[opt],
        "structure": "grains",
        "mask": str(save_mask(runs / "a.safetensors", {"conv3.bias": torch.arange(120) % 2 == 0})),
        "mask_from": 1,
    }
    assert set(values) == {field.name for field in dataclasses.fields(Config)}
    given = {name: value for name, value in values.items() if value is not None}
    flags = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in given.items())
    assert sparsify(f"train {flags} --device cpu").code == 0
    (folder,) = runs.glob(f"lenet-digits-{opt}-s4-*")
    found = json.loads((folder / "config.json").read_text())
    init = found.pop("init")
    assert init == parent or init.startswith(parent)
    assert re.fullmatch(r"runs/a\.safetensors@[0-9a-f]{8}", found.pop("mask"))
    del values["init"], values["mask"]
    assert found == values


def test_version_is_the_packages(sparsify):
    from importlib.metadata import version

    assert sparsify("--version").out.strip() == version("sparsify-study")


# -------------------------------------------------------------------------------------------- bad input of train

TRAIN = {
    "network": ("--model lenett", "'lenett'", "'lenet'"),
    "no network": ("--model ''", "''", "lenet"),
    "network with a path": ("--model ../lenet", "'../lenet'", "lenet"),
    "optimizer": ("--opt sgdd", "'sgdd'", "sgd, sgd-pull, slbi, slbi-adam"),
    "optimizer in capitals": ("--opt SLBI", "'SLBI'", "slbi-adam"),
    "no optimizer": ("--opt ''", "''", "slbi-adam"),
    "markup": ("--opt [bold]x[/nothing]", "'[bold]x[/nothing]'", "slbi-adam"),
    "data": ("--data mnits", "'mnits'", "mnist", "digits", "folder:PATH"),
    "no data": ("--data ''", "''", "digits"),
    "folder without a path": ("--data folder:", "folder:", "path"),
    "folder that is not there": ("--data folder:photos", "photos/train"),
    "folder of a user who is not there": ("--data folder:~nobody-of-this-name/photos", "~nobody-of-this-name"),
    "data-dir that is not there": ("--data digits --data-dir nowhere", "nowhere"),
    "schedule": ("--schedule cosin", "'cosin'", "cosine"),
    "precision": ("--precision half", "'half'", "exact, fast"),
    "negative lr": ("--lr -0.1", "--lr", "-0.1", "above 0"),
    "lr of 0": ("--lr 0", "--lr", "0"),
    "lr that underflows": ("--lr 1e-400", "--lr", "0"),
    "lr that is nan": ("--lr nan", "--lr", "nan"),
    "lr that is infinite": ("--lr inf", "--lr", "inf"),
    "lr that overflows": ("--lr 1e999", "--lr", "inf"),
    "lr that is no number": ("--lr fast", "--lr", "fast"),
    "lr without a value": ("--lr", "--lr"),
    "mu of 0": ("--mu 0", "--mu", "0", "above 0"),
    "negative mu": ("--mu -20", "--mu", "-20"),
    "mu that is nan": ("--mu nan", "--mu", "nan"),
    "kappa of 0": ("--kappa 0", "--kappa", "0"),
    "infinite kappa": ("--kappa inf", "--kappa", "inf"),
    "kappa beyond float32": (f"--kappa 1e308 {QUICK}", "1e+308"),
    "path-scale of 0": ("--path-scale 0", "--path-scale", "0"),
    "momentum of 1": ("--momentum 1", "--momentum", "1"),
    "negative momentum": ("--momentum -0.9", "--momentum", "-0.9"),
    "negative weight decay": ("--weight-decay -1", "--weight-decay", "-1"),
    "density of 0": ("--opt linbreg --density 0", "--density", "0"),
    "density above 1": ("--opt adabreg --density 1.5", "--density", "1.5"),
    "density of another run's weights": (f"{QUICK} --opt linbreg --density 0.5 --init x", "--density 0.5", "--init"),
    "negative strength": ("--opt prox-sgd --strength -1", "--strength", "-1"),
    "delta of 0": ("--opt linbreg --delta 0", "--delta", "0"),
    "no epochs": ("--epochs 0", "--epochs", "0"),
    "negative epochs": ("--epochs -1", "--epochs", "-1"),
    "a half epoch": ("--epochs 1.5", "--epochs", "1.5"),
    "epochs in words": ("--epochs many", "--epochs", "many"),
    "no batch": ("--batch-size 0", "--batch-size", "0"),
    "negative batch": ("--batch-size -8", "--batch-size", "-8"),
    "a batch beyond 64 bits": (f"--batch-size {10**20} {QUICK}", "--batch-size", str(10**20)),
    "negative seed": ("--seed -1", "--seed", "-1"),
    "a seed beyond 64 bits": (f"--seed {10**20}", "--seed", str(10**20)),
    "val of 1": ("--val 1", "--val", "1"),
    "negative val": ("--val -0.1", "--val", "-0.1"),
    "val that is nan": ("--val nan", "--val", "nan"),
    "val that leaves nothing": (f"--val 1e-9 {QUICK}", "--val", "1e-09"),
    "unknown device": ("--data digits --device tpu", "tpu", "cpu"),
    "absent device": ("--data digits --device cuda:99", "cuda:99", "cpu"),
    "no device": ("--data digits --device ''", "''", "cpu"),
    "init of nobody": (f"{QUICK} --init nobody", "'nobody'"),
    "init of nothing": (f"{QUICK} --init ''", "--init"),
    "unknown flag": ("--epoch 3", "--epoch", "--epochs"),
    "a flag twice": ("--seed 1 --seed 2", "--seed"),
    "a word too many": ("slbi", "slbi"),
    "a name that is too long": (f"{QUICK} --runs-dir {'x' * 300}", "xxx"),
}


@pytest.mark.parametrize("case", TRAIN)
def test_train_refuses(case, refused, tmp_path):
    line, *fragments = TRAIN[case]
    data = "" if "--data" in line else "--data digits"
    answer = refused(f"train {data} {line}", *fragments)
    assert answer.out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("opt", "option"),
    [(opt, option) for opt, spec in OPTIMIZERS.items() for option in OPTIONS if option not in spec.defaults],
)
def test_an_option_that_the_optimizer_ignores_is_refused(opt, option, refused):
    flag = "--" + option.replace("_", "-")
    takers = [name for name, spec in OPTIMIZERS.items() if option in spec.defaults]
    refused(f"train {QUICK} --opt {opt} {flag} 0.5", flag, "0.5", f"--opt {opt}", ", ".join(takers))


@pytest.mark.parametrize(
    ("command", "fragments"),
    [
        ("trian", ["trian", "train"]),
        ("viz filter", ["filter", "filters"]),
        ("runs --layers conv3", ["--layers"]),
        ("prune --layers conv3 --ratio 0.5", ["--ratio", "--ratios"]),
    ],
)
def test_unknown_commands_and_flags_are_refused(command, fragments, refused):
    refused(command, *fragments)


def test_a_folder_without_classes_is_refused(refused, tmp_path):
    for part in ("train", "test"):
        (tmp_path / "photos" / part).mkdir(parents=True)
    refused("train --data folder:photos", "photos", "no classes")
    (tmp_path / "photos" / "train" / "cat").mkdir()
    refused("train --data folder:photos", str(Path("photos") / "train" / "cat"), "no images")
    (tmp_path / "photos" / "train" / "cat" / "1.png").write_bytes(b"no picture")
    refused("train --data folder:photos", "photos/test")
    (tmp_path / "photos" / "test" / "cat").mkdir()
    (tmp_path / "photos" / "test" / "cat" / "2.png").write_bytes(b"no picture")
    refused("train --data folder:photos", ".png")


def test_a_run_whose_images_are_gone_is_refused(sparsify, refused, tmp_path):
    from PIL import Image

    from sparsify import data

    for part in ("train", "test"):
        for label in ("dark", "light"):
            (tmp_path / "My Photos" / part / label).mkdir(parents=True)
            for shade in range(4):
                picture = Image.new("L", (28, 28), shade + 200 * (label == "light"))
                picture.save(tmp_path / "My Photos" / part / label / f"{shade}.png")
    answer = sparsify("train --data 'folder:My Photos' --epochs 1 --device cpu --opt sgd")
    assert answer.code == 0
    assert "lenet-folder-my-photos-sgd-s0-" in answer.out
    assert sparsify("prune --layers conv3 --ratios 0.5").code == 0
    (tmp_path / "My Photos" / "test").rename(tmp_path / "elsewhere")
    data._load.cache_clear()  # as in the next process
    refused("prune --layers conv3", "My Photos/test")
    assert sparsify("viz filters --layer conv1").code == 0, "needs no images"


def test_files_in_the_place_of_folders_are_refused(refused, tmp_path):
    (tmp_path / "file").write_text("")
    refused(f"train {QUICK} --runs-dir file", "file")
    refused(f"train {QUICK} --runs-dir file/below", "file")
    refused(f"train {QUICK} --data-dir file", "file")
    refused("train --data folder:file", "file")
    refused("prune --layers conv3 --runs-dir file", "file")
    refused("prune file --layers conv3", "file")


# ----------------------------------------------------------------------------------- bad input of prune and viz

RATIOS = {
    "above 1": ("1.5", "1.5"),
    "just above 1": ("0,1.0000001", "1.0000001"),
    "below 0": ("-0.1", "-0.1"),
    "below 0 in a range": ("-0.1:0.5:0.1", "-0.1"),
    "above 1 in a range": ("0:1.1:0.1", "1.1"),
    "reversed": ("0.6:0:0.1", "0.6:0:0.1"),
    "reversed downwards": ("0.6:0:-0.1", "0.6:0:-0.1"),
    "no step": ("0:0.6:0", "0:0.6:0"),
    "two parts": ("0:0.6", "0:0.6"),
    "four parts": ("0:0.6:0.1:1", "0:0.6:0.1:1"),
    "empty": ("", "''"),
    "an empty part": ("0::0.1", "0::0.1"),
    "an empty item": ("0,,0.5", "0,,0.5"),
    "a word": ("half", "half"),
    "percent": ("50%", "50%"),
    "nan": ("nan", "nan"),
    "infinite": ("0:inf:0.1", "inf"),
    "too many": ("0:1:1e-9", "0:1:1e-9"),
    "endless": ("0:1:1e-999999", "1e-999999"),
    "semicolons": ("0;0.5", "0;0.5"),
}


@pytest.mark.parametrize("case", RATIOS)
def test_prune_refuses_ratios(case, runs, refused):
    ratios, fragment = RATIOS[case]
    refused(f"prune --layers conv3 --ratios={shlex.quote(ratios)}", fragment)


PRUNE = {
    "no layers": ("", "--layers", "conv3", "fc1"),
    "unknown layer": ("--layers conv4", "'conv4'", "'conv3'"),
    "unknown layer beside a known one": ("--layers conv3,fc9", "'fc9'", "fc1"),
    "unknown layer in a second set": ("--layers conv3 --layers fc9", "'fc9'", "fc1"),
    "a layer in capitals": ("--layers Conv3", "'Conv3'", "conv3"),
    "a layer without weights": ("--layers relu1", "'relu1'", "conv1"),
    "a layer's parameter": ("--layers conv3.weight", "'conv3.weight'", "conv3"),
    "an empty set": ("--layers ''", "''", "conv1"),
    "an empty name": ("--layers conv3,", "''", "conv1"),
    "layers without a value": ("--layers", "--layers"),
    "criterion": ("--layers conv3 --criterion magnitud", "'magnitud'", "magnitude"),
    "grain": ("--layers conv3 --grain filters", "'filters'", "filter"),
    "no draws": ("--layers conv3 --criterion random --draws 0", "--draws", "0"),
    "draws of what is not random": ("--layers conv3 --draws 3", "--draws", "3", "magnitude"),
    "half a draw": ("--layers conv3 --criterion random --draws 1.5", "--draws", "1.5"),
    "scope": ("--layers conv3 --scope layers", "'layers'", "global"),
    "a glob without a match": ("--layers 'vonv*'", "'vonv*'", "conv1"),
    "a glob that only the output layer fits": ("--layers 'fc2*'", "'fc2*'", "output layer, fc2"),
    "controls of random": ("--layers conv3 --criterion random --controls", "--controls", "random"),
    "no draws of a control": ("--layers conv3 --controls --draws 0", "--draws", "0"),
    "one criterion to compare": ("--layers conv3 --compare-criteria l1", "'l1'", "magnitude", "fpgm"),
    "an unknown criterion to compare": ("--layers conv3 --compare-criteria l1,fpg", "'fpg'", "'fpgm'"),
    "controls of a comparison": ("--layers conv3 --compare-criteria l1,fpgm --controls", "--controls"),
    "a criterion and a comparison": ("--layers conv3 --compare-criteria l1,fpgm --criterion lamp", "--criterion"),
    "no rounds": ("--layers conv3 --rounds 0", "--rounds is 0", "at least 1"),
    "half a round": ("--layers conv3 --rounds 1.5", "--rounds", "1.5"),
    "rounds of a comparison": ("--layers conv3 --compare-criteria l1,fpgm --rounds 2", "--rounds"),
    "controls in global rounds": ("--layers 'conv*' --rounds 2 --controls --scope global", "--rounds 2", "layer"),
    "latency of what trains": ("--layers conv3 --rounds 2 --finetune 1 --latency", "--latency", "--rounds 2"),
    "shrinking what trains": ("--layers conv3 --ratios 0.5 --rounds 2 --finetune 1 --shrink", "--shrink", "--rounds 2"),
    "unknown device": ("--layers conv3 --device tpu", "tpu", "cpu"),
    "absent device": ("--layers conv3 --device cuda:99", "cuda:99", "cpu"),
    "data-dir that is not there": ("--layers conv3 --data-dir nowhere", "nowhere"),
    "runs-dir that is not there": ("--layers conv3 --runs-dir nowhere", "nowhere", "sparsify train"),
    "unknown run": ("nobody --layers conv3", "'nobody'", "lenet-digits-sgd-s0"),
    "a run with an empty name": ("'' --layers conv3", "''", "lenet-digits-sgd-s0"),
    "a run with too long a name": (f"{'x' * 300} --layers conv3", "xxx"),
    "a folder that is no run": ("runs --layers conv3", "runs", "config.json"),
    "two runs": ("lenet-digits-sgd-s0 lenet-digits-slbi-s0 --layers conv3", "lenet-digits-slbi-s0"),
    "entry on a run without a path": ("lenet-digits-sgd-s0 --layers conv3 --criterion entry", "'entry'", "magnitude"),
    "gamma on a run without a path": ("lenet-digits-sgd-s0 --layers fc1 --criterion gamma", "'gamma'", "magnitude"),
}


@pytest.mark.parametrize("case", PRUNE)
def test_prune_refuses(case, runs, refused):
    line, *fragments = PRUNE[case]
    refused(f"prune {line}", *fragments)


@pytest.mark.parametrize(
    ("line", "fragments"),
    [
        ("filters --layer conv4", ["'conv4'", "conv3"]),
        ("filters --layer fc1", ["fc1"]),
        ("filters --layer ''", ["''", "conv3"]),
        ("filters --show slice", ["'slice'", "slices"]),
        ("filters --ratio 1.5", ["1.5"]),
        ("filters --ratio -0.5", ["-0.5"]),
        ("filters --ratio nan", ["nan"]),
        ("filters --ratio half", ["half"]),
        ("filters nobody", ["'nobody'", "lenet-digits-sgd-s0"]),
        ("curves nobody", ["'nobody'", "lenet-digits-sgd-s0"]),
        ("curves lenet-digits-sgd-s0 nobody", ["'nobody'", "lenet-digits-sgd-s0"]),
        ("sweep nobody", ["'nobody'", "lenet-digits-sgd-s0"]),
        ("sweep lenet-digits-sgd-s0", ["lenet-digits-sgd-s0", "sparsify prune"]),
        ("sweep", ["no sweep", "sparsify prune"]),
        ("path nobody", ["'nobody'", "lenet-digits-sgd-s0"]),
        ("path lenet-digits-sgd-s0", ["lenet-digits-sgd-s0", "slbi, slbi-adam, linbreg, adabreg, prox-sgd"]),
        ("path --layer conv4", ["'conv4'", "conv3"]),
        ("path --layer conv3,fc1", ["'conv3,fc1'", "conv3"]),
    ],
)
def test_viz_refuses(line, fragments, runs, refused):
    refused(f"viz {line}", *fragments)


@pytest.mark.parametrize("command", ["prune --layers conv3", "viz filters", "viz curves", "viz sweep", "viz path"])
def test_without_a_run_there_is_a_hint_how_to_train_one(command, refused):
    refused(command, "runs", "sparsify train")


def test_runs_without_a_run_says_so(sparsify, tmp_path):
    answer = sparsify("runs")
    assert answer.code == 0
    assert "sparsify train" in answer.out
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------------------------------- what train answers


def test_train_prints_plain_lines_and_says_what_comes_next(sparsify, tmp_path):
    answer = sparsify(f"train {QUICK} --opt sgd")
    assert answer.code == 0
    assert answer.err == ""
    (folder,) = (tmp_path / "runs").iterdir()
    accuracy = f"{json.loads((folder / 'summary.json').read_text())['accuracy']:.2%}"
    first, *_, last = answer.out.splitlines()
    assert "epoch 1/1" in first
    assert accuracy in answer.out
    assert "n = 360" in answer.out
    assert last.startswith(f"next: sparsify prune runs/{folder.name} --layers ")
    assert sparsify(f"{last.removeprefix('next: sparsify ')} --ratios 0.5").code == 0


def test_a_finished_run_is_returned_at_once(runs, sparsify, monkeypatch):
    """Its weights are not written again; nothing is trained."""
    monkeypatch.setattr("sparsify.training.Trainer", None)
    folder = run_of(runs, "slbi")
    before = {name: content for name, (content, _) in files(folder).items()}
    answer = sparsify(f"train {QUICK} --opt slbi")
    assert answer.code == 0
    assert answer.err == ""
    assert "epoch" not in answer.out
    assert folder.name in answer.out
    assert {name: content for name, (content, _) in files(folder).items()} == before


@pytest.mark.parametrize("line", ["--lr 1e6 --epochs 3", "--lr 1e30 --epochs 1 --batch-size 2000"])
def test_a_diverged_training_stops_and_is_no_result(line, sparsify, refused, tmp_path):
    """The second one diverges in the last step of all: the only training loss is finite, the test loss is not."""
    command = f"train --data digits --device cpu --opt sgd {line}"
    answer = sparsify(command)
    assert answer.code not in (0, 2)
    assert "diverged" in answer.err
    assert "--lr" in answer.err
    assert answer.err.count("\n") == 1
    (folder,) = (tmp_path / "runs").iterdir()
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["status"] == "diverged"
    assert summary["epochs"] == 1
    again = sparsify(command)
    assert again.code == answer.code
    assert again.err == answer.err
    listed = sparsify("runs")
    assert listed.code == 0
    assert "diverged" in listed.out
    for command in ("prune --layers conv3", "viz curves", "viz filters"):
        refused(command, "no finished run")
    for command in ("viz curves", "viz filters", "viz path", "viz sweep"):
        refused(f"{command} {folder.name}", folder.name, "diverged")
    refused(f"prune {folder.name} --layers conv3", folder.name, "diverged")
    refused(f"train {QUICK} --init {folder.name}", folder.name, "diverged")


def test_without_mnist_one_loud_line_says_that_digits_are_used(sparsify, refused, monkeypatch):
    from sparsify.data import DataNotFoundError, vision

    def fail(*_args, **_options):
        raise DataNotFoundError("MNIST is nowhere; name a folder with --data-dir")

    monkeypatch.setattr(vision, "mnist_like", fail)
    refused("train --data mnist", "MNIST is nowhere", "--data-dir")
    answer = sparsify("train --opt sgd --epochs 1 --device cpu")
    assert answer.code == 0
    assert answer.err.count("\n") == 1
    assert "DIGITS INSTEAD OF MNIST" in answer.err
    assert "lenet-digits-sgd-s0-" in answer.out


# ---------------------------------------------------------------------------------------------- what prune answers


def test_a_sweep_of_one_set_prints_the_mapping_and_a_hint(runs, sparsify, tmp_path):
    folder = run_of(runs, "sgd")
    answer = sparsify("prune --layers conv3,fc1 --ratios 0:0.6:0.1")
    assert answer.code == 0
    assert answer.err == ""
    lines = answer.out.splitlines()
    assert lines[0] == f"run: {folder.name} (the newest)"
    assert lines[1] == "layers: conv3 = convolution 120×16×5×5; fc1 = fully connected 84×120"
    assert "--layers conv3,fc1 --layers " in lines[-1]
    rows = sweep_rows(folder)
    assert [float(row["ratio"]) for row in rows] == [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    assert rows[0]["accuracy"] == str(json.loads((folder / "summary.json").read_text())["accuracy"])
    for row in rows:
        for cell in (f"{100 * float(row['accuracy']):.2f}", f"{int(row['params']):,}", f"{int(row['macs']):,}"):
            assert cell in answer.out
    (path,) = (path for path in folder.glob("sweep-*.csv") if "ledger" not in path.name)
    assert str(path.relative_to(tmp_path)) in answer.out
    assert sparsify(f"prune {lines[-1][lines[-1].index('--layers') :]} --ratios 0.5").code == 0


def test_layers_twice_are_two_sets_and_the_table_fits_a_terminal(runs, sparsify):
    answer = sparsify("prune --layers conv3 --layers conv3,fc1 --ratios 0:0.6:0.3")
    assert answer.code == 0
    rows = sweep_rows(run_of(runs, "sgd"))
    assert [(row["layers"], float(row["ratio"])) for row in rows] == [
        (layers, ratio) for layers in ("conv3", "conv3,fc1") for ratio in (0, 0.3, 0.6)
    ]
    assert "another set" not in answer.out
    assert "…" not in answer.out
    assert "conv3,fc1" in answer.out
    for row in rows:
        for cell in (f"{100 * float(row['accuracy']):.2f}", f"{int(row['params']):,}", f"{int(row['macs']):,}"):
            assert cell in answer.out


def test_every_layer_at_once_fits_a_terminal(runs, sparsify):
    answer = sparsify("prune --layers conv1,conv2,conv3,fc1,fc2 --ratios 0,1")
    assert answer.code == 0
    assert "…" not in answer.out


@pytest.mark.parametrize("grain", ["auto", "filter", "neuron", "weight"])
def test_a_ratio_of_1_is_measured(grain, runs, sparsify):
    assert sparsify(f"prune --layers conv3,fc1 --ratios 0,1 --grain {grain}").code == 0
    rows = sweep_rows(run_of(runs, "sgd"))
    assert [float(row["ratio"]) for row in rows] == [0, 1]
    assert int(rows[1]["correct"]) == 36  # everything is taken for one class
    assert int(rows[1]["params"]) < int(rows[0]["params"])


@pytest.mark.parametrize("criterion", ["l1", "entry", "gamma", "random --draws 2", "taylor", "fpgm", "lamp"])
def test_every_criterion_prunes_a_run_with_a_path(criterion, runs, sparsify):
    assert sparsify(f"prune lenet-digits-slbi-s --layers conv3,fc1 --ratios 0.5 --criterion {criterion}").code == 0
    assert {row["criterion"] for row in sweep_rows(run_of(runs, "slbi"))} == {criterion.split()[0]}


def test_rounds_have_a_sweep_of_their_own_and_what_went_is_printed(runs, sparsify):
    line = "prune lenet-digits-sgd-s0 --layers conv3,fc1 --ratios 0.5 --criterion fpgm"
    once, often = sparsify(line), sparsify(f"{line} --rounds 3 --finetune 1")
    assert "by fpgm: conv3,fc1" in once.out
    assert "by fpgm, in 3 rounds: conv3,fc1" in often.out
    assert "after 1 epoch (%)" in often.out
    paths = [Path(answer.out.split("written: ")[1].splitlines()[0]) for answer in (once, often)]
    rows = [next(csv.DictReader(path.read_text().splitlines())) for path in paths]
    assert [(row["rounds"], row["finetune_epochs"]) for row in rows] == [("1", "0"), ("3", "1")]
    assert rows[1]["finetuned_accuracy"] != ""
    for answer in (once, often):
        lines = [line.split() for line in answer.out.splitlines()]
        assert ["conv3", "120", "filters", "60", "(50.0%)", "60", "(50.0%)"] in lines
        assert ["fc1", "10,080", "weights", "5,040", "(50.0%)", "5,040", "(50.0%)"] in lines
    assert "what went" not in sparsify("prune --layers conv3 --ratios 0").out
    assert sparsify(f"{line} --rounds 2 --shrink --latency").code == 0


def test_controls_are_columns_of_the_table_and_lines_of_the_figure(runs, sparsify):
    line = "prune lenet-digits-sgd-s0 --layers 'conv*' --scope global --ratios 0,0.5 --controls --draws 3"
    answer = sparsify(line)
    assert answer.code == 0
    assert answer.err == ""
    assert "by magnitude, its layers together: conv1,conv2,conv3" in answer.out
    assert "random (%, n = 3)" in answer.out
    assert "magnitude-reversed (%)" in answer.out
    rows = sweep_rows(run_of(runs, "sgd"))
    assert [row["criterion"] for row in rows[::2]] == ["magnitude", *["random"] * 3, "magnitude-reversed"]
    assert {row["scope"] for row in rows} == {"global"}
    drawn = [float(row["accuracy"]) for row in rows if row["criterion"] == "random" and row["ratio"] == "0.5"]
    assert f"{100 * statistics.mean(drawn):.2f} ± {100 * statistics.stdev(drawn):.2f}" in answer.out
    assert sparsify("viz sweep lenet-digits-sgd-s0").code == 0


def test_the_reverse_has_a_name_of_its_own(runs, sparsify):
    answer = sparsify("prune --layers conv3 --ratios 0.5 --reverse")
    assert answer.code == 0
    assert "by magnitude-reversed: conv3" in answer.out
    assert [row["criterion"] for row in sweep_rows(run_of(runs, "sgd"))] == ["magnitude-reversed"]


def test_criteria_are_compared_and_nothing_is_swept(runs, sparsify, tmp_path):
    before = disk(tmp_path)
    answer = sparsify("prune lenet-digits-slbi-s --layers conv3,fc1 --ratios 0.3 --compare-criteria magnitude,l1,entry")
    assert answer.code == 0
    text = " ".join(answer.out.split())  # a title is as wide as its table
    assert "agreement on conv3 (120 grains)" in text
    assert "agreement on fc1 (10,080 grains)" in text
    assert "magnitude, l1 " in answer.out
    assert "Kendall's τ" in answer.out
    assert disk(tmp_path) == before


def test_a_run_outside_of_runs_dir_is_swept_and_drawn_into_runs_dir(runs, sparsify, tmp_path):
    folder = run_of(runs, "slbi")
    (tmp_path / "models").mkdir()
    model = Path(shutil.move(folder, tmp_path / "models"))
    shutil.rmtree(runs)
    before = disk(tmp_path / "models")
    assert sparsify(f"prune models/{model.name} --layers conv3 --ratios 0.5").code == 0
    assert sweep_rows(runs / model.name)[0]["ratio"] == "0.5"
    assert sparsify(f"viz sweep models/{model.name}").code == 0
    assert (runs / model.name / "figures").is_dir()
    assert disk(tmp_path / "models") == before
    assert sparsify("prune --layers conv3 --ratios 0.5").code == 2, "what was measured on a run is no run"


@pytest.mark.parametrize("asked", [".", "../{name}", "./", "{path}", "../{name}/../{name}"])
def test_a_run_is_found_by_any_path_to_it(asked, runs, sparsify, monkeypatch):
    folder = run_of(runs, "sgd")
    monkeypatch.chdir(folder)
    asked = asked.format(name=folder.name, path=folder)
    answer = sparsify(f"prune {asked} --layers conv3 --ratios 0.5 --runs-dir ..")
    assert answer.code == 0
    assert folder.name in answer.out
    assert sweep_rows(folder)[0]["ratio"] == "0.5"
    answer = sparsify(f"prune {asked} --layers conv3 --ratios 0.5 --runs-dir elsewhere")
    assert answer.code == 0
    assert [path.name for path in (folder / "elsewhere").iterdir()] == [folder.name]


def test_a_run_is_found_by_the_beginning_of_its_name(runs, sparsify, refused):
    name = run_of(runs, "slbi").name
    for beginning in (name, name[:-1], "lenet-digits-slbi-s"):
        answer = sparsify(f"prune {beginning} --layers conv3 --ratios 0.5")
        assert answer.code == 0
        assert name in answer.out
    refused("prune lenet-digits-slbi --layers conv3", "'lenet-digits-slbi'", name, run_of(runs, "slbi-adam").name)
    refused("prune enet --layers conv3", "'enet'", name)


def test_a_name_that_is_whole_is_not_ambiguous(runs, sparsify):
    folder = run_of(runs, "sgd")
    shutil.copytree(folder, runs / f"{folder.name}-copy")
    answer = sparsify(f"prune {folder.name} --layers conv3 --ratios 0.5")
    assert answer.code == 0
    assert f"runs/{folder.name}/sweep-" in answer.out


def test_sweeping_does_not_make_a_run_the_newest_but_asking_again_does(runs, sparsify):
    newest, older = run_of(runs, "sgd").name, run_of(runs, "slbi").name
    assert sparsify(f"prune {older} --layers conv3 --ratios 0.5").code == 0
    assert f"run: {newest} (the newest)" in sparsify("prune --layers conv3 --ratios 0.5").out
    assert sparsify(f"train {QUICK} --opt slbi").code == 0
    assert f"run: {older} (the newest)" in sparsify("prune --layers conv3 --ratios 0.5").out


# ------------------------------------------------------------------------------------------ what runs and viz answer


def test_runs_lists_the_newest_first_and_every_name_can_be_copied(runs, sparsify):
    answer = sparsify("runs")
    assert answer.code == 0
    assert answer.err == ""
    assert "…" not in answer.out
    names = [run_of(runs, opt).name for opt in ("sgd", "slbi", "slbi-adam", "sgd-pull")]
    for name in names:
        assert name in answer.out, "folded or cut off"
        accuracy = json.loads((runs / name / "summary.json").read_text())["accuracy"]
        assert f"{100 * accuracy:.2f}" in answer.out
    assert sorted(names, key=answer.out.index) == names


@pytest.mark.parametrize("what", ["filters --layer conv1", "curves", "sweep", "path"])
def test_viz_draws_one_run_beside_it(what, runs, sparsify):
    folder = run_of(runs, "slbi")
    assert sparsify(f"prune {folder.name} --layers conv3 --layers fc1 --ratios 0,0.5").code == 0
    word, *rest = what.split()
    answer = sparsify(f"viz {word} {folder.name} {' '.join(rest)}")
    assert answer.code == 0
    assert answer.err == ""
    drawn = sorted((folder / "figures").iterdir())
    assert [path.suffix for path in drawn] == [".png", ".svg"]
    assert drawn[0].read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in drawn[1].read_bytes()
    for path in drawn:
        assert f"runs/{folder.name}/figures/{path.name}" in answer.out


@pytest.mark.usefixtures("no_drawing")
def test_viz_without_names_takes_the_newest_of_each_optimizer_of_the_newest_ones_kind(runs, sparsify):
    for line in ("--opt slbi --seed 1", "--opt sgd --lr 0.01", "--opt sgd-pull --lr 1e20", "--opt slbi --lr 0.01"):
        sparsify(f"train {QUICK} {line}")
        time.sleep(0.01)
    sparsify(f"train {QUICK} --opt sgd")
    answer = sparsify("viz filters")
    assert answer.code == 0
    (slbi,) = (
        path.name
        for path in runs.glob("lenet-digits-slbi-s0-*")
        if json.loads((path / "config.json").read_text())["lr"] == 0.01
    )
    (sgd,) = (
        path.name
        for path in runs.glob("lenet-digits-sgd-s0-*")
        if json.loads((path / "config.json").read_text())["lr"] != 0.01
    )
    (pull,) = (
        path.name
        for path in runs.glob("lenet-digits-sgd-pull-s0-*")
        if json.loads((path / "config.json").read_text())["lr"] != 1e20
    )
    expected = [sgd, pull, slbi, run_of(runs, "slbi-adam").name]
    assert answer.out.splitlines()[0] == f"runs: {', '.join(expected)}"
    drawn = list((runs / "studies").glob("*/*"))
    assert sorted(path.suffix for path in drawn) == [".png", ".svg"]
    assert all("filters" in path.name and "conv3" in path.name for path in drawn)


@pytest.mark.usefixtures("no_drawing")
def test_viz_path_without_a_name_takes_the_newest_run_with_a_path(runs, sparsify):
    answer = sparsify("viz path --layer fc1")
    assert answer.code == 0
    assert run_of(runs, "slbi").name in answer.out


@pytest.mark.usefixtures("no_drawing")
def test_viz_sweep_says_which_runs_were_left_out(runs, sparsify):
    assert sparsify("prune lenet-digits-slbi-s --layers conv3 --ratios 0,0.5").code == 0
    answer = sparsify("viz sweep")
    assert answer.code == 0
    assert f"left out: {run_of(runs, 'sgd').name}" in answer.out
    assert f"left out: {run_of(runs, 'slbi').name}" not in answer.out


@pytest.mark.usefixtures("no_drawing")
@pytest.mark.parametrize("what", ["curves", "filters", "sweep"])
def test_two_runs_of_one_name_are_two(what, runs, sparsify, tmp_path, monkeypatch):
    """A run under models/ and one of the same name in runs/ are both drawn, and can be told apart."""
    from matplotlib.figure import Figure

    folder = run_of(runs, "sgd")
    shutil.copytree(folder, tmp_path / "models" / folder.name)
    sparsify(f"prune {folder.name} --layers conv3 --ratios 0,0.5")
    sparsify(f"prune models/{folder.name} --layers conv3 --ratios 0,0.5")
    shown = []
    monkeypatch.setattr(
        Figure,
        "savefig",
        lambda self, buffer, **_: (shown.append(_labels(self)), buffer.write(b"a picture")),
    )
    assert sparsify(f"viz {what} runs/{folder.name} models/{folder.name}").code == 0
    assert len(shown[0]) == len(set(shown[0])) == 2


def _labels(figure) -> list[str]:
    """What tells the runs apart: the titles of panels, or the entries of the legend."""
    for legend in figure.legends:
        return [text.get_text() for text in legend.get_texts()]
    return [axis.get_title().split("\n")[0] for axis in figure.axes if axis.get_title()]


# ---------------------------------------------------------------------------------- unfinished, locked, interrupted


UNFINISHED = "train --data digits --epochs 2 --device cpu --opt slbi"


class Stop(Exception):
    pass


@pytest.fixture(scope="session")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of two epochs that was stopped at the end of the second one; not to be written to."""
    from sparsify import train

    def stop(progress):
        if progress.epoch == 2:
            raise Stop

    config, runs = Config(data="digits", epochs=2, opt="slbi"), tmp_path_factory.mktemp("stopped")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(Stop):
            train(config, device="cpu", runs_dir=runs, listener=stop)
    return runs / config.name


@pytest.fixture
def unfinished(stopped: Path, runs: Path) -> Path:
    """A copy of `stopped` in ./runs, beside those that are finished."""
    return Path(shutil.copytree(stopped, runs / stopped.name))


def test_ctrl_c_stops_and_the_same_command_goes_on(sparsify, ctrl_c_in_epoch_2):
    command = "train --data digits --epochs 2 --device cpu --opt sgd"
    with ctrl_c_in_epoch_2():
        answer = sparsify(command)
    assert answer.code == 130
    assert answer.err.count("\n") == 1
    assert "the same command" in answer.err
    answer = sparsify(command)
    assert answer.code == 0
    assert "epoch 1/2" not in answer.out
    assert "epoch 2/2" in answer.out


@pytest.mark.parametrize("command", ["prune --layers conv3", "viz curves"])
def test_ctrl_c_stops_what_is_no_training_too(command, runs, sparsify, monkeypatch):
    def interrupt(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("sparsify.files.os.replace", interrupt)  # a file is written, and not yet in its place
    before = files(runs)
    answer = sparsify(command)
    assert answer.code == 130
    assert answer.err.count("\n") == 1
    assert "the same command" in answer.err
    assert files(runs) == before


def test_an_unfinished_run_is_no_result_but_is_listed(unfinished, runs, sparsify, refused):
    name = unfinished.name
    refused(f"prune {name} --layers conv3", name, "unfinished")
    for command in ("filters", "curves", "sweep", "path"):
        refused(f"viz {command} {name}", name, "unfinished")
    refused(f"train {QUICK} --init {name}", name, "unfinished")
    assert run_of(runs, "sgd").name in sparsify("prune --layers conv3 --ratios 0.5").out
    answer = sparsify("runs")
    assert answer.code == 0
    assert "unfinished" in answer.out
    assert "1 of 2" in answer.out


def cut(path: Path) -> None:
    """Keep the first half of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    """Invert one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty(path: Path) -> None:
    """Keep nothing of a file."""
    path.write_bytes(b"")


def noise(path: Path) -> None:
    """Write what is neither text nor anything else."""
    path.write_bytes(b"\xff\xfe\x00\n\x80")


@pytest.mark.parametrize("damage", [cut, flip, empty, noise])
def test_a_damaged_checkpoint_is_refused(damage, unfinished, refused, sparsify):
    checkpoint = next(unfinished.glob("checkpoint*"))
    damage(checkpoint)
    refused(UNFINISHED, checkpoint.name, "damaged")
    answer = sparsify("runs")
    assert answer.code == 0
    assert "unfinished" in answer.out


@pytest.mark.parametrize("damage", [cut, empty, noise, Path.unlink])
@pytest.mark.parametrize("name", ["metrics.csv", "config.json", "environment.json"])
def test_an_unfinished_run_that_is_damaged_otherwise_never_ends_in_a_traceback(name, damage, unfinished, sparsify):
    damage(unfinished / name)
    answer = sparsify("runs")
    assert answer.code == 0
    assert "finished" in answer.out, "the others are listed all the same"
    for command in (f"prune {unfinished.name} --layers conv3", f"viz curves {unfinished.name}", UNFINISHED):
        answer = sparsify(command)
        assert answer.code in (0, 2)
        assert answer.code == 0 or answer.err.count("error: ") == 1


def test_two_processes_cannot_write_one_run_and_ctrl_c_says_how_to_go_on(sparsify, refused, tmp_path):
    line = "train --data digits --epochs 10 --batch-size 16 --device cpu --opt sgd"
    heeding = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # background jobs ignore it
    code = f"{heeding}; import sys; from sparsify.cli import main; sys.exit(main())"
    with subprocess.Popen(
        [sys.executable, "-c", code, *shlex.split(line)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            seen = [process.stdout.readline(), process.stdout.readline()]
            answer = sparsify(line)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert [f"epoch {number}/10" in text for number, text in enumerate(seen, 1)] == [True, True]
    (folder,) = (tmp_path / "runs").iterdir()
    assert answer.code == 2
    assert answer.err.count("\n") == 1
    assert folder.name in answer.err
    assert "another process" in answer.err
    assert process.returncode == 130
    assert err.count("\n") == 1
    assert "the same command" in err
    assert "\x1b" not in out + err
    assert "epoch 10/10" not in out
    assert not [path for path in folder.iterdir() if path.name.startswith(".") and path.name != ".lock"]
    answer = sparsify(line)
    assert answer.code == 0
    assert "epoch 1/10" not in answer.out
    assert "epoch 10/10" in answer.out


# ------------------------------------------------------------------------------------------------------- damaged runs


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
            continue
        answer = sparsify(line)
        assert answer.code in (0, 2)
        assert answer.err.count("\n") == (1 if answer.code == 2 else 0)
    listed = sparsify("runs")
    assert listed.code == 0
    assert "finished" in listed.out, "the one that is whole"
    if refusing == EVERY:
        assert "damaged" in listed.out
    assert sparsify(f"prune {healthy.name} --layers conv3 --ratios 0.5").code == 0
    assert sparsify("prune --layers conv3 --ratios 0.5").code == 0, "the newest one is whole"


def test_asking_again_for_a_run_with_damaged_weights_is_refused(runs, refused):
    folder = run_of(runs, "slbi")
    flip(folder / "model.safetensors")
    answer = refused(f"train {QUICK} --opt slbi", folder.name, "model.safetensors", "damaged")
    assert "accuracy" not in answer.out


# ---------------------------------------------------------------------------------------- full and read-only disks

WRITERS = {
    "train": f"train {QUICK} --opt sgd --seed 5",
    "go on": UNFINISHED,
    "prune": "prune lenet-digits-sgd-s0 --layers conv3 --ratios 0.5",
    "filters": "viz filters lenet-digits-sgd-s0 --layer conv1",
    "curves": "viz curves lenet-digits-sgd-s0",
    "curves of all": "viz curves",
}


@contextlib.contextmanager
def largest_file(limit: int) -> Iterator[None]:
    """A limit in bytes for every file that is written; the system's own answer to a write beyond it is EFBIG."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("no_drawing")
@pytest.mark.parametrize("case", WRITERS)
def test_a_full_disk_is_one_line_and_leaves_no_part_of_a_file(case, runs, unfinished, sparsify, monkeypatch, tmp_path):
    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = files(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        answer = sparsify(WRITERS[case])
    assert answer.code == 2
    assert answer.err.count("error: ") == 1
    assert answer.err.splitlines()[-1].startswith("error: ")
    assert os.strerror(errno.ENOSPC) in answer.err
    assert files(tmp_path) == before
    assert sparsify("runs").code == 0
    assert sparsify(WRITERS[case]).code == 0
    assert "runs" in answer.err, "which disk?"


@pytest.mark.parametrize("limit", [0, 100, 1500, 100_000])
def test_a_disk_that_fills_up_while_a_run_is_trained(limit, sparsify, tmp_path):
    """At each of these sizes another file is the first that does not fit: the settings, or the weights."""
    with largest_file(limit):
        answer = sparsify(f"train {QUICK} --opt sgd")
    assert answer.code == 2
    assert answer.err.count("\n") == 1
    known = {"config.json", "environment.json", "metrics.csv"}
    assert {Path(name).name for name in files(tmp_path)} <= known, "a part of a file"
    assert not list(tmp_path.glob("runs/*/summary.json"))
    assert "finished" not in sparsify("runs").out.replace("unfinished", "")
    assert sparsify(f"train {QUICK} --opt sgd").code == 0
    assert "runs" in answer.err, "which disk?"


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, int], None]:
    """Make a folder read-only for this process. Simulated: for root, rights are no obstacle."""

    def protect(folder: Path, number: int) -> None:
        root = os.path.realpath(folder)

        def guard(name: str, writes: Callable[..., bool]) -> None:
            original = getattr(os, name)

            def guarded(path, *args, **options):
                if not isinstance(path, int) and writes(*args) and os.path.realpath(path).startswith(root):
                    raise OSError(number, os.strerror(number), os.fspath(path))
                return original(path, *args, **options)

            monkeypatch.setattr(os, name, guarded)

        guard("open", lambda flags, *_: bool(flags & (os.O_CREAT | os.O_WRONLY | os.O_RDWR)))
        for name in ("mkdir", "unlink", "utime", "replace", "rename", "rmdir"):
            guard(name, lambda *_: True)

    return protect


@pytest.mark.usefixtures("no_drawing")
@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("case", WRITERS)
def test_a_read_only_disk_is_one_line(case, number, runs, unfinished, sparsify, read_only, tmp_path):
    before = disk(tmp_path)
    read_only(runs, number)
    answer = sparsify(WRITERS[case])
    assert answer.code == 2
    assert answer.err.count("error: ") == 1
    assert answer.err.count("\n") == 1
    assert "runs" in answer.err
    assert os.strerror(number) in answer.err
    assert disk(tmp_path) == before


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_run_on_a_read_only_disk_is_read_all_the_same(number, runs, sparsify, read_only, tmp_path):
    before = disk(runs)
    read_only(runs, number)
    assert sparsify(f"train {QUICK} --opt sgd").code == 0
    assert sparsify("runs").code == 0
    assert sparsify(f"prune {run_of(runs, 'sgd')} --layers conv3 --ratios 0.5 --runs-dir mine").code == 0
    assert sweep_rows(tmp_path / "mine" / run_of(runs, "sgd").name)
    assert disk(runs) == before


def test_latency_is_printed_once_a_point_and_written_beside_the_sweep(runs, sparsify):
    done = sparsify("prune --layers conv3,fc1 --ratios 0,0.6 --latency")
    assert done.code == 0
    assert done.out.count("run: ") == 1
    (path,) = [line.removeprefix("written: ") for line in done.out.splitlines() if line.endswith("-latency.csv")]
    with open(path, newline="") as file:
        assert [(row["ratio"], row["batch"]) for row in csv.DictReader(file)] == [
            ("0.0", "1"),
            ("0.0", "64"),
            ("0.6", "1"),
            ("0.6", "64"),
        ]
    assert sparsify("viz sweep").code == 0


def test_a_ticket_is_shown_beside_its_run_and_a_random_one(runs, sparsify):
    done = sparsify("ticket --layers conv3,fc1 --ratio 0.5")
    assert done.code == 0
    rows = [line.split() for line in done.out.splitlines() if line.split()[:1] in (["none"], ["magnitude"], ["random"])]
    assert [row[0] for row in rows] == ["none", "magnitude", "random"]
    assert rows[1][1:4] == rows[2][1:4] == ["5,100", "of", "10,200"]
    assert sparsify("ticket --ratio 2").code == 2


def test_a_ticket_rewinds_to_an_epoch_of_its_run(runs, sparsify, refused):
    assert sparsify("train --data digits --opt sgd --epochs 2 --device cpu").code == 0
    early = sparsify("ticket --layers conv3,fc1 --ratio 0.5 --rewind 1")
    assert early.out.count("5,100 of 10,200") == 2
    assert "tickets without 50%, rewound to epoch 1" in " ".join(early.out.split())
    assert {json.loads(path.read_text())["mask_from"] for path in runs.glob("*/config.json")} == {0, 1}
    refused(f"ticket {run_of(runs, 'sgd').name} --rewind 2", "--rewind is 2; it must be from 0 to ")


def test_two_runs_are_compared_on_the_same_images(runs, sparsify, refused):
    one, other = run_of(runs, "sgd").name, run_of(runs, "slbi").name
    same = sparsify(f"compare {one} {one}")
    assert "B − A: +0.00 points of test accuracy, 95% interval -0.83 to +0.83" in same.out
    assert "p = 1; right on an image: A alone 0 times, B alone 0; the two disagree on 0.00% of the images" in same.out
    assert "they differ in: nothing" in same.out
    pruned = sparsify(f"compare {one} {other} --layers conv3,fc1 --ratio 0.6")
    assert "both with 60% of conv3,fc1 pruned by magnitude" in pruned.out
    assert "they differ in: opt (sgd, slbi), lr (0.02, 0.05)" in pruned.out
    classes = [line.split() for line in pruned.out.split("by class")[1].splitlines()]
    assert sorted(cells[0] for cells in classes if len(cells) == 6) == [str(digit) for digit in range(10)]
    assert "this is about these two networks" in pruned.out
    accuracy = []
    for name in (one, other):
        out = sparsify(f"prune {name} --layers conv3,fc1 --ratios 0.6").out
        path = Path(out.split("written: ")[1].splitlines()[0])
        (row,) = csv.DictReader(path.read_text().splitlines())
        accuracy.append(float(row["accuracy"]))
    assert f"B − A: {100 * (accuracy[1] - accuracy[0]):+.2f} points" in pruned.out
    assert sparsify(f"compare {one} {other} --ratio 0.5").code == 2
    refused(f"compare {one} {other} --criterion l1", "--criterion l1 has no effect without --layers")
    refused(f"compare {one} {other} --criterion magnitude", "--criterion magnitude has no effect without --layers")
    assert sparsify(f"compare {one} nowhere").code == 2


def test_runs_of_other_images_are_not_compared(runs, sparsify, refused):
    """Another seed has the same test images, but holds out others."""
    test = run_of(runs, "sgd").name
    train = f"train {QUICK} --opt sgd"
    assert sparsify(f"{train} --seed 1").code == 0
    (again,) = (path.name for path in runs.glob("lenet-digits-sgd-s1-*"))
    assert "they differ in: seed (0, 1)\n" in sparsify(f"compare {test} {again}").out
    held_out = []
    for seed in (2, 3):
        assert sparsify(f"{train} --val 0.1 --seed {seed}").code == 0
        held_out += [path.name for path in runs.glob(f"lenet-digits-sgd-s{seed}-*")]
    same = "are not measured on the same images: digits"
    refused(f"compare {' '.join(held_out)}", same, "(0.1 held out by seed 2) and digits (0.1 held out by seed 3)")
    refused(f"compare {test} {held_out[0]}", same, "(test) and digits (0.1 held out by seed 2)")
