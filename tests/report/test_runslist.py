"""The list of runs and its index: the same rows with it and without it, whatever changes, and quickly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from summaries import SUMMARY

from sparsify.cli.console import show
from sparsify.config import Config
from sparsify.report import runslist, tables
from sparsify.report.runslist import INDEX, runs_list
from sparsify.runs import Run, list_runs
from sparsify.text import simple_table


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """120 runs: every tenth is unfinished, and one is damaged."""
    for seed in range(120):
        config = Config(data="digits", opt="sgd", seed=seed, lr=0.5)
        run = Run(tmp_path / config.name)
        run.write_json("config.json", config.to_dict())
        if seed % 10:
            run.write_json("summary.json", SUMMARY | {"accuracy": seed / 120})
            os.utime(run.path / "summary.json", (seed, seed))
    (tmp_path / Config(data="digits", opt="sgd", seed=55, lr=0.5).name / "summary.json").write_text("{")
    (tmp_path / "no run").mkdir()
    (tmp_path / "a file").write_bytes(b"")
    return tmp_path


def read_again(runs: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the runs that are read for the next list."""
    names: list[str] = []

    def noted(found):
        names.extend(run.name for run in found)
        return table(found)

    table = tables.runs_table
    with monkeypatch.context() as patch:
        patch.setattr(tables, "runs_table", noted)
        runs_list(runs)
    return names


def test_it_is_the_table_of_the_runs_in_their_order(runs, capsys):
    found = runs_list(runs)
    assert [row[0] for row in found.rows] == [run.name for run in list_runs(runs)]
    show(tables.runs_table(list_runs(runs)))
    assert simple_table(found.heads, found.rows) == capsys.readouterr().out
    (damaged,) = (row for row in found.rows if row[1] == "damaged")
    assert damaged[-1].startswith("summary.json is damaged: it is no JSON: ")
    assert runs_list(runs) == found  # from the index


def test_only_what_has_changed_is_read_again(runs, monkeypatch):
    assert len(read_again(runs, monkeypatch)) == 120
    assert read_again(runs, monkeypatch) == []
    finished, unfinished, gone = (Run(runs / runs_list(runs).rows[place][0]) for place in (0, -1, 5))
    before = (finished.path / "summary.json").stat()
    finished.write_json("summary.json", SUMMARY | {"accuracy": 0.5})
    os.utime(finished.path / "summary.json", ns=(before.st_atime_ns, before.st_mtime_ns))  # as old as before
    (unfinished.path / "metrics.csv").write_text("")
    for file in gone.path.iterdir():
        file.unlink()
    assert sorted(read_again(runs, monkeypatch)) == sorted([finished.name, unfinished.name])
    rows = {row[0]: row for row in runs_list(runs).rows}
    assert len(rows) == 119
    assert rows[finished.name][3] == "50.00%"


@pytest.mark.parametrize("damage", ["cut", "a bit", "no index", "another kind", "a pipe"])
def test_an_index_that_cannot_be_used_is_made_anew(damage, runs, monkeypatch):
    found = runs_list(runs)
    index = runs / INDEX
    content = index.read_bytes()
    if damage == "cut":
        index.write_bytes(content[:-100])
    elif damage == "a bit":
        index.write_bytes(content.replace(b"90.83%", b"98.83%"))
    elif damage == "no index":
        index.write_text(json.dumps([1]))
    elif damage == "another kind":
        monkeypatch.setattr(runslist, "ROWS", runslist.ROWS + 1)
    else:
        index.unlink()
        os.mkfifo(index)
    assert runs_list(runs) == found
    assert read_again(runs, monkeypatch) == []


@pytest.mark.parametrize("way", ["a folder", "a link"])
def test_without_a_place_for_an_index_the_list_is_the_same(way, runs, tmp_path):
    found = runs_list(runs)
    (runs / INDEX).unlink()
    if way == "a folder":
        (runs / INDEX).mkdir()
    else:
        (tmp_path / "precious").write_text("precious")
        (runs / INDEX).symlink_to(tmp_path / "precious")
    assert runs_list(runs) == found
    assert way == "a folder" or (tmp_path / "precious").read_text() == "precious"


def test_few_runs_have_no_index_and_none_are_no_list(runs, tmp_path):
    for row in runs_list(runs).rows[:30]:
        (runs / row[0] / "config.json").unlink()
    (runs / INDEX).unlink()
    assert len(runs_list(runs).rows) == 90
    assert not (runs / INDEX).exists()
    assert runs_list(tmp_path / "missing").rows == []


def test_a_row_that_shows_other_things_is_of_another_kind(runs):
    found = runs_list(runs)
    numbers = ("epochs", "accuracy", "support alone", "Γ alone", "in support")
    sides = [("run", "left"), ("status", "left"), *((name, "right") for name in numbers), ("settings", "left")]
    row = [Config(data="digits", opt="sgd", seed=119, lr=0.5).name, "finished", "1", "99.17%", *"–––", "lr 0.5"]
    assert (runslist.ROWS, found.heads, found.rows[1]) == (2, sides, row)  # else raise ROWS


def test_the_list_shows_how_accurate_the_sparse_networks_are(runs):
    run = list_runs(runs)[3]
    run.write_json("summary.json", SUMMARY | {"support_accuracy": 0.4703, "gamma_accuracy": 0.3})
    (row,) = (row for row in runs_list(runs).rows if row[0] == run.name)
    assert row[3:6] == ["90.00%", "47.03%", "30.00%"]


def test_what_is_in_the_index_takes_no_torch(runs):
    found = runs_list(runs)
    code = (
        "import sys; from sparsify.cli.app import main\n"
        f"main(['runs', '--runs-dir', {str(runs)!r}])\n"
        "print([m for m in ('torch', 'pandas', 'scipy', 'filelock', 'importlib.metadata') if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == simple_table(found.heads, found.rows) + "[]\n"


def test_a_simple_table_is_as_wide_as_its_cells():
    heads = [("run", "left"), ("n", "right")]
    drawn = simple_table(heads, [["a", "10"], ["b中", ""]])
    lines = [" " * 10, " run    n ", " ──────── ", " a     10 ", " b中      ", " " * 10]
    assert drawn.splitlines() == lines
