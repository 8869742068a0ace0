"""What workers cost beside the work: 10,000 stages that do nothing, on 100 workers.

    python -m benchmarks.scale
    python -m benchmarks.scale --stages 1000 --workers 10

A study of one arm whose trainings and sweeps are copies of those of one tiny run: only planning, leases and looks at
the disk are left. The workers are threads of one process, which share its cores, so that the seconds of computing are
those of all workers together: what a cluster of as many machines would spend. What each of them computes once, before
and in its first look, is done for all of them at once, and given by itself.

Writes <output>/scale-<date>.json and its Markdown.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import json
import os
import resource
import tempfile
import threading
import time
import tracemalloc
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.measure import machine
from sparsify.config import Places
from sparsify.devices import resolve_device
from sparsify.files import write_text
from sparsify.runs import Run
from sparsify.study.planning import Planner, _Known
from sparsify.study.running import run_study
from sparsify.study.stages import SweepStage, TrainingStage, ready
from sparsify.study.toml import load_study
from sparsify.study.working import leases_of, work

ROOT = Path(__file__).parent.parent
STUDY = """title = "Scale"
draw = ["curves"]
seeds = {seeds}
[base]
data = "digits"
epochs = 1
batch_size = 512
opt = "sgd"
[[arms]]
label = "one"
[sweep]
layers = ["conv3"]
ratios = [0, 0.5]
"""


@dataclass
class Found:
    """What was measured; `stages` are trainings and sweeps together, half of them each."""

    stages: int
    workers: int
    planner_seconds: float  # of one, which each worker makes once
    first_seconds: float  # of its first look at the disk, which computes where runs and sweeps are
    plan_seconds_begun: float  # of a look at the disk, where nothing is done
    plan_seconds_done: float  # and where everything is
    ready_seconds: float
    seconds: float  # from the first worker's start to the last one's end
    computing_seconds: float  # of all workers together
    computing_milliseconds_a_stage: float
    looks: int  # at the disk, of all workers together
    stages_a_worker: list[int]  # the fewest and the most
    most_leases: int  # files in the folder of leases at one time
    left_leases: int
    plan_megabytes: float  # of one plan with its stages
    peak_megabytes: float  # of the whole process


def study(folder: Path, seeds: int) -> Path:
    """Write a study of so many seeds."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "scale.toml"
    path.write_text(STUDY.format(seeds=list(range(seeds))))
    return path


@contextmanager
def doing_nothing(template: Path) -> Iterator[None]:
    """Within it trainings and sweeps copy what the run `template` has, with its sums."""
    summary = (template / "summary.json").read_bytes()
    # the table last, which says that the others are there
    files = sorted(template.glob("sweep-*"), key=lambda path: path.name.endswith(".csv") and "ledger" not in path.name)
    sweeps = {path: path.read_bytes() for path in files}

    def train(stage: TrainingStage, *_: object) -> None:
        stage.run.path.mkdir(parents=True)
        _place(stage.run.path / "summary.json", summary)

    def sweep(stage: SweepStage, *_: object) -> None:
        for path, content in sweeps.items():
            _place(stage.run.path / path.name, content)

    with mock.patch.object(TrainingStage, "do", train), mock.patch.object(SweepStage, "do", sweep):
        yield


def _place(path: Path, content: bytes) -> None:
    """Write a file that others read at once, without waiting for the disk."""
    beside = path.with_name(f".{path.name}")
    beside.write_bytes(content)
    beside.replace(path)


