"""The SHA-256 sums of files: kept beside them in a record that has its own, so that a flipped bit anywhere is seen.

The record of a run is its summary.json; that of measurements in a folder that is no run is sums.json; that of a shrunk
network is its shrunk.json. A record is JSON whose "sha256" holds the sum of each file by its name, and under the
record's own name that of the record's text, in which this one sum is left empty. Records from before lack "format" and
their own sum; they are read, and what they do not name is taken as it is.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparsify.errors import SparsifyError, reason_given
from sparsify.files import no_link, parse_json, regular, write_bytes
from sparsify.folders import is_run

FORMAT = 2
"""Of records that have their own sum, and those of all files that were written with them."""

OF_RUN, OF_SHRUNK, ELSEWHERE = "summary.json", "shrunk.json", "sums.json"


def sha256(content: bytes) -> str:
    """The SHA-256 sum in hex digits."""
    return hashlib.sha256(content).hexdigest()


def sealed(name: str, values: Mapping[str, Any]) -> bytes:
    """The text of a record: JSON of the values, with its format, and its own sum among those of `values["sha256"]`."""

    def text(own: str) -> bytes:
        sums = {**values.get("sha256", {}), name: own}
        return (json.dumps({**values, "format": FORMAT, "sha256": sums}, indent=2) + "\n").encode()

    return text(sha256(text("")))


def unsealed(name: str, content: bytes) -> dict[str, Any]:
    """The values of a record. Raises SparsifyError unless it is as it was sealed; one from before is read as it is.

    Raises SparsifyError also for a sum of what is no file beside the record, so that nothing else is ever opened.
    """
    values = parse_json(content, dict[str, Any])
    sums = values.get("sha256")
    own = sums.get(name) if isinstance(sums, dict) else None
    if own is not None or "format" in values:
        if not isinstance(own, str) or not re.fullmatch("[0-9a-f]{64}", own):
            raise SparsifyError(f"sha256.{name}, the sum of the file itself, is missing")
        if sha256(content.replace(own.encode(), b"", 1)) != own:
            raise SparsifyError("its SHA-256 sum is not the one that stands in it")
        if values.get("format") != FORMAT:
            raise SparsifyError(f"its format is {values.get('format')!r}; this version of sparsify reads {FORMAT}")
    for file in sums if isinstance(sums, dict) else ():
        if file in ("", ".", "..") or re.search(r"[/\\\0]", file):
            raise SparsifyError(f"sha256 names {file!r}, which is no file of the folder")
    return values


def write_record(path: Path, values: Mapping[str, Any], files: Iterable[str]) -> None:
    """Write a record of these values, in one step, with the sums of files that stand beside it, and its own."""
    sums = {file: sha256(regular(path.with_name(file)).read_bytes()) for file in files}
    write_bytes(path, sealed(path.name, {**values, "sha256": sums}))


@dataclass(frozen=True)
class Record:
    """The sums of the files in a folder, and the name of the file that they stand in.

    Where `every`, a file without a sum is damaged, else it is from before.
    """

    file: str
    sums: Mapping[str, str]
    every: bool

    @classmethod
    def of(cls, folder: Path) -> Record:
        """The record of a folder; an empty one if there is none. Raises SparsifyError if it is damaged."""
        path = _record_of(folder)
        if not os.path.lexists(path):
            return cls(ELSEWHERE, {}, every=False)
        values = _read(path)
        return cls(path.name, parse_sums(values, path), path.name == OF_RUN and "format" in values)

    def read(self, path: Path) -> bytes:
        """The content of a file of the folder.

        Raises SparsifyError, with the reason, unless it is a regular file and has its sum, and OSError if it cannot be
        read.
        """
        content = regular(path).read_bytes()
        self.require(path.name, content)
        return content

    def require(self, name: str, content: bytes) -> None:
        """Raise SparsifyError, with the reason, unless the content of a file has the sum of that file."""
        if name in self.sums:
            if sha256(content) != self.sums[name]:
                raise SparsifyError(f"its SHA-256 sum is not the one in {self.file}")
        elif self.every:
            raise SparsifyError(f"it has no SHA-256 sum in {self.file}")


def _record_of(folder: Path) -> Path:
    """Where the record of a folder is, or will be."""
    # another program may have written a summary.json of its own into a folder that is no run
    names = [OF_RUN, OF_SHRUNK] if is_run(folder) else [OF_SHRUNK]
    return folder / next((name for name in names if os.path.lexists(folder / name)), ELSEWHERE)


def parse_sums(values: Mapping[str, Any], path: Path) -> dict[str, str]:
    """The sums in the values of a record. Raises SparsifyError if they are no texts."""
    sums = values.get("sha256")
    if not isinstance(sums, dict) or not all(isinstance(one, str) for one in sums.values()):
        raise SparsifyError(f"{path} is damaged: sha256 must be an object of texts")
    return sums


def _read(path: Path) -> dict[str, Any]:
    try:
        return unsealed(path.name, regular(path).read_bytes())
    except (OSError, SparsifyError) as error:
        raise SparsifyError(f"{path} is damaged: {reason_given(error)}") from error


@contextlib.contextmanager
def locked(folder: Path, *, wait: float = 0) -> Iterator[None]:
    """Prevent other processes from writing into a folder, which is made if it is missing.

    Raises SparsifyError if another process is still writing there after `wait` seconds, and if the folder, or its lock,
    is a symbolic link.
    """
    from filelock import FileLock, Timeout  # slow to import: only what writes needs it

    no_link(folder)
    folder.mkdir(parents=True, exist_ok=True)
    no_link(folder / ".lock")
    try:
        with FileLock(folder / ".lock", timeout=wait):
            yield
    except Timeout as error:
        raise SparsifyError(f"{folder} is being written by another process; wait for it to end") from error


PATIENCE = 60.0
"""Seconds to wait for another process that writes measurements into the same folder: that takes less than one."""


def write_recorded(folder: Path, files: Mapping[str, bytes | None]) -> None:
    """Write files that belong together into a folder, the last one last, and their sums into its record; None deletes.

    The last one is deleted first and written when the sums are there: whenever this is interrupted, it is either
    missing, or all of them are whole. Several processes can do this at the same time. Files that are there already, to
    the bit, are not written again; the last one is only made the newest. Raises SparsifyError as `locked`.
    """
    *_, last = files
    final = files[last]
    assert final is not None  # it is what says that the others are there
    with locked(folder, wait=PATIENCE):
        record = Record.of(folder)
        if all(_is_there(folder, name, content, record) for name, content in files.items()):
            os.utime(folder / last)
            return
        for name in files:
            no_link(folder / name)
        (folder / last).unlink(missing_ok=True)
        for name, content in files.items():
            if content is None:
                (folder / name).unlink(missing_ok=True)
            elif name != last:
                write_bytes(folder / name, content)
        _note(folder, {name: None if content is None else sha256(content) for name, content in files.items()})
        write_bytes(folder / last, final)


def _is_there(folder: Path, name: str, content: bytes | None, record: Record) -> bool:
    if content is None:
        return name not in record.sums and not os.path.lexists(folder / name)
    try:
        return record.sums.get(name) == sha256(content) and regular(folder / name).read_bytes() == content
    except (OSError, SparsifyError):
        return False  # it is written anew


def _note(folder: Path, sums: Mapping[str, str | None]) -> None:
    """Set or delete sums in the record of a folder. The record stays as old as it is: that is the age of a run."""
    path = _record_of(folder)
    status = path.stat() if path.exists() else None
    values: dict[str, Any] = {"sha256": {}, "format": FORMAT} if status is None else _read(path)
    both = {**values["sha256"], **sums}
    values["sha256"] = {name: one for name, one in both.items() if one is not None}
    content = sealed(path.name, values) if "format" in values else (json.dumps(values, indent=2) + "\n").encode()
    write_bytes(path, content)
    if status is not None:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
