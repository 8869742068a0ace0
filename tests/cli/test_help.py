"""Help, the version, and that every option is a flag that reaches the run."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch
from commandline import run_of
from cyclopts import App

from sparsify.cli.app import app
from sparsify.config import OPTIONS, Config
from sparsify.data.registry import AUGMENTATIONS
from sparsify.nets.mask import save_mask
from sparsify.nets.registry import NETS
from sparsify.optim.registry import OPTIMIZERS
from sparsify.optim.schedules import SCHEDULES

FLAGS = ["--" + field.name.replace("_", "-") for field in dataclasses.fields(Config)]


def commands_of(of: App, before: str = "") -> Iterator[str]:
    """The names of all commands, each after those that it belongs to: "viz", "viz filters"."""
    for name in (name for name in of if not name.startswith("-")):
        yield f"{before}{name}"
        yield from commands_of(of[name], f"{before}{name} ")


COMMANDS = list(commands_of(app))


@pytest.mark.parametrize("group", ["", "viz"])
def test_the_commands_that_are_tried_are_those_that_help_lists_with_what_they_do(group, sparsify):
    listed = re.findall(r"^│ (\w+) +\S+ .*\w", sparsify(f"{group} --help").out, re.MULTILINE)
    assert [f"{group} {name}".strip() for name in listed] == sorted(
        name for name in COMMANDS if name.rpartition(" ")[0] == group
    )


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
    usage, description = answer.out.split("\n\n")[:2]
    assert re.match(rf"Usage: sparsify {command}".strip() + r"( [\[A-Z].*)?$", usage)
    assert "─" not in description
    assert len(description.split()) > 4, "it says what it does"
    assert answer.err == ""
    assert list(tmp_path.iterdir()) == []


def test_every_field_of_config_is_a_flag_of_train_with_a_help_text(sparsify):
    lines = sparsify("train --help").out.splitlines()
    for flag in FLAGS:
        found = [line for line in lines if f" {flag} " in line]
        assert len(found) == 1, flag
        assert len(found[0].split(flag)[1].strip(" │").split()) > 1, f"{flag} has no help"


REACHING = {
    "sgd-pull": {"momentum": 0.5, "weight_decay": 0.001, "kappa": 2.0, "mu": 30.0, "path_scale": 1.5},
    "linbreg": {"momentum": 0.5, "weight_decay": 0.002, "strength": 0.02, "delta": 2.0, "density": 0.5},
    "sgd": {"momentum": 0.5, "weight_decay": 0.003},
}
OWN = {"sgd": "nesterov=true"}


def test_every_option_is_tried():
    assert {name for options in REACHING.values() for name in options} == set(OPTIONS)


@pytest.mark.parametrize("opt", REACHING)
def test_every_field_of_config_reaches_the_run(opt, runs, sparsify):
    parent = None if "density" in REACHING[opt] else run_of(runs, "sgd").name
    values = {
        **{"model": "lenet", "data": "digits", "opt": opt, "epochs": 2, "batch_size": 512, "lr": 0.01, "val": 0.25},
        **{"net": "", "opt_options": OWN.get(opt, "")},
        **{"schedule": "multi-step", "schedule_options": "milestones=1+2", "augment": "crop-flip+rotation:0.5"},
        **{"decay_schedule": "exponential", "decay_schedule_options": "gamma=0.9"},
        **{"seed": 4, "init": parent, "precision": "fast", "record": "loss"},
        **{"normalise": False, "resize": 28, "loss": "cross-entropy", "label_smoothing": 0.1, "pretrained": False},
        **dict.fromkeys(OPTIONS),
        **REACHING[opt],
        "structure": "grains",
        "release": None,
        "mask": str(save_mask(runs / "a.safetensors", {"conv3.bias": torch.arange(120) % 2 == 0})),
        "mask_from": 1,
    }
    assert set(values) == {field.name for field in dataclasses.fields(Config)}
    given = {name: value for name, value in values.items() if value not in (None, "") and value is not False}
    flags = " ".join([*(f"--{name.replace('_', '-')} {value}" for name, value in given.items()), "--no-normalise"])
    assert sparsify(f"train {flags} --device cpu").code == 0
    (folder,) = runs.glob(f"lenet-digits-{opt}-s4-*")
    found = json.loads((folder / "config.json").read_text())
    init = found.pop("init")
    assert init == parent or init.startswith(parent)
    assert re.fullmatch(r"runs/a\.safetensors@[0-9a-f]{8}", found.pop("mask"))
    del values["init"], values["mask"]
    assert found == values


def test_options_lists_what_entries_have_of_their_own_with_defaults_and_limits(sparsify):
    answer = sparsify("options elu-net cyclic lenet constant mirror")
    assert answer.code == 0
    rows = [[cell.strip() for cell in re.split(r"\s{2,}", line.strip())] for line in answer.out.splitlines()]
    hidden = NETS["elu-net"].settings["hidden"]
    assert ["elu-net", "hidden=256", hidden.wanted, hidden.help] in rows
    assert ["cyclic", "top=4", "a number above 0", "the highest rate, in multiples of the base rate"] in rows
    assert ["constant", "no options of its own"] in rows
    assert ["mirror", "0.5", AUGMENTATIONS["mirror"].description] in rows
    assert "optimizers" not in answer.out
    asked = {"elu-net", "cyclic", "lenet", "constant", "mirror"}
    assert {row[0] for row in rows} & {*NETS, *SCHEDULES, *AUGMENTATIONS} == asked


def test_options_lists_the_flags_that_an_optimizer_takes_with_their_defaults(sparsify, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    lines = [line.strip() for line in sparsify("options slbi sgd random-release").out.splitlines()]
    taken = "--lr 0.05 --momentum 0.9 --weight-decay 0 --kappa 1 --mu 20 --path-scale 1"
    structures = "--structure grains (or bn-scale, kernels)"
    assert f"slbi             {taken} {structures}" in lines
    assert f"random-release   {taken} {structures} --release RUN" in lines
    assert "sgd              --lr 0.02 --momentum 0.9 --weight-decay 0" in lines
    assert not any("no options" in line for line in lines)


def test_options_lists_every_entry_unless_some_are_named_and_names_the_nearest(sparsify):
    words = set(sparsify("options").out.split())
    assert words >= {*NETS, *OPTIMIZERS, *SCHEDULES, *AUGMENTATIONS, "nesterov=false"}
    answer = sparsify("options cosin")
    assert answer.code == 2
    assert "did you mean 'cosine'?" in answer.err


def test_version_is_the_packages(sparsify):
    from importlib.metadata import version

    assert sparsify("--version").out.strip() == version("sparsify-study")


def test_completion_is_installed_for_a_shell_and_says_where(sparsify, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    answer = sparsify("--install-completion --shell bash")
    script = tmp_path / ".local" / "share" / "bash-completion" / "completions" / "sparsify"
    assert answer.code == 0
    assert f"Completion script installed to {script}\n" in answer.out
    assert f'. "{script}"\n' in (tmp_path / ".bashrc").read_text(encoding="utf-8")
    words = script.read_text(encoding="utf-8")
    assert "complete -F" in words
    assert all(flag in words for flag in FLAGS)


def test_completion_needs_nothing_heavy():
    code = (
        "import sys; from sparsify.cli.app import app\n"
        "app.generate_completion(shell='bash')\n"
        "sys.exit('torch' in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
