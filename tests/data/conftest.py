"""What every test of a data set starts from: empty folders, no network, and small files in the place of MNIST."""

from __future__ import annotations

import errno
import hashlib
import struct
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np
import platformdirs
import pytest
from datafiles import write_raw

from sparsify.data import registry, vision
from sparsify.data.places import Roots


@pytest.fixture(autouse=True)
def roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Roots:
    """Empty folders in every place that is searched, and nothing in memory."""
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda *_, **__: tmp_path / "cache")
    monkeypatch.setenv("SPARSIFY_DATA", str(tmp_path / "variable"))
    for name in ("cache", "variable", "data"):
        (tmp_path / name).mkdir()
    registry._load.cache_clear()
    return Roots.of(tmp_path / "data")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every connection is refused; the addresses that were asked for."""
    asked = []

    def refuse(request: urllib.request.Request | str, *_: object, **__: object) -> None:
        asked.append(request if isinstance(request, str) else request.full_url)
        raise urllib.error.URLError(ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"))

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    return asked


@pytest.fixture
def fake_raw(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, bytes]]:
    """Writes four small IDX files, which from then on are the true ones of their kind."""

    def make(root: Path | None, kind: str, labels: int = 3) -> dict[str, bytes]:
        content = {}
        for part, count in (("train", 5), ("t10k", 2)):
            pixels = (np.arange(count * 28 * 28) % 251).astype(np.uint8)
            content[f"{part}-images-idx3-ubyte"] = struct.pack(">IIII", 0x803, count, 28, 28) + pixels.tobytes()
            content[f"{part}-labels-idx1-ubyte"] = struct.pack(">II", 0x801, count) + bytes([labels] * count)
        monkeypatch.setattr(vision, "RAW_BYTES", {file: len(data) for file, data in content.items()})
        sums = {file: hashlib.md5(data).hexdigest() for file, data in content.items()}
        monkeypatch.setitem(vision.RAW_MD5, kind, sums)
        if root is not None:
            write_raw(root, kind, content)
        return content

    return make
