"""The inclusion path: which steps are recorded, when a grain enters, and a file that is read whole or refused."""

from __future__ import annotations

import copy
import math
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from sparsify import SLBI, Config, SLBIAdam, load_dataset, train
from sparsify.errors import SparsifyError
from sparsify.nets.zoo.lenet import lenet
from sparsify.optim.bregman import LinBreg
from sparsify.optim.inclusion import InclusionPath, PathRecorder, path_times, predict_entry, record_steps


def test_short_trainings_are_recorded_at_every_step():
    assert record_steps(0).tolist() == [0]
    assert record_steps(1).tolist() == [0, 1]
    assert record_steps(2).tolist() == [0, 1, 2]
    assert record_steps(20).tolist() == list(range(21))


def test_the_recorded_steps_of_a_long_training():
    """⌊total·(i/(records − 1))²⌉"""
    assert record_steps(100, records=6).tolist() == [0, 4, 16, 36, 64, 100]


@given(st.integers(0, 10**9))
def test_recorded_steps_begin_at_0_end_at_the_end_and_are_few(total):
    steps = record_steps(total)
    assert steps.dtype == np.int64
    assert steps[0] == 0
    assert steps[-1] == total
    assert len(steps) <= 500
    assert (np.diff(steps) > 0).all()


@given(st.integers(10**5, 10**7))
def test_half_of_the_records_lie_in_the_first_quarter(total):
    steps = record_steps(total)
    assert (steps <= total / 4 + 1).mean() >= 0.45


def test_path_time_adds_up_the_rates_and_starts_at_0():
    assert path_times(np.array([0.5, 0.25, 1.0])).tolist() == [0, 0.5, 0.75, 1.75]
    assert path_times(np.array([])).tolist() == [0]


def two_layers() -> nn.Module:
    """A convolution with filters of norm 5, 1 and 0.5, and four weights of a fully connected layer."""
    model = nn.Sequential(nn.Conv2d(1, 3, (1, 2)), nn.Flatten(1), nn.Linear(3, 2))
    model[0].weight.data = torch.tensor([[3.0, 4.0], [0.0, -1.0], [0.3, 0.4]]).view(3, 1, 1, 2)
    model[2].weight.data = torch.tensor([[1.0, -0.25, 0.5], [-2.0, 0.0, 4.0]])
    return model


@pytest.mark.parametrize(
    ("time", "filters", "weights"),
    [(0.0, 0, 0), (0.2, 1, 0), (0.25, 1, 1), (1.0, 2, 3), (2.5, 3, 4), (1e9, 3, 5)],
)
def test_a_grain_of_norm_r_enters_by_time_1_over_r(time, filters, weights):
    """The bound itself enters; a weight of 0 never does."""
    model = two_layers()
    found = predict_entry(model, SLBI(model.parameters()), time)
    assert found == pytest.approx({"0.weight": filters / 3, "2.weight": weights / 6})


def test_a_higher_threshold_is_reached_later():
    model = two_layers()
    assert predict_entry(model, SLBI(model.parameters(), threshold=5.0), 1.0)["0.weight"] == pytest.approx(1 / 3)
    assert predict_entry(model, SLBI(model.parameters(), threshold=5.1), 1.0)["0.weight"] == 0


def test_nothing_enters_the_control():
    model = two_layers()
    assert set(predict_entry(model, SLBI(model.parameters(), threshold=math.inf), 1e9).values()) == {0.0}


def test_the_prediction_leaves_the_network_as_it_was():
    model = two_layers()
    before = copy.deepcopy(model.state_dict())
    predict_entry(model, SLBI(model.parameters()), 1.0)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def a_path() -> InclusionPath:
    norms = np.arange(6, dtype=np.float32).reshape(3, 2)
    return InclusionPath(
        steps=np.array([0, 1, 4]),
        time=np.array([0.0, 0.1, 0.30000000000000004]),
        entry={"a.weight": np.array([3, np.inf], np.float32), "b.weight": np.full((2, 2), np.inf, np.float32)},
        gamma_norm={"a.weight": norms, "b.weight": np.zeros((3, 1), np.float32)},
        weight_norm={"a.weight": norms + 0.1, "b.weight": np.ones((3, 1), np.float32)},
    )


