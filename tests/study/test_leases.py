"""Leases: one holds, the others pass; who is silent for too long has lost it."""

import os
import sys
import threading
import time

import pytest

from sparsify.errors import SparsifyError
from sparsify.study.leases import SLOP, LeaseLostError, claim, clear

flufl = pytest.importorskip("flufl.lock", reason="workers need flufl.lock")


def _years_ago(path):
    os.utime(path, (10**9, 10**9))


def test_one_has_it_and_the_others_pass_until_it_is_given_back(tmp_path):
    with claim(tmp_path / "leases", "run") as first:
        assert first is not None
        with claim(tmp_path / "leases", "run") as second:
            assert second is None
        with claim(tmp_path / "leases", "other") as other:
            assert other is not None
    with claim(tmp_path / "leases", "run") as third:
        assert third is not None
    assert list((tmp_path / "leases").iterdir()) == []


def test_it_is_given_back_when_its_work_fails(tmp_path):
    with pytest.raises(ValueError, match="no work"), claim(tmp_path, "run"):
        raise ValueError("no work")
    assert list(tmp_path.iterdir()) == []


def test_of_many_at_once_one_has_it(tmp_path):
    together, counted, had = threading.Barrier(8), threading.Barrier(8), []

    def ask():
        together.wait()
        with claim(tmp_path, "run") as lease:
            had.append(lease is not None)
            counted.wait()  # nobody gives it back before all have asked

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(had) == [False] * 7 + [True]


def test_signs_of_life_keep_it(tmp_path):
    with claim(tmp_path, "run", lifetime=2) as lease:
        _years_ago(tmp_path / "run")
        deadline = time.monotonic() + 30
        while (tmp_path / "run").stat().st_mtime < time.time() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert (tmp_path / "run").stat().st_mtime >= time.time()
        lease.require()


def test_who_is_silent_for_too_long_has_lost_it(tmp_path):
    with claim(tmp_path, "run", lifetime=3600) as silent:  # its next sign of life comes in six minutes
        just = time.time() - SLOP.total_seconds()
        os.utime(tmp_path / "run", (just + 5, just + 5))
        with claim(tmp_path, "run") as early:
            assert early is None
        _years_ago(tmp_path / "run")
        with claim(tmp_path, "run") as other:
            assert other is not None
            silent.require()  # it cannot know yet
            other.require()
    assert list(tmp_path.iterdir()) == []


def test_one_who_has_lost_it_is_told_at_its_next_sign_of_life(tmp_path):
    with claim(tmp_path, "run", lifetime=1) as lease:
        (tmp_path / "run").unlink()
        deadline = time.monotonic() + 30
        while not lease.lost and time.monotonic() < deadline:
            time.sleep(0.05)
        with pytest.raises(LeaseLostError, match=r"^run was claimed by another worker while this one was silent$"):
            lease.require()


def test_it_is_not_made_through_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "leases").symlink_to(tmp_path / "real")
    with pytest.raises(SparsifyError, match="is a symbolic link"), claim(tmp_path / "leases", "run"):
        pass


def test_a_file_system_without_hard_links_is_named(tmp_path, monkeypatch):
    def refuse(*_paths):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(SparsifyError, match=r"has no hard links \(Operation not permitted\)"), claim(tmp_path, "run"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_without_the_package_one_line_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "flufl.lock", None)
    with pytest.raises(SparsifyError, match=r"pip install 'sparsify-study\[cluster\]'"), claim(tmp_path, "run"):
        pass


def test_what_those_left_who_were_killed_while_they_asked_is_cleared(tmp_path):
    """Not what another worker has just made to ask, nor a lease, however old: it is taken over, not cleared."""
    with claim(tmp_path, "run"):
        (lease,) = tmp_path.glob("run|*")
        dead, asking = tmp_path / "other|localhost|1|2", tmp_path / "other|localhost|3|4"
        for path in (dead, asking):
            path.touch()
        _years_ago(dead)
        _years_ago(lease)
        clear(tmp_path)
        assert sorted(tmp_path.iterdir()) == sorted([asking, lease, tmp_path / "run"])
    clear(tmp_path / "none")
