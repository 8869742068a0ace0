"""Lottery tickets, and sweeps that train on."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch
from scipy.stats import binomtest

from sparsify import Config, prune, train
from sparsify.analysis.statistics import estimate_fraction
from sparsify.config import Places
from sparsify.errors import SparsifyError, SparsifyWarning
from sparsify.nets.mask import load_mask
from sparsify.pruning.plan import PointPlan
from sparsify.pruning.sweep import Sweep
from sparsify.pruning.tickets import of_seeds, retrained, tickets
from sparsify.report.table import percent
from sparsify.report.tables import tickets_table, tickets_words
from sparsify.runs import Run, list_runs
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
    status = (runs_dir / run.name / "summary.json").stat()
    later = train(dataclasses.replace(run.config, seed=1, epochs=1), device="cpu", runs_dir=runs_dir)
    again = tickets(run, PointPlan(layers="conv3,fc1", ratio=0.5), Places(runs_dir=runs_dir, device="cpu"))
    assert [ticket.run for ticket in again] == [own.run, random.run]
    assert [found.name for found in list_runs(runs_dir)][:2] == [later.name, run.name]
    assert (runs_dir / run.name / "summary.json").stat().st_mtime_ns == status.st_mtime_ns
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


def test_a_ticket_is_trained_with_sgd_where_the_run_is_pulled_and_else_as_the_run():
    slbi = Config(data="digits", opt="slbi", lr=0.05, kappa=2, mu=4, weight_decay=1e-4, momentum=0.8)
    plain = retrained(slbi)
    assert plain == Config(data="digits", opt="sgd", lr=0.1, weight_decay=1e-4, momentum=0.8)  # W moves at α·κ
    assert retrained(slbi, "slbi") is slbi
    assert retrained(slbi, rewind=1) is slbi
    assert retrained(Config(data="digits", opt="slbi-adam", lr=0.004), "adam").lr == 0.004
    assert retrained(Config(data="digits", opt="slbi-adam", lr=0.004)) == Config(data="digits", opt="sgd")
    assert (retrained(slbi, "sgd-pull").mu, retrained(slbi, "sgd-pull").lr) == (4, 0.05)  # it has κ itself
    other = retrained(Config(data="digits", opt="slbi-adam", mu=3, path_scale=9), "slbi")
    assert (other.mu, other.path_scale) == (Config(opt="slbi").mu, Config(opt="slbi").path_scale)
    follows = Config(data="digits", opt="random-release", release="a-run")
    assert retrained(follows) == Config(data="digits", opt="sgd", lr=follows.lr)
    decays = Config(data="digits", opt="adamw", decay_schedule="cosine")
    assert retrained(decays, "rprop").decay_schedule == "constant"
    adam = Config(data="digits", opt="adam", opt_options="amsgrad=true")
    assert retrained(adam) is adam
    assert retrained(adam, "sgd") == Config(data="digits", opt="sgd")
    with pytest.raises(SparsifyError, match=r"--opt sgd with --rewind 2: its first epochs .* with slbi; leave one"):
        retrained(slbi, "sgd", rewind=2)
    with pytest.raises(SparsifyError, match="unknown optimizer 'sdg'; did you mean 'sgd'"):
        retrained(slbi, "sdg")


def test_tickets_of_several_seeds_have_an_interval_and_leave_out_what_collapsed(run: Run, tmp_path: Path) -> None:
    places = Places(runs_dir=run.path.parent, device="cpu")
    runs = of_seeds(run, [0, 1], places)
    assert runs[0] is run
    assert runs[1].config == dataclasses.replace(run.config, seed=1)
    found = [one for whole in runs for one in tickets(whole, PointPlan(layers="conv3,fc1", ratio=0.5), places)]
    assert [one.whole.config.seed for one in found] == [0, 0, 1, 1]
    assert found[2].run.config.mask.startswith(runs[1].name)  # the mask of its own run
    table = tickets_table(found, 0.5)
    assert [column.heading for column in table.columns] == [
        *("mask", "optimizer", "seeds", "grains kept", "test accuracy (%)", "95% interval", "n")
    ]
    whole, own, random = (dict(zip([c.heading for c in table.columns], row, strict=True)) for row in table.texts())
    assert (whole["mask"], own["mask"], random["mask"]) == ("none", "magnitude", "random")
    assert own["seeds"] == "0, 1"
    accuracies = [one.run.summary["accuracy"] for one in found[::2]]
    assert own["test accuracy (%)"] == percent(accuracies)
    ends = estimate_fraction(accuracies)
    alike = ends.low is None or ends.high is None  # two seeds answer as many right, on one processor or another
    assert own["95% interval"] == ("–" if alike else f"[{100 * ends.low:.2f}, {100 * ends.high:.2f}]")
    failed = Run(tmp_path / found[1].run.name)
    shutil.copytree(found[1].run.path, failed.path)
    summary = failed.summary | {"collapsed": "loss stays at ln 10"}
    failed.write_summary(summary, [name for name in summary["sha256"] if name != "summary.json"])
    table = tickets_table([found[0], dataclasses.replace(found[1], run=failed), *found[2:]], 0.5)
    assert [column.heading for column in table.columns][-2:] == ["n", "collapsed"]
    assert table.texts()[2][-2:] == ["1", "1"]
    assert table.texts()[2][4] == percent([found[3].run.summary["accuracy"]])
    assert table.texts()[2][5] == over_images(found[3].run)


def over_images(run: Run) -> str:
    """The interval of one network's accuracy, as Clopper and Pearson have it."""
    count, fraction = run.summary["count"], run.summary["accuracy"]
    low, high = binomtest(round(fraction * count), count).proportion_ci(0.95)
    return f"[{100 * low:.2f}, {100 * high:.2f}]*"


