"""`sparsify train`: what it answers and what it refuses."""

from __future__ import annotations

import json
import shlex
from collections import OrderedDict
from pathlib import Path

import pytest
from commandline import QUICK, files, run_of
from torch import nn

from sparsify.cli.options import suggest
from sparsify.config import OPTIONS
from sparsify.nets.layers import find_layers
from sparsify.nets.registry import NETS, network
from sparsify.optim.registry import OPTIMIZERS
from sparsify.study.toml import built_in_studies, load_study

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

    from sparsify.data import registry

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
    registry._load.cache_clear()  # as in the next process
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


@pytest.mark.parametrize("name", [name for name, spec in NETS.items() if spec.usual])
def test_the_layers_that_come_next_are_those_that_studies_prune(name):
    usual = NETS[name].usual
    size = 64 if name == "alexnet" else 32
    model = network(name, (3, size, size), 10)
    assert ",".join(find_layers(model, usual)) == suggest(name, model) == usual
    studies = (load_study(study) for study in built_in_studies())
    pruned = [study for study in studies if name in {arm.configs[0].model for arm in study.arms}]
    assert not pruned or any(usual in sweep.layers for study in pruned for sweep in study.sweeps)


def test_the_layer_that_comes_next_is_else_the_first_of_those_with_the_most_weights_but_never_the_output():
    assert suggest("resnet20", network("resnet20", (3, 32, 32), 10)) == "stage3.0.conv2"
    numbered = nn.Sequential(OrderedDict({"0": nn.Linear(4, 9), "1": nn.Linear(9, 9), "fc1": nn.Linear(9, 90)}))
    assert suggest("torchvision:own", numbered) == "1"
    assert suggest("torchvision:own", nn.Sequential(nn.Linear(4, 9))) == "0"


def test_what_comes_next_can_be_pasted(runs, sparsify):
    runs.rename(runs.with_name("my runs"))
    answer = sparsify(f"train {QUICK} --opt sgd --runs-dir 'my runs'")
    following = shlex.split(answer.out.splitlines()[-1])
    assert following[:3] == ["next:", "sparsify", "prune"]
    assert following[-2:] == ["--runs-dir", "my runs"]
    assert sparsify(shlex.join([*following[2:], "--ratios", "0.5"])).code == 0


def test_a_finished_run_is_returned_at_once(runs, sparsify, monkeypatch):
    """Its weights are not written again; nothing is trained."""
    monkeypatch.setattr("sparsify.training.launch.Trainer", None)
    folder = run_of(runs, "slbi")
    before = {name: content for name, (content, _) in files(folder).items()}
    answer = sparsify(f"train {QUICK} --opt slbi")
    assert answer.code == 0
    (line,) = answer.err.splitlines()
    assert line.startswith("warning: the support is not yet a network")
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
    from sparsify.data import vision
    from sparsify.data.places import DataNotFoundError

    def fail(*_args, **_options):
        raise DataNotFoundError("MNIST is nowhere; name a folder with --data-dir")

    monkeypatch.setattr(vision, "mnist_like", fail)
    refused("train --data mnist", "MNIST is nowhere", "--data-dir")
    answer = sparsify("train --opt sgd --epochs 1 --device cpu")
    assert answer.code == 0
    assert answer.err.count("\n") == 1
    assert "DIGITS INSTEAD OF MNIST" in answer.err
    assert "lenet-digits-sgd-s0-" in answer.out
