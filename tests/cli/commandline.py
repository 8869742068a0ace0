"""What the tests of the command line share: an answer, what is on the disk, and where a run is."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

QUICK = "--data digits --epochs 1 --device cpu"
UNFINISHED = "train --data digits --epochs 2 --device cpu --opt slbi"


class Answer(NamedTuple):
    code: int
    out: str
    err: str


Sparsify = Callable[[str], Answer]
Disk = dict[str, tuple[str, int] | None]


def disk(folder: Path) -> Disk:
    """Every path below `folder`; of files the sum of the content and the time of the last change, but of locks."""
    found: Disk = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_file():
            changed = 0 if path.name == ".lock" else path.stat().st_mtime_ns  # taking a lock may touch its file
            found[name] = (hashlib.sha256(path.read_bytes()).hexdigest(), changed)
        else:
            found[name] = None
    return found


def files(folder: Path) -> Disk:
    """`disk` without folders and without the locks, which are empty."""
    return {k: v for k, v in disk(folder).items() if v is not None and not k.endswith(".lock")}


def run_of(runs: Path, opt: str) -> Path:
    """The folder of the run with seed 0 of one optimizer."""
    return next(runs.glob(f"lenet-digits-{opt}-s0-*"))


def sweep_rows(folder: Path) -> list[dict[str, str]]:
    """The rows of the only sweep in a folder."""
    (path,) = (path for path in folder.glob("sweep-*.csv") if "ledger" not in path.name)
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def cut(path: Path) -> None:
    """Keep the first half of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    """Invert one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty(path: Path) -> None:
    """Keep nothing of a file."""
    path.write_bytes(b"")


def noise(path: Path) -> None:
    """Write what is neither text nor anything else."""
    path.write_bytes(b"\xff\xfe\x00\n\x80")
