"""Writing files as a whole or not at all, and names for them that every file system accepts."""

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
    """Replace the content of `path` in one step: after a crash it is the old or the new content, never a part of it.

    Missing folders are created. Raises OSError if the disk is full or read-only; then no temporary file is left.
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
        with contextlib.suppress(
            OSError
        ):  # some network file systems cannot do it; the content is complete all the same
            os.fsync(folder)  # so that the rename survives a crash, too
        os.close(folder)


def write_text(path: Path, content: str) -> None:
    """Write `content` as UTF-8, as `write_bytes` does."""
    write_bytes(path, content.encode())


def write_rows(path: Path, kind: type, rows: Iterable[object]) -> None:
    """Write dataclasses of the type `kind` as CSV, one column for each field, as `write_bytes` does."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, [field.name for field in dataclasses.fields(kind)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(dataclasses.asdict(row) for row in rows)
    write_text(path, buffer.getvalue())


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file, as `write_bytes` does. The tensors are stored in logical (contiguous) order."""
    import torch
    from safetensors.torch import save

    # clones, because safetensors refuses tensors that share memory, as tied weights do
    copies = {name: t.detach().cpu().clone(memory_format=torch.contiguous_format) for name, t in tensors.items()}
    write_bytes(path, save(copies, metadata))


def sanitise(text: str) -> str:
    """Return `text` as a part of a file's name: at most 40 lower-case letters, digits, '.', '_' and '-'."""
    return re.sub(r"[^a-z0-9._]+", "-", text.lower())[:40].strip("-.") or "unnamed"


def shortened(text: str) -> str:
    """Return `text` as `sanitise` does. A long one is cut and ends in 8 hex digits of its sum."""
    if len(text) <= 32:
        return sanitise(text)
    return f"{sanitise(text[:32])}-{short_sum(text)}"


def short_sum(text: str) -> str:
    """Return the first 8 hex digits of the SHA-256 sum of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]
