"""Training: resume to the bit, divergence, initial weights, the predictor's warning, validation."""

import contextlib
import dataclasses
import hashlib
import json
import os
import random
import signal
import time
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from processes import in_processes, training
from safetensors.torch import load_file
from torch import Tensor

from sparsify import Config, load, train
from sparsify.data import registry
from sparsify.data.registry import augmentation, load_dataset
from sparsify.devices import has_bfloat16
from sparsify.errors import SparsifyError, SparsifyWarning
from sparsify.files import write_tensors
from sparsify.nets.evaluation import evaluate
from sparsify.nets.mask import save_mask
from sparsify.nets.outputs import loss_named
from sparsify.optim.penalties import prox
from sparsify.optim.slbi import SLBI
from sparsify.runs import Run, find_run, list_runs, newest_run
from sparsify.training.environment import changed_bits
from sparsify.training.iteration import Iteration
from sparsify.training.starting import initial_model
from sparsify.training.trainer import Progress

pytestmark = pytest.mark.filterwarnings("ignore:the path may be too short")
CROSS_ENTROPY = loss_named("cross-entropy")
SHORT = {"data": "digits", "val": 0.75, "epochs": 3, "batch_size": 64}  # 6 steps an epoch
PENALIZED = ("linbreg", "adabreg", "prox-sgd")
OPTIMIZERS = ("sgd", "sgd-pull", "slbi", "slbi-adam", *PENALIZED)


@pytest.fixture(autouse=True)
def _every_step_is_heard(monkeypatch):
    """So that a training can be stopped in the middle of an epoch of a few steps."""
    monkeypatch.setattr("sparsify.training.trainer.TICK", 1)


bfloat16 = pytest.mark.skipif(
    not has_bfloat16(torch.device("cpu")), reason="this processor emulates bfloat16: a training takes minutes"
)


def files(run: Run) -> dict[str, bytes]:
    """What must be equal to the bit: weights, Z and the path (not times of the day)."""
    return {p.name: p.read_bytes() for p in run.path.iterdir() if p.suffix in (".safetensors", ".npz")}


class Stop(Exception):
    pass


def stop_after(steps: int):
    def listener(progress):
        if progress.step >= steps:
            raise Stop

    return listener


@pytest.mark.parametrize("opt", OPTIMIZERS)
def test_a_run_stopped_in_every_epoch_ends_in_the_same_bits(opt, tmp_path):
    config = Config(opt=opt, seed=7, **SHORT)
    whole = train(config, runs_dir=tmp_path / "whole")
    for steps in (3, 9, 15):
        with pytest.raises(Stop):
            train(config, runs_dir=tmp_path / "parts", listener=stop_after(steps))
    parts = train(config, runs_dir=tmp_path / "parts")
    assert files(parts) == files(whole)
    assert "model.safetensors" in files(parts)
    assert parts.metrics.drop(columns="seconds").equals(whole.metrics.drop(columns="seconds"))


HALVED = {"decay_schedule": "multi-step", "decay_schedule_options": "milestones=1+2,gamma=0.5"}


@pytest.mark.parametrize("opt", ["adamw", "slbi"])
def test_a_run_whose_decay_changes_ends_in_the_same_bits_after_stops(opt, tmp_path):
    config = Config(opt=opt, weight_decay=0.5, **HALVED, **SHORT)
    whole = train(config, runs_dir=tmp_path / "whole")
    for steps in (3, 9, 15):
        with pytest.raises(Stop):
            train(config, runs_dir=tmp_path / "parts", listener=stop_after(steps))
    assert files(train(config, runs_dir=tmp_path / "parts")) == files(whole)
    constant = train(Config(opt=opt, weight_decay=0.5, **SHORT), runs_dir=tmp_path / "constant")
    assert files(constant)["model.safetensors"] != files(whole)["model.safetensors"]


def test_each_epoch_is_trained_with_its_own_decay_and_biases_without(tmp_path, monkeypatch):
    """As torch's AdamW with the decay written into its groups by hand."""
    seen = []
    step = torch.optim.AdamW.step

    def watched(self, *args, **kwargs):
        seen.append([(group["weight_decay"], {p.ndim > 1 for p in group["params"]}) for group in self.param_groups])
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    config = Config(opt="adamw", weight_decay=0.512, **HALVED, **(SHORT | {"batch_size": 1000}))
    train(config, runs_dir=tmp_path)
    steps = len(seen) // 3
    for epoch, decay in enumerate((0.512, 0.256, 0.128)):
        for groups in seen[epoch * steps : (epoch + 1) * steps]:
            assert groups == [(decay, {True}), (0.0, {False})]


