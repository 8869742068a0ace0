"""The benchmarks of workers: what they count, what they find wrong, and a few stages that do nothing."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest

from benchmarks import scale, workers
from sparsify.study.stages import SweepStage, TrainingStage

pytest.importorskip("flufl.lock", reason="workers need flufl.lock")


class Worker:
    """One that never ends by itself before `ended`, and is killed when it is asked to be."""

    number, ended, killed = 7, False, False

    def __init__(self, *_given: object) -> None:
        pass

    def wait(self, _seconds: float) -> int | None:
        return -signal.SIGKILL if self.killed else 0 if self.ended else None

    def said(self) -> str:
        return "nothing"


def test_a_worker_is_killed_and_started_again_and_what_is_left_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(number: int, which: int) -> None:
        assert (number, which) == (7, signal.SIGKILL)
        for worker in one.workers:
            worker.killed = True

    monkeypatch.setattr(workers, "Started", Worker)
    monkeypatch.setattr(workers.os, "kill", kill)
    result = workers.Result(0)
    one = workers.Round(tmp_path, [None] * workers.WORKERS, result)
    leases = tmp_path / "runs" / ".leases"
    leases.mkdir(parents=True)
    (leases / "some-run").write_text("some-run|host|7|123")
    assert one.kill(random.Random(0))
    assert (result.kills, result.holding) == (1, 1)
    assert sum(worker.killed for worker in one.workers) == workers.WORKERS - 1  # one was started again
    (leases / "some-run").unlink()
    for worker in one.workers:
        worker.killed, worker.ended = False, True
    assert not one.kill(random.Random(0))  # all have ended
    one.end({})
    assert (result.rounds, result.failures) == (1, [])
    (tmp_path / "runs" / "too-much").write_text("")
    one.end({"missing": "sum"})
    assert result.failures == ["round 1: missing is missing, too-much is too much"]
    assert "killed 1 times" in workers.markdown(result)
    assert "- round 1: missing is missing" in workers.markdown(result)


def test_stages_that_do_nothing_are_each_done_once(tmp_path: Path) -> None:
    before = TrainingStage.do, SweepStage.do
    found = scale.measure(tmp_path, stages=20, workers=3)
    assert (found.stages, found.workers, found.left_leases) == (20, 3, 0)
    assert found.looks >= 3
    assert found.computing_seconds >= 0
    assert len(list((tmp_path / "runs").glob("lenet-*/sweep-*-ledger.csv"))) == 10
    assert (TrainingStage.do, SweepStage.do) == before
