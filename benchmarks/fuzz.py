"""Fuzz what reads inputs: only SparsifyError may be raised, in 10 seconds, and within a bound of memory.

    python -m benchmarks.fuzz ratios study --seconds 120       # these targets, each so long
    python -m benchmarks.fuzz all --seconds 60
    python -m benchmarks.fuzz --list

The targets are the functions of bytes in benchmarks/fuzzing; each is fuzzed in a process of its own. The engine is
atheris (pip install atheris), which is guided by coverage. Where it is not installed, inputs are changed at random, and
the results say so. What is found lies in benchmarks/fuzzing/found/<target>; a call tries it again first, and what then
holds is counted as fixed. The counts are written to benchmarks/results/fuzz-<date>.json, and as a table beside it.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import hashlib
import importlib
import importlib.util
import inspect
import json
import mmap
import platform
import random
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sparsify.report.table import NUMBER, TEXT, Column, Table, to_markdown

HERE = Path(__file__).parent
FOUND = HERE / "fuzzing" / "found"
LONGEST = 10  # seconds an input
MEMORY = 2048  # MB of the whole process, of which torch has about 600
MOST_FOUND = 5  # in one call; then something is to be mended first
LARGEST = 65_536  # bytes of an input

Target = Callable[[bytes], None]
HAS_ATHERIS = importlib.util.find_spec("atheris") is not None


def targets() -> dict[str, tuple[Target, list[bytes]]]:
    """Every target by its name, with the inputs to begin with."""
    found: dict[str, tuple[Target, list[bytes]]] = {}
    for path in sorted((HERE / "fuzzing").glob("*.py")):
        module = importlib.import_module(f"benchmarks.fuzzing.{path.stem}")
        for name, function in vars(module).items():
            if name.startswith("_") or not inspect.isfunction(function) or function.__module__ != module.__name__:
                continue
            kinds = [str(one.annotation) for one in inspect.signature(function).parameters.values()]
            if kinds == ["bytes"] and function.__annotations__.get("return") == "None":
                found[name] = (function, getattr(module, "SEEDS", {}).get(name, []))
    return found


def demanding(target: Target) -> Target:
    """The target, for which a SparsifyError of one line is as good as a return."""
    from sparsify.errors import SparsifyError

    def once(content: bytes) -> None:
        try:
            target(content)
        except SparsifyError as error:
            lines = str(error).splitlines()
        else:
            return
        assert len(lines) == 1, f"an error of {len(lines)} lines"

    return once


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """Raise TimeoutError after the longest time that an input may take."""

    def late(_number: int, _frame: object) -> None:
        raise TimeoutError(f"an input took longer than {LONGEST} s")

    signal.signal(signal.SIGALRM, late)
    signal.alarm(LONGEST)
    try:
        yield
    finally:
        signal.alarm(0)


def changed(content: bytes, other: bytes, source: random.Random) -> bytes:
    """A random change: bytes replaced, removed, doubled, inserted, or a part of another input put in."""
    data = bytearray(content or b"0")
    for _ in range(source.randint(1, 4)):
        at, size = source.randrange(len(data) + 1), source.randint(1, 8)
        part = other[source.randrange(len(other) + 1) :][: source.randint(1, 32)]
        kind = source.randrange(5)
        if kind == 0:
            data[at : at + size] = source.randbytes(size)
        elif kind == 1:
            del data[at : at + size]
        elif kind == 2:
            data[at:at] = data[at : at + size] * source.choice((1, 2, 100))
        elif kind == 3:
            data[at:at] = source.choice((b"0", b"9" * 30, b"e999", b"-", b"nan", b"\0", b"\xff", b"[", b"{"))
        else:
            data[at:at] = part
        data = data[:LARGEST] or bytearray(b"0")
    return bytes(data)


def at_random(target: Target, seeds: list[bytes], seconds: float, found: Path) -> None:
    """Change the seeds at random for so long. What fails is written to `found`, and ends it."""
    # what is drawn are inputs, not secrets
    source = random.Random(time.time_ns())  # nosec B311
    end = time.monotonic() + seconds
    seeds = seeds or [b"0"]
    while time.monotonic() < end:
        content = changed(source.choice(seeds), source.choice(seeds), source)
        try:
            with limited():
                target(content)
            used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            assert used < MEMORY, f"{used} MB of memory were used"
        except Exception:
            (found / f"crash-{hashlib.sha256(content).hexdigest()[:16]}").write_bytes(content)
            raise


def fuzz_here(name: str, seconds: int, place: Path) -> None:
    """Fuzz a target in this process, which ends with an exception or a status other than 0 if something is found."""
    if HAS_ATHERIS:
        import atheris

        with atheris.instrument_imports(include=["sparsify"]):
            target, seeds = targets()[name]
    else:
        target, seeds = targets()[name]
    once = demanding(target)
    with open(place / "count", "r+b") as file:
        count = mmap.mmap(file.fileno(), 8)  # it is there however the process ends

    def counted(content: bytes) -> None:
        struct.pack_into("<Q", count, 0, struct.unpack_from("<Q", count)[0] + 1)
        once(content)

    if not HAS_ATHERIS:
        at_random(counted, seeds, seconds, place / "found")
        return
    corpus = place / "corpus"
    corpus.mkdir(exist_ok=True)
    for number, content in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(content)
    options = (
        f"-max_total_time={seconds}",
        f"-timeout={LONGEST}",
        f"-rss_limit_mb={MEMORY}",
        f"-max_len={LARGEST}",
        f"-artifact_prefix={place / 'found'}/",
        "-verbosity=0",
    )
    atheris.Setup([sys.argv[0], *options, str(corpus)], counted)
    atheris.Fuzz()


def again(name: str) -> int:
    """Try what was found before again, in this process; return how many still fail, and print why."""
    once, failing = demanding(targets()[name][0]), 0
    for path in sorted((FOUND / name).glob("*")):
        try:
            with limited():
                once(path.read_bytes())
        except Exception as error:
            failing += 1
            print(f"{path}: {type(error).__name__}: {error}")
    return failing


def fuzz(name: str, seconds: int) -> dict[str, object]:
    """Fuzz a target in processes of its own, and return the counts."""
    begin, executions, new = time.monotonic(), 0, 0
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "found").mkdir()
        while (left := round(seconds - (time.monotonic() - begin))) > 0 and new < MOST_FOUND:
            (place / "count").write_bytes(bytes(8))
            here = [sys.executable, "-m", "benchmarks.fuzz", name, "--seconds", str(left), "--here", folder]
            # this module itself, without a shell
            done = subprocess.run(here, capture_output=True, text=True, errors="replace")  # nosec B603
            executions += struct.unpack("<Q", (place / "count").read_bytes())[0]
            if done.returncode == 0:
                break
            crashes = list((place / "found").iterdir())
            if not crashes:
                raise SystemExit(f"{name}: fuzzing failed:\n{done.stderr[-4000:]}")
            said = [one for one in (done.stdout + done.stderr).splitlines() if not one.startswith(("INFO", "WARNING"))]
            print(f"{name}:", *said[-30:], sep="\n")
            (FOUND / name).mkdir(parents=True, exist_ok=True)
            for crash in crashes:
                shutil.move(crash, FOUND / name / crash.name)
                new += 1
    failing = again(name)
    found = len(list((FOUND / name).glob("*")))
    took = round(time.monotonic() - begin, 1)
    return {"executions": executions, "seconds": took, "found": found, "fixed": found - failing}


def record(counts: dict[str, dict[str, object]]) -> Path:
    """Write the counts of these targets into today's file; those of others stay."""
    today = datetime.date.today().isoformat()
    path = HERE / "results" / f"fuzz-{today.replace('-', '')}.json"
    kept = json.loads(path.read_text())["targets"] if path.exists() else {}
    engine = "atheris, guided by coverage" if HAS_ATHERIS else "random changes, not guided by coverage"
    asked = ["git", "-C", str(HERE), "rev-parse", "HEAD"]
    # git with arguments of our own, without a shell
    commit = subprocess.run(asked, capture_output=True, text=True).stdout.strip()  # nosec B603
    for one in counts.values():
        one |= {"engine": engine, "git_commit": commit}
    content = {
        "date": today,
        "python": platform.python_version(),
        "longest_s": LONGEST,
        "memory_mb": MEMORY,
        "targets": dict(sorted((kept | counts).items())),
    }
    path.write_text(json.dumps(content, indent=2) + "\n")
    path.with_suffix(".md").write_text(overview(content))
    return path


