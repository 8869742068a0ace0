"""write_bytes and its kin: the old content or the new, never a part, and nothing left beside it."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypedDict

import msgspec
import pytest
import torch
from safetensors.torch import load_file

from sparsify.errors import SparsifyError
from sparsify.files import (
    parse_json,
    parse_rows,
    regular,
    rows_as_bytes,
    write_bytes,
    write_tensors,
    write_text,
)

NO_SPACE = OSError(errno.ENOSPC, "No space left on device")


def test_only_what_is_a_regular_file_is_opened(tmp_path: Path) -> None:
    """Nothing here is read, so that a pipe without a writer is not waited for."""
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "link").symlink_to("file")
    assert [regular(tmp_path / name).name for name in ("file", "link")] == ["file", "link"]
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "to pipe").symlink_to("pipe")
    (tmp_path / "folder").mkdir()
    kinds = {"pipe": "a named pipe", "to pipe": "a named pipe", "folder": "a folder", "/dev/zero": "a device"}
    for name, kind in kinds.items():
        with pytest.raises(SparsifyError) as caught:
            regular(tmp_path / name)
        assert str(caught.value) == f"{tmp_path / name} is {kind}, not a file"
    (tmp_path / "broken").symlink_to("nothing")
    with pytest.raises(SparsifyError, match=r"broken is a link to nothing, which is not there$"):
        regular(tmp_path / "broken")
    with pytest.raises(FileNotFoundError):
        regular(tmp_path / "missing")


def test_writes_the_bytes_and_makes_the_folders(tmp_path: Path) -> None:
    file = tmp_path / "a" / "b" / "file.bin"
    write_bytes(file, b"\x00\xff\r\n")
    assert file.read_bytes() == b"\x00\xff\r\n"


def test_replaces_the_old_content_whole(tmp_path: Path) -> None:
    file = tmp_path / "file"
    write_bytes(file, b"a long old content")
    write_bytes(file, b"new")
    assert file.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]


def test_text_is_utf8_with_its_line_ends(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "κ·Γ\n")
    assert (tmp_path / "file").read_bytes() == b"\xce\xba\xc2\xb7\xce\x93\n"


@pytest.mark.parametrize("existed", [True, False])
@pytest.mark.parametrize("call", ["fsync", "replace", "fdopen", "chmod"])
@pytest.mark.parametrize("error", [NO_SPACE, KeyboardInterrupt()], ids=["disk full", "interrupted"])
def test_a_failure_midway_leaves_the_old_content_and_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, existed: bool, error: BaseException
) -> None:
    file = tmp_path / "file"
    if existed:
        write_bytes(file, b"old")

    def fail(handle: object, *_: object) -> None:
        if call == "fdopen":
            os.close(handle)
        raise error

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(type(error)):
        write_bytes(file, b"new")
    assert os.listdir(tmp_path) == (["file"] if existed else [])
    assert not existed or file.read_bytes() == b"old"


def test_the_content_is_on_the_disk_before_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = []
    fsync, replace = os.fsync, os.replace

    def log_fsync(handle: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else os.fstat(handle).st_size
        done.append(("fsync", kind))
        fsync(handle)

    def log_replace(*paths: object) -> None:
        done.append(("replace", None))
        replace(*paths)

    monkeypatch.setattr(os, "fsync", log_fsync)
    monkeypatch.setattr(os, "replace", log_replace)
    write_bytes(tmp_path / "file", b"12345")
    assert done == [("fsync", 5), ("replace", None), ("fsync", "folder")]


def test_a_file_system_that_cannot_flush_folders_is_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def files_only(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", files_only)
    write_bytes(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"


def test_a_folder_in_the_way_is_an_error_that_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file" / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="file"):
        write_bytes(tmp_path / "file", b"new")
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_others_can_read_what_was_written(tmp_path: Path) -> None:
    file = tmp_path / "file"
    write_bytes(file, b"new")
    assert stat.S_IMODE(file.stat().st_mode) == 0o644


def test_tensors_are_written_in_logical_order(tmp_path: Path) -> None:
    plain = torch.arange(24.0).view(1, 2, 3, 4)
    tensors = {
        "channels_last": plain.contiguous(memory_format=torch.channels_last),
        "transposed": torch.arange(6).view(2, 3).t(),
        "expanded": torch.ones(1).expand(3),
        "needs_grad": torch.zeros(2, requires_grad=True),
        "scalar": torch.tensor(7),
    }
    write_tensors(tmp_path / "file.safetensors", tensors)
    loaded = load_file(tmp_path / "file.safetensors")
    assert loaded.keys() == tensors.keys()
    for name, tensor in loaded.items():
        assert tensor.is_contiguous()
        assert tensor.dtype == tensors[name].dtype
        assert torch.equal(tensor, tensors[name].detach())
    # contiguous() would hide a wrong order on reading: the bytes themselves are 0, 1, 2, …
    assert plain.numpy().tobytes() in (tmp_path / "file.safetensors").read_bytes()


def test_the_same_tensors_are_the_same_bytes_in_any_memory_format(tmp_path: Path) -> None:
    weight = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    write_tensors(tmp_path / "a", {"w": weight})
    write_tensors(tmp_path / "b", {"w": weight.contiguous(memory_format=torch.channels_last)})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_tensors_that_share_memory_are_written(tmp_path: Path) -> None:
    weight = torch.arange(6.0).view(2, 3)
    write_tensors(tmp_path / "file", {"encoder": weight, "decoder": weight})
    loaded = load_file(tmp_path / "file")
    assert torch.equal(loaded["encoder"], weight)
    assert torch.equal(loaded["decoder"], weight)


def test_tensors_that_cannot_be_written_whole_leave_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file.safetensors"
    write_tensors(file, {"w": torch.zeros(2)})

    def fail(*_: object) -> None:
        raise NO_SPACE

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_tensors(file, {"w": torch.ones(2)})
    assert torch.equal(load_file(file)["w"], torch.zeros(2))
    assert os.listdir(tmp_path) == [file.name]


@dataclass(frozen=True)
class Row:
    layer: str
    count: int
    share: float | None
    rounds: int = 1


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    rows = [Row("conv3,fc1", 3, 0.1 + 0.2), Row('a "b"', -1, None, 2)]
    write_bytes(tmp_path / "rows.csv", rows_as_bytes(Row, rows))
    assert parse_rows((tmp_path / "rows.csv").read_bytes(), Row) == rows


def test_a_column_with_a_default_may_be_missing_and_others_are_left_out() -> None:
    assert parse_rows(b"count,layer,share,colour\n3,fc1,nan,red\n\n", Row)[0].rounds == 1
    assert parse_rows(b"layer,count,share\r\n1,2,\r\n", Row) == [Row("1", 2, None)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"layer,count,share\n", "it has no rows"),
        (b"\xff\xfe", "it is no CSV: "),
        (b"layer,count\nfc1,1\n", "line 2: share is missing"),
        (b"layer,count,share\nfc1,1,1\nfc1,1\n", "line 3 has 2 cells, and the header has 3"),
        (b"layer,count,share\nfc1,1.5,1\n", "line 2: count is '1.5'; it must be a whole number"),
        (b"layer,count,share\nfc1,,1\n", "line 2: count is None; it must be a whole number"),
        (b"layer,count,share\nfc1,1,much\n", "line 2: share is 'much'; it must be a number or nothing"),
    ],
)
def test_rows_that_do_not_fit_are_refused_by_line_and_column(content: bytes, message: str) -> None:
    with pytest.raises(SparsifyError) as caught:
        parse_rows(content, Row)
    assert str(caught.value).startswith(message)


class Facts(TypedDict):
    status: Literal["good", "bad"]
    part: float
    sizes: Annotated[list[int], msgspec.Meta(min_length=2)]
    rows: list[Row]


FACTS = '{"status": "good", "part": 1, "sizes": [1, 2], "rows": [{"layer": "fc1", "count": 3, "share": null}]}'


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("{", "", "it is no JSON: "),
        (FACTS, "[1]", "it is [1]; it must be an object"),
        ('"good"', '"fine"', "status is 'fine'; it must be one of: good, bad"),
        ('"good"', "true", "status is True; it must be a text"),
        ('"part": 1, ', "", "part is missing"),
        ('"part": 1', '"part": "1"', "part is '1'; it must be a number"),
        ("[1, 2]", "[1]", "sizes is [1]; it must be a list of length >= 2"),
        ("[1, 2]", "[1, true]", "sizes[1] is True; it must be a whole number"),
        ('"count": 3, ', "", "rows[0].count is missing"),
        ("null", '"all"', "rows[0].share is 'all'; it must be a number or nothing"),
    ],
)
def test_json_that_does_not_fit_is_refused_by_its_key(old: str, new: str, message: str) -> None:
    assert parse_json(FACTS.encode(), Facts)["rows"] == [Row("fc1", 3, None)]
    with pytest.raises(SparsifyError) as caught:
        parse_json(FACTS.replace(old, new, 1).encode(), Facts)
    assert str(caught.value).startswith(message)
