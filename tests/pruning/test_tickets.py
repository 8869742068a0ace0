"""Lottery tickets, and sweeps that train on."""

from __future__ import annotations

import pytest
import torch

from sparsify import Config, prune, train
from sparsify.config import Places
from sparsify.errors import SparsifyError, SparsifyWarning
from sparsify.nets.mask import load_mask
from sparsify.pruning.plan import PointPlan
from sparsify.pruning.sweep import Sweep
from sparsify.pruning.tickets import tickets
from sparsify.runs import Run
from sparsify.training.starting import initial_model

pytestmark = pytest.mark.filterwarnings("ignore:the path may be too short")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    config = Config(data="digits", opt="sgd", epochs=4, batch_size=32, lr=0.05)
    return train(config, device="cpu", runs_dir=tmp_path_factory.mktemp("runs"))


def test_a_ticket_is_the_start_under_the_mask_of_the_end_and_a_random_one_keeps_as_many(run: Run) -> None:
    runs_dir = run.path.parent
    own, random = tickets(run, PointPlan(layers="conv3,fc1", ratio=0.5), Places(runs_dir=runs_dir, device="cpu"))
    assert (own.criterion, random.criterion) == ("magnitude", "random")
    trained, start = dict(run.model().named_parameters()), dict(initial_model(run.config).named_parameters())
    mask = load_mask(own.mask)
    norms = trained["conv3.weight"].flatten(1).norm(dim=1)
    assert mask["conv3.weight"].flatten(1).any(1).tolist() == (norms > norms.median()).tolist()
    assert int(mask["fc1.weight"].sum()) == int(load_mask(random.mask)["fc1.weight"].sum()) == 84 * 120 // 2
    assert not torch.equal(mask["fc1.weight"], load_mask(random.mask)["fc1.weight"])
    for ticket in (own, random):
        assert (ticket.kept, ticket.total) == (60 + 5040, 120 + 10080)
        weights = ticket.run.tensors("model.safetensors")
        for name, keep in load_mask(ticket.mask).items():
            assert not weights[name][~keep].any()
        assert ticket.run.config.seed == run.config.seed
        assert ticket.run.config.init is None
    # trained from the same start: after no step at all it would be the start under the mask
    assert start["conv1.weight"].shape == weights["conv1.weight"].shape
    again = tickets(run, PointPlan(layers="conv3,fc1", ratio=0.5), Places(runs_dir=runs_dir, device="cpu"))
    assert [ticket.run for ticket in again] == [own.run, random.run]
    with pytest.raises(SparsifyError, match="was trained under a mask itself"):
        tickets(own.run, PointPlan(layers="conv3", ratio=0.5), Places(runs_dir=runs_dir))


def test_a_ticket_that_rewinds_goes_the_runs_own_way_until_then(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = (run, PointPlan(layers="conv3,fc1", ratio=0.5), Places(runs_dir=run.path.parent, device="cpu"))
    start, early = tickets(*asked)[0], tickets(*asked, rewind=3)[0]
    assert early.mask == start.mask
    assert (early.run.config.mask_from, early.run.name != start.run.name) == (3, True)
    rows = (one.metrics.to_dict("records") for one in (run, early.run, start.run))
    for row, mine, from_start in zip(*rows, strict=True):
        assert row["lr"] == mine["lr"] == from_start["lr"]
        assert (row["train_loss"] == mine["train_loss"]) == (row["epoch"] <= 3)
        assert row["train_loss"] != from_start["train_loss"]
    threads = {"threads": run.environment["threads"] + 1}
    monkeypatch.setattr(Run, "environment", property(lambda one: {**one._json("environment.json"), **threads}))
    with pytest.warns(SparsifyWarning, match=r"trained again elsewhere than .* was \(threads 2 → 1\)"):
        tickets(*asked, rewind=3)
    weights = early.run.tensors("model.safetensors")
    assert not any(weights[name][~keep].any() for name, keep in load_mask(early.mask).items())
    for rewind in (-1, 4):
        with pytest.raises(SparsifyError, match=rf"--rewind is {rewind}; it must be from 0 to 3: .* has 4 epochs"):
            tickets(*asked, rewind=rewind)


def test_a_sweep_measures_each_point_before_and_after_training_on(run: Run, tmp_path) -> None:
    plain = prune(run, layers="conv3,fc1", ratios=[0.8], device="cpu")
    tuned = prune(run, layers="conv3,fc1", ratios=[0.8], device="cpu", finetune_epochs=1)
    assert tuned.rows[0].accuracy == plain.rows[0].accuracy
    assert tuned.rows[0].finetuned_accuracy > plain.rows[0].accuracy
    assert tuned.id != plain.id
    assert Sweep.read(tuned.save(tmp_path)).rows == tuned.rows
    assert plain.rows[0].finetuned_accuracy is None
    with pytest.raises(SparsifyError, match="--finetune is -1; it must be a whole number of at least 0"):
        prune(run, layers="conv3", finetune_epochs=-1)


def test_sweeps_from_before_a_column_was_added_are_read(run: Run, tmp_path) -> None:
    sweep = prune(run, layers="conv3", ratios=[0, 0.5], device="cpu")
    path = sweep.save(tmp_path)
    (tmp_path / "sums.json").unlink()  # there were none then
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line.rsplit(",", 4)[0] for line in lines) + "\n")
    assert Sweep.read(path).rows == sweep.rows
