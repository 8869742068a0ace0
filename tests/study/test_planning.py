"""Studies whose arms start from other arms or select their settings: what is trained, in which order, and what is
missing."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from summaries import before_sums
from torch import Tensor, nn

from sparsify.config import Config, Places
from sparsify.data.registry import load_dataset
from sparsify.errors import SparsifyError, SparsifyWarning
from sparsify.nets.layers import layer_names
from sparsify.nets.mask import load_mask, save_mask
from sparsify.nets.registry import NETS, NetworkSpec
from sparsify.pruning.plan import PointPlan
from sparsify.pruning.subject import subject_of
from sparsify.report.notes import NOTES, notes
from sparsify.report.plantables import plan_line, plan_table, studies_table
from sparsify.report.studytables import choice_tables, choices_csv
from sparsify.report.table import to_markdown
from sparsify.study import running
from sparsify.study.design import MaskOf
from sparsify.study.estimates import estimate_cost
from sparsify.study.findings import find
from sparsify.study.folder import read_study, save_study
from sparsify.study.planning import Planner
from sparsify.study.results import StudyResult
from sparsify.study.running import run_study
from sparsify.study.tasks import Chosen, Trial
from sparsify.study.toml import built_in_studies, load_study
from sparsify.text import duration, size
from sparsify.training.launch import time_iteration, train
from sparsify.training.many import train_all

pytestmark = pytest.mark.filterwarnings("ignore:the path may be too short")

STUDY = """
title = "Orders"
seeds = [0, 1]
[base]
data = "digits"
epochs = 2
batch_size = 64
lr = 0.05
[[arms]]
label = "forward"
opt = "sgd"
epochs = 1
init = "slbi, early"
mask = { of = "slbi, early", layers = "conv3,fc1", ratio = 0.6, criterion = "entry" }
[[arms]]
label = "slbi, early"
opt = "slbi"
mu = 0.5
kappa = 0.1
epochs = 1
schedule = "constant"
stage = true
[[arms]]
label = "ticket"
opt = "sgd"
mask = { of = "chosen", layers = "conv*", ratio = 0.5 }
[[arms]]
label = "chosen"
opt = "sgd"
[arms.select]
weight_decay = [0.5, 0]
val = 0.2
seeds = [3]
on = "conv[3] at 0.5"
[sweep]
layers = ["conv3"]
ratios = "0,0.6"
"""


def read(folder: Path, text: str = STUDY):
    (folder / "orders.toml").write_text(text)
    return load_study(str(folder / "orders.toml"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("orders")


@pytest.fixture(scope="module")
def waves() -> list[list[Config]]:
    """What was trained at a time."""
    return []


@pytest.fixture(scope="module")
def result(folder: Path, waves: list[list[Config]]) -> StudyResult:
    def trained(configs, places, **how):
        waves.append(configs)
        return train_all(configs, places, **how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "train_all", trained)
        return run_study(read(folder), runs_dir=folder / "runs")


@pytest.fixture
def runs(result: StudyResult, folder: Path, tmp_path: Path) -> Path:
    """A copy of the runs."""
    return Path(shutil.copytree(folder / "runs", tmp_path / "runs"))


def named(result: StudyResult) -> dict:
    return {arm.label: arm for arm in result.arms}


def stage(result: StudyResult) -> list:
    """The runs of the stage, which the result does not show."""
    arm = next(arm for arm in result.study.arms if arm.stage)
    return [train(config, runs_dir=result.folder.parent.parent) for config in arm.configs]


def test_stages_are_trained_but_neither_shown_nor_swept(result):
    assert [arm.label for arm in result.arms] == ["forward", "ticket", "chosen"]
    assert [len(arm.sweeps[0]) for arm in result.arms] == [2, 2, 2]
    assert all(not list(run.path.glob("sweep-*")) and run.status == "finished" for run in stage(result))


def test_a_run_starts_from_the_run_of_its_seed_under_what_entered_first(result):
    for run, parent in zip(named(result)["forward"].runs, stage(result), strict=True):
        assert run.config.seed == parent.config.seed
        assert run.config.init == f"{parent.name}@{parent.sha256('model.safetensors')[:8]}"
        mask = load_mask(parent.path / run.config.mask.partition("@")[0].partition("/")[2])
        weights = run.tensors("model.safetensors")
        assert all(not weights[name][~keep].any() for name, keep in mask.items())
        entry = parent.inclusion_path.entry["conv3.weight"]
        assert np.isfinite(entry).any()
        norms = parent.tensors("model.safetensors")["conv3.weight"].flatten(1).norm(dim=1).numpy()
        first = np.lexsort((-norms, entry))[:48]
        assert np.flatnonzero(mask["conv3.weight"].flatten(1).any(1)).tolist() == sorted(first.tolist())
        assert int(mask["fc1.weight"].sum()) == 4032
        # by hand it is the same run
        how = {"init": parent.name, "mask": run.config.mask, "data": "digits", "opt": "sgd", "lr": 0.05}
        by_hand = Config(**how, epochs=1, batch_size=64, seed=run.config.seed)
        assert train(by_hand, runs_dir=run.path.parent, listener=lambda _: pytest.fail("it was trained again")) == run


def test_a_mask_alone_starts_from_the_initial_weights(result):
    """The mask is that of the candidate that was chosen, by magnitude and with the layers that the glob stands for."""
    for run, parent in zip(named(result)["ticket"].runs, named(result)["chosen"].runs, strict=True):
        assert run.config.init is None
        mask = load_mask(parent.path / run.config.mask.partition("@")[0].partition("/")[2])
        assert {name for name in mask if name.endswith("weight")} == {f"conv{n}.weight" for n in (1, 2, 3)}
        norms = parent.tensors("model.safetensors")["conv2.weight"].flatten(1).norm(dim=1)
        kept = mask["conv2.weight"].flatten(1).any(1)
        assert norms[kept].min() > norms[~kept].max()
        assert (int(kept.sum()), len(kept)) == (8, 16)


def test_the_candidate_that_is_best_on_held_out_images_is_trained_on_all(result):
    selected = named(result)["chosen"].selected
    assert (selected.figure, selected.val) == ("accuracy with conv3 pruned by 50%", 0.2)
    assert (selected.seeds, selected.chosen) == ((3,), "weight decay 0")
    for trial, decay in zip(selected.trials, (0.5, 0.0), strict=True):
        assert trial.label == f"weight decay {decay:g}"
        (run,) = (path for path in result.folder.parent.parent.iterdir() if path.name == trial.runs[0])
        config = json.loads((run / "config.json").read_text())
        assert (config["weight_decay"], config["val"], config["seed"]) == (decay, 0.2, 3)
        header, *rows = csv.reader((run / "metrics.csv").read_text().splitlines())
        assert all(not row[header.index("test_accuracy")] for row in rows)
        (sweep,) = (path for path in run.glob("sweep-*.csv") if "ledger" not in path.name)
        (point,) = csv.DictReader(sweep.read_text().splitlines())
        assert (point["layers"], point["ratio"], point["count"]) == ("conv3", "0.5", "287")
        assert trial.accuracies == (float(point["accuracy"]),)
    for run in named(result)["chosen"].runs:
        assert (run.config.weight_decay, run.config.val, run.summary["held_out"]) == (0.0, 0.0, "test")
    assert named(result)["forward"].selected is None


def test_the_selection_is_printed_and_kept(result):
    (table,) = choice_tables(result)
    text = to_markdown(table)
    assert "chosen, selected by accuracy with conv3 pruned by 50% on a held-out 20% of the training images" in text
    assert "| weight decay 0 " in text
    rows = list(csv.DictReader(io.StringIO(choices_csv(result))))
    assert [(row["arm"], row["candidate"], row["seed"], row["selected"]) for row in rows] == [
        ("chosen", "weight decay 0.5", "3", "0"),
        ("chosen", "weight decay 0", "3", "1"),
    ]


def test_a_study_is_read_with_its_stages_its_masks_and_what_was_selected(result):
    save_study(result, find(result))
    found = read_study(result.folder)
    assert found == result
    assert [arm.stage for arm in found.study.arms] == [False, True, False, False]
    assert found.study.arms[0].mask == MaskOf(
        "slbi, early", PointPlan(layers="conv3,fc1", ratio=0.6, criterion="entry")
    )
    assert named(found)["chosen"].selected.chosen == "weight decay 0"


def test_the_first_of_equals_is_chosen_and_none_that_diverged():
    trials = (Trial("a", ("r",), ()), Trial("b", ("s",), (0.5, 0.7)), Trial("c", ("t",), (0.7, 0.5)))
    assert Chosen("accuracy", 0.1, (0, 1), trials).chosen == "b"
    assert Chosen("accuracy", 0.1, (0, 1), trials[:1]).chosen == ""


def test_a_rerun_trains_and_sweeps_nothing(result):
    calls = []
    again = run_study(result.study, runs_dir=result.folder.parent.parent, listener=calls.append, note=calls.append)
    assert calls == []
    assert again == result


def test_what_does_not_wait_is_trained_together_and_what_waits_after_it(result, waves):
    kinds = [sorted((c.opt, c.seed, c.val > 0, bool(c.init), bool(c.mask)) for c in configs) for configs in waves]
    assert kinds == [
        [("sgd", 3, True, False, False)] * 2 + [("slbi", seed, False, False, False) for seed in (0, 1)],
        [("sgd", seed, False, started, started) for seed in (0, 1) for started in (False, True)],
        [("sgd", 0, False, False, True), ("sgd", 1, False, False, True)],
    ]


def test_a_stopped_study_goes_on_where_it_was(folder, runs, result):
    """Gone are one seed's run of the chosen arm, with the mask in it, and a sweep; what came from it is found again."""
    chosen = named(result)["chosen"].runs[0].name
    shutil.rmtree(runs / chosen)
    (sweep,) = (p for p in (runs / named(result)["forward"].runs[1].name).glob("sweep-*.csv") if "ledger" not in p.name)
    before = sweep.read_bytes()
    sweep.unlink()
    study = read(folder)
    plan = Planner(study, Places(runs_dir=runs)).plan()
    assert [(task.arm, task.status, task.waits) for task in plan.tasks if not task.done] == [
        ("forward", "finished", ""),
        ("ticket", "unfinished", "'chosen'"),
        ("chosen", "unfinished", ""),
    ]
    assert (plan.trainings, plan.done) == (2, False)
    trained, swept = [], []
    run_study(study, runs_dir=runs, listener=lambda progress: trained.append(progress.run), note=swept.append)
    assert set(trained) == {chosen}
    assert [line.partition(":")[0] for line in swept] == [sweep.parent.name, chosen]
    assert sweep.read_bytes() == before
    assert sorted(path.name for path in runs.iterdir()) == sorted(path.name for path in (folder / "runs").iterdir())
    assert Planner(study, Places(runs_dir=runs)).plan().done


