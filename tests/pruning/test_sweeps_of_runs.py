"""Sweeps of runs that were trained: from their own accuracy on, in the order of their paths."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sparsify import Config, load_dataset, train
from sparsify.config import Places
from sparsify.errors import SparsifyError
from sparsify.pruning.cuts import cuts_of
from sparsify.pruning.measuring import prune
from sparsify.pruning.plan import PointPlan
from sparsify.pruning.subject import subject_of
from sparsify.runs import Run

pytestmark = pytest.mark.filterwarnings("ignore:the path may be too short")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    """SLBI on digits with a κ other than 1; conv3's filters enter within its second epoch, at different steps."""
    config = Config(opt="slbi", data="digits", epochs=2, batch_size=64, lr=0.1, mu=1.0, kappa=0.1, schedule="constant")
    return train(config, runs_dir=tmp_path_factory.mktemp("runs"), device="cpu")


def files(run: Run) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(run.path).iterdir()}


@pytest.mark.parametrize("criterion", ["magnitude", "entry", "gamma", "random", "taylor", "fpgm", "lamp"])
def test_a_run_is_swept_from_its_own_accuracy_on(run, criterion):
    before = files(run)
    sweep = prune(run, layers="conv3,fc1", ratios="0:1:0.5", criterion=criterion, device="cpu")
    assert sweep.rows[0].accuracy == run.summary["accuracy"]
    assert sweep.rows[0].count == 360
    assert sweep.rows[0].params == 61_706
    assert [(entry.layer, entry.removed, entry.total) for entry in sweep.ledger[2:4]] == [
        ("conv3", 60, 120),
        ("fc1", 5040, 10_080),
    ]
    assert sweep.rows[2].accuracy < sweep.rows[0].accuracy
    assert files(run) == before


def test_the_path_of_a_run_is_that_of_its_files(run):
    path = subject_of(run, Places(device="cpu")).path
    assert path.keys() == {"conv1.weight", "conv2.weight", "conv3.weight", "fc1.weight", "fc2.weight"}
    for name, state in path.items():
        z = run.z[name]
        assert torch.equal(state.z, z)
        assert state.entry.tolist() == run.inclusion_path.entry[name].tolist()
        assert state.per_epoch == run.metrics.step[0]
        if z.ndim == 4:
            norms = z.flatten(1).norm(dim=1)[:, None, None, None]
            gamma = 0.1 * z * (1 - 1 / norms).clamp(min=0)
        else:
            gamma = 0.1 * z.sign() * (z.abs() - 1).clamp(min=0)
        # 1 − 1/norm of a norm near 1 has the rounding of the norm, which is up to 1e-7 of it
        torch.testing.assert_close(state.gamma, gamma, rtol=1e-5, atol=1e-7)
    assert (path["conv3.weight"].gamma != 0).any()
    assert len(path["conv3.weight"].entry.unique()) > 1


def test_a_run_with_validation_images_is_measured_on_those(tmp_path):
    config = Config(opt="sgd", data="digits", epochs=1, batch_size=64, val=0.1, seed=5)
    held = train(config, runs_dir=tmp_path, device="cpu")
    (row,) = prune(held, layers="conv1", ratios=[0], device="cpu").rows
    assert row.count == 144 != len(load_dataset("digits").test)
    assert row.accuracy == held.summary["accuracy"]
    with pytest.raises(SparsifyError, match="needs Γ and Z of a run trained with one of slbi, slbi-adam, random"):
        prune(held, layers="conv1", ratios=[0], criterion="gamma", device="cpu")


def test_a_run_whose_weights_are_sparse_is_pruned_in_the_order_of_its_path(tmp_path):
    config = Config(opt="linbreg", data="digits", epochs=3, batch_size=32)
    trained = train(config, runs_dir=tmp_path, device="cpu")
    state = subject_of(trained, Places(device="cpu")).path["conv3.weight"]
    assert state.entry.tolist() == trained.inclusion_path.entry["conv3.weight"].tolist()
    assert state.gamma is None
    never = int(state.entry.isinf().sum())
    assert 0 < never < 120
    subject = subject_of(trained, Places(device="cpu"))
    (cut,) = cuts_of(subject, PointPlan(layers="conv3", ratio=never / 120, criterion="entry"))
    assert torch.equal(cut.drop, state.entry.isinf())
    assert not subject.model.conv3.weight[cut.drop].any()
    with pytest.raises(SparsifyError, match="criterion 'gamma' needs Γ and Z of a run"):
        prune(trained, layers="conv3", ratios=[0], criterion="gamma", device="cpu")


@pytest.mark.cuda
@pytest.mark.parametrize("criterion", ["magnitude", "entry", "gamma", "random", "fpgm", "lamp"])
def test_a_sweep_on_cuda_is_that_of_the_cpu(run, criterion):
    options = {"layers": ["conv2,fc1", "conv3"], "ratios": "0:1:0.25", "criterion": criterion, "grain": "neuron"}
    here, there = prune(run, device="cpu", **options), prune(run, device="cuda", **options)
    assert there.ledger == here.ledger
    for a, b in zip(here.rows, there.rows, strict=True):
        assert (a.params, a.macs) == (b.params, b.macs)
        assert abs(a.correct - b.correct) <= 2  # sums in another order