def overview(content: dict[str, Any]) -> str:
    """The counts as a page of Markdown."""
    names = ("target", "executions", "seconds", "found", "of these mended", "engine")
    columns = [Column(name, TEXT if name in ("target", "engine") else NUMBER) for name in names]
    rows = [
        (name, f"{one['executions']:,}", one["seconds"], one["found"], one["fixed"], one["engine"])
        for name, one in content["targets"].items()
    ]
    return (
        "# Fuzzed\n\n`python -m benchmarks.fuzz`: an input must end in a result or in a `SparsifyError` of one "
        f"line, within {content['longest_s']} s and {content['memory_mb']:,} MB. {content['date']}, Python "
        f"{content['python']}, one process.\n\n" + to_markdown(Table.of("", columns, rows))
    )


def main() -> int:
    """Fuzz what is asked for; the status is 1 if something that was found still fails."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="targets, or all")
    parser.add_argument("--seconds", type=int, default=60, help="of each target")
    parser.add_argument("--list", action="store_true", help="list the targets")
    parser.add_argument("--here", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.here is not None:
        try:
            fuzz_here(asked.targets[0], asked.seconds, asked.here)
        except Exception:
            traceback.print_exc()
            return 1
        return 0
    known = targets()
    if asked.list or not asked.targets:
        print("\n".join(f"{name}: {(target.__doc__ or '').splitlines()[0]}" for name, (target, _) in known.items()))
        return 0
    names = list(known) if asked.targets == ["all"] else asked.targets
    for name in names:
        if name not in known:
            parser.error(f"unknown target {name!r}; choose from: {', '.join(known)}")
    if not HAS_ATHERIS:
        print("atheris is not installed: inputs are changed at random, without guidance by coverage")
    counts = {}
    for name in names:
        counts[name] = fuzz(name, asked.seconds)
        print(f"{name}: {counts[name]}; written: {record({name: counts[name]})}", flush=True)
    return int(any(one["found"] != one["fixed"] for one in counts.values()))


if __name__ == "__main__":
    sys.exit(main())
