"""Commands that are stopped by signals or killed midway, and folders that vanish under them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from commandline import QUICK, files, run_of
from processes import said_by

from sparsify import Run
from sparsify.errors import SparsifyError
from sparsify.report import writing
from sparsify.study import stages
from sparsify.training.display import TrainingDisplay
from sparsify.training.trainer import Trainer

AMID = """
import io, json, os, shlex, signal, sys

from sparsify.cli.app import main

name, folder, line = sys.argv[1:4]
number = getattr(signal, name)
handlers = {"heeded": signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL, "ignored": signal.SIG_IGN}
handler, replace = handlers[sys.argv[4]], os.replace  # this process may have inherited another one
signal.signal(number, handler)
os.replace = lambda *names: (signal.raise_signal(number), replace(*names))
os.chdir(folder)
sys.stdout, sys.stderr, said = io.StringIO(), io.StringIO(), sys.stdout
status = main(shlex.split(line))
print(json.dumps([status, sys.stderr.getvalue(), signal.getsignal(number) == handler]), file=said)
"""
"""A program: a command that a signal comes to when a file is written, and not yet in its place."""


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_stops_a_command_with_one_line_and_its_own_status(name, code, runs):
    before = files(runs)
    said = said_by(AMID, name, str(runs.parent), "prune --layers conv3 --ratios 0.5", "heeded")
    status, error, as_before = json.loads(said)
    assert status == code
    assert error.count("\n") == 1
    assert "the same command goes on" in error
    assert files(runs) == before
    assert as_before


def test_sigterm_has_its_own_status_also_where_c_code_runs_python(tmp_path, monkeypatch):
    """As imports of torch do: Python ends by SIGINT if KeyboardInterrupt has passed through there, handled or not."""
    code = (
        "import ctypes, signal, sys\n"
        "from sparsify.cli import app\n"
        "run = ctypes.PyDLL(None).PyRun_String\n"
        "run.restype, run.argtypes = ctypes.py_object, (ctypes.c_char_p, ctypes.c_int, *2 * [ctypes.py_object])\n"
        "stop = b'import signal; signal.raise_signal(signal.SIGTERM)'\n"
        "app.app = lambda *_, **__: run(stop, 257, {}, {})\n"
        "sys.exit(app.main(['runs']))\n"
    )
    (tmp_path / "killed_in_c.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    done = subprocess.run([sys.executable, "-m", "killed_in_c"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (143, 1), done.stderr


def test_a_signal_that_is_ignored_stays_ignored(runs):
    """As SIGHUP is under nohup."""
    said = said_by(AMID, "SIGHUP", str(runs.parent), "prune --layers conv3 --ratios 0.5", "ignored")
    assert json.loads(said) == [0, "", True]


@contextmanager
def killed_at_the_end_of_training(number: int) -> Iterator[None]:
    """The training of that number, counted from 1, stops before its files are written."""
    finish, ended = Trainer._finish, []

    def count(trainer: Trainer, status: str) -> None:
        ended.append(status)
        if len(ended) == number:
            raise KeyboardInterrupt
        finish(trainer, status)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_finish", count)
        yield


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("name", ["lenet-digits-sgd-s0", ""], ids=["by the beginning of its name", "the newest"])
def test_the_same_ticket_command_goes_on(name, number, runs, sparsify):
    """The tickets that are there by then bear names with the same beginning, and are newer."""
    command = f"ticket {name} --layers conv3 --ratio 0.5 --device cpu"
    with killed_at_the_end_of_training(number):
        assert sparsify(command).code == 130
    run = run_of_no_mask(runs)
    for _ in range(2):  # and again when all is done
        answer = sparsify(command)
        assert answer.code == 0, answer.err
        assert answer.out.startswith(f"run: {run.name}")
    assert sparsify(f"prune {run.name[:19]} --layers conv3 --ratios 0").code == 0


def run_of_no_mask(runs: Path) -> Run:
    (run,) = (Run(path) for path in runs.glob("lenet-digits-sgd-s0-*") if Run(path).config.mask is None)
    return run


def test_a_training_that_starts_from_a_run_goes_on_by_the_beginning_of_its_name(runs, sparsify):
    command = f"train {QUICK} --opt sgd --init lenet-digits-sgd-s0"
    with killed_at_the_end_of_training(1):
        assert sparsify(command).code == 130
    assert sparsify(command).code == 0
    assert "already trained" in sparsify(command).out


def test_a_checkpoint_that_a_kill_left_in_a_finished_run_is_deleted(runs, sparsify):
    checkpoint = run_of(runs, "sgd") / "checkpoint.safetensors"
    checkpoint.write_bytes(b"")
    assert "already trained" in sparsify(f"train {QUICK} --opt sgd").out
    assert not checkpoint.exists()


@pytest.mark.parametrize("how", [shutil.rmtree, lambda folder: folder.rename("moved")], ids=["deleted", "moved"])
@pytest.mark.parametrize("epochs", [1, 2], ids=["in the last epoch", "before"])
def test_a_training_whose_folder_vanishes_stops_with_one_line(
    epochs: int, how: Callable[[Path], object], sparsify, monkeypatch, tmp_path
):
    heard = TrainingDisplay.__call__

    def vanish(display, progress) -> None:
        heard(display, progress)
        if progress.epoch == 1 and progress.row is not None:
            how(tmp_path / "runs" / progress.run)

    monkeypatch.setattr(TrainingDisplay, "__call__", vanish)
    answer = sparsify(f"train --data digits --opt sgd --epochs {epochs} --device cpu")
    assert answer.code == 2
    assert answer.err.count("\n") == 1
    assert "deleted or moved while it was written to" in answer.err
    assert os.listdir(tmp_path / "runs") == []


STUDY = """
draw = ["curves"]
[base]
data = "digits"
epochs = 1
batch_size = 64
[[arms]]
opt = "sgd"
[sweep]
layers = "conv3"
ratios = [0.5]
"""


@pytest.mark.parametrize(
    ("what", "how"),
    [
        ("the study's", shutil.rmtree),
        ("the study's", lambda folder: folder.rename("moved")),
        ("a run's, in training", shutil.rmtree),  # moved in the test above
        ("a run's, before it is swept", lambda folder: folder.rename("moved")),
    ],
    ids=["the study's, deleted", "the study's, moved", "a run's, in training", "a run's, before it is swept"],
)
def test_a_study_whose_folder_vanishes_stops_with_one_line_and_goes_on_with_what_is_there(
    what: str, how: Callable[[Path], object], sparsify, monkeypatch, tmp_path
):
    module, name = {
        "the study's": (writing, "draw_study"),
        "a run's, in training": (Trainer, "_finish"),
        "a run's, before it is swept": (stages, "prune"),
    }[what]
    before = getattr(module, name)

    def vanish(*given, **named):
        (folder,) = (tmp_path / "runs").glob("studies/*" if what == "the study's" else "lenet-*")
        how(folder)
        return before(*given, **named)

    (tmp_path / "mine.toml").write_text(STUDY)
    with monkeypatch.context() as patch:
        patch.setattr(module, name, vanish)
        answer = sparsify("study mine.toml --device cpu")
    assert (answer.code, answer.err.count("\n")) == (2, 1), answer.err
    assert "deleted or moved" in answer.err
    left = sorted(path.name for path in (tmp_path / "runs").glob("*") if path.name != "studies")
    assert len(left) == (1 if what == "the study's" else 0)  # nothing was made anew
    assert list((tmp_path / "runs").glob("studies/*")) == []
    again = sparsify("study mine.toml --device cpu")
    assert (again.code, again.err) == (0, "")
    assert ("epoch 1/1" in again.out) is (what != "the study's")
    assert (tmp_path / "runs" / "studies" / "mine" / "report.html").exists()


def test_a_sweep_does_not_make_a_run_anew_that_was_deleted(runs):
    run = Run(run_of(runs, "sgd"))
    shutil.rmtree(run.path)
    with pytest.raises(SparsifyError, match="was deleted or moved"):
        run.output(runs)
    assert run.output(runs / "elsewhere") == runs / "elsewhere" / run.name