class Sum(nn.Module):
    """Two convolutions whose outputs are added, so that they lose the same channels."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Conv2d(1, 4, 1), nn.Conv2d(1, 4, 1), nn.Linear(4, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.last((self.first(images) + self.second(images)).mean((2, 3)))


@pytest.mark.parametrize(
    ("layers", "grain", "again"),
    [("first,second", "auto", True), ("first", "auto", True), ("last", "neuron", False), ("first", "weight", False)],
)
def test_a_mask_from_before_coupled_layers_were_one_unit_is_made_again(layers, grain, again, tmp_path, monkeypatch):
    """As 0.3 and earlier left it: no record has its sum. Both layers had lost the union of what each would lose."""
    monkeypatch.setitem(NETS, "sum", NetworkSpec(lambda shape, classes, options: Sum(), "a sum"))
    study = read(
        tmp_path,
        f"""
seeds = [0]
[base]
model = "sum"
data = "digits"
epochs = 1
opt = "sgd"
[[arms]]
label = "whole"
[[arms]]
label = "ticket"
mask = {{ of = "whole", layers = "{layers}", ratio = 0.5, grain = "{grain}" }}
[sweep]
layers = ["last"]
ratios = "0"
""",
    )
    places = Places(runs_dir=tmp_path / "runs", device="cpu")
    result = run_study(study, places)
    new = {run.name for run in named(result)["ticket"].runs}
    (path,) = (tmp_path / "runs").glob("*/mask-*.safetensors")
    right = path.read_bytes()
    union = {name: torch.ones_like(keep) for name, keep in load_mask(path).items()}
    for keep in union.values():
        keep[:3] = False
    save_mask(path, union)
    run_study(study, places)  # the new sum is that of a mask of this version
    assert path.read_bytes() != right
    before_sums(path.parent / "summary.json")
    planner = Planner(study, places)
    plan, lines = planner.plan(), []
    assert (list(plan.masks), plan.done) == (([path], False) if again else ([], True))
    said = "; 1 mask from before coupled layers were one unit is made again"
    assert plan_line(plan, estimate_cost(planner, plan)).endswith(said) == again
    result = run_study(study, places, note=lines.append)
    made = f"making {path.name} again: the one there may have been made before coupled layers were one unit"
    assert lines == ([f"{path.parent.name}: {made}"] if again else [])
    assert (path.read_bytes() == right) == again
    assert ({run.name for run in named(result)["ticket"].runs} == new) == again
    assert Planner(study, places).plan().done


@pytest.mark.parametrize(("layers", "old"), [("first,second", True), ("last", False)])
def test_a_mask_from_before_that_is_given_by_its_file_is_said_to_be(layers, old, tmp_path, monkeypatch):
    """By a warning when it is trained under, and by a study that shows the run. The last layer is coupled with none."""
    monkeypatch.setitem(NETS, "sum", NetworkSpec(lambda shape, classes, options: Sum(), "a sum"))
    places = Places(runs_dir=tmp_path / "runs", device="cpu")
    config = Config(model="sum", data="digits", epochs=1, opt="sgd")
    subject = subject_of(train(config, places), places)
    drop = torch.arange(10 if layers == "last" else 4) < 2
    found = [layer_names(subject.model)[name] for name in layers.split(",")]
    mask = {layer.parameter: layer.output_elements(~drop) for layer in found}
    path = save_mask(tmp_path / "masks" / "mask-of-0.2.safetensors", mask)
    study = read(
        tmp_path,
        f"""