@in_processes
def test_a_run_killed_at_random_moments_ends_in_the_same_bits(tmp_path):
    config = Config(opt="slbi", seed=3, data="digits", val=0.75, epochs=6, batch_size=16)  # 23 steps an epoch
    whole = train(config, runs_dir=tmp_path / "whole")
    run = Run(tmp_path / "killed" / config.name)
    moments = random.Random(0)
    killed = 0
    for _ in range(20):
        process, steps = training(config, tmp_path / "killed")
        target = run.epochs_done * 23 + moments.randrange(10, 46)
        with steps, contextlib.suppress(EOFError):  # it has ended
            while steps.recv() < target:
                pass
            time.sleep(moments.random() * 0.05)  # not only between two steps: in the middle of a write, too
            process.kill()
        process.join()
        killed += process.exitcode == -signal.SIGKILL
        if run.status == "finished":
            break
        assert process.exitcode == -signal.SIGKILL, "it fails"
    assert run.status == "finished"
    assert killed >= 2
    assert files(run) == files(whole)


def test_a_finished_run_is_returned_at_once_and_becomes_the_newest(tmp_path):
    longer = {**SHORT, "batch_size": 16}  # so that none has collapsed
    first = train(Config(opt="sgd", **longer), runs_dir=tmp_path)
    second = train(Config(opt="sgd", seed=1, **longer), runs_dir=tmp_path)
    os.utime(first.path / "summary.json", (1, 1))
    assert newest_run(tmp_path).name == second.name
    before = files(first)
    calls = []
    again = train(Config(opt="sgd", **longer), runs_dir=tmp_path, listener=calls.append)
    assert calls == []
    assert files(again) == before
    assert newest_run(tmp_path).name == first.name


def test_the_folder_holds_what_the_design_says(tmp_path):
    run = train(Config(opt="slbi", data="digits", epochs=1, batch_size=64), runs_dir=tmp_path)
    names = {path.name for path in run.path.iterdir() if not path.name.startswith(".")}
    assert names == {
        "config.json",
        "environment.json",
        "metrics.csv",
        "model.safetensors",
        "path.npz",
        "summary.json",
        "z.safetensors",
    }
    header = (run.path / "metrics.csv").read_text().splitlines()[0]
    assert header == ("epoch,step,lr,train_loss,train_accuracy,val_loss,val_accuracy,test_loss,test_accuracy,seconds")
    assert json.loads((run.path / "config.json").read_text()) == run.config.to_dict()
    assert run.summary["accuracy"] == run.metrics.test_accuracy.iloc[-1]
    assert run.metrics.val_accuracy.isna().all()
    assert run.summary["steps"] == 23


def test_the_last_partial_batch_is_trained_on(tmp_path):
    """1,437 images in batches of 1,000 are two steps an epoch."""
    run = train(Config(opt="sgd", data="digits", epochs=1, batch_size=1000), runs_dir=tmp_path)
    assert run.summary["steps"] == 2


