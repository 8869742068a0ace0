"""Collapsed trainings: by hand, where each answer is known, and real ones on the embedded digits."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from summaries import SUMMARY

from sparsify import Config, prune, train
from sparsify.errors import SparsifyError
from sparsify.runs import Epoch, Run, finished_runs
from sparsify.runs.collapse import Guess, after_collapse, collapse

TEN = Guess.of([0.1] * 10)
IMAGES = 1437


def row(loss: float, accuracy: float, test_loss: float = 2.3) -> Epoch:
    return {
        "epoch": 1.0,
        "step": 1.0,
        "lr": 0.1,
        "train_loss": loss,
        "train_accuracy": accuracy,
        "val_loss": None,
        "val_accuracy": None,
        "test_loss": test_loss,
        "test_accuracy": accuracy,
        "seconds": 1.0,
    }


def test_a_guess_has_the_entropy_of_the_labels():
    """Of 3 to 1: 2·ln 2 − ¾·ln 3. Labels that are smoothed altogether are even."""
    assert TEN.loss == pytest.approx(math.log(10))
    assert Guess.of([0.75, 0.25]).loss == pytest.approx(2 * math.log(2) - 0.75 * math.log(3))
    assert Guess.of([0.75, 0.25]).accuracy == 0.75
    assert Guess.of([1.0, 0.0], 0.5).loss == pytest.approx(Guess.of([0.75, 0.25]).loss)
    assert Guess.of([0.1] * 10, 0.3).loss == pytest.approx(math.log(10))


@pytest.mark.parametrize(
    ("rows", "guess", "said"),
    [
        ([row(2.303, 0.101)] * 3, TEN, "loss stays at ln 10"),
        ([row(0.5, 0.9)] * 9 + [row(2.31, 0.09)] * 3, TEN, "loss stays at ln 10"),  # it has learned, and lost it
        ([row(7.0, 0.1)] * 3, TEN, "loss stays above ln 10"),
        ([row(0.694, 0.502)] * 3, Guess.of([0.5, 0.5]), "loss stays at ln 2"),
        ([row(0.563, 0.75)] * 3, Guess.of([0.75, 0.25]), "loss stays at 0.56, that of guessing"),
        ([row(math.nan, 0.1)], TEN, "the loss is not finite"),
        ([row(2.3, 0.1, math.inf)], TEN, "the loss is not finite"),
        ([row(2.303, 0.101)] * 2, TEN, None),  # it may not have got going yet
        ([row(2.25, 0.16), row(2.303, 0.1), row(2.303, 0.1)], TEN, "loss stays at ln 10"),
        ([row(2.303, 0.1), row(2.25, 0.16), row(2.303, 0.1)], TEN, None),
        ([row(2.29, 0.25)] * 3, TEN, None),  # slow, but it answers
        ([row(0.60, 0.68)] * 3, Guess.of([0.5, 0.5]), None),
        ([row(2.29, 0.9)] * 3, Guess.of([0.1] * 10, 0.95), None),  # smoothed labels: the best loss is near ln 10, too
        ([row(2.5, 0.3)] * 3, TEN, None),  # overconfident
    ],
)
def test_a_loss_that_stays_at_guessing(rows, guess, said):
    assert collapse(rows, guess, IMAGES) == said


def test_with_one_class_there_is_nothing_to_guess():
    assert not Guess.of([1.0]).reached(0.0, 1.0, 100)


def test_weights_that_vanish_are_a_collapse_only_where_nothing_is_answered():
    assert collapse([row(2.303, 0.1)], TEN, IMAGES, ["conv1", "conv3"]) == "the weights of conv1 and conv3 vanish"
    assert collapse([row(0.1, 0.97)], TEN, IMAGES, ["conv3"]) is None  # a skip connection leads past it


def test_the_likely_reason_is_that_of_the_optimizer():
    assert after_collapse("slbi", masked=True) == "the pull is too hard for what is left: try a larger --mu"
    assert after_collapse("sgd-pull") == "the pull is too hard: try a larger --mu"
    assert "--strength" in after_collapse("prox-sgd")
    assert "--lr" in after_collapse("sgd")


def digits(tmp_path: Path, **options) -> Run:
    values = {"data": "digits", "opt": "sgd", "epochs": 3, "batch_size": 64} | options
    return train(Config(**values), device="cpu", runs_dir=tmp_path)


def test_a_learning_rate_that_does_not_train_collapses_and_is_no_result(tmp_path):
    run = digits(tmp_path, lr=1.0)
    assert (run.status, run.collapsed) == ("collapsed", "loss stays at ln 10")
    assert json.loads((run.path / "summary.json").read_text())["collapsed"] == "loss stays at ln 10"
    assert "collapsed (loss stays at ln 10)" in repr(run)
    assert finished_runs(tmp_path) == []
    said = "collapsed and is no result: loss stays at ln 10; try another --lr"
    with pytest.raises(SparsifyError, match=said):
        prune(run, layers="conv3", device="cpu")
    with pytest.raises(SparsifyError, match=said):
        digits(tmp_path, init=run.name)
    assert run.model().conv1.weight.isfinite().all()  # it can be looked at


def test_a_pull_that_is_too_hard_lets_the_weights_vanish(tmp_path):
    run = digits(tmp_path, opt="sgd-pull", lr=0.05, mu=0.1, epochs=2)
    assert run.collapsed == "the weights of conv1, conv2, conv3 and fc1 vanish"
    assert run.why_lost.endswith("vanish; the pull is too hard: try a larger --mu")


@pytest.mark.parametrize("options", [{"epochs": 1}, {"lr": 0.05}, {"lr": 0.05, "label_smoothing": 0.3}])
def test_a_healthy_training_is_not_marked(options, tmp_path):
    run = digits(tmp_path, **options)
    assert (run.status, run.collapsed) == ("finished", None)


def test_runs_from_before_are_judged_by_their_last_epoch(tmp_path):
    old = SUMMARY | {"classes": list("0123456789"), "epochs": 20, "count": 10000}
    for number, (loss, accuracy, status) in enumerate(
        [(2.301, 0.1124, "collapsed"), (0.01, 0.99, "finished"), (None, 0.1, "finished")]
    ):
        run = Run(tmp_path / str(number))
        run.path.mkdir()
        run.write_json("summary.json", old | {"train_loss": loss, "train_accuracy": accuracy})
        assert run.status == status
    lost = Run(tmp_path / "0")
    assert (lost.collapsed, lost.lost) == ("loss stays at ln 10", "loss stays at ln 10")
    assert (Run(tmp_path / "1").lost, Run(tmp_path / "1").why_lost) == (None, None)


@pytest.mark.parametrize("kept", [{}, {"collapsed": "the loss is not finite"}])
def test_a_run_that_diverged_has_not_collapsed(kept, tmp_path):
    """Its summary.json may say why it is no result under that name."""
    run = Run(tmp_path)
    run.write_json("summary.json", SUMMARY | {"status": "diverged"} | kept)
    assert (run.status, run.collapsed, run.lost) == ("diverged", None, "the loss is not finite")
    assert run.why_lost == "the loss is not finite; try a lower --lr"
