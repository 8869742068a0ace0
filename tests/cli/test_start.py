"""`sparsify` alone says what to do next from what is there; completion is offered once, and only to a person."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import platformdirs
import pytest
from commandline import Sparsify
from rich.console import Console

from sparsify.cli import console
from sparsify.cli import start as begun
from sparsify.cli.app import app
from sparsify.cli.start import offer_completion, start


def made(folder: Path, name: str, *, status: str | None = "finished", sweep: bool = False, age: int = 0) -> None:
    """The files of a run that are looked at; without a status it is unfinished."""
    run = folder / name
    run.mkdir(parents=True)
    (run / "config.json").write_text("{}")
    if status is not None:
        (run / "summary.json").write_text(json.dumps({"status": status}))
        os.utime(run / "summary.json", (1_000_000 - age,) * 2)
    if sweep:
        (run / "sweep-0123abcd.csv").write_text("")


def commands(text: str) -> list[str]:
    """The commands that are proposed."""
    return [line.strip().split("  ")[0] for line in text.splitlines() if line.startswith("  ")]


def test_where_nothing_is_trained_the_first_study_is_proposed(sparsify: Sparsify, tmp_path: Path) -> None:
    answer = sparsify("")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith("runs: nothing is trained yet\n")
    assert commands(answer.out) == ["sparsify study", "sparsify train --data digits"]
    assert "sparsify --help" in answer.out.splitlines()[-1]
    assert len(answer.out.splitlines()) <= 6
    assert list(tmp_path.iterdir()) == []


def test_where_there_is_a_run_it_is_proposed_to_prune_it(sparsify: Sparsify, tmp_path: Path) -> None:
    made(tmp_path / "runs", "older", age=9)
    made(tmp_path / "runs", "newer")
    made(tmp_path / "runs", "collapsed", status="collapsed", age=-9)
    made(tmp_path / "runs", "begun", status=None)
    text = sparsify("").out
    assert text.startswith("runs: 4 runs, 1 unfinished, none swept\n")
    assert commands(text)[:2] == ["sparsify prune --layers all", "sparsify study"]
    assert "of newer\n" in text
    assert "goes on with an unfinished run" in text


def test_where_there_is_no_result_training_is_proposed(sparsify: Sparsify, tmp_path: Path) -> None:
    made(tmp_path / "runs", "collapsed", status="collapsed")
    (tmp_path / "runs" / "collapsed" / "summary.json").write_text("{")
    assert commands(sparsify("").out)[0] == "sparsify study"


def test_where_there_is_a_sweep_it_is_proposed_to_draw_it(sparsify: Sparsify, tmp_path: Path) -> None:
    made(tmp_path / "runs", "one", sweep=True)
    text = sparsify("").out
    assert text.startswith("runs: 1 run, swept\n")
    assert commands(text) == ["sparsify viz sweep", "sparsify prune --layers all", "sparsify study --list"]


def test_what_is_proposed_is_a_command_with_these_flags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, sweep in enumerate((False, True)):
        start(tmp_path / "none")
        made(tmp_path / str(number), "one", sweep=sweep)
        start(tmp_path / str(number))
    for command in commands(capsys.readouterr().out):
        words = command.split()[1:]
        _, bound, unused = app.parse_known_args(words)[:3]
        assert unused == [], command
        assert bound is not None


def test_of_many_runs_one_summary_is_read(sparsify: Sparsify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(50):
        made(tmp_path / "runs", f"run-{number}", age=number)
    read: list[Path] = []
    monkeypatch.setattr(begun, "regular", lambda path: read.append(path) or path)
    assert sparsify("").out.startswith("runs: 50 runs, none swept\n")
    assert read == [Path("runs/run-0/summary.json")]


def test_nothing_heavy_is_imported(tmp_path: Path) -> None:
    made(tmp_path / "runs", "one", sweep=True)
    code = (
        "import sys; from sparsify.cli.app import main; main([])\n"
        "print([m for m in ('torch', 'numpy', 'pandas', 'matplotlib', 'sklearn') if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert answer.stdout.startswith("runs: 1 run, swept\n")
    assert answer.stdout.splitlines()[-1] == "[]"


@pytest.fixture
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """A terminal, with a cache folder of its own, and nothing that says that nobody is there."""
    shown = io.StringIO()
    monkeypatch.setattr(console, "out", Console(file=shown, force_terminal=True, color_system=None, width=200))
    monkeypatch.setattr(console, "err", Console(file=io.StringIO(), force_terminal=True))
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda *_, **__: tmp_path / "cache")
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(begun, "_SILENT", ("CI",))  # pytest says anew in each phase that there is a test
    return shown


def test_completion_is_offered_once(terminal: io.StringIO) -> None:
    offer_completion()
    offer_completion()
    assert terminal.getvalue().count("sparsify --install-completion") == 1
    assert terminal.getvalue().count("\n") == 1


@pytest.mark.parametrize("variable", begun._SILENT)
def test_nobody_is_offered_completion_where_nobody_is(
    variable: str, terminal: io.StringIO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(begun, "_SILENT", (variable,))
    monkeypatch.setenv(variable, "true")
    offer_completion()
    assert terminal.getvalue() == ""
    assert not (tmp_path / "cache").exists()


def test_completion_is_not_offered_where_the_output_is_read_by_a_program(
    terminal: io.StringIO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "err", Console(file=io.StringIO()))
    offer_completion()
    assert terminal.getvalue() == ""
    assert not (tmp_path / "cache").exists()


def test_completion_is_not_offered_each_time_where_it_cannot_be_remembered(
    terminal: io.StringIO, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("a file where the folder would be")
    offer_completion()
    assert terminal.getvalue() == ""


def test_a_command_that_is_finished_offers_completion_and_help_does_not(
    terminal: io.StringIO, sparsify: Sparsify
) -> None:
    sparsify("--version")
    sparsify("compare one two")
    assert "--install-completion" not in terminal.getvalue()
    sparsify("runs")
    assert "--install-completion" in terminal.getvalue()
