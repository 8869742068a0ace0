"""Run: what its files hold, by their types, and that a file that changes is read again."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from summaries import SUMMARY

from sparsify.config import Config
from sparsify.errors import SparsifyError
from sparsify.runs import METRICS, Run, folder


@pytest.fixture
def run(tmp_path: Path) -> Run:
    found = Run(tmp_path / "run")
    found.write_json("summary.json", SUMMARY)
    return found


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What was parsed."""
    contents: list[bytes] = []
    parse = folder.unsealed

    def noted(file, content):
        contents.append(content)
        return parse(file, content)

    monkeypatch.setattr(folder, "unsealed", noted)
    return contents


def test_a_summary_is_parsed_once(run, reads):
    assert [run.status for _ in range(3)] == ["finished"] * 3
    assert run.summary["accuracy"] == 0.9
    assert len(reads) == 1


def test_a_summary_that_appears_changes_and_goes_is_seen(run, reads):
    (run.path / "summary.json").unlink()
    assert run.status == "unfinished"
    run.write_json("summary.json", SUMMARY)
    assert run.status == "finished"
    before = (run.path / "summary.json").stat()
    run.write_json("summary.json", SUMMARY | {"accuracy": 0.8})  # as long, and as old
    os.utime(run.path / "summary.json", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert run.summary["accuracy"] == 0.8
    (run.path / "summary.json").unlink()
    assert run.status == "unfinished"
    with pytest.raises(SparsifyError, match=r"summary\.json is missing; delete the folder and train it again"):
        _ = run.summary
    assert len(reads) == 2


def test_what_was_read_is_no_part_of_what_a_run_is(run):
    assert run.status == "finished"
    assert (run, hash(run), repr(run)) == (Run(run.path), hash(Run(run.path)), repr(Run(run.path)))


def test_a_run_is_shown_in_one_line_with_how_it_ended(run, monkeypatch):
    monkeypatch.chdir(run.path.parent)
    run = Run(Path("run"))
    assert repr(run) == "<Run run: finished, test accuracy 90.00%>"
    run.write_json("summary.json", SUMMARY | {"status": "diverged", "epochs": 3})
    assert repr(run) == "<Run run: diverged in epoch 3>"
    (run.path / "summary.json").write_text("{")
    assert repr(run) == "<Run run: damaged>"
    (run.path / "summary.json").unlink()
    assert repr(run) == "<Run run: unfinished after 0 epochs>"


def test_a_notebook_shows_a_run_as_a_table_with_its_names_escaped(run):
    folder = run.path.rename(run.path.with_name("a<b>"))
    assert Run(folder)._repr_html_() == (
        "<table><tr><th>run</th><td>a&lt;b&gt;</td></tr><tr><th>status</th><td>finished</td></tr>"
        "<tr><th>test accuracy</th><td>90.00%</td></tr></table>"
    )
    Run(folder).write_json("config.json", Config(data="digits", opt="sgd", epochs=2).to_dict())
    shown = "Config(model=&#x27;lenet&#x27;, data=&#x27;digits&#x27;, opt=&#x27;sgd&#x27;, epochs=2)"
    assert f"<tr><th>settings</th><td>{shown}</td></tr></table>" in Run(folder)._repr_html_()


def test_the_curves_of_a_run_are_drawn(run):
    run.write_json("config.json", Config(data="digits", opt="sgd").to_dict())
    run.write_metrics([dict.fromkeys(METRICS, 0.5) | {"epoch": e, "step": e, "val_accuracy": None} for e in (1, 2)])
    accuracy = run.plot(title="mine").axes[1]
    assert accuracy.lines[0].get_xydata().tolist() == [[1, 50], [2, 50]]
    assert run.plot(title="mine").get_suptitle().startswith("mine")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"status": "perfect"}, "status is 'perfect'; it must be one of: finished, diverged"),
        ({"accuracy": "good"}, "accuracy is 'good'; it must be a number"),
        ({"count": 1.5}, "count is 1.5; it must be a whole number"),
        ({"shape": [28, 28]}, "shape is [28, 28]; it must be a list of length 3"),
        ({"classes": []}, "classes is []; it must be a list of length >= 1"),
        ({"support": [1]}, "support is [1]; it must be an object"),
        ({"support": {"fc1.weight": {"of": 3}}}, "support[...].in is missing"),
        ({"sha256": {}}, "sha256.model.safetensors is missing"),
    ],
)
def test_a_summary_that_does_not_fit_names_the_file_the_key_and_what_was_expected(changes, message, run):
    run.write_json("summary.json", SUMMARY | changes)
    with pytest.raises(SparsifyError) as caught:
        _ = run.status
    path = run.path / "summary.json"
    assert str(caught.value) == f"{path} is damaged: {message}; delete the folder and train it again"


def test_a_key_that_is_missing_is_named(run):
    for key in SUMMARY:
        run.write_json("summary.json", {name: value for name, value in SUMMARY.items() if name != key})
        with pytest.raises(SparsifyError, match=f"is damaged: {key} is missing;"):
            _ = run.summary


def test_metrics_are_numbers_by_the_names_of_their_columns(run):
    row = dict.fromkeys(METRICS, 1) | {"val_loss": None, "val_accuracy": None, "train_loss": float("nan")}
    run.write_metrics([row, row | {"epoch": 2}])
    metrics = run.metrics
    assert list(metrics) == list(METRICS)
    assert metrics.val_loss.isna().all()  # a column, of numbers that are missing
    assert set(map(str, metrics.drop(columns=["epoch", "step"]).dtypes)) == {"float64"}
    assert (metrics.epoch.tolist(), metrics.train_loss.isna().tolist()) == ([1, 2], [True, True])
    assert run.epochs_done == 2
    text = (run.path / "metrics.csv").read_text()
    (run.path / "metrics.csv").write_text(text.replace("2,1,", "two,1,"))
    with pytest.raises(SparsifyError, match=r"metrics\.csv is damaged: line 3: epoch is 'two'; it must be a number;"):
        _ = run.metrics


def test_other_files_must_be_objects(run):
    (run.path / "environment.json").write_text(json.dumps([1]))
    with pytest.raises(SparsifyError, match=r"environment\.json is damaged: it is \[1\]; it must be an object;"):
        _ = run.environment
