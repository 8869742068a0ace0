"""Flip one bit of every byte of a run's files, and read them: each flip must be named.

    python -m benchmarks.fuzzing.runs runs/lenet-digits-slbi-s0-...

Prints the files with the number of their flips, and each flip that no reader named, or that ended in another error.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sparsify import Run, Sweep
from sparsify.errors import SparsifyError
from sparsify.nets.mask import load_mask
from sparsify.nets.registry import network
from sparsify.optim.registry import OPTIMIZERS
from sparsify.pruning.shrunk import load_shrunk
from sparsify.sums import Record
from sparsify.training.checkpoint import load_checkpoint

LARGE = (".safetensors", ".npz", ".onnx")
"""Files of tensors, of which a sample is flipped unless it is every byte."""


@dataclass(frozen=True)
class Flip:
    """A bit that was flipped, and what came of it, where that is not one line that names the file."""

    file: str
    byte: int
    answer: str


def read_checkpoint(folder: Path) -> None:
    """Restore a training as its resumption does."""
    config = Run(folder).config
    model = network(config.model, (1, 28, 28), 10)
    OPTIMIZERS[config.opt].prepare(model, config)
    load_checkpoint(folder, model, OPTIMIZERS[config.opt].build(model, config))


def reader_of(file: Path, folder: Path) -> Callable[[], object]:
    """The public reader of one file of a run."""
    run = Run(folder)
    if file.parent != folder:
        return lambda: load_shrunk(file.parent)
    if (folder / "checkpoint.safetensors").exists():
        return lambda: read_checkpoint(folder)
    if file.name.startswith("mask-"):
        return lambda: load_mask(file)
    if file.name.startswith("sweep-") and not file.stem.endswith("latency"):
        return lambda: Sweep.read(folder / f"{file.name[:14]}.csv")
    readers: dict[str, Callable[[], object]] = {
        "sums.json": lambda: Record.of(folder),
        "summary.json": lambda: run.status,
        "config.json": lambda: run.config,
        "environment.json": lambda: run.environment,
        "metrics.csv": lambda: run.metrics,
        "model.safetensors": run.model,
        "path.npz": lambda: run.inclusion_path,
        "z.safetensors": lambda: run.z,
    }
    return readers.get(file.name, run.verify)


def places(file: Path, content: bytes, every: int) -> Iterator[int]:
    """The bytes to flip: all of them, or the header and every so many of a large file."""
    if file.suffix not in LARGE or every == 1:
        return iter(range(len(content)))
    header = 8 + int.from_bytes(content[:8], "little") if file.suffix == ".safetensors" else 100
    return iter(sorted({*range(min(header, len(content))), *range(0, len(content), every), len(content) - 1}))


def flips(folder: Path, every: int = 1) -> tuple[dict[str, int], list[Flip]]:
    """Flip a bit of each byte of each file in a folder; return how many by file, and those that were not named.

    Of files of tensors all bytes of the header and every so many others are taken.
    """
    counts: dict[str, int] = {}
    unnamed: list[Flip] = []
    for file in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"):
        name, content = str(file.relative_to(folder)), file.read_bytes()
        for place in places(file, content, every):
            flipped = bytearray(content)
            flipped[place] ^= 1 << place % 8
            file.write_bytes(flipped)
            counts[name] = counts.get(name, 0) + 1
            answer = _answer(reader_of(file, folder), file.name)
            if answer:
                unnamed.append(Flip(name, place, answer))
        file.write_bytes(content)
    return counts, unnamed


def _answer(read: Callable[[], object], name: str) -> str:
    """What was wrong with the answer; "" if it was one line that names the file."""
    try:
        read()
    except SparsifyError as error:
        return "" if name in str(error) and "\n" not in str(error) else f"said: {error}"
    except Exception as error:  # whatever it is, it is a find
        return f"{type(error).__name__}: {error}"
    return "it passed"


def main(folder: Path) -> int:
    with tempfile.TemporaryDirectory() as beside:
        copy = Path(shutil.copytree(folder, Path(beside) / folder.resolve().name))
        counts, unnamed = flips(copy)
    for name, count in counts.items():
        print(f"{name}: {count:,} flips")
    for flip in unnamed:
        print(f"{flip.file}, byte {flip.byte}: {flip.answer}")
    print(f"{sum(counts.values()):,} flips, {len(unnamed):,} not named")
    return 1 if unnamed else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
