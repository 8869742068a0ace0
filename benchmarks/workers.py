"""Four workers of one study, killed at random moments and started again: is what they make what one process makes?

    python -m benchmarks.workers --kills 50

Workers (`sparsify study tiny.toml --worker`) share a folder of runs. Every few seconds, drawn evenly up to `LONGEST`,
one of them is killed by SIGKILL and at once started again, in round after round of the study until there have been so
many kills; then, as at the end of every round, all are left to end. What must hold in the end of each round:

- every worker ends with status 0;
- the folder of runs has the files that one undisturbed process without workers makes, each with the same bytes but for
  times (`faults_compared`), no lease and no temporary file, once a worker was started after all others had ended.

Workers are forked from processes that have imported everything (`faults_server`), and have one core. It needs Linux.
Writes <output>/workers-<date>.json after every round, and its Markdown.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.faults_commands import Started, start_server
from benchmarks.faults_compared import differences, state
from sparsify.files import write_text
from sparsify.study.leases import LIFETIME, SLOP
from sparsify.text import plural

ROOT = Path(__file__).parent.parent
WORKERS = 4
LONGEST = 8.0  # seconds between two kills, at most
LIMIT = 900.0  # seconds after which a worker that was left to end hangs
STUDY = """title = "Tiny"
seeds = [0, 1]
draw = ["curves"]
[base]
data = "digits"
epochs = 4
batch_size = 64
lr = 0.05
[[arms]]
label = "sgd"
opt = "sgd"
[[arms]]
label = "slbi"
opt = "slbi"
mu = 5
[[arms]]
label = "under a mask"
opt = "sgd"
mask = { of = "sgd", layers = "conv3", ratio = 0.5 }
[sweep]
layers = ["conv3"]
ratios = [0, 0.5]
"""
COMMAND = "study ../../tiny.toml --device cpu --runs-dir ../../runs"


@dataclass
class Result:
    """What happened."""

    seed: int
    kills: int = 0
    rounds: int = 0
    holding: int = 0  # kills after which a lease of the killed worker was left
    undisturbed_seconds: float = 0.0
    round_seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def place(folder: Path) -> None:
    """Make the study, and a folder where each worker runs."""
    for number in range(WORKERS):
        (folder / str(number) / "here").mkdir(parents=True)
    (folder / "tiny.toml").write_text(STUDY)


def leases(folder: Path) -> set[str]:
    """The names of the leases that are held or were left."""
    found = folder / "runs" / ".leases"
    return {path.name for path in found.iterdir() if "|" not in path.name} if found.is_dir() else set()


class Round:
    """A study in a folder of its own, its workers, and the servers that start them."""

    def __init__(self, folder: Path, servers: Sequence[subprocess.Popen[bytes] | None], result: Result) -> None:
        self.folder, self.servers, self.result = folder, servers, result
        place(folder)
        self.workers = [self._start(number) for number in range(WORKERS)]

    def _start(self, number: int) -> Started:
        here = self.folder / str(number) / "here"
        return Started(f"{COMMAND} --worker", here, 1, self.servers[number])

    def kill(self, draws: random.Random) -> bool:
        """Wait, kill a worker and start it again; False if every worker has ended before."""
        seconds, number = LONGEST * draws.random(), draws.randrange(WORKERS)
        worker = self.workers[number]
        if worker.wait(seconds) is not None:
            return any(one.wait(0) is None for one in self.workers)
        os.kill(worker.number, signal.SIGKILL)
        if worker.wait(LIMIT) != -signal.SIGKILL:
            return True  # it had just ended
        self.result.kills += 1
        self.result.holding += any(f"|{worker.number}|" in text for text in self._owners())
        self.workers[number] = self._start(number)
        return True

    def _owners(self) -> list[str]:
        """The contents of all leases, which name the processes that have made them."""
        where, found = self.folder / "runs" / ".leases", []
        for name in leases(self.folder):
            try:
                found.append((where / name).read_text())
            except FileNotFoundError:
                continue  # it was given back just now
        return found

    def end(self, expected: dict[str, str]) -> None:
        """Leave all workers to end, and look."""
        for number, worker in enumerate(self.workers):
            status = worker.wait(LIMIT)
            if status != 0:
                self.result.failures.append(f"worker {number} ends with {status}: {worker.said()[-500:]}")
                os.kill(worker.number, signal.SIGKILL) if status is None else None
        if any((self.folder / "runs" / ".leases").glob("*|*")):  # of one that was killed while it asked for a lease
            time.sleep(LIFETIME + SLOP.total_seconds() + 1)
            if self._start(0).wait(LIMIT) != 0:  # finds nothing to do, and clears
                self.result.failures.append(f"round {self.result.rounds}: no worker can be started any more")
        wrong = differences(state(self.folder / "runs"), expected)
        if wrong:
            self.result.failures.append(f"round {self.result.rounds}: {wrong}")
        self.result.rounds += 1


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    asked = parser.parse_args()
    now = datetime.datetime.now(datetime.UTC)
    path, result = asked.output / f"workers-{now:%Y%m%d}.json", Result(asked.seed)
    draws = random.Random(asked.seed)  # nosec B311: moments of a test, not secrets
    servers = [start_server() for _ in range(WORKERS)]
    with tempfile.TemporaryDirectory(prefix="workers-") as name:
        folder = Path(name)
        place(folder / "alone")
        began = time.perf_counter()
        alone = Started(COMMAND, folder / "alone" / "0" / "here", 1, servers[0])
        if alone.wait(LIMIT) != 0:
            sys.exit(f"the study fails undisturbed: {alone.said()[-2000:]}")
        result.undisturbed_seconds = round(time.perf_counter() - began, 1)
        expected = state(folder / "alone" / "runs")
        while result.kills < asked.kills:
            began = time.perf_counter()
            one = Round(folder / f"round-{result.rounds}", servers, result)
            while result.kills < asked.kills and one.kill(draws):
                print(f"{result.kills} kills in round {result.rounds}", flush=True)
            one.end(expected)
            result.round_seconds.append(round(time.perf_counter() - began, 1))
            content = {"date": now.isoformat(timespec="seconds"), "cores": os.cpu_count(), **dataclasses.asdict(result)}
            write_text(path, json.dumps(content, indent=2) + "\n")
            write_text(path.with_suffix(".md"), markdown(result))
    for server in servers:
        assert server.stdin is not None
        server.stdin.close()
        server.wait()
    print(f"{result.kills} kills in {result.rounds} rounds, {len(result.failures)} failures: {path}")
    sys.exit(1 if result.failures else 0)


def markdown(result: Result) -> str:
    """What happened, in words."""
    rounds = ", ".join(f"{seconds:.0f}" for seconds in result.round_seconds)
    lines = [
        f"# Four workers of a study, killed {result.kills} times",
        "",
        "`python -m benchmarks.workers`, whose docstring says what must hold. A study of 6 trainings, 6 sweeps and 2",
        f"masks was done {plural(result.rounds, 'time')} by 4 workers; {result.kills} times one of them was killed by",
        f"SIGKILL and started again; {result.holding} of these held a lease. Undisturbed, one process takes",
        f"{result.undisturbed_seconds:.0f} s; the rounds took {rounds} s, in which killed workers' leases are waited",
        "for, 40 s each.",
        "",
        *(f"- {failure}" for failure in result.failures or ["All of it held."]),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
