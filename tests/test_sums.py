"""Records of sums: written with the files, by several processes at once, and never through a symbolic link."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from summaries import SUMMARY

from sparsify import sums
from sparsify.errors import SparsifyError
from sparsify.nets.mask import load_mask, save_mask
from sparsify.runs import Run
from sparsify.sums import Record, locked, sha256, unsealed, write_record, write_recorded


def record_of(folder: Path, name: str = "sums.json") -> dict[str, str]:
    return {key: one for key, one in json.loads((folder / name).read_text())["sha256"].items() if key != name}


def test_files_are_written_with_their_sums(tmp_path: Path) -> None:
    write_recorded(tmp_path, {"a.json": b"1", "a.csv": b"2"})
    assert record_of(tmp_path) == {"a.json": sha256(b"1"), "a.csv": sha256(b"2")}
    write_recorded(tmp_path, {"a.json": None, "b.csv": b"3"})
    assert record_of(tmp_path) == {"a.csv": sha256(b"2"), "b.csv": sha256(b"3")}
    assert not (tmp_path / "a.json").exists()
    assert Record.of(tmp_path).read(tmp_path / "b.csv") == b"3"
    (tmp_path / "b.csv").write_bytes(b"4")
    with pytest.raises(SparsifyError, match=r"^its SHA-256 sum is not the one in sums\.json$"):
        Record.of(tmp_path).read(tmp_path / "b.csv")


def test_a_record_has_the_sums_of_files_that_are_there(tmp_path: Path) -> None:
    """The summary of a run and shrunk.json are written by it."""
    (tmp_path / "a.csv").write_bytes(b"1")
    write_record(tmp_path / "shrunk.json", {"ratio": 0.5}, ["a.csv"])
    assert record_of(tmp_path, "shrunk.json") == {"a.csv": sha256(b"1")}
    assert unsealed("shrunk.json", (tmp_path / "shrunk.json").read_bytes())["ratio"] == 0.5
    (tmp_path / "fifo").symlink_to("/dev/zero")
    with pytest.raises(SparsifyError, match="fifo"):
        write_record(tmp_path / "shrunk.json", {}, ["fifo"])


def test_every_bit_of_a_record_is_seen_to_flip(tmp_path: Path) -> None:
    write_recorded(tmp_path, {"a.json": b"1", "a.csv": b"2"})
    content = (tmp_path / "sums.json").read_bytes()
    for place in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << place % 8
        with pytest.raises(SparsifyError, match=r"^sha256\.|^its |^it is |^Object|^sha256 names") as caught:
            sums.unsealed("sums.json", bytes(flipped))
        assert "\n" not in str(caught.value)


def test_the_summary_of_a_run_takes_them_and_stays_as_old_as_it_is(tmp_path: Path) -> None:
    run = Run(tmp_path)
    (tmp_path / "config.json").write_text("{}")  # by which a folder is a run's
    (tmp_path / "metrics.csv").write_bytes(b"0")
    run.write_summary(SUMMARY, ["metrics.csv"])
    os.utime(tmp_path / "summary.json", ns=(10**9, 10**9))
    write_recorded(tmp_path, {"a.csv": b"2"})
    assert record_of(tmp_path, "summary.json") == {"metrics.csv": sha256(b"0"), "a.csv": sha256(b"2")}
    assert (tmp_path / "summary.json").stat().st_mtime_ns == 10**9
    (tmp_path / "b.csv").write_bytes(b"")  # it was not written with its sum
    with pytest.raises(SparsifyError, match=r"^it has no SHA-256 sum in summary\.json$"):
        Record.of(tmp_path).read(tmp_path / "b.csv")


def test_a_summary_from_before_is_read_and_takes_sums_without_a_format(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text(json.dumps(SUMMARY))
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "old.csv").write_bytes(b"1")
    write_recorded(tmp_path, {"new.csv": b"2"})
    record = Record.of(tmp_path)
    assert record.read(tmp_path / "old.csv") == b"1"
    assert record.sums == {"model.safetensors": "", "new.csv": sha256(b"2")}
    assert json.loads((tmp_path / "summary.json").read_text()) == SUMMARY | {"sha256": dict(record.sums)}


def test_what_is_there_already_is_not_written_again(tmp_path: Path) -> None:
    files = {"a.json": b"1", "a.csv": b"2"}
    write_recorded(tmp_path, files)
    before = [(tmp_path / name).stat().st_ino for name in (*files, "sums.json")]
    os.utime(tmp_path / "a.csv", (0, 0))
    write_recorded(tmp_path, files)
    assert [(tmp_path / name).stat().st_ino for name in (*files, "sums.json")] == before
    assert (tmp_path / "a.csv").stat().st_mtime > 0  # it is the newest


@pytest.mark.parametrize("at", [1, 2, 3], ids=["the first file", "the record", "the last file"])
def test_an_interruption_leaves_all_of_the_files_or_none(
    at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_recorded(tmp_path, {"a.json": b"1", "a.csv": b"2"})
    write, calls = sums.write_bytes, []

    def stop(path: Path, content: bytes) -> None:
        calls.append(path)
        if len(calls) == at:
            raise KeyboardInterrupt
        write(path, content)

    monkeypatch.setattr(sums, "write_bytes", stop)
    with pytest.raises(KeyboardInterrupt):
        write_recorded(tmp_path, {"a.json": b"3", "a.csv": b"4"})
    assert not (tmp_path / "a.csv").exists()


def test_two_processes_lose_no_sum_of_each_other(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from sparsify.sums import write_recorded\n"
        "n = sys.argv[2]\n"
        "for round in '01234': write_recorded(Path(sys.argv[1]), {f'{n}.json': round.encode(), f'{n}.csv': n.encode()})"
    )
    workers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(n)]) for n in range(3)]
    assert [worker.wait(60) for worker in workers] == [0] * 3
    assert sorted(record_of(tmp_path)) == sorted(f"{n}.{kind}" for n in range(3) for kind in ("csv", "json"))
    record = Record.of(tmp_path)
    assert [record.read(tmp_path / f"{n}.json") for n in range(3)] == [b"4"] * 3


@pytest.mark.parametrize("what", ["folder", "lock", "file"])
def test_nothing_is_written_through_a_symbolic_link(what: str, tmp_path: Path) -> None:
    real, folder = tmp_path / "real", tmp_path / "run"
    real.mkdir()
    (real / "precious").write_bytes(b"precious")
    if what == "folder":
        folder.symlink_to(real)
    else:
        folder.mkdir()
        (folder / {"lock": ".lock", "file": "a.csv"}[what]).symlink_to(real / "precious")
    with pytest.raises(SparsifyError, match=r"is a symbolic link, and nothing is written through links"):
        write_recorded(folder, {"a.csv": b"1"})
    assert [path.name for path in real.iterdir()] == ["precious"]
    assert (real / "precious").read_bytes() == b"precious"


def test_a_run_whose_folder_is_a_link_is_not_trained(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "real")
    with pytest.raises(SparsifyError, match="is a symbolic link"), locked(tmp_path / "run"):
        pass
    assert list((tmp_path / "real").iterdir()) == []


def test_a_summary_that_is_no_runs_is_left_as_it_is(tmp_path):
    """Another program's file of this name, in a folder where masks are kept."""
    (tmp_path / "summary.json").write_text('{"acc": 0.9, "sha256": {"other": "1"}}')
    save_mask(tmp_path / "m.safetensors", {"conv.weight": torch.ones(2, dtype=torch.bool)})
    assert load_mask(tmp_path / "m.safetensors")["conv.weight"].all()
    assert (tmp_path / "summary.json").read_text() == '{"acc": 0.9, "sha256": {"other": "1"}}'
