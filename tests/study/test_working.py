"""Workers: several do one study together, and what comes out is what one process makes."""

import os
import signal
import threading
import time
from types import SimpleNamespace

import pytest
from processes import in_processes, started

from sparsify.config import Places
from sparsify.study import planning, working
from sparsify.study.leases import claim
from sparsify.study.planning import Planner
from sparsify.study.running import run_study
from sparsify.study.stages import ready
from sparsify.study.tasks import Plan
from sparsify.study.toml import load_study
from sparsify.study.working import leases_of, work

pytest.importorskip("flufl.lock", reason="workers need flufl.lock")

STUDY = """
title = "Shared"
seeds = [0, 1]
[base]
data = "digits"
epochs = 2
batch_size = 64
opt = "sgd"
[[arms]]
label = "whole"
[[arms]]
label = "under a mask"
mask = { of = "whole", layers = "conv3", ratio = 0.5 }
[sweep]
layers = ["conv3"]
ratios = "0,0.5"
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("study") / "shared.toml"
    path.write_text(STUDY)
    return path


@pytest.fixture(scope="module")
def alone(file):
    """What one process makes of the study."""
    return run_study(load_study(str(file)), device="cpu", runs_dir=file.parent / "alone")


def _planner(file, runs):
    return Planner(load_study(str(file)), Places(device="cpu", runs_dir=runs))


def test_the_stages_come_when_what_they_need_is_there(file, tmp_path):
    planner = _planner(file, tmp_path)
    seen = []
    while stages := ready(planner.plan(), planner):
        seen.append(" ".join(type(stage).__name__.removesuffix("Stage").lower() for stage in stages))
        assert not stages[0].done
        stages[0].do(planner.places)
        assert stages[0].done
    assert planner.plan().done
    assert seen == [
        "training training",  # of the two seeds
        "mask sweep training",  # of the first, and the training of the second
        "sweep training training",
        "training training",  # of the second, and of the first under its mask
        "mask sweep training",
        "sweep training training",
        "training training",  # under the masks
        "sweep training",
        "training",
        "sweep",
    ]


def test_two_workers_make_what_one_process_makes(file, alone, tmp_path):
    counts, said = [], []

    def be_one():
        planner = _planner(file, tmp_path)
        counts.append(work(planner, planner.plan(), note=said.append))

    workers = [threading.Thread(target=be_one) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sum(counts) == 10  # four trainings, four sweeps, two masks, each done once
    trained = sorted(line for line in said if line.endswith(": training"))
    assert len(trained) == len(set(trained)) == 4
    together = run_study(load_study(str(file)), device="cpu", runs_dir=tmp_path)
    assert together.table().equals(alone.table())
    for arm, other in zip(together.arms, alone.arms, strict=True):
        for run, same in zip(arm.runs, other.runs, strict=True):
            assert (run.path / "model.safetensors").read_bytes() == (same.path / "model.safetensors").read_bytes()
    assert list(leases_of(tmp_path).iterdir()) == []


def test_what_another_has_claimed_is_passed_over_and_waited_for(file, alone, tmp_path):
    name = alone.arms[0].runs[0].name
    planner = _planner(file, tmp_path)
    said = []
    with claim(leases_of(tmp_path), name):
        worker = threading.Thread(target=work, args=(planner, planner.plan()), kwargs={"note": said.append})
        worker.start()
        deadline = time.monotonic() + 120
        other = alone.arms[1].runs[1].name  # the last of the other seed's
        while not any(line.startswith(f"{other}: sweeping") for line in said) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert worker.is_alive()
        assert not any(line.startswith(name) for line in said)
    worker.join()
    assert f"{name}: training" in said
    assert planner.plan().done


@in_processes
def test_what_a_killed_worker_leaves_is_taken_over_and_resumes(file, alone, tmp_path):
    killed = started(f"study {file} --worker --device cpu --runs-dir {tmp_path}", tmp_path, kill_in_epoch=1)
    killed.join()
    assert killed.exitcode == -signal.SIGKILL, (tmp_path / "err").read_text()
    (lease,) = [path for path in leases_of(tmp_path).iterdir() if "|" not in path.name]
    os.utime(lease, (10**9, 10**9))  # long ago
    planner = _planner(file, tmp_path)
    work(planner, planner.plan())
    together = run_study(load_study(str(file)), device="cpu", runs_dir=tmp_path)
    assert together.table().equals(alone.table())
    assert list(leases_of(tmp_path).iterdir()) == []


@pytest.mark.parametrize(("share", "looks"), [(1e9, 3), (0.0, 1)])
def test_a_worker_looks_again_after_a_stage_that_took_longer_than_looks_may(tmp_path, monkeypatch, share, looks):
    class Stage:
        def __init__(self, name):
            self.run, self.done = SimpleNamespace(name=name), False

        def do(self, *_given):
            self.done = True

    class Planned:
        places, looks = Places(runs_dir=tmp_path), 0

        def plan(self):
            self.looks += 1
            return SimpleNamespace(done=all(stage.done for stage in stages))

    stages, planner = [Stage("one"), Stage("two"), Stage("three")], Planned()
    monkeypatch.setattr(working, "SHARE", share)
    monkeypatch.setattr(working, "ready", lambda *_: [stage for stage in stages if not stage.done])
    assert work(planner, SimpleNamespace(done=False)) == 3
    assert planner.looks == looks


@pytest.mark.parametrize(("look", "waits"), [(0.0, [1.0, 1.0]), (5.0, [1.0, 20.0]), (1000.0, [1.0, 60.0])])
def test_a_worker_with_nothing_to_do_waits_longer_where_a_look_takes_long_and_a_minute_at_most(
    tmp_path, monkeypatch, look, waits
):
    class Planned:
        places, looks = Places(runs_dir=tmp_path), 0

        def plan(self):
            self.looks += 1
            clock[0] += look
            return SimpleNamespace(done=self.looks == 2)

    clock, slept = [0.0], []
    monkeypatch.setattr(working, "ready", lambda *_: [])
    monkeypatch.setattr(working, "time", SimpleNamespace(monotonic=lambda: clock[0], sleep=slept.append))
    assert work(Planned(), SimpleNamespace(done=False)) == 0
    assert slept == waits


def test_what_is_done_is_not_looked_at_again_and_the_runs_are_listed_once(file, alone, monkeypatch):
    planner, asked, listed = _planner(file, file.parent / "alone"), [], []
    there, tasks = planning.sweep_is_there, Plan.tasks.fget
    monkeypatch.setattr(planning, "sweep_is_there", lambda path: asked.append(path) or there(path))
    first = planner.plan()
    assert first.done
    assert len(asked) == 4
    assert planner.plan() == first
    assert len(asked) == 4
    monkeypatch.setattr(Plan, "tasks", property(lambda plan: listed.append(plan) or tasks(plan)))
    begun = _planner(file, file.parent / "begun")
    assert len(ready(begun.plan(), begun)) == 2
    assert len(listed) == 1
