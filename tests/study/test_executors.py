"""Workers that a real Parsl and a real local Ray start: the tables are those of one process."""

import contextlib
import os
import subprocess
import sys
import sysconfig
from concurrent.futures import Future
from importlib.util import find_spec

import pytest

from sparsify.cli.app import main
from sparsify.config import Places
from sparsify.errors import SparsifyError
from sparsify.study import executors
from sparsify.study.executors import parsl_workers, ray_workers, run_workers, work_on
from sparsify.study.planning import Planner
from sparsify.study.toml import load_study

pytest.importorskip("flufl.lock", reason="workers need flufl.lock")

STUDY = """
title = "Sent"
seeds = [0]
draw = ["curves"]
[base]
data = "digits"
epochs = 1
batch_size = 128
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
PARSL = """
from parsl import Config, HighThroughputExecutor
from parsl.providers import LocalProvider
config = Config(
    executors=[
        HighThroughputExecutor(
            address="127.0.0.1",
            loopback_address="127.0.0.1",
            max_workers_per_node=2,
            provider=LocalProvider(init_blocks=1, max_blocks=1),
        )
    ],
    run_dir="parsl",
)
"""
TABLES = ("table.md", "table.csv", "cells.csv", "contrasts.csv", "affordable.csv", "outcomes.npz")


ON_ONE_CORE = """
import os, runpy
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
runpy.run_module("sparsify", run_name="__main__", alter_sys=True)
"""  # so that no worker starts a process for each training, which would take longer than the training


def _tables(folder):
    return {name: (folder / "runs" / "studies" / "sent" / name).read_bytes() for name in TABLES}


def _sent(folder, executor):
    """Run the study by an executor, in a folder of its own; return what is in its tables, and what was said."""
    (folder / "sent.toml").write_text(STUDY)
    (folder / "cluster.py").write_text(PARSL)
    here = {
        "PATH": os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]]),  # Parsl's own programs
        "PYTHONPATH": os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")]),
        "OMP_NUM_THREADS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",
    }
    answer = subprocess.run(
        [sys.executable, "-c", ON_ONE_CORE, "study", "sent.toml", "--device", "cpu", "--executor", executor],
        cwd=folder,
        env={**os.environ, **here},
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr
    return _tables(folder), answer.stdout


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The tables of one process."""
    folder = tmp_path_factory.mktemp("alone")
    (folder / "sent.toml").write_text(STUDY)
    with contextlib.chdir(folder):
        assert main(["study", "sent.toml", "--device", "cpu"]) == 0
    return _tables(folder)


@pytest.mark.skipif(find_spec("parsl") is None, reason="parsl is not installed: pip install '.[parsl]'")
def test_parsl_makes_what_one_process_makes(alone, tmp_path):
    tables, said = _sent(tmp_path, "parsl=cluster.py")
    assert "2 workers by parsl at most" in said
    assert tables == alone
    assert list((tmp_path / "runs" / ".leases").iterdir()) == []
    assert (tmp_path / "parsl").is_dir()


@pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed: pip install '.[ray]'")
def test_ray_makes_what_one_process_makes(alone, tmp_path):
    tables, said = _sent(tmp_path, "ray")
    assert "2 workers by ray at most" in said
    assert tables == alone
    assert list((tmp_path / "runs" / ".leases").iterdir()) == []


@pytest.fixture
def planner(tmp_path):
    """That of a study of which everything is missing."""
    (tmp_path / "sent.toml").write_text(STUDY)
    return Planner(load_study(str(tmp_path / "sent.toml")), Places(device="cpu", runs_dir=tmp_path / "runs"))


def _run(planner, monkeypatch, outcomes):
    """Run workers that end so, in this order; return what was said."""
    ends, said = iter(outcomes), []

    def start(*_given):
        ended = Future()
        end = next(ends)
        (ended.set_exception if isinstance(end, Exception) else ended.set_result)(end)
        return ended

    @contextlib.contextmanager
    def some(where, places):
        assert where == "here"
        yield start

    monkeypatch.setitem(executors.EXECUTORS, "some", some)
    monkeypatch.setattr(executors, "as_completed", list)
    run_workers("some=here", planner.study, planner, planner.plan(), note=said.append)
    return said


def test_a_worker_that_is_lost_is_said_and_the_others_go_on(planner, monkeypatch):
    said = _run(planner, monkeypatch, [RuntimeError("its node went\ntrace"), ""])
    assert said[1:] == ["a worker is lost: its node went"]


def test_that_all_are_lost_is_an_error_of_one_line(planner, monkeypatch):
    with pytest.raises(SparsifyError, match="every worker by some is lost, the last one because of this: the end;"):
        _run(planner, monkeypatch, ["first", "the end"])


def test_what_stops_a_worker_comes_back_as_a_text(planner, tmp_path):
    missing = tmp_path / "missing"
    said = f"{missing} cannot be read or written: No such file or directory"
    assert work_on(planner.study, planner.places, str(missing)) == said
    (tmp_path / "runs").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "runs" / ".leases").symlink_to(tmp_path / "elsewhere")
    assert "is a symbolic link" in work_on(planner.study, planner.places, str(tmp_path))


def test_what_is_wrong_with_an_executor_is_said_in_one_line(planner, tmp_path, monkeypatch):
    with pytest.raises(SparsifyError, match=r"unknown executor 'rai'; did you mean 'ray'\?"):
        run_workers("rai", planner.study, planner, planner.plan(), note=print)
    for name, make in (("parsl", parsl_workers), ("ray", ray_workers)):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, name, None)
            with (
                pytest.raises(SparsifyError, match=rf"^--executor {name} needs {name}; .*sparsify-study\[{name}\]'$"),
                make("", planner.places),
            ):
                pass


@pytest.mark.skipif(find_spec("parsl") is None, reason="parsl is not installed: pip install '.[parsl]'")
def test_a_file_without_a_config_of_parsl_is_refused(planner, tmp_path):
    with pytest.raises(SparsifyError, match=r"as in parsl=FILE\.py; '' is no file"), parsl_workers("", planner.places):
        pass
    (tmp_path / "other.py").write_text("config = 3\n")
    with (
        pytest.raises(SparsifyError, match=r"config is a int, it must be a parsl\.Config"),
        parsl_workers(str(tmp_path / "other.py"), planner.places),
    ):
        pass
