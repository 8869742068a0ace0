"""Files that are whole or not there, and names for them that every file system takes."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import hashlib
import io
import os
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def write_bytes(path: Path, content: bytes) -> None:
    """Replace `path` by `content` in one step; after a crash it holds the old content or the new, never a part.

    Folders are made as needed. Raises OSError, with nothing left behind, if the disk is full or read-only.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.chmod(beside, 0o644)  # mkstemp makes it 0600, which would hide a shared run from its readers
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException as error:
        Path(beside).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # a write to a full disk does not say which file it was
        raise
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        with contextlib.suppress(OSError):  # some network file systems cannot; the content is whole all the same
            os.fsync(folder)  # the rename itself must survive, too
        os.close(folder)


def write_text(path: Path, content: str) -> None:
    """`write_bytes` of UTF-8 text."""
    write_bytes(path, content.encode())


def write_rows(path: Path, kind: type, rows: Iterable[object]) -> None:
    """As `write_bytes`: CSV of dataclasses; the columns are the fields of `kind`."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, [field.name for field in dataclasses.fields(kind)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(dataclasses.asdict(row) for row in rows)
    write_text(path, buffer.getvalue())


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """`write_bytes` of a safetensors file; tensors are written in logical (contiguous) order."""
    import torch
    from safetensors.torch import save

    # clones, because safetensors refuses tensors that share memory, as tied weights do
    copies = {name: t.detach().cpu().clone(memory_format=torch.contiguous_format) for name, t in tensors.items()}
    write_bytes(path, save(copies, metadata))


def sanitise(text: str) -> str:
    """Lower-case letters, digits, '.', '_' and '-' only; safe as a part of a file's name."""
    return re.sub(r"[^a-z0-9._]+", "-", text.lower())[:40].strip("-.") or "unnamed"


def shortened(text: str) -> str:
    """A part of a file's name; a long one ends in 8 hex digits of its sum, so that two are not taken for one."""
    if len(text) <= 32:
        return sanitise(text)
    return f"{sanitise(text[:32])}-{short_sum(text)}"


def short_sum(text: str) -> str:
    """8 hex digits of the SHA-256 sum of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]