def test_seeds_differ_and_torchs_generator_is_left_alone(tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    a = train(Config(opt="sgd", seed=0, **SHORT), runs_dir=tmp_path)
    assert torch.equal(torch.rand(3), expected)
    b = train(Config(opt="sgd", seed=1, **SHORT), runs_dir=tmp_path)
    assert files(a) != files(b)


def test_divergence_is_recorded_and_is_no_result(tmp_path):
    run = train(Config(opt="sgd", lr=1e30, **SHORT), runs_dir=tmp_path)
    assert run.status == "diverged"
    assert run.summary["epochs"] == 1
    with pytest.raises(SparsifyError, match="diverged"):
        load(run)
    with pytest.raises(SparsifyError, match="no finished run"):
        newest_run(tmp_path)


def test_validation_images_are_held_out_and_test_images_are_not_looked_at(tmp_path):
    run = train(Config(opt="sgd", **{**SHORT, "val": 0.1}), runs_dir=tmp_path)
    assert run.summary["held_out"] == "val"
    assert run.summary["count"] == 144
    assert run.metrics[["test_accuracy", "test_loss"]].isna().all(axis=None)
    assert run.metrics.val_accuracy.iloc[-1] == run.summary["accuracy"]
    assert run.summary["steps"] == 3 * -(-(1437 - 144) // 64)


def test_init_starts_from_a_run_and_is_named_by_its_weights(tmp_path):
    parent = train(Config(opt="sgd", **SHORT), runs_dir=tmp_path)
    child = train(Config(opt="slbi", init=parent.name[:20], lr=1e-12, **SHORT), runs_dir=tmp_path)
    assert child.config.init == f"{parent.name}@{parent.sha256('model.safetensors')[:8]}"
    assert child.summary["accuracy"] == parent.summary["accuracy"]
    again = train(child.config, runs_dir=tmp_path)
    assert again.path == child.path
    by_path = train(Config(opt="slbi", init=str(parent.path), lr=1e-12, **SHORT), runs_dir=tmp_path)
    assert by_path.path == child.path


def test_init_refuses_other_weights_than_those_named(tmp_path):
    parent = train(Config(opt="sgd", **SHORT), runs_dir=tmp_path)
    with pytest.raises(SparsifyError, match="00000000"):
        train(Config(init=f"{parent.name}@00000000", **SHORT), runs_dir=tmp_path)
    with pytest.raises(SparsifyError, match="unknown run 'nobody'"):
        train(Config(init="nobody", **SHORT), runs_dir=tmp_path)


@pytest.mark.filterwarnings("default")
def test_a_path_that_is_too_short_is_predicted(tmp_path):
    with pytest.warns(SparsifyWarning, match=r"path time T = 1.9e-05 .*fc1\.weight"):
        train(Config(opt="slbi", mu=500, lr=0.001, **SHORT), runs_dir=tmp_path)


def test_a_path_that_is_long_enough_is_not_warned_about(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = train(Config(opt="slbi", mu=0.003, lr=0.005, schedule="constant", kappa=0.03, **SHORT), runs_dir=tmp_path)
    assert run.summary["path_time"] == pytest.approx(0.005 / 0.003 * 18)


def test_the_control_has_no_path_and_equals_slbi_until_something_enters(tmp_path):
    options = {"data": "digits", "epochs": 1, "batch_size": 64, "lr": 0.01, "mu": 100.0}
    control = train(Config(opt="sgd-pull", **options), runs_dir=tmp_path)
    slbi = train(Config(opt="slbi", **options), runs_dir=tmp_path)
    assert control.inclusion_path is None
    assert "support_accuracy" not in control.summary
    assert sum(counts["in"] for counts in slbi.summary["support"].values()) == 0
    assert control.tensors("model.safetensors").keys() == slbi.tensors("model.safetensors").keys()
    for name, weight in control.tensors("model.safetensors").items():
        assert torch.equal(weight, slbi.tensors("model.safetensors")[name])


def test_what_the_summary_says_of_the_support_is_what_z_says(tmp_path):
    run = train(Config(opt="slbi", lr=0.1, kappa=0.5, mu=10, data="digits", epochs=6, batch_size=32), runs_dir=tmp_path)
    z = run.z["conv3.weight"]
    inside = int((z.flatten(1).norm(dim=1) > 1).sum())
    assert run.summary["support"]["conv3.weight"] == {"in": inside, "of": 120}
    assert 0 < inside < 120
    entered = run.inclusion_path.entry["conv3.weight"]
    assert (entered <= run.summary["steps"]).sum() >= inside
    weights, zs = run.tensors("model.safetensors"), run.z
    masks = {name: run.support(name) for name in zs}
    alone = {
        name: weights[name] * mask.view(*mask.shape, *[1] * (zs[name].ndim - mask.ndim)) for name, mask in masks.items()
    }
    gamma = {name: prox(z, 1.0, "filter" if z.ndim == 4 else "weight") for name, z in zs.items()}
    found = (accuracy_of(run, alone), accuracy_of(run, gamma))
    assert found == (run.summary["support_accuracy"], run.summary["gamma_accuracy"])
    assert run.summary["accuracy"] == accuracy_of(run, {}) != found[0]


def accuracy_of(run: Run, weights: dict[str, Tensor]) -> float:
    """That of the run's network with other weights, on the test images."""
    model, data = run.model(), load_dataset("digits")
    model.load_state_dict(weights, strict=False)
    return evaluate(model, data.test, data.normalise).accuracy


@pytest.mark.filterwarnings("error")  # no path is predicted, so that none is too short
@pytest.mark.parametrize(
    ("opt", "options"), [("linbreg", {}), ("adabreg", {"lr": 0.005}), ("prox-sgd", {"strength": 0.002})]
)
def test_a_run_whose_weights_are_sparse_selects_and_learns(opt, options, tmp_path):
    run = train(Config(opt=opt, data="digits", epochs=6, batch_size=32, **options), runs_dir=tmp_path)
    assert run.summary["accuracy"] > 0.8  # a tenth by chance
    assert run.z is None
    assert "z.safetensors" not in files(run)
    assert run.summary["path_time"] == pytest.approx(run.inclusion_path.time[-1])
    weights = run.tensors("model.safetensors")
    for name, counts in run.summary["support"].items():
        inside = weights[name].flatten(1).any(1) if weights[name].ndim == 4 else weights[name] != 0
        assert counts == {"in": int(inside.sum()), "of": inside.numel()}
        assert torch.equal(run.support(name), inside)
        assert torch.isfinite(torch.from_numpy(run.inclusion_path.entry[name])[inside]).all()
    assert run.summary["support"].keys() == {f"{layer}.weight" for layer in ("conv1", "conv2", "conv3", "fc1", "fc2")}
    for name in ("conv3.weight", "fc1.weight"):
        assert 0.05 < run.summary["support"][name]["in"] / run.summary["support"][name]["of"] < 0.95
    assert run.support("fc1.bias") is None
    assert run.summary["support_accuracy"] == run.summary["accuracy"]  # there is nothing outside
    assert "gamma_accuracy" not in run.summary


def test_the_path_time_of_sparse_weights_is_the_sum_of_the_learning_rates(tmp_path):
    run = train(Config(opt="linbreg", lr=0.25, schedule="constant", **SHORT), runs_dir=tmp_path)
    assert run.summary["path_time"] == pytest.approx(0.25 * 18)


def test_a_run_starts_with_its_density_or_with_the_weights_of_another(tmp_path):
    first = train(Config(opt="linbreg", lr=1e-9, density=0.25, **SHORT), runs_dir=tmp_path)
    assert first.summary["support"]["conv3.weight"] == {"in": 30, "of": 120}
    assert first.summary["support"]["fc1.weight"] == {"in": 2520, "of": 10080}
    entry = first.inclusion_path.entry["fc1.weight"]
    assert set(entry.flatten()) == {0, float("inf")}
    parent = train(Config(opt="sgd", **SHORT), runs_dir=tmp_path)
    child = train(Config(opt="linbreg", init=parent.name, lr=1e-9, **SHORT), runs_dir=tmp_path)
    assert child.config.density == 1
    assert child.summary["accuracy"] == parent.summary["accuracy"]


def test_resuming_elsewhere_warns(tmp_path, monkeypatch):
    config = Config(opt="sgd", **SHORT)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 99)
    with pytest.raises(Stop):
        train(config, runs_dir=tmp_path, listener=stop_after(9))
    monkeypatch.undo()
    with pytest.warns(SparsifyWarning, match="threads 99 → "):
        train(config, runs_dir=tmp_path)


@in_processes
def test_a_second_process_is_refused(tmp_path):
    config = Config(opt="sgd", **SHORT)
    run = Run(tmp_path / config.name)
    with run.lock():
        process, said = training(config, tmp_path)
        assert "is being written by another process" in said.recv()
        process.join()
    assert not (run.path / "config.json").exists()


def test_runs_are_found_by_path_and_by_the_beginning_of_a_name(tmp_path):
    run = train(Config(opt="sgd", **SHORT), runs_dir=tmp_path)
    other = train(Config(opt="sgd", seed=1, **SHORT), runs_dir=tmp_path)
    assert find_run(str(run.path), tmp_path).path == run.path
    assert find_run("lenet-digits-sgd-s1", tmp_path).path == other.path
    with pytest.raises(SparsifyError, match="begins the names of 2 runs"):
        find_run("lenet-digits", tmp_path)
    with pytest.raises(SparsifyError, match="unknown run 'lenet-mnist'"):
        find_run("lenet-mnist", tmp_path)
    assert {r.name for r in list_runs(tmp_path)} == {run.name, other.name}


def test_a_damaged_weight_is_noticed(tmp_path):
    run = train(Config(opt="sgd", **SHORT), runs_dir=tmp_path)
    file = run.path / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    with pytest.raises(SparsifyError, match=r"model\.safetensors is damaged"):
        load(run)


@pytest.mark.cuda
def test_cuda_resumes_to_the_bit(tmp_path):
    config = Config(opt="slbi", **SHORT)
    whole = train(config, device="cuda", runs_dir=tmp_path / "whole")
    with pytest.raises(Stop):
        train(config, device="cuda", runs_dir=tmp_path / "parts", listener=stop_after(9))
    parts = train(config, device="cuda", runs_dir=tmp_path / "parts")
    assert files(parts) == files(whole)


def test_a_folder_whose_images_changed_is_not_taken_for_the_one_that_was_trained_on(tmp_path):
    for part in ("train", "test"):
        for label in ("a", "b"):
            (tmp_path / "images" / part / label).mkdir(parents=True)
            for index in range(3):
                image = torch.randint(0, 256, (28, 28), dtype=torch.uint8).numpy()
                Image.fromarray(image).save(tmp_path / "images" / part / label / f"{index}.png")
    config = Config(opt="sgd", data=f"folder:{tmp_path / 'images'}", epochs=2)
    run = train(config, runs_dir=tmp_path / "runs")
    assert train(config, runs_dir=tmp_path / "runs").path == run.path
    with pytest.raises(Stop):
        train(config, runs_dir=tmp_path / "interrupted", listener=stop_after(2))
    (tmp_path / "images" / "train" / "a" / "0.png").unlink()
    registry._load.cache_clear()  # as in another process
    for folder in ("runs", "interrupted"):
        with pytest.raises(SparsifyError, match="are not those that"):
            train(config, runs_dir=tmp_path / folder)


@bfloat16
def test_fast_is_as_accurate_as_exact(tmp_path):
    """bfloat16 in the products: the accuracies differ by less than a point and a half."""
    config = Config(opt="slbi", data="digits", epochs=10, batch_size=32, lr=0.05, mu=5)
    runs = [train(dataclasses.replace(config, precision=one), runs_dir=tmp_path) for one in ("exact", "fast")]
    accuracies = [run.summary["accuracy"] for run in runs]
    assert min(accuracies) > 0.93
    assert abs(accuracies[0] - accuracies[1]) < 0.015


def test_without_units_for_bfloat16_fast_is_float32_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("sparsify.devices.has_bfloat16", lambda _device: False)
    config = Config(opt="sgd", data="digits", epochs=1, batch_size=256, precision="fast")
    with pytest.warns(SparsifyWarning, match="'fast' is float32 here"):
        run = train(config, runs_dir=tmp_path)
    assert run.name == config.name
    assert (run.environment["precision"], run.environment["arithmetic"]) == ("fast", "float32")
    exact = train(dataclasses.replace(config, precision="exact"), runs_dir=tmp_path)
    assert exact.environment["arithmetic"] == "float32"
    weights, others = (one.tensors("model.safetensors") for one in (run, exact))
    assert all(torch.equal(weights[name], others[name]) for name in others)


@pytest.mark.parametrize(("kept", "then"), [("float32", True), (None, False), ("bfloat16", False)])
def test_fast_goes_on_in_what_is_fast_on_another_processor_and_says_so(kept, then, tmp_path, monkeypatch):
    """Runs from before it was recorded, of which `kept` is None, were trained in bfloat16."""
    config = Config(opt="sgd", data="digits", epochs=2, batch_size=512, precision="fast")
    monkeypatch.setattr("sparsify.devices.has_bfloat16", lambda _device: kept != "float32")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SparsifyWarning)
        with pytest.raises(Stop):
            train(config, runs_dir=tmp_path, listener=stop_after(4))  # in the second epoch
    file = tmp_path / config.name / "environment.json"
    environment = json.loads(file.read_text())
    assert environment["arithmetic"] == (kept or "bfloat16")
    if kept is None:
        del environment["arithmetic"]
    monkeypatch.setattr("sparsify.devices.has_bfloat16", lambda _device: then)
    before = {**environment, "arithmetic": kept} if kept else environment
    names = ("bfloat16", "float32") if kept != "float32" else ("float32", "bfloat16")
    assert changed_bits(before, torch.device("cpu")) == f"arithmetic {names[0]} → {names[1]}"
    if kept is not None:  # else the checkpoint knows that the file has changed
        with pytest.warns(SparsifyWarning, match=rf"\(arithmetic {names[0]} → {names[1]}\).*more than the last bits"):
            run = train(config, runs_dir=tmp_path)
        assert run.status == "finished"


def test_fast_rounds_products_and_keeps_weights_and_z_in_float32(monkeypatch):
    """Six steps of a few images: where the processor emulates bfloat16, more would take long."""
    monkeypatch.setattr("sparsify.devices.has_bfloat16", lambda _device: True)
    dataset = load_dataset("digits")
    index, draws = torch.arange(32), torch.zeros(32, 3, dtype=torch.int64)
    losses, weights = [], []
    for precision in ("exact", "fast"):
        model = initial_model(Config(data="digits"))
        optimizer = SLBI(model.parameters(), 0.05, mu=5)
        iteration = Iteration(model, optimizer, dataset, augmentation("none"), CROSS_ENTROPY, precision, None)
        for step in range(1, 7):
            iteration(index, draws, step)
        losses.append(iteration.sums()[0])
        weights.append(model.get_submodule("conv3").weight)
        states = (value for state in optimizer.state.values() for value in state.values())
        assert {tensor.dtype for tensor in (*model.state_dict().values(), *states)} == {torch.float32}
    assert losses[0] == pytest.approx(losses[1], rel=0.01)  # a bfloat16 has 8 binary digits
    assert not torch.equal(*weights)


@pytest.mark.parametrize(("opt", "options"), [("slbi-adam", {}), ("linbreg", {"strength": 0, "density": 1})])
def test_what_a_mask_removes_stays_exactly_zero_also_after_a_resume(opt, options, tmp_path):
    mask = {"conv3.weight": torch.ones(120, 16, 5, 5, dtype=torch.bool), "fc1.weight": torch.rand(84, 120) > 0.5}
    mask["conv3.weight"][::3] = False
    path = save_mask(tmp_path / "masks" / "half.safetensors", mask)
    config = Config(opt=opt, mask=str(path), **{**options, **SHORT})

    class Stop(Exception):
        pass

    def stop(progress: Progress) -> None:
        if progress.epoch == 2:
            raise Stop

    with pytest.raises(Stop):
        train(config, runs_dir=tmp_path, listener=stop)
    run = train(config, runs_dir=tmp_path)
    weights = run.tensors("model.safetensors")
    for name, keep in mask.items():
        assert not weights[name][~keep].any()
        assert weights[name][keep].all()
    assert run.config.mask == f"masks/half.safetensors@{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}"
    assert train(run.config, runs_dir=tmp_path).path == run.path
    assert files(run) == files(train(config, runs_dir=tmp_path / "elsewhere"))
    save_mask(path, {**mask, "fc2.bias": torch.zeros(10, dtype=torch.bool)})
    with pytest.raises(SparsifyError, match=r"the sum of .*half.safetensors is [0-9a-f]{8} now; name the file alone"):
        train(run.config, runs_dir=tmp_path)


@pytest.mark.parametrize("opt", OPTIMIZERS)
def test_a_mask_that_applies_later_resumes_to_the_bit_before_and_after_it(opt, tmp_path):
    """The first two epochs are those without a mask; from then on what it removes is 0, Z and momentum included."""
    keep = torch.rand(84, 120, generator=torch.Generator().manual_seed(0)) > 0.5
    filters = torch.ones(120, 16, 5, 5, dtype=torch.bool)
    filters[::3] = False
    mask = {"fc1.weight": keep, "conv3.weight": filters}
    path = save_mask(tmp_path / "later.safetensors", mask)
    values = {**SHORT, "epochs": 4, "opt": opt}
    if opt == "slbi":  # filters of conv3 enter in the second epoch
        values |= {"lr": 0.1, "mu": 0.25, "kappa": 0.025, "schedule": "constant"}
    config = Config(mask=str(path), mask_from=2, **values)
    whole = train(config, runs_dir=tmp_path / "whole")
    free = train(Config(**values), runs_dir=tmp_path / "free")
    masked, plain = (run.metrics.drop(columns="seconds") for run in (whole, free))
    assert masked[:2].equals(plain[:2])
    assert not masked[2:3].equals(plain[2:3])
    assert masked.lr.equals(plain.lr)
    for steps in (3, 9, 15, 21):  # stopped in each of the epochs
        with pytest.raises(Stop):
            train(config, runs_dir=tmp_path / "parts", listener=stop_after(steps))
        if steps == 3:
            continue  # before the first checkpoint
        (folder,) = (tmp_path / "parts").iterdir()
        for key, value in load_file(folder / "checkpoint.safetensors").items():
            kind, _, name = key.partition("/")
            kept = mask.get(name if kind == "model" else name.rpartition("/")[0])
            if kept is None or value.shape != kept.shape or kind == "path":
                continue
            if steps == 9:
                assert value[~kept].any(), key
            elif steps == 15 or kind == "model" or key.endswith("/z"):
                assert not value[~kept].any(), key
    parts = train(config, runs_dir=tmp_path / "parts")
    assert files(parts) == files(whole)
    assert not whole.tensors("model.safetensors")["fc1.weight"][~keep].any()
    if opt == "slbi":
        entry = whole.inclusion_path.entry["conv3.weight"]
        assert (entry[::3] <= 12).any()  # what entered before the mask did so
        assert not whole.z["conv3.weight"][::3].any()
        assert whole.summary["support"]["conv3.weight"]["in"] <= 80


def test_masks_that_do_not_fit_are_refused(tmp_path):
    def refused(mask: str) -> str:
        with pytest.raises(SparsifyError) as caught:
            train(Config(opt="sgd", mask=mask, **SHORT), runs_dir=tmp_path / "runs")
        assert not (tmp_path / "runs").exists()
        return str(caught.value)

    assert "is missing or damaged" in refused(str(tmp_path / "nowhere.safetensors"))
    (tmp_path / "noise.safetensors").write_bytes(b"noise")
    assert "is missing or damaged" in refused(str(tmp_path / "noise.safetensors"))
    write_tensors(tmp_path / "floats.safetensors", {"conv1.weight": torch.zeros(6, 1, 5, 5)})
    assert "is no mask: it must hold tensors of bool" in refused(str(tmp_path / "floats.safetensors"))
    save_mask(tmp_path / "other.safetensors", {"conv9.weight": torch.zeros(2, dtype=torch.bool)})
    assert "the mask names 'conv9.weight', which the network does not have" in refused(
        str(tmp_path / "other.safetensors")
    )


def test_random_release_lets_as_many_go_at_each_step_of_each_layer_but_others(tmp_path):
    shared = {**SHORT, "batch_size": 16, "seed": 7, "lr": 0.4, "kappa": 0.1, "mu": 2.5}
    source = train(Config(opt="slbi", **shared), runs_dir=tmp_path)
    asked = Config(opt="random-release", release=source.name, **shared)
    with pytest.raises(SparsifyError, match=r"--batch-size is 32, and --release .* has 16; the grains"):
        train(dataclasses.replace(asked, batch_size=32), runs_dir=tmp_path)
    run = train(asked, runs_dir=tmp_path)
    theirs, ours = source.inclusion_path.entry, run.inclusion_path.entry
    assert ours.keys() == theirs.keys()
    assert sum(np.isfinite(entry).sum() for entry in theirs.values()) > 4
    for name, entry in theirs.items():
        assert np.array_equal(np.sort(ours[name], axis=None), np.sort(entry, axis=None))  # counts at each step
        assert run.summary["support"][name]["in"] == np.isfinite(entry).sum()
        assert np.array_equal(run.support(name).numpy(), np.isfinite(ours[name]))
    assert any(not np.array_equal(ours[name], entry) for name, entry in theirs.items())
    assert run.config.release == f"{source.name}@{source.sha256('path.npz')[:8]}"
    assert find_run("lenet-digits-", tmp_path) == source
    again = dataclasses.replace(asked, release=str(source.path))
    for steps in (25, 50):
        with pytest.raises(Stop):
            train(again, runs_dir=tmp_path / "parts", listener=stop_after(steps))
    parts = train(again, runs_dir=tmp_path / "parts")
    assert files(parts) == files(run)


def test_a_run_that_cannot_be_followed_is_refused(tmp_path):
    sgd = train(Config(opt="sgd", **SHORT), runs_dir=tmp_path)
    with pytest.raises(SparsifyError, match="--opt random-release needs --release"):
        train(Config(opt="random-release", **SHORT), runs_dir=tmp_path)
    with pytest.raises(SparsifyError, match=r"it is trained with sgd; it must be one of: slbi, slbi-adam"):
        train(Config(opt="random-release", release=sgd.name, **SHORT), runs_dir=tmp_path)
    with pytest.raises(SparsifyError, match="--release it has no effect with --opt sgd; it is of: random-release"):
        Config(opt="sgd", release="it")
