"""Runs that are unfinished, locked or interrupted."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from commandline import QUICK, UNFINISHED, cut, empty, files, flip, noise, run_of
from processes import in_processes, started


def test_ctrl_c_stops_and_the_same_command_goes_on(sparsify, ctrl_c_in_epoch_2):
    command = "train --data digits --epochs 2 --device cpu --opt sgd"
    with ctrl_c_in_epoch_2():
        answer = sparsify(command)
    assert answer.code == 130
    assert answer.err.count("\n") == 1
    assert "the same command" in answer.err
    answer = sparsify(command)
    assert answer.code == 0
    assert "epoch 1/2" not in answer.out
    assert "epoch 2/2" in answer.out


@pytest.mark.parametrize("command", ["prune --layers conv3", "viz curves"])
def test_ctrl_c_stops_what_is_no_training_too(command, runs, sparsify, monkeypatch):
    def interrupt(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("sparsify.files.os.replace", interrupt)  # a file is written, and not yet in its place
    before = files(runs)
    answer = sparsify(command)
    assert answer.code == 130
    assert answer.err.count("\n") == 1
    assert "the same command" in answer.err
    assert files(runs) == before


def test_an_unfinished_run_is_no_result_but_is_listed(unfinished, runs, sparsify, refused):
    name = unfinished.name
    refused(f"prune {name} --layers conv3", name, "unfinished")
    for command in ("filters", "curves", "sweep", "path"):
        refused(f"viz {command} {name}", name, "unfinished")
    refused(f"train {QUICK} --init {name}", name, "unfinished")
    assert run_of(runs, "sgd").name in sparsify("prune --layers conv3 --ratios 0.5").out
    answer = sparsify("runs")
    assert answer.code == 0
    assert "unfinished" in answer.out
    assert "1 of 2" in answer.out


@pytest.mark.parametrize("damage", [cut, flip, empty, noise])
def test_a_damaged_checkpoint_is_refused(damage, unfinished, refused, sparsify):
    checkpoint = next(unfinished.glob("checkpoint*"))
    damage(checkpoint)
    refused(UNFINISHED, checkpoint.name, "damaged")
    answer = sparsify("runs")
    assert answer.code == 0
    assert "unfinished" in answer.out


@pytest.mark.parametrize("damage", [cut, empty, noise, Path.unlink])
@pytest.mark.parametrize("name", ["metrics.csv", "config.json", "environment.json"])
def test_an_unfinished_run_that_is_damaged_otherwise_never_ends_in_a_traceback(name, damage, unfinished, sparsify):
    damage(unfinished / name)
    answer = sparsify("runs")
    assert answer.code == 0
    others = [path.name for path in unfinished.parent.iterdir() if (path / "summary.json").exists()]
    rows = [next(line for line in answer.out.splitlines() if name in line) for name in others]
    assert rows
    assert all(" finished " in row for row in rows), "the others are listed all the same"
    for command in (f"prune {unfinished.name} --layers conv3", f"viz curves {unfinished.name}", UNFINISHED):
        answer = sparsify(command)
        assert answer.code in (0, 2)
        assert answer.code == 0 or answer.err.count("error: ") == 1


@in_processes
def test_two_processes_cannot_write_one_run_and_ctrl_c_says_how_to_go_on(sparsify, tmp_path):
    line = "train --data digits --epochs 12 --batch-size 16 --val 0.5 --device cpu --opt sgd"
    process = started(line, tmp_path)
    try:
        while process.is_alive() and sum(path.read_text().count("\n") for path in tmp_path.glob("out")) < 2:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGSTOP)  # it goes no further while this one is refused
        answer = sparsify(line)
        os.kill(process.pid, signal.SIGINT)
        os.kill(process.pid, signal.SIGCONT)
        process.join(60)
    finally:
        process.kill()
    out, err = ((tmp_path / name).read_text() for name in ("out", "err"))
    assert [f"epoch {number}/12" in text for number, text in enumerate(out.splitlines()[:2], 1)] == [True, True]
    (folder,) = (tmp_path / "runs").iterdir()
    assert answer.code == 2
    assert answer.err.count("\n") == 1
    assert folder.name in answer.err
    assert "another process" in answer.err
    assert process.exitcode == 130
    assert err.count("\n") == 1
    assert "the same command" in err
    assert "\x1b" not in out + err
    assert "epoch 12/12" not in out
    assert not [path for path in folder.iterdir() if path.name.startswith(".") and path.name != ".lock"]
    answer = sparsify(line)
    assert answer.code == 0
    assert "epoch 1/12" not in answer.out
    assert "epoch 12/12" in answer.out
