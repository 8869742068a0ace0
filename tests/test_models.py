"""The runs that ship with a clone are whole."""

from pathlib import Path

import pytest
import torch

import sparsify
from sparsify.pruning.sweep import list_sweeps
from sparsify.runs import list_runs

RUNS = list_runs(Path(__file__).parent.parent / "models")


def test_there_is_one_of_each_optimizer():
    assert sorted(run.config.opt for run in RUNS) == ["sgd", "slbi", "slbi-adam"]


def test_loading_one_leaves_torchs_generator_as_it_was():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    sparsify.load(RUNS[0].path)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_a_run_is_what_its_sums_say_and_no_larger_than_a_megabyte(run):
    run.verify()
    assert run.summary["status"] == "finished"
    assert run.model()(torch.zeros(1, *run.summary["shape"])).shape == (1, len(run.summary["classes"]))
    assert (run.inclusion_path is None) == (run.config.opt == "sgd")
    (sweep,) = list_sweeps(run.path)
    assert sweep.plan.layers == ("conv3", "conv3,fc1")
    assert not sweep.before_units  # nothing in LeNet is coupled
    assert all(file.stat().st_size < 2**20 for file in run.path.iterdir())