seeds = [0]
[base]
model = "sum"
data = "digits"
epochs = 1
opt = "sgd"
[[arms]]
mask = "{path}"
[sweep]
layers = ["last"]
ratios = "0"
""",
    )
    result = run_study(study, places)  # warnings are errors: this version wrote the mask's sum
    assert notes(result) == NOTES
    copied = shutil.copytree(path.parent, places.runs_dir / path.parent.name)  # where a run's folder would be
    (path.parent / "sums.json").unlink()
    (copied / "sums.json").unlink()
    said = "may have been made before coupled layers were one unit"
    for given in (path, copied / path.name):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            train(dataclasses.replace(config, lr=0.01, seed=int(given == path), mask=str(given)), places)
        assert [str(one.message).startswith(f"--mask {given} {said}: ") for one in caught] == [True] * old
    (run,) = result.arms[0].runs
    sentence = f"the mask that each of these was trained under {said}: {run.name}"
    assert notes(result)[len(NOTES) :] == ((sentence,) if old else ())


def test_a_training_that_was_stopped_is_missing_from_its_epoch_on(tmp_path):
    def stop(progress):
        if progress.row is None and progress.epoch == 2:
            raise KeyboardInterrupt

    study = read(tmp_path, STUDY.replace("[0, 1]", "[0]").replace("batch_size = 64", "batch_size = 32"))
    with pytest.raises(KeyboardInterrupt):
        run_study(study, runs_dir=tmp_path / "runs", listener=stop)
    plan = Planner(study, Places(runs_dir=tmp_path / "runs")).plan()
    assert [(task.arm, task.status, task.epochs_done) for task in plan.tasks if task.run] == [
        ("slbi, early", "finished", 1),
        ("chosen", "unfinished", 1),
        ("chosen", "unfinished", 0),
    ]
    planner = Planner(study, Places(runs_dir=tmp_path / "runs"))
    text = to_markdown(plan_table(study, plan, estimate_cost(planner, plan)))
    assert "train from epoch 2 of 2, sweep" in text
    assert "after the selection" in text
    assert "after the mask of 'slbi, early'" in text
    assert "slbi, early" in text


def test_what_starts_from_a_run_that_diverged_is_left_out(tmp_path):
    chain = """
