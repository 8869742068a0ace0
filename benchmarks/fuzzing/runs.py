"""Flip one bit of every byte of a run's files, and read them: each flip must be named.

    python -m benchmarks.fuzzing.runs runs/lenet-digits-slbi-s0-...
    python -m benchmarks.fuzzing.runs runs/... --every 100      # of tensors the header, and one byte in 100

Prints the files with the number of their flips, and each flip that no reader named, or that ended in another error, and
writes both to benchmarks/results/flips-<date>.json, and as a table beside it.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sparsify import Run, Sweep
from sparsify.errors import SparsifyError
from sparsify.files import write_text
from sparsify.nets.mask import load_mask
from sparsify.nets.registry import network
from sparsify.optim.registry import OPTIMIZERS
from sparsify.pruning.shrunk import load_shrunk
from sparsify.report.table import COUNT, TEXT, Column, Table, to_markdown
from sparsify.sums import Record
from sparsify.training.checkpoint import load_checkpoint
from sparsify.training.environment import describe_environment

RESULTS = Path(__file__).parent.parent / "results"

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
        "records.safetensors": lambda: run.records,
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


def overview(content: Mapping[str, Any]) -> str:
    """The counts as a page of Markdown."""
    missed = Counter(flip["file"] for flip in content["unnamed"])
    rows = [(name, count, count - missed[name]) for name, count in content["flips"].items()]
    columns = [Column("file", TEXT), Column("flipped bits", COUNT), Column("named in one line", COUNT)]
    of_tensors = f" (of tensors, the header and one in {content['every']:,})" if content["every"] > 1 else ""
    return (
        f"# Flipped bits\n\n`python -m benchmarks.fuzzing.runs`: one bit of each byte{of_tensors} of the files of "
        f"{content['run']} was flipped, and the file read. {content['date']}, commit {content['git_commit']}.\n\n"
        + to_markdown(Table.of("", columns, rows))
    )


def record(run: str, every: int, counts: Mapping[str, int], unnamed: Sequence[Flip], output: Path) -> Path:
    """Write the counts of today, and what was not named; return the file."""
    today = datetime.date.today().isoformat()
    content = {
        "date": today,
        "git_commit": describe_environment(torch.device("cpu"), "exact")["git_commit"],
        "run": run,
        "every": every,
        "flips": dict(counts),
        "unnamed": [dataclasses.asdict(flip) for flip in unnamed],
    }
    path = output / f"flips-{today.replace('-', '')}.json"
    write_text(path, json.dumps(content, indent=2) + "\n")
    write_text(path.with_suffix(".md"), overview(content))
    return path


def main() -> int:
    """The command line; the status is 1 if a flip was not named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzzing.runs", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="the folder of a run, which is copied")
    parser.add_argument("--every", type=int, default=1, help="of files of tensors, one byte in so many, and the header")
    parser.add_argument("--output", type=Path, default=RESULTS)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as beside:
        copy = Path(shutil.copytree(asked.folder, Path(beside) / asked.folder.resolve().name))
        counts, unnamed = flips(copy, asked.every)
    for name, count in counts.items():
        print(f"{name}: {count:,} flips")
    for flip in unnamed:
        print(f"{flip.file}, byte {flip.byte}: {flip.answer}")
    path = record(asked.folder.resolve().name, asked.every, counts, unnamed, asked.output)
    print(f"{sum(counts.values()):,} flips, {len(unnamed):,} not named; written: {path}")
    return 1 if unnamed else 0


if __name__ == "__main__":
    sys.exit(main())
