"""What killed writers leave in a folder, and folders that are deleted or moved while files are written to them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sparsify.errors import SparsifyError
from sparsify.files import write_text
from sparsify.folders import _machine, held, run_states, suffix

KILLED = """
import os, signal, sys
from pathlib import Path
from sparsify.files import write_text

os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
write_text(Path(sys.argv[1]), "new")
"""


def test_what_a_killed_writer_leaves_is_deleted_by_the_next_one(tmp_path: Path) -> None:
    file = tmp_path / "file"
    write_text(file, "old")
    subprocess.run([sys.executable, "-c", KILLED, str(file)], check=False)
    assert (len(os.listdir(tmp_path)), file.read_text()) == (2, "old")
    write_text(tmp_path / "another", "")
    assert sorted(os.listdir(tmp_path)) == ["another", "file"]


@pytest.mark.parametrize(
    ("name", "hours", "kept"),
    [
        (f".f.abcdefgh{suffix()}", 0, True),
        (f".f.abcdefgh{suffix()}", 25, False),
        (".f.abcdefgh.00000000-1.tmp", 23, True),
        (".f.abcdefgh.00000000-1.tmp", 25, False),
        (f".f.abcdefgh.{_machine()}-{2**22 + 1}.tmp", 0, False),
        (f".f.abcdefgh.{_machine()}-{10**30}.tmp", 0, True),
        (".mine.tmp", 25, True),
    ],
    ids=["ours", "ours, old", "elsewhere", "elsewhere, old", "dead", "no number of a process", "someone else's"],
)
def test_only_what_no_writer_needs_is_deleted(name: str, hours: int, kept: bool, tmp_path: Path) -> None:
    temporary = tmp_path / name
    temporary.touch()
    then = temporary.stat().st_mtime - 3600 * hours
    os.utime(temporary, (then, then))
    write_text(tmp_path / "file", "")
    assert temporary.exists() is kept


@pytest.mark.parametrize("differs", ["boot", "container"])
def test_a_process_of_another_boot_or_container_is_not_taken_for_a_dead_one_of_ours(
    differs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = f"-{2**22 + 1}.tmp"
    with monkeypatch.context() as patch:
        if differs == "boot":
            patch.setattr(Path, "read_text", lambda _: "another boot")
        else:
            patch.setattr(os, "readlink", lambda _: "pid:[1]")
        theirs = tmp_path / f".f.abcdefgh.{_machine()}{dead}"
    theirs.touch()
    ours = tmp_path / f".f.abcdefgh.{_machine()}{dead}"
    ours.touch()
    write_text(tmp_path / "file", "")
    assert (theirs.exists(), ours.exists()) == (True, False)


def test_a_folder_that_a_killed_writer_has_left_is_deleted_with_what_is_in_it(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    (precious / "a").mkdir(parents=True)
    end = f".{_machine()}-{2**22 + 1}.tmp"
    (tmp_path / f".download-abcdefgh{end}" / "raw").mkdir(parents=True)
    (tmp_path / f".download-abcdefgh{end}" / "raw" / "file").touch()
    (tmp_path / f".link{end}").symlink_to(precious)
    write_text(tmp_path / "file", "")
    assert sorted(os.listdir(tmp_path)) == ["file", "precious"]
    assert os.listdir(precious) == ["a"]


@pytest.mark.parametrize("again", [False, True], ids=["gone", "another in its place"])
@pytest.mark.parametrize("name", ["file", "figures/file"])
def test_a_folder_that_is_held_is_not_made_anew(name: str, again: bool, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with held(folder):
        write_text(folder / name, "")
        folder.rename(tmp_path / "moved")
        if again:
            folder.mkdir()
        with pytest.raises(SparsifyError, match="folder was deleted or moved while it was written to"):
            write_text(folder / name, "")
        write_text(tmp_path / "elsewhere" / "file", "")
    assert sorted(os.listdir(tmp_path)) == ["elsewhere", *(["folder"] if again else []), "moved"]
    write_text(folder / name, "")


def test_a_deletion_that_has_begun_is_seen_by_what_stands_for_the_folder(tmp_path: Path) -> None:
    sign = tmp_path / ".lock"
    sign.touch()
    with held(tmp_path, sign):
        write_text(tmp_path / "file", "")
        sign.unlink()
        with pytest.raises(SparsifyError, match="deleted or moved"):
            write_text(tmp_path / "file", "")


def test_a_folder_that_is_deleted_between_the_look_and_the_write_is_not_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    monkeypatch.setattr("sparsify.files.delete_leftovers", shutil.rmtree)
    with held(folder), pytest.raises(FileNotFoundError):
        write_text(folder / "file", "")
    assert not folder.exists()


def test_the_newest_run_is_the_first_and_the_unfinished_come_last_by_name(tmp_path: Path) -> None:
    for name, finished in (("b", None), ("old", 1), ("new", 2), ("a", None), ("no run", 3)):
        (tmp_path / name).mkdir()
        if name != "no run":
            (tmp_path / name / "config.json").touch()
        if finished is not None:
            (tmp_path / name / "summary.json").touch()
            os.utime(tmp_path / name / "summary.json", (finished, finished))
    (tmp_path / "a file").touch()
    before = run_states(tmp_path)
    assert list(before) == ["new", "old", "a", "b"]
    (tmp_path / "a" / "metrics.csv").write_text("1")
    (tmp_path / "old" / "summary.json").write_text("1")
    after = run_states(tmp_path)
    assert list(after) == ["old", "new", "a", "b"]
    assert [name for name in after if after[name] != before[name]] == ["old", "a"]
    assert run_states(tmp_path / "nowhere") == {}
    os.mkfifo(tmp_path / "pipe")
    for name in ("a file", "pipe"):
        with pytest.raises(SparsifyError, match=f"{name} is not a folder; --runs-dir takes the folder of runs$"):
            run_states(tmp_path / name)
