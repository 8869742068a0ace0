"""Run: what its files hold, by their types, and that a file that changes is read again."""

from __future__ import annotations

import hashlib
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


@pytest.mark.parametrize(
    ("column", "cell", "message"),
    [
        ("epoch", "", "line 3: epoch is None; it must be a number"),
        ("epoch", "nan", "line 3: epoch is nan; it must be 2"),
        ("epoch", "1", "line 3: epoch is 1; it must be 2"),
        ("step", "inf", "line 3: step is inf; it must be a whole number"),
        ("step", "1e300", "line 3: step is 1e+300; it must be a whole number"),
        ("step", "1.5", "line 3: step is 1.5; it must be a whole number"),
        ("lr", "9" * 5000, "line 3: Number out of range"),
        ("train_accuracy", "nan", "line 3: train_accuracy is nan; it must be from 0 to 1"),
        ("test_accuracy", "1.5", "line 3: test_accuracy is 1.5; it must be from 0 to 1"),
    ],
)
def test_metrics_that_are_none_are_named(column, cell, message, run):
    row = dict.fromkeys(METRICS, 1)
    run.write_metrics([row, row | {"epoch": 2, column: cell}])
    with pytest.raises(SparsifyError) as caught:
        _ = run.metrics
    said = str(caught.value)
    assert "\n" not in said
    assert "metrics.csv is damaged: line 3: " in said
    assert message in said or (cell.startswith("9") and "lr" in said)


@pytest.mark.parametrize("text", ["[" * 10**5, '{"a":' * 10**5, "NaN", '{"accuracy": NaN}', "1" * 5000, '{"a": 1e999}'])
@pytest.mark.parametrize("file", ["summary.json", "config.json", "environment.json"])
def test_json_that_is_none_is_named(file, text, run):
    (run.path / file).write_text(text)
    with pytest.raises(SparsifyError) as caught:
        getattr(Run(run.path), file.removesuffix(".json"))
    assert f"{file} is damaged: it is " in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("file", ["summary.json", "config.json", "environment.json", "metrics.csv"])
def test_a_pipe_or_a_device_is_named_and_never_waited_for(file, run):
    path = run.path / file
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    for kind in ("a named pipe", "a device"):
        with pytest.raises(SparsifyError, match=f"{file} is {kind}, not a file; delete the folder and train it again"):
            getattr(Run(run.path), file.split(".")[0])
        path.unlink()
        path.symlink_to("/dev/zero")


@pytest.mark.parametrize("name", ["../other.json", "/etc/passwd", "a/b", "..", "", "a\\b"])
def test_sums_of_what_is_no_file_of_the_run_are_refused_and_it_is_not_opened(name, run, monkeypatch):
    run.write_json("summary.json", SUMMARY | {"sha256": {"model.safetensors": "", name: "0"}})
    opened = []
    monkeypatch.setattr(folder, "regular", lambda path: opened.append(path.name) or path)
    with pytest.raises(SparsifyError, match=r"summary\.json is damaged: sha256 names .*, which is no file"):
        run.verify()
    assert set(opened) == {"summary.json"}


def test_a_summary_has_its_own_sum_and_a_format(run):
    (run.path / "metrics.csv").write_text("x")
    run.write_summary({key: value for key, value in SUMMARY.items() if key != "sha256"}, ["metrics.csv"])
    path = run.path / "summary.json"
    values = json.loads(path.read_text())
    assert values["format"] == 2
    own = values["sha256"]["summary.json"]
    assert hashlib.sha256(path.read_text().replace(own, "").encode()).hexdigest() == own
    for change in ({"format": 3}, {"accuracy": 0.91}, {"sha256": {}}, {"sha256": {"summary.json": 5}}):
        run.write_json("summary.json", values | change)
        with pytest.raises(SparsifyError, match=r"summary\.json is damaged: "):
            _ = run.status


def test_an_unfinished_run_whose_config_is_not_that_of_its_name_is_damaged(tmp_path):
    config = Config(data="digits", opt="sgd", epochs=2)
    run = Run(tmp_path / config.name)
    run.write_json("config.json", config.to_dict())
    assert Run(run.path).config == config
    run.write_json("config.json", config.to_dict() | {"epochs": 3})
    with pytest.raises(SparsifyError, match=r"config\.json is damaged: its settings give the digest \w{8}, not \w{8};"):
        _ = Run(run.path).config
    assert Run(run.path.rename(tmp_path / "mine")).config.epochs == 3


def test_measurements_do_not_go_into_another_run_of_the_same_name(run, tmp_path):
    """Two machines give a run the same name and other weights."""
    here = Run(tmp_path / "runs" / run.name)
    assert run.output(tmp_path / "runs") == here.path
    here.write_begun({}, {})
    with pytest.raises(SparsifyError, match=r"is a run of its own; measurements of .*: --runs-dir"):
        run.output(tmp_path / "runs")
    assert here.output(tmp_path / "runs") == here.path
    assert run.measured(tmp_path / "runs") == run.measured(tmp_path) == [run.path]
    assert run.measured(tmp_path / "elsewhere") == [run.path, tmp_path / "elsewhere" / run.name]


def test_measurements_are_not_written_through_a_link(run, tmp_path):
    """Neither where the run's folder is one, nor where one is in the place of measurements of a run elsewhere."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "run").symlink_to(run.path)
    for one in (run, Run(tmp_path / "runs" / "run")):
        with pytest.raises(SparsifyError, match="run is a symbolic link, and nothing is written through links"):
            one.output(tmp_path / "runs")
    assert run.output(tmp_path) == run.path


def test_other_files_must_be_objects(run):
    (run.path / "environment.json").write_text(json.dumps([1]))
    with pytest.raises(SparsifyError, match=r"environment\.json is damaged: it is \[1\]; it must be an object;"):
        _ = run.environment