def assert_same(found: InclusionPath, expected: InclusionPath) -> None:
    for name in ("steps", "time"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), strict=True)
    for name in ("entry", "gamma_norm", "weight_norm"):
        assert getattr(found, name).keys() == getattr(expected, name).keys()
        for parameter, array in getattr(expected, name).items():
            np.testing.assert_array_equal(getattr(found, name)[parameter], array, strict=True)


class TestFile:
    """path.npz"""

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        a_path().save(tmp_path / "path.npz")
        return tmp_path / "path.npz"

    def refuse(self, file: Path) -> str:
        with pytest.raises(SparsifyError) as caught:
            InclusionPath.load(file)
        assert str(caught.value).startswith(f"{file} is damaged: ")
        return str(caught.value)

    def test_what_is_saved_is_read(self, file):
        assert_same(InclusionPath.load(file), a_path())

    def test_the_same_path_is_the_same_bytes(self, file, tmp_path):
        a_path().save(tmp_path / "again.npz")
        assert (tmp_path / "again.npz").read_bytes() == file.read_bytes()

    def test_missing(self, tmp_path):
        self.refuse(tmp_path / "path.npz")

    def test_truncated(self, file):
        content = file.read_bytes()
        for length in range(0, len(content), 31):
            file.write_bytes(content[:length])
            self.refuse(file)

    @pytest.mark.parametrize("content", [b"", b"PK", b"no zip at all", b"\x93NUMPY"])
    def test_not_a_zip(self, file, content):
        file.write_bytes(content)
        self.refuse(file)

    def test_a_single_array(self, file):
        with open(file, "wb") as stream:
            np.save(stream, np.zeros(3))
        self.refuse(file)

    @pytest.mark.parametrize("key", ["steps", "time", "entry/a.weight", "gamma_norm/a.weight", "weight_norm/b.weight"])
    def test_a_missing_array(self, file, key):
        with np.load(file) as arrays:
            rest = {name: array for name, array in arrays.items() if name != key}
        np.savez(file, **rest)
        self.refuse(file)

    def test_an_unknown_kind_of_array(self, file):
        with np.load(file) as arrays:
            np.savez(file, **{**arrays, "speed/a.weight": np.zeros(2)})
        assert "speed" in self.refuse(file)

    def test_a_flipped_bit_is_refused_or_harmless(self, file):
        content = file.read_bytes()
        refused = 0
        for place in range(0, len(content), 5):
            file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
            try:
                found = InclusionPath.load(file)
            except SparsifyError:
                refused += 1
            else:
                assert_same(found, a_path())
        assert refused > len(content) / 5 / 3

    def test_no_pickle_is_loaded(self, file, tmp_path):
        """A pickle can run any code: this one would make a folder."""

        class Harm:
            def __reduce__(self):
                return os.mkdir, (str(tmp_path / "harm"),)

        np.savez(file, steps=np.array([Harm()], dtype=object), time=np.zeros(1))
        assert "allow_pickle=False" in self.refuse(file)
        file.write_bytes(pickle.dumps(Harm()))
        self.refuse(file)
        assert not (tmp_path / "harm").exists()


def by_hand(optimizer: SLBI | SLBIAdam, model: nn.Module) -> dict[str, torch.Tensor]:
    """Which grains have Γ ≠ 0: filters as a whole."""
    found = {}
    for name, p in model.named_parameters():
        if p.ndim > 1:
            inside = optimizer.gamma(p) != 0
            found[name] = inside.flatten(1).any(1) if p.ndim == 4 else inside
    return found


