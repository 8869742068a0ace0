"""Full and read-only disks: one line, and no part of a file."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from commandline import QUICK, UNFINISHED, disk, files, run_of, sweep_rows

WRITERS = {
    "train": f"train {QUICK} --opt sgd --seed 5",
    "go on": UNFINISHED,
    "prune": "prune lenet-digits-sgd-s0 --layers conv3 --ratios 0.5",
    "filters": "viz filters lenet-digits-sgd-s0 --layer conv1",
    "curves": "viz curves lenet-digits-sgd-s0",
    "curves of all": "viz curves",
}


@contextlib.contextmanager
def largest_file(limit: int) -> Iterator[None]:
    """A limit in bytes for every file that is written; the system's own answer to a write beyond it is EFBIG."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("no_drawing")
@pytest.mark.parametrize("case", WRITERS)
def test_a_full_disk_is_one_line_and_leaves_no_part_of_a_file(case, runs, unfinished, sparsify, monkeypatch, tmp_path):
    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = files(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        answer = sparsify(WRITERS[case])
    assert answer.code == 2
    assert answer.err.count("error: ") == 1
    assert answer.err.splitlines()[-1].startswith("error: ")
    assert os.strerror(errno.ENOSPC) in answer.err
    assert files(tmp_path) == before
    assert sparsify("runs").code == 0
    assert sparsify(WRITERS[case]).code == 0
    assert "runs" in answer.err, "which disk?"


@pytest.mark.parametrize("limit", [0, 100, 1500, 100_000])
def test_a_disk_that_fills_up_while_a_run_is_trained(limit, sparsify, tmp_path):
    """At each of these sizes another file is the first that does not fit: the settings, or the weights."""
    with largest_file(limit):
        answer = sparsify(f"train {QUICK} --opt sgd")
    assert answer.code == 2
    assert answer.err.count("\n") == 1
    known = {"config.json", "environment.json", "metrics.csv"}
    assert {Path(name).name for name in files(tmp_path)} <= known, "a part of a file"
    assert not list(tmp_path.glob("runs/*/summary.json"))
    assert "finished" not in sparsify("runs").out.replace("unfinished", "")
    assert sparsify(f"train {QUICK} --opt sgd").code == 0
    assert "runs" in answer.err, "which disk?"


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, int], None]:
    """Make a folder read-only for this process. Simulated: for root, rights are no obstacle."""

    def protect(folder: Path, number: int) -> None:
        root = os.path.realpath(folder)

        def guard(name: str, writes: Callable[..., bool]) -> None:
            original = getattr(os, name)

            def guarded(path, *args, **options):
                if not isinstance(path, int) and writes(*args) and os.path.realpath(path).startswith(root):
                    raise OSError(number, os.strerror(number), os.fspath(path))
                return original(path, *args, **options)

            monkeypatch.setattr(os, name, guarded)

        guard("open", lambda flags, *_: bool(flags & (os.O_CREAT | os.O_WRONLY | os.O_RDWR)))
        for name in ("mkdir", "unlink", "utime", "replace", "rename", "rmdir"):
            guard(name, lambda *_: True)

    return protect


@pytest.mark.usefixtures("no_drawing")
@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("case", WRITERS)
def test_a_read_only_disk_is_one_line(case, number, runs, unfinished, sparsify, read_only, tmp_path):
    before = disk(tmp_path)
    read_only(runs, number)
    answer = sparsify(WRITERS[case])
    assert answer.code == 2
    assert answer.err.count("error: ") == 1
    assert answer.err.count("\n") == 1
    assert "runs" in answer.err
    assert os.strerror(number) in answer.err
    assert disk(tmp_path) == before


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_run_on_a_read_only_disk_is_read_all_the_same(number, runs, sparsify, read_only, tmp_path):
    before = disk(runs)
    read_only(runs, number)
    assert sparsify(f"train {QUICK} --opt sgd").code == 0
    assert sparsify("runs").code == 0
    assert sparsify(f"prune {run_of(runs, 'sgd')} --layers conv3 --ratios 0.5 --runs-dir mine").code == 0
    assert sweep_rows(tmp_path / "mine" / run_of(runs, "sgd").name)
    assert disk(runs) == before