def measure(folder: Path, stages: int, workers: int) -> Found:
    """Have workers do a study of so many stages in a folder."""
    small = run_study(load_study(str(study(folder / "small", 1))), device="cpu", runs_dir=folder / "small")
    places = Places(device="cpu", runs_dir=folder / "runs")
    asked = load_study(str(study(folder, stages // 2)))
    began = time.perf_counter()
    planner = Planner(asked, places)
    planner_seconds = time.perf_counter() - began
    first_seconds = _seconds(planner.plan)
    tracemalloc.start()
    plan = planner.plan()
    held = ready(plan, planner)
    plan_megabytes = tracemalloc.get_traced_memory()[0] / 1e6
    tracemalloc.stop()
    plan_seconds = _seconds(planner.plan)
    ready_seconds = _seconds(lambda: ready(plan, planner))
    assert len(held) == stages // 2
    looks, most, ended = [0], [0], threading.Event()
    look = Planner.plan

    def counted(self: Planner) -> Any:
        looks[0] += 1
        return look(self)

    def watch() -> None:
        while not ended.wait(0.2):
            with os.scandir(leases_of(places.runs_dir)) if leases_of(places.runs_dir).is_dir() else _nothing() as found:
                most[0] = max(most[0], sum(1 for _ in found))

    def be_one() -> int:
        own = copy.copy(planner)
        own._known = _Known()  # each worker looks by itself; only the networks, and where things are, are the same
        own._known.places = {key: (Run(run.path), paths) for key, (run, paths) in planner._known.places.items()}
        return work(own, plan)

    watcher = threading.Thread(target=watch)
    with mock.patch.object(Planner, "plan", counted), doing_nothing(small.arms[0].runs[0].path):
        began, computing = time.perf_counter(), time.process_time()
        watcher.start()
        with ThreadPoolExecutor(workers) as pool:
            counts = [one.result() for one in [pool.submit(be_one) for _ in range(workers)]]
        seconds, computing = time.perf_counter() - began, time.process_time() - computing
    ended.set()
    watcher.join()
    assert planner.plan().done
    assert sum(counts) == stages
    return Found(
        stages=stages,
        workers=workers,
        planner_seconds=round(planner_seconds, 3),
        first_seconds=round(first_seconds, 3),
        plan_seconds_begun=round(plan_seconds, 3),
        plan_seconds_done=round(_seconds(planner.plan), 3),
        ready_seconds=round(ready_seconds, 3),
        seconds=round(seconds, 1),
        computing_seconds=round(computing, 1),
        computing_milliseconds_a_stage=round(1e3 * computing / stages, 2),
        looks=looks[0],
        stages_a_worker=[min(counts), max(counts)],
        most_leases=most[0],
        left_leases=len(list(leases_of(places.runs_dir).iterdir())),
        plan_megabytes=round(plan_megabytes, 1),
        peak_megabytes=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3),
    )


@contextmanager
def _nothing() -> Iterator[tuple[()]]:
    yield ()


def _seconds(do: Any) -> float:
    """The seconds of computing that a call takes."""
    began = time.process_time()
    do()
    return time.process_time() - began


def markdown(found: Found, about: dict[str, Any]) -> str:
    """What was measured, as a table."""
    few, many = found.stages_a_worker
    rows = {
        "computing of all workers for a stage, ms": f"{found.computing_milliseconds_a_stage:.3g}",
        "computing of all workers together, s": f"{found.computing_seconds:,.0f}",
        "from the first start to the last end, s": f"{found.seconds:,.0f}",
        "one look at the disk, nothing done, s": f"{found.plan_seconds_begun:.3g}",
        "one look at the disk, all done, s": f"{found.plan_seconds_done:.3g}",
        "what is ready, of a look, s": f"{found.ready_seconds:.3g}",
        "before its first look, once a worker, s": f"{found.planner_seconds:.3g}",
        "its first look, once a worker, s": f"{found.first_seconds:.3g}",
        "looks at the disk, of all workers": f"{found.looks:,}",
        "stages of one worker": f"{few} to {many}",
        "files of leases at one time, at most": f"{found.most_leases:,}",
        "files of leases in the end": f"{found.left_leases:,}",
        "memory of one plan, MB": f"{found.plan_megabytes:.3g}",
        "memory of the process with all workers, MB": f"{found.peak_megabytes:,.0f}",
    }
    lines = [
        f"# {found.stages:,} stages that do nothing, on {found.workers} workers",
        "",
        "`python -m benchmarks.scale`, whose docstring says what is measured; n = 1. The workers are threads of one",
        f"process. {about['date']}, {about['device']}, {about['cores']} cores, commit {about['git_commit']}.",
        "",
        "| | |",
        "|---|---:|",
        *(f"| {name} | {value} |" for name, value in rows.items()),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stages", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=100)
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    now = datetime.datetime.now(datetime.UTC)
    with tempfile.TemporaryDirectory(prefix="scale-") as folder:
        found = measure(Path(folder), asked.stages, asked.workers)
    path, about = asked.output / f"scale-{now:%Y%m%d}.json", machine(resolve_device("cpu"), now)
    write_text(path, json.dumps({**about, **asdict(found)}, indent=2) + "\n")
    write_text(path.with_suffix(".md"), markdown(found, about))
    print(f"{path}: {found}")


if __name__ == "__main__":
    main()
