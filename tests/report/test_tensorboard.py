"""Events for TensorBoard hold what the run's own files hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sparsify.cli.app import main
from sparsify.runs import list_runs

accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
TRAIN = ["train", "--data", "digits", "--epochs", "3", "--lr", "0.1", "--mu", "4", "--batch-size", "16"]


def events(folder: Path) -> object:
    found = accumulator.EventAccumulator(str(folder / "tensorboard"))
    found.Reload()
    return found


@pytest.mark.parametrize("before", [False, True], ids=["as it is trained", "of a run that was trained before"])
def test_events_are_the_rows_and_the_path_of_the_run(before, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if before:
        assert main(TRAIN) == 0
    assert main([*TRAIN, "--tensorboard"]) == 0
    (run,) = list_runs(Path("runs"))
    found = events(run.path)
    for column, tag in (("train_loss", "loss/train"), ("test_accuracy", "accuracy/test"), ("lr", "learning rate")):
        scalars = [(e.step, e.value) for e in found.Scalars(tag)]
        assert [step for step, _ in scalars] == [1, 2, 3]
        np.testing.assert_allclose([value for _, value in scalars], run.metrics[column], rtol=1e-6)
    path = run.inclusion_path
    entered = [e.value for e in found.Scalars("entered/conv3")]
    np.testing.assert_allclose(entered, [(path.entry["conv3.weight"] <= step).mean() for step in path.steps], rtol=1e-6)
    assert entered[0] == 0
    assert entered[-1] > 0
    assert found.Tags()["images"] == ["filters/conv1", "filters/conv2", "filters/conv3"]
    assert found.Scalars("accuracy")[0].value == pytest.approx(run.summary["accuracy"])


def test_several_seeds_have_events_each_and_a_run_without_a_path_has_none_of_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--opt", "sgd", *TRAIN[1:5], "--seeds", "2", "--tensorboard"]) == 0
    runs = list_runs(Path("runs"))
    assert len(runs) == 2
    for run in runs:
        tags = events(run.path).Tags()["scalars"]
        assert "accuracy/test" in tags
        assert not any(tag.startswith("entered/") for tag in tags)


def test_without_the_package_it_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    assert main([*TRAIN, "--tensorboard"]) == 2
    assert "pip install 'sparsify-study[tensorboard]'" in capsys.readouterr().err
    assert not list(Path(".").iterdir())


def test_a_training_that_began_without_it_has_all_epochs_and_no_event_twice(tmp_path, monkeypatch, ctrl_c_in_epoch_2):
    monkeypatch.chdir(tmp_path)
    with ctrl_c_in_epoch_2():
        assert main(TRAIN) == 130
    for _ in range(2):
        assert main([*TRAIN, "--tensorboard"]) == 0
        (run,) = list_runs(Path("runs"))
        found = events(run.path)
        assert [e.step for e in found.Scalars("accuracy/test")] == [1, 2, 3]
        assert len(found.Images("filters/conv3")) == 1