@pytest.mark.parametrize("opt", [SLBI, SLBIAdam])
def test_entry_steps_are_those_of_the_first_gamma_that_is_not_0(opt):
    """LeNet on digits, 50 steps; what Γ was after each step is kept and searched afterwards."""
    total = 50
    torch.manual_seed(0)
    model = lenet((1, 28, 28), 10)
    optimizer = opt(model.parameters(), *((0.05,) if opt is SLBI else (0.003,)), mu=1.0, kappa=0.1)
    data = load_dataset("digits")
    recorder = PathRecorder(model, optimizer, total)
    history = [by_hand(optimizer, model)]
    norms = [{name: (optimizer.gamma(p), p.detach().clone()) for name, p in model.named_parameters() if p.ndim > 1}]
    for step in range(total):
        batch = data.train[slice(16 * step, 16 * step + 16)]
        optimizer.zero_grad()
        F.cross_entropy(model(data.normalise(batch.images)), batch.labels).backward()
        optimizer.step()
        recorder.record(step + 1)
        history.append(by_hand(optimizer, model))
        norms.append(
            {name: (optimizer.gamma(p), p.detach().clone()) for name, p in model.named_parameters() if p.ndim > 1}
        )
    times = path_times(np.full(total, 0.125))
    path = recorder.path(times)
    assert (
        path.entry.keys()
        == history[0].keys()
        == {"conv1.weight", "conv2.weight", "conv3.weight", "fc1.weight", "fc2.weight"}
    )
    for name, entry in path.entry.items():
        stack = torch.stack([supports[name] for supports in history])
        expected = torch.where(stack.any(0), stack.int().argmax(0).float(), math.inf)
        np.testing.assert_array_equal(entry, expected.numpy(), strict=True)
    entered = path.entry["conv3.weight"]
    assert np.isfinite(entered).any()
    assert len(np.unique(entered)) > 3
    assert path.steps.tolist() == list(range(total + 1))
    assert path.time.tolist() == times.tolist()
    for name in path.entry:
        for kind, found in enumerate((path.gamma_norm[name], path.weight_norm[name])):
            tensors = torch.stack([record[name][kind] for record in norms])
            expected = tensors.flatten(2).norm(dim=2) if "conv" in name else tensors.flatten(1).norm(dim=1)[:, None]
            np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5)


def one_filter() -> tuple[nn.Module, SLBI]:
    model = nn.Conv2d(1, 2, 1, bias=False)
    optimizer = SLBI(model.parameters())
    optimizer.state[model.weight]["z"] = torch.zeros_like(model.weight)
    return model, optimizer


def test_a_grain_that_leaves_and_comes_back_keeps_its_first_step():
    model, optimizer = one_filter()
    recorder = PathRecorder(model, optimizer, 10)
    z = optimizer.state[model.weight]["z"]
    for step, value in [(1, 0.5), (2, 1.5), (3, 0.5), (4, 1.5)]:
        z[0] = value
        recorder.record(step)
    assert recorder.path(np.arange(11.0)).entry["weight"].tolist() == [2, math.inf]


def test_a_grain_enters_above_the_threshold_and_not_at_it():
    model, optimizer = one_filter()
    recorder = PathRecorder(model, optimizer, 10)
    optimizer.state[model.weight]["z"][:, 0, 0, 0] = torch.tensor([1.0, 1.0 + 2**-23])
    recorder.record(3)
    assert recorder.path(np.arange(11.0)).entry["weight"].tolist() == [math.inf, 3]


def test_norms_are_recorded_at_the_recorded_steps_only():
    model, optimizer = one_filter()
    recorder = PathRecorder(model, optimizer, 1000)
    steps = recorder.path(np.arange(1001.0)).steps.tolist()
    missing = next(step for step in range(1000) if step not in steps)
    model.weight.data.fill_(3)
    recorder.record(missing)
    path = recorder.path(np.arange(1001.0))
    assert not (path.weight_norm["weight"][1:] == 3).any()
    recorder.record(steps[5])
    assert recorder.path(np.arange(1001.0)).weight_norm["weight"][5].tolist() == [3, 3]
    assert path.time.tolist() == steps


