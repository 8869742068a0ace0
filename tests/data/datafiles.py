"""Small files in the place of real ones, ways to damage them, and the line with which loading fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsify.data import vision
from sparsify.data.registry import load_dataset
from sparsify.errors import SparsifyError

RAW_FILES = list(vision.RAW_BYTES)
KINDS = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST"}


def error_of(name: str, data_dir: Path | None = None, kind: type[SparsifyError] = SparsifyError) -> str:
    """The one line with which loading fails."""
    with pytest.raises(SparsifyError) as caught:
        load_dataset(name, data_dir)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    return str(caught.value)


def files_in(path: Path) -> list[Path]:
    return [file for file in path.rglob("*") if not file.is_dir()]


def write_raw(root: Path, kind: str, content: dict[str, bytes]) -> None:
    for file, data in content.items():
        path = root / kind / "raw" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def cut(content: bytes) -> bytes:
    return content[:-3]


def extended(content: bytes) -> bytes:
    return content + b"\0"


def empty(content: bytes) -> bytes:
    return b""


def flipped(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])