seeds = [0]
[base]
data = "digits"
epochs = 1
[[arms]]
opt = "sgd"
lr = 1e30
[[arms]]
label = "on"
opt = "sgd"
init = "sgd"
[[arms]]
label = "and on"
opt = "sgd"
init = "on"
[[arms]]
label = "none"
opt = "sgd"
[arms.select]
lr = [1e30]
[sweep]
layers = "conv3"
ratios = 0.5
"""
    with pytest.warns(SparsifyWarning, match="seed 0 is not trained: ") as caught:
        result = run_study(read(tmp_path, chain), runs_dir=tmp_path / "runs")
    assert [str(one.message) for one in caught if "not trained" in str(one.message)] == [
        "'on', seed 0 is not trained: 'sgd' diverged",
        "'and on', seed 0 is not trained: 'sgd' diverged",
        "'none', seed 0 is not trained: every candidate diverged",
    ]
    assert [(len(arm.runs), arm.sweeps) for arm in result.arms] == [(1, ((),)), (0, ((),)), (0, ((),)), (0, ((),))]
    assert result.arms[3].selected.trials[0].accuracies == ()
    save_study(result, find(result))
    assert read_study(result.folder) == result
    assert "diverged" in to_markdown(choice_tables(result)[0])
    assert ",,0" in choices_csv(result)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            'init = "slbi, early"',
            'init = "slbi, erly"',
            "unknown arm or run 'slbi, erly' in the init of 'forward'; did ",
        ),
        ('mask = { of = "slbi, early", layers', 'mask = "gone" #', "the mask gone is missing or damaged"),
        ('"conv*"', '"conv9"', "unknown layer 'conv9' in lenet"),
        ("conv[3] at", "conv9 at", "unknown layer 'conv9' in lenet"),
        (
            'label = "ticket"',
            'label = "ticket"\nmodel = "resnet20"',
            r"'ticket' \(resnet20 on digits\) cannot start from",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is(old, new, message, tmp_path):
    with pytest.raises(SparsifyError, match=message):
        run_study(read(tmp_path, STUDY.replace(old, new)), runs_dir=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_plan_of_what_is_not_there_writes_nothing(tmp_path):
    study = read(tmp_path)
    planner = Planner(study, Places(runs_dir=tmp_path / "runs"))
    plan = planner.plan()
    assert [(task.arm, task.candidate, task.waits) for task in plan.tasks if task.config.seed != 1] == [
        ("forward", "", "'slbi, early'"),
        ("slbi, early", "", ""),
        ("ticket", "", "'chosen'"),
        ("chosen", "weight decay 0.5", ""),
        ("chosen", "weight decay 0", ""),
        ("chosen", "", "the selection"),
    ]
    assert plan.trainings == 10
    estimates = estimate_cost(planner, plan)
    assert all(one.training > 0 and one.kept > 61_706 * 4 for one in estimates.tasks)
    assert "missing: 10 trainings and 8 sweeps; about " in plan_line(plan, estimates)
    assert not (tmp_path / "runs").exists()


def test_an_estimate_comes_from_finished_runs_of_the_same_kind(folder, runs, result, monkeypatch):
    """An epoch of SGD took 30 s: an epoch of 1,437 images and a look at 360."""
    for run in named(result)["chosen"].runs + named(result)["ticket"].runs + named(result)["forward"].runs:
        file = runs / run.name / "summary.json"
        before_sums(file)  # so that it can be changed
        file.write_text(json.dumps(json.loads(file.read_text()) | {"seconds_per_epoch": 30.0}))
    monkeypatch.setattr("sparsify.study.estimates.time_iteration", lambda *_: pytest.fail("a step was timed"))
    planner = Planner(read(folder, STUDY.replace("[0, 1]", "[2]")), Places(runs_dir=runs))
    plan = planner.plan()
    estimates = estimate_cost(planner, plan)
    tasks = dict(zip([(task.arm, task.candidate) for task in plan.tasks], estimates.tasks, strict=True))
    one = tasks["ticket", ""]
    assert one.training == pytest.approx(2 * (30 + 30 / 3 * 360 / 1437))
    assert one.sweeping == pytest.approx(2 * 30 / 3 * 360 / 1437)
    assert one.kept == 61_706 * 4 + 2 * 360
    assert one.checkpoint == 2 * 61_706 * 4
    assert tasks["chosen", "weight decay 0"] == type(one)()  # that candidate's trial is there
    early = tasks["slbi, early", ""]
    assert early.sweeping == 0
    assert early.training < 5
    assert early.kept == 3 * 61_706 * 4 + 2 * 4 * 500 * (6 + 16 + 120)
    assert estimates.seconds == pytest.approx(sum(each.training + each.sweeping for each in estimates.tasks))


def test_without_runs_of_the_kind_a_step_is_timed(tmp_path, monkeypatch):
    monkeypatch.setattr("sparsify.study.estimates.time_iteration", lambda *_: 0.5)
    planner = Planner(read(tmp_path), Places(runs_dir=tmp_path / "runs"))
    plan = planner.plan()
    estimates = dict(zip([task.arm for task in plan.tasks], estimate_cost(planner, plan).tasks, strict=True))
    assert estimates["ticket"].training == pytest.approx(2 * 23 * 0.5 * (1 + 360 / 1437 / 3))
    assert estimates["forward"].training == pytest.approx(23 * 0.5 * (1 + 360 / 1437 / 3))


def test_what_is_trained_in_each_round_is_in_the_estimate(tmp_path, monkeypatch):
    monkeypatch.setattr("sparsify.study.estimates.time_iteration", lambda *_: 0.5)
    text = 'seeds = [0]\n[base]\ndata = "digits"\nepochs = 1\nbatch_size = 64\n[[arms]]\nopt = "sgd"\n[sweep]\n'
    study = read(tmp_path, text + 'layers = "conv3"\nratios = 0.5\nfinetune_epochs = 2\nrounds = 3')
    planner = Planner(study, Places(runs_dir=tmp_path / "runs"))
    (task,) = estimate_cost(planner, planner.plan()).tasks
    assert task.sweeping == pytest.approx(23 * 0.5 * (3 * 2 + 360 / 1437 / 3))


def test_a_damaged_run_of_something_else_does_not_stop_an_estimate(folder, runs, result):
    (runs / named(result)["chosen"].runs[0].name / "environment.json").write_text("{")
    planner = Planner(read(folder, STUDY.replace("[0, 1]", "[2]")), Places(runs_dir=runs))
    with pytest.warns(SparsifyWarning, match=r"left out: .*environment\.json is damaged"):
        assert estimate_cost(planner, planner.plan()).seconds > 0


def test_an_arm_starts_from_a_run_in_any_folder(folder, result, tmp_path):
    """With an @ in its path, or below the folder of runs."""
    parent = named(result)["chosen"].runs[0]
    for place in (tmp_path / "me@host" / "run", tmp_path / "runs" / "group" / "run"):
        shutil.copytree(folder / "runs" / parent.name, place)
    for init in (f"{tmp_path}/me@host/run", "group/run", "group/run@" + parent.sha256("model.safetensors")[:8]):
        study = read(tmp_path, f'seeds = [0]\n[base]\ndata = "digits"\n[[arms]]\nopt = "sgd"\ninit = "{init}"\n')
        assert Planner(study, Places(runs_dir=tmp_path / "runs")).plan().trainings == 1


def test_timing_a_step_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    state = torch.get_rng_state()
    config = Config(data="digits", opt="slbi", precision="fast")
    assert 0 < time_iteration(config, load_dataset("digits"), torch.device("cpu")) < 60
    assert torch.equal(torch.get_rng_state(), state)
    assert not list(tmp_path.iterdir())


def test_two_arms_that_share_their_runs_train_them_once(tmp_path):
    text = 'seeds = [0]\n[base]\ndata = "digits"\nepochs = 1\n[[arms]]\nlabel = "a"\n[[arms]]\nlabel = "b"\n'
    study = read(tmp_path, text + '[sweep]\nlayers = "conv3"\nratios = 0.5')
    planner = Planner(study, Places(runs_dir=tmp_path / "runs"))
    assert planner.plan().trainings == 1
    assert [bool(one.training) for one in estimate_cost(planner, planner.plan()).tasks] == [True, False]
    swept = []
    result = run_study(study, runs_dir=tmp_path / "runs", note=swept.append)
    assert result.arms[0].runs == result.arms[1].runs
    assert len(swept) == 1


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "1 s"), (59, "59 s"), (61, "1 min"), (5990, "100 min"), (9000, "2.5 h")]
)
def test_durations_have_two_digits(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(("count", "text"), [(999, "999 B"), (1000, "1 kB"), (2_500_000, "2 MB"), (1.2e9, "1.2 GB")])
def test_sizes_are_in_units_of_1000(count, text):
    assert size(count) == text


def test_the_studies_are_listed_without_their_stages():
    text = to_markdown(studies_table([load_study(name) for name in built_in_studies()]))
    assert "sgd; sgd, best weight decay; sgd-pull; sgd-pull, best mu; slbi; random-release; forward; backward" in text
    assert "0, 1, 2, 3, 4" in text


def test_forward_and_backward_keep_as_many_filters_and_cost_as_many_epochs():
    for name in ("lenet-control", "vgg-light-control"):
        study = load_study(name)
        arms = {arm.label: arm for arm in study.arms}
        totals = set()
        for label in ("forward", "backward"):
            arm, parent = arms[label], arms[arms[label].init]
            assert (parent.label, parent.stage, arm.mask.of) == (arm.init, True, arm.init)
            assert (arm.mask.point.layers, arm.mask.point.ratio) == ("conv3,fc1", 0.6)
            totals.add(arm.configs[0].epochs + parent.configs[0].epochs)
            assert arm.configs[0].opt == "sgd"
        assert totals == {arms["sgd"].configs[0].epochs}
        assert (arms["forward"].mask.chosen, arms["backward"].mask.chosen) == (True, False)
        candidates = arms[arms["forward"].init].choice.candidates
        assert [one.criterion for one in candidates] == ["entry", "entry-norm"]
        assert arms["backward"].mask.point.criterion == "magnitude"
        forward = arms[arms["forward"].init].configs[0].epochs
        assert forward == arms["backward"].configs[0].epochs
        best = dataclasses.replace(arms["sgd"].configs[0], weight_decay=0.005)
        assert best in [candidate.configs[0] for candidate in arms["sgd, best weight decay"].choice.candidates]
        assert arms["sgd, best weight decay"].choice.figure == "accuracy with conv3,fc1 pruned by 60%"


@pytest.mark.parametrize(
    ("name", "seeds"), [("lenet-selection", range(100, 120)), ("vgg-light-selection", range(100, 110))]
)
def test_the_studies_of_the_selection_give_both_sides_as_many_trials_on_seeds_of_their_own(name, seeds):
    study = load_study(name)
    arms = {arm.label: arm for arm in study.arms}
    assert all([config.seed for config in arm.configs] == list(seeds) for arm in study.arms)
    pull, slbi = (arms[label].choice for label in ("sgd-pull, best mu", "slbi"))
    assert (pull.on, pull.figure) == (slbi.on, "accuracy with conv3,fc1 pruned by 70%")
    trials = [[(one.label, [c.seed for c in one.trials]) for one in choice.candidates] for choice in (pull, slbi)]
    assert trials[0] == trials[1]
    assert not {seed for _, held_out in trials[0] for seed in held_out} & set(seeds)
    for ours, theirs in zip(pull.candidates, slbi.candidates, strict=True):  # they differ in the threshold alone
        assert all(dataclasses.replace(a, opt="slbi") == b for a, b in zip(ours.configs, theirs.configs, strict=True))
    assert arms["random-release"].parents == ("slbi",)
    primary = [(one.arm, one.reference, one.layers, one.ratio, one.compared) for one in study.contrasts if one.primary]
    assert primary == [("slbi", other, "conv3,fc1", 0.7, "change") for other in ("sgd-pull, best mu", "random-release")]


def test_a_sweep_by_bn_scale_asks_for_batchnorm_before_anything_is_trained(tmp_path):
    text = '[[arms]]\nopt = "sgd"\ndata = "digits"\n[sweep]\ncriterion = "bn-scale"\nlayers = "conv3"\n'
    with pytest.raises(SparsifyError, match="a sweep is by bn-scale, and lenet of 'sgd' has no BatchNorm"):
        Planner(read(tmp_path, text), Places(runs_dir=tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()


def test_an_arm_starts_from_a_run_and_a_mask_that_lie_elsewhere(tmp_path):
    config = Config(data="digits", opt="sgd", epochs=1, batch_size=256)
    run = train(config, device="cpu", runs_dir=tmp_path / "elsewhere")
    file = save_mask(tmp_path / "elsewhere" / "mask.safetensors", {"conv3.bias": torch.arange(120) % 2 == 0})
    text = f"""