def test_a_recorder_goes_on_from_what_was_saved():
    model, optimizer = one_filter()
    first = PathRecorder(model, optimizer, 4)
    optimizer.state[model.weight]["z"][0] = 2
    first.record(1)
    saved = {name: tensor.clone() for name, tensor in first.tensors.items()}
    second = PathRecorder(model, optimizer, 4)
    second.load(saved)
    optimizer.state[model.weight]["z"][1] = 2
    for recorder in (first, second):
        recorder.record(2)
    assert_same(second.path(np.arange(5.0)), first.path(np.arange(5.0)))
    assert second.path(np.arange(5.0)).entry["weight"].tolist() == [1, 2]


def test_sparse_weights_enter_when_they_are_first_not_0_and_at_0_if_they_start_so():
    model = nn.Conv2d(1, 4, 2, bias=False)
    model.weight.data[1:] = 0
    optimizer = LinBreg(model.parameters(), 0.5, momentum=0.0, strength=0.5)  # the threshold is 0.5·√4 = 1
    recorder = PathRecorder(model, optimizer, 10)
    history = []
    for step, sign in enumerate((0, 1, 1, 1, -1, -1, 1, 1), start=1):
        model.weight.grad = torch.zeros_like(model.weight)
        model.weight.grad[2] = -sign * 0.6  # ‖v‖ grows or shrinks by 0.5·0.6·√4 = 0.6
        model.weight.grad[3] = -abs(sign) * 0.35  # ‖v‖ grows by 0.35
        optimizer.step()
        recorder.record(step)
        history.append(optimizer.support(model.weight).tolist())
    assert [inside[2] for inside in history] == [False, False, True, True, True, False, True, True]
    path = recorder.path(np.arange(11.0))
    assert path.entry["weight"].tolist() == [0, math.inf, 3, 4]
    np.testing.assert_array_equal(path.gamma_norm["weight"], path.weight_norm["weight"])
    norms = [model.weight[0].norm().item(), 0, 1.8 - 1, 3 * 0.35 - 1]
    assert path.weight_norm["weight"][4].tolist() == pytest.approx(norms, rel=1e-4)


def test_parameters_outside_the_structure_have_no_path():
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    path = PathRecorder(model, SLBI(model.parameters()), 3).path(np.arange(4.0))
    assert list(path.entry) == list(path.gamma_norm) == list(path.weight_norm) == ["0.weight"]


@pytest.mark.filterwarnings("ignore:the path may be too short")
def test_the_path_of_a_trained_run_agrees_with_its_z(tmp_path):
    run = train(
        Config(opt="slbi", data="digits", epochs=2, batch_size=64, lr=0.1, mu=1.0, kappa=0.1), runs_dir=tmp_path
    )
    path = run.inclusion_path
    steps = run.summary["steps"]
    assert path.steps[0] == 0
    assert path.steps[-1] == steps == 2 * 23
    assert path.time[-1] == pytest.approx(run.summary["path_time"])
    for name, z in run.z.items():
        inside = (z.flatten(1).norm(dim=1) if z.ndim == 4 else z.abs()) > 1
        assert np.isfinite(path.entry[name][inside.numpy()]).all()
        finite = path.entry[name][np.isfinite(path.entry[name])]
        assert ((finite >= 1) & (finite <= steps)).all()
    assert np.isfinite(path.entry["conv3.weight"]).any()
    assert np.isinf(path.entry["fc1.weight"]).any()


def test_a_path_is_shown_in_one_line():
    norms = {"c.weight": np.ones((2, 3)), "f.weight": np.ones((2, 1))}
    entry = {"c.weight": np.array([0.0, 5, np.inf]), "f.weight": np.array([[np.inf], [3]])}
    path = InclusionPath(np.array([0, 5]), np.array([0, 0.125]), entry, norms, norms)
    assert repr(path) == "<InclusionPath: 3 of 5 grains of c.weight, f.weight entered by T = 0.125>"
