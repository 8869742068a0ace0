"""Commands that are killed at random moments, and begun again: is what they leave that of an undisturbed one?

    python -m benchmarks.faults --kills 1000              # hours; it goes on where it was stopped
    python -m benchmarks.faults --kills 6 --only training

SIGKILL, SIGTERM and SIGINT (this one to all processes of the command, as a terminal does; the others to its first one)
come at moments drawn evenly over the time that the command takes undisturbed. Then the same command is run again, in
one of three cases is killed again, and at last is left to end. What must hold:

- it stops within `LIMIT` seconds, and with it every process that it has started;
- SIGTERM and SIGINT end it with the status 143 and 130, and one line, not a traceback. Before Python has come to the
  command, and after its end, they end it by themselves: then nothing is asked of what it prints. If it ends with
  status 0 after them, it was at its end, or did not heed them, which is counted;
- the same command, run again, ends with status 0;
- then its folder holds the files of an undisturbed run, each with the same bytes but for times (`faults_compared`), and
  no temporary file.

Most commands are forked from a process that has imported everything (`faults_server`), because a start takes longer
than a small training. One in `FRESH` is a fresh interpreter instead, so that its start and its imports are met, too. It
needs Linux, for exports what they need (sparsify-study[onnx]), and takes two cores for `--seeds`, one for all else.

Writes <output>/faults-<date>.json after every command, and a table of it, faults-<date>.md. A file that is there
is gone on with, if it is of the same seed and, where they are named, the same scenarios.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks.faults_commands import Started, start_server
from benchmarks.faults_compared import differences, state
from sparsify.files import parse_json, write_text
from sparsify.report.table import COUNT, NUMBER, TEXT, Column, Table, to_markdown

ROOT = Path(__file__).parent.parent
LIMIT = 30.0  # seconds until everything has stopped; the libraries' own start, which nothing interrupts, takes some
LONGEST = 300.0  # seconds after which a command that was not killed hangs
FRESH = 8  # one command of so many is a fresh interpreter
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)

TRAINED = "train --data digits --opt sgd --epochs 2 --batch-size 64 --device cpu"
SWEPT = "prune lenet-digits-sgd-s0 --layers conv3 --ratios 0,0.5 --device cpu"
STUDY = """title = "Tiny"
seeds = [0, 1]
draw = ["curves"]
[base]
data = "digits"
epochs = 2
batch_size = 128
[[arms]]
opt = "sgd"
lr = 0.05
[[arms]]
opt = "slbi"
lr = 0.05
mu = 5
[sweep]
layers = ["conv3"]
ratios = [0, 0.5]
"""


@dataclass(frozen=True)
class Scenario:
    """A command that is killed; `before` are the commands that make what it needs. `cores` is how many it may use."""

    command: str
    before: tuple[str, ...] = ()
    cores: int = 1


SCENARIOS = {
    "training": Scenario("train --data digits --opt slbi --lr 0.05 --mu 5 --epochs 4 --batch-size 64 --device cpu"),
    "seeds": Scenario("train --data digits --opt sgd --epochs 3 --batch-size 64 --device cpu --seeds 2", cores=2),
    "pruning": Scenario(
        "prune lenet-digits-sgd-s0 --layers conv3,fc1 --ratios 0.5 --rounds 2 --finetune 1 --shrink --device cpu",
        (TRAINED,),
    ),
    "tickets": Scenario("ticket lenet-digits-sgd-s0 --layers conv3 --ratio 0.5 --device cpu", (TRAINED,)),
    "newest ticket": Scenario("ticket --layers conv3,fc1 --ratio 0.5 --rewind 1 --device cpu", (TRAINED,)),
    "study": Scenario("study tiny.toml --device cpu"),
    "export": Scenario("export lenet-digits-sgd-s0 --onnx", (TRAINED,)),
    "report": Scenario("study tiny.toml --device cpu", ("study tiny.toml --device cpu",)),
    "figures": Scenario("viz sweep lenet-digits-sgd-s0", (TRAINED, SWEPT)),
}
"""A result holds the names of those that it was begun with, and goes on with these, whatever is added here."""


@dataclass
class Result:
    """What happened. `counts` are by scenario and signal; `failures` say what did not hold, and of which command."""

    seed: int
    scenarios: list[str]
    kills: int = 0
    commands: int = 0
    counts: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)
    slowest: dict[str, float] = field(default_factory=dict)  # seconds until all had stopped, by scenario
    undisturbed: dict[str, float] = field(default_factory=dict)  # seconds
    failures: list[dict[str, str]] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Result:
        """The result in a file, which holds more than that."""
        values = parse_json(path.read_bytes(), dict[str, Any])
        return cls(**{one.name: values[one.name] for one in dataclasses.fields(cls)})

    def count(self, scenario: str, number: signal.Signals, what: str) -> None:
        """Add one."""
        counts = self.counts.setdefault(scenario, {}).setdefault(number.name, {})
        counts[what] = counts.get(what, 0) + 1

    def table(self) -> Table:
        """A row for each scenario and signal."""
        rows = []
        for scenario, by_signal in self.counts.items():
            for name, counts in by_signal.items():
                kept = (counts.get(what, 0) for what in ("killed", "stopped", "ended", "the same"))
                rows.append([scenario, name, *kept, self.slowest[scenario]])
        headers = (
            "scenario",
            "signal",
            "kills",
            "stopped as it should",
            "of these with status 0",
            "the same files in the end",
        )
        columns = [Column(name, TEXT if name in ("scenario", "signal") else COUNT) for name in headers]
        return Table.of("", [*columns, Column("slowest stop, s", NUMBER)], rows)


class Faults:
    """The folder where the commands run, and the server that starts them."""

    def __init__(self, folder: Path, result: Result) -> None:
        self.folder, self.result = folder, result
        self.server = start_server()
        self.expected: dict[str, dict[str, str]] = {}

    def prepare(self, name: str) -> None:
        """Make what a scenario needs, and run its command undisturbed, which says what is expected and how long."""
        scenario, begun = SCENARIOS[name], self.folder / name
        begun.mkdir()
        (begun / "tiny.toml").write_text(STUDY)
        for command in scenario.before:
            self._run(command, begun, scenario.cores)
        self._place(name)
        began = time.perf_counter()
        self._run(scenario.command, self.work, scenario.cores)
        self.result.undisturbed[name] = round(time.perf_counter() - began, 2)
        self.expected[name] = state(self.work)

    @property
    def work(self) -> Path:
        """The folder in which each command runs: the same one, because reports can hold paths."""
        return self.folder / "work"

    def _place(self, name: str) -> None:
        """Begin with what a scenario needs."""
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(self.folder / name, self.work)

    def _run(self, command: str, folder: Path, cores: int) -> None:
        started = Started(command, folder, cores, self.server)
        if started.wait(LONGEST) != 0:
            raise RuntimeError(f"'{command}' fails undisturbed: {started.said()[-2000:]}")

    def one(self, name: str, number: int) -> None:
        """Kill command `number` once or twice, let it end, and look."""
        # moments of a test, not secrets
        draws = random.Random(f"{self.result.seed} {number}")  # nosec B311
        scenario, result = SCENARIOS[name], self.result
        self._place(name)
        sent: list[signal.Signals] = []
        for _ in range(1 if draws.random() < 2 / 3 else 2):
            server = None if draws.randrange(FRESH) == 0 else self.server
            # importing takes seconds of its own
            seconds = draws.random() * (result.undisturbed[name] + (4 if server is None else 0))
            which = SIGNALS[(number // len(result.scenarios) + len(sent)) % len(SIGNALS)]
            started = Started(scenario.command, self.work, scenario.cores, server)
            if started.wait(seconds) is not None:
                break  # it was faster this time
            sent.append(which)
            self._kill(name, number, started, which)
        started = Started(scenario.command, self.work, scenario.cores, self.server)
        status = started.wait(LONGEST)
        wrong = (
            f"ends with {status}: {started.said()[-500:]}"
            if status != 0
            else differences(state(self.work), self.expected[name])
        )
        if wrong:
            self._fail(name, number, sent, wrong)
            self._end(started)
        for one in sent:
            result.count(name, one, "not the same" if wrong else "the same")
        result.commands += 1

    def _kill(self, name: str, number: int, started: Started, which: signal.Signals) -> None:
        result, began = self.result, time.perf_counter()
        result.kills += 1
        result.count(name, which, "killed")
        with contextlib.suppress(ProcessLookupError):  # it has ended just now
            (os.killpg if which == signal.SIGINT else os.kill)(started.number, which)
        status = started.wait(LIMIT)
        while (living := started.living()) and time.perf_counter() - began < LIMIT:
            time.sleep(0.02)
        seconds = time.perf_counter() - began
        result.slowest[name] = max(result.slowest.get(name, 0.0), round(seconds, 2))
        wrong = ""
        if status is None or living:
            wrong = f"{len(living)} processes live after {LIMIT:g} s"
        elif which != signal.SIGKILL:
            wrong = _misbehaviour(status, which, started.said())
        if wrong:
            self._fail(name, number, [which], wrong)
            self._end(started)
        result.count(name, which, "not stopped" if wrong else "stopped")
        if status == 0 and not wrong:
            result.count(name, which, "ended")

    def _fail(self, name: str, number: int, sent: Sequence[signal.Signals], wrong: str) -> None:
        signals = " ".join(one.name for one in sent)
        self.result.failures.append({"scenario": name, "command": str(number), "signals": signals, "what": wrong})

    def _end(self, started: Started) -> None:
        """Kill what lives on, so that the next command has the cores to itself."""
        for one in started.living():
            os.kill(one, signal.SIGKILL)
        started.wait(LIMIT)

    def close(self) -> None:
        """End the server."""
        assert self.server.stdin is not None
        self.server.stdin.close()
        self.server.wait()


def _misbehaviour(status: int, which: signal.Signals, said: str) -> str:
    """What is wrong with how a command has stopped, or ""."""
    if status in (0, -which):
        return ""  # it had just ended, or had not yet begun
    if status != 128 + which:
        return f"ends with {status}, not {128 + which}: {said[-500:]}"
    lines = [line for line in said.splitlines() if not line.startswith("warning: ")]
    return "" if len(lines) == 1 else f"says {len(lines)} lines: {said[-500:]}"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=SCENARIOS)
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    asked = parser.parse_args()
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a job in the background, and all that it starts, ignores it
    now = datetime.datetime.now(datetime.UTC)
    path = asked.output / f"faults-{now:%Y%m%d}.json"
    result = Result.read(path) if path.exists() else Result(asked.seed, asked.only or list(SCENARIOS))
    if (result.seed, result.scenarios) != (asked.seed, asked.only or result.scenarios):
        sys.exit(f"{path} is of another seed or other scenarios; move it away")
    if result.kills < asked.kills:
        with tempfile.TemporaryDirectory(prefix="faults-") as folder:
            faults = Faults(Path(folder), result)
            try:
                _go_on(faults, asked.kills, path, now)
            finally:
                faults.close()
    print(f"{result.kills} kills of {result.commands} commands, {len(result.failures)} failures: {path}")
    sys.exit(1 if result.failures else 0)


def _go_on(faults: Faults, kills: int, path: Path, now: datetime.datetime) -> None:
    """Kill until there are so many, and save after each command."""
    result = faults.result
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("undisturbed", total=kills, completed=result.kills)
        for name in result.scenarios:
            faults.prepare(name)
        while result.kills < kills:
            name = result.scenarios[result.commands % len(result.scenarios)]
            progress.update(task, completed=result.kills, description=f"{name}, {len(result.failures)} failed")
            faults.one(name, result.commands)
            content = {"date": now.isoformat(timespec="seconds"), "cores": os.cpu_count(), **dataclasses.asdict(result)}
            write_text(path, json.dumps(content, indent=2) + "\n")
            write_text(path.with_suffix(".md"), _markdown(result))
        progress.update(task, completed=result.kills)


def _markdown(result: Result) -> str:
    """The table, what it counts, and what did not hold."""
    kinds: Mapping[str, int] = Counter(failure["what"].split(":")[0][:80] for failure in result.failures)
    lines = [
        f"# Killed at random moments: {result.kills} kills of {result.commands} commands",
        "",
        "`python -m benchmarks.faults`, whose docstring says what must hold. The files in the end are those of an",
        "undisturbed run, byte by byte but for times.",
        "",
        to_markdown(result.table()),
        "" if kinds else "All of it held.",
        *(f"- {count} × {what}" for what, count in kinds.items()),
    ]
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    main()