[base]
data = "digits"
opt = "sgd"
epochs = 1
batch_size = 256
[[arms]]
label = "on"
init = "{run.path}"
[[arms]]
label = "masked"
mask = "{file}"
[sweep]
layers = "conv3"
ratios = 0.5
"""
    for _ in range(2):  # trained, then read
        result = run_study(read(tmp_path, text), device="cpu", runs_dir=tmp_path / "runs")
        assert [arm.runs[0].status for arm in result.arms] == ["finished", "finished"]
        assert result.arms[0].runs[0].config.init.startswith(f"{run.name}@")


def test_the_threads_of_a_study_are_those_of_all_its_runs_however_few_are_missing(tmp_path, monkeypatch):
    asked = []
    text = 'seeds = [0, 1, 2]\n[base]\ndata = "digits"\nepochs = 1\n[[arms]]\nopt = "sgd"\n[sweep]\nlayers = "conv3"\n'
    train(Config(data="digits", opt="sgd", epochs=1), device="cpu", runs_dir=tmp_path / "runs")

    class Enough(Exception):
        pass

    def once(configs, places, **how):
        asked.append((len(configs), how["among"]))
        raise Enough

    monkeypatch.setattr("sparsify.study.running.train_all", once)
    with pytest.raises(Enough):
        run_study(read(tmp_path, text), device="cpu", runs_dir=tmp_path / "runs")
    assert asked == [(2, 3)]
