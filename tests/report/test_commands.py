"""The commands that a report names: run in an empty folder, those of each arm make the numbers of its table again."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import torch
from msgspec import UNSET

from sparsify.cli.app import main
from sparsify.pruning.sweep import Sweep
from sparsify.report.checklist import extreme_ratios
from sparsify.report.commands import commands_of, train_command
from sparsify.report.likeness import likenesses
from sparsify.report.writing import write_study
from sparsify.runs import Run, list_runs
from sparsify.study.results import StudyResult
from sparsify.study.running import run_study
from sparsify.study.toml import load_study

pytestmark = pytest.mark.filterwarnings("ignore:the path may be too short")
STUDY = """
title = "Derived"
[base]
data = "digits"
epochs = 1
batch_size = 256
opt = "sgd"
[[arms]]
label = "stage"
opt = "linbreg"
stage = true
[arms.select]
strength = [0.05, 0.2]
on = "conv3 at 0.5"
val = 0.2
[[arms]]
label = "forward"
init = "stage"
[arms.mask]
of = "stage"
layers = "conv*"
ratio = 0.5
criterion = "entry"
[[arms]]
label = "slbi"
opt = "slbi"
[[arms]]
label = "random"
opt = "random-release"
release = "slbi"
[[arms]]
label = "chosen"
[arms.select]
lr = [0.01, 0.1]
on = "conv3 at 0.5"
val = 0.2
[[arms]]
label = "near"
opt = "prox-sgd"
[arms.select]
strength = [0.0001, 0.01]
on = "support of stage in conv3"
val = 0.2
[sweep]
layers = ["conv3", "conv3,fc1"]
ratios = "0,0.5"
"""
TRAININGS = {"forward": 4, "slbi": 1, "random": 2, "chosen": 3, "near": 5}
"""How many runs the commands of each arm make: its own, the stage, and trials, those of the stage included."""


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    folder = tmp_path_factory.mktemp("commands")
    (folder / "derived.toml").write_text(STUDY)
    with pytest.MonkeyPatch.context() as patch:  # processes of their own would take longer to start than they train
        patch.setattr("os.sched_getaffinity", lambda _pid: {0}, raising=False)
        return run_study(load_study(str(folder / "derived.toml")), runs_dir=folder / "runs")


@pytest.mark.parametrize("label", TRAININGS)
def test_the_commands_of_an_arm_make_its_numbers_in_an_empty_folder(
    label: str, result: StudyResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    commands = dict(commands_of(result))
    assert list(commands) == list(TRAININGS)
    for line in commands[label].splitlines():
        threads, *words = shlex.split(line) if line.startswith("OMP_NUM_THREADS=") else ["", *shlex.split(line)]
        if words[1] == "train":  # in a process of its own the variable says how many
            assert int(threads.removeprefix("OMP_NUM_THREADS=")) == torch.get_num_threads()
        assert main(words[1:]) == 0, line
    (arm,) = [arm for arm in result.arms if arm.label == label]
    for run, sweep in zip(arm.finished, arm.sweeps[0], strict=True):
        assert Sweep.read(Path("runs") / run.name / f"sweep-{sweep.id}.csv") == sweep
    assert len(list_runs(Path("runs"))) == TRAININGS[label]
    choices = {"forward": ["stage"], "chosen": ["chosen"], "near": ["near", "stage"]}.get(label, [])
    for trial in (trial for name in choices for trial in result.choices[name].trials):
        (run,) = (Run(Path("runs", name)) for name in trial.runs)
        if trial.distances is not UNSET:
            assert (run.summary["accuracy"],) == trial.accuracies
            continue
        (found,) = map(Sweep.read, run.path.glob("sweep-????????.csv"))
        assert (found.accuracy("conv3", 0.5),) == trial.accuracies


def test_an_arm_that_no_sweep_is_of_is_only_trained(tmp_path: Path) -> None:
    """Two networks with layers of their own, each swept alone, and a third run that is compared whole."""
    arms = (("a", "lenet", "conv3"), ("b", "convnet", "conv2"), ("whole", "convnet", None))
    text = 'draw = []\n[base]\ndata = "digits"\nepochs = 1\nbatch_size = 256\nopt = "sgd"\n'
    text += "".join(
        f'[[arms]]\nlabel = "{label}"\nmodel = "{model}"\nlr = 0.0{n}\n' for n, (label, model, _) in enumerate(arms, 1)
    )
    swept = ((label, layers) for label, _, layers in arms if layers)
    text += "".join(
        f'[[sweeps]]\nlayers = "{layers}"\nratios = "0,0.5"\narms = ["{label}"]\n' for label, layers in swept
    )
    (tmp_path / "apart.toml").write_text(text)
    result = run_study(load_study(str(tmp_path / "apart.toml")), runs_dir=tmp_path / "runs")
    commands = dict(commands_of(result))
    assert [commands[label].count("sparsify prune") for label, *_ in arms] == [1, 1, 0]
    assert {(one.arm, one.layers) for one in likenesses(result)} == {("a", "conv3"), ("b", "conv2")}
    assert "whole" not in extreme_ratios(result).reason
    assert write_study(result).exists()


def test_a_trial_of_another_setting_is_not_that_run(result: StudyResult) -> None:
    """What the test above compares differs between trials, so that it fails if one stands for another."""
    for name in ("stage", "chosen", "near"):
        one, other = result.choices[name].trials
        assert one.runs != other.runs
        assert one.accuracies != other.accuracies


def test_every_run_of_the_study_is_in_some_command(result: StudyResult) -> None:
    said = "\n".join(lines for _, lines in commands_of(result))
    assert said.count("--val 0.2") >= len(result.choices) * 2
    for name, chosen in result.choices.items():
        (arm,) = (one for one in result.study.arms if one.label == name)
        assert arm.choice is not None
        for candidate, trial in zip(arm.choice.candidates, chosen.trials, strict=True):
            assert [config.name for config in candidate.trials] == list(trial.runs)
            assert all(shlex.join(train_command(config, 1)) in said for config in candidate.trials)


def test_a_run_from_before_the_study_is_said_to_be_one(result: StudyResult, tmp_path: Path) -> None:
    stage = result.folder.parent.parent / result.study.arms[0].configs[0].name
    (tmp_path / "from.toml").write_text(
        f'{STUDY.partition("[[arms]]")[0]}[[arms]]\nlabel = "on"\ninit = "{stage.name}"\n[sweep]\nlayers = "conv3"\n'
    )
    study = load_study(str(tmp_path / "from.toml"))
    ((_, lines),) = commands_of(run_study(study, runs_dir=stage.parent))
    first, train, _ = lines.splitlines()
    assert first.startswith(f"# {stage.name}@")
    assert first.endswith(" was there before the study, which does not make it")
    assert f"--init {stage.name}@" in train