def test_tickets_of_one_seed_have_an_interval_over_the_images(run: Run) -> None:
    found = tickets(run, PointPlan(layers="conv3,fc1", ratio=0.5), Places(runs_dir=run.path.parent, device="cpu"))
    table = tickets_table(found, 0.5)
    assert [column.heading for column in table.columns][4:] == ["test accuracy (%)", "95% interval", "n", "run"]
    runs = [run, *(one.run for one in found)]
    assert [row[4:] for row in table.texts()] == [
        [percent([one.summary["accuracy"]]), over_images(one), "1", one.name] for one in runs
    ]


def test_tickets_of_several_seeds_leave_the_order_of_runs_as_it_is(run: Run, tmp_path: Path) -> None:
    """Also that of the runs of other seeds, whether they are older or newer than the run that is named."""
    places = Places(runs_dir=tmp_path, device="cpu")
    quick = dataclasses.replace(run.config, epochs=1)
    older, asked, other, newest = (
        train(config, places)
        for config in (
            dataclasses.replace(quick, seed=1),
            quick,
            dataclasses.replace(quick, lr=0.04),
            dataclasses.replace(quick, seed=2),
        )
    )
    for whole in of_seeds(asked, [0, 1, 2, 3], places):
        tickets(whole, PointPlan(layers="conv3", ratio=0.5), places)
    order = [found.name for found in list_runs(tmp_path) if found.config.mask is None]
    new = dataclasses.replace(quick, seed=3).name
    assert order == [newest.name, other.name, asked.name, new, older.name]


def test_the_words_below_the_table_say_what_differs(run: Run) -> None:
    places = Places(runs_dir=run.path.parent, device="cpu")
    point = PointPlan(layers="conv3,fc1", ratio=0.5)
    star = "; *: one seed, so that only images are sampled"
    assert tickets_words(tickets(run, point, places)) == f"the rows differ in the mask; all are trained with sgd{star}"
    words = tickets_words(tickets(run, point, places, opt="adam"))
    assert words == (
        "the rows differ in the mask and in the optimizer: sgd for the whole network, adam (lr 0.001, weight-decay 0) "
        f"for the tickets{star}"
    )
    several = [one for whole in of_seeds(run, [0, 1], places) for one in tickets(whole, point, places)]
    assert "*" not in tickets_words(several)


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
