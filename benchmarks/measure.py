"""Arms that take turns in one process, and what their times say."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.table import Table

from sparsify.files import write_text
from sparsify.training.environment import describe_environment


@dataclass(frozen=True)
class Arm:
    """One way of doing a thing: `run(steps)` does that many steps of it."""

    name: str
    run: Callable[[int], None]
    baseline: str | None = None  # the arm that it is compared with


@dataclass(frozen=True)
class Times:
    """The time of an arm's step over its `n` turns, and its speed-up over the baseline, None where it has none."""

    arm: str
    n: int
    baseline: str | None
    median_seconds: float
    quartile_1_seconds: float
    quartile_3_seconds: float
    fastest_seconds: float
    speedup_quartile_1: float | None = None
    speedup_median: float | None = None
    speedup_quartile_3: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """For JSON; an arm without a baseline has no speed-ups."""
        fields = dataclasses.asdict(self)
        return {name: value for name, value in fields.items() if value is not None or name == "baseline"}


class Gates:
    """Arms that claim to compute the same are compared before they are timed; one that fails stops nothing."""

    def __init__(self) -> None:
        self.found: dict[str, float] = {}
        self.failed: list[str] = []

    def check(self, what: str, difference: float, tolerance: float) -> None:
        """Note a difference, and say so if it is more than the tolerance; NaN is."""
        self.found[what] = difference
        if not difference <= tolerance:
            self.failed.append(f"{what}: the results differ by {difference:.2g}, not at most {tolerance:g}")
            print(f"FAILED: {self.failed[-1]}", flush=True)


def take_turns(arms: list[Arm], turns: int, steps: int, device: torch.device) -> dict[str, np.ndarray]:
    """The seconds a step of every arm at every turn. One turn goes before them, and is not counted."""
    seconds = {arm.name: np.zeros(turns) for arm in arms}
    for turn in range(-1, turns):
        for arm in arms:
            began = time.perf_counter()
            arm.run(steps)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if turn >= 0:
                seconds[arm.name][turn] = (time.perf_counter() - began) / steps
    return seconds


def summarise(arms: list[Arm], seconds: Mapping[str, np.ndarray]) -> list[Times]:
    """The median, quartiles and minimum of the time of each arm's step, and its speed-up over its baseline."""
    return [_times(arm, seconds) for arm in arms]


def table(title: str, rows: list[Times]) -> Table:
    """The times as a table for the terminal."""
    result = Table(title=title, title_justify="left")
    result.add_column("arm")
    for column in ("median step", "quartiles", "fastest", "n", "speed-up", "quartiles"):
        result.add_column(column, justify="right")
    for row in rows:
        cells = [duration(row.median_seconds)]
        cells.append(f"{duration(row.quartile_1_seconds)} to {duration(row.quartile_3_seconds)}")
        cells += [duration(row.fastest_seconds), str(row.n)]
        if row.baseline is not None:
            cells.append(f"{row.speedup_median:.2f}×")
            cells.append(f"{row.speedup_quartile_1:.2f} to {row.speedup_quartile_3:.2f}")
        result.add_row(row.arm, *cells)
    return result


def peak(dtype: torch.dtype, device: torch.device, size: int) -> float:
    """The operations a second of a product of two square matrices of that size, the best of ten.

    The most that the hardware can do, where the matrices are so large that the launch of the product does not count:
    8192 on a GPU.
    """
    one, other = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))

    def products(steps: int) -> None:
        for _ in range(steps):
            one @ other

    return float(2 * size**3 / take_turns([Arm("product", products)], 10, 1, device)["product"].min())


def machine(device: torch.device, now: datetime.datetime) -> dict[str, Any]:
    """When and on what it is measured."""
    environment = describe_environment(device, "exact")
    kept = ("device", "threads", "torch", "torchvision", "python", "git_commit")
    about = {"date": now.isoformat(timespec="seconds"), "cores": os.cpu_count()}
    return about | {key: environment[key] for key in kept}


def save(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON, in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(content, indent=2) + "\n")


def _times(arm: Arm, seconds: Mapping[str, np.ndarray]) -> Times:
    low, median, high = (float(value) for value in np.quantile(seconds[arm.name], [0.25, 0.5, 0.75]))
    fastest, n = float(seconds[arm.name].min()), len(seconds[arm.name])
    times = Times(arm.name, n, arm.baseline, median, low, high, fastest)
    if arm.baseline is None:
        return times
    # turn by turn, so that what slows the machine for a while slows both
    ratios = np.quantile(seconds[arm.baseline] / seconds[arm.name], [0.25, 0.5, 0.75])
    slow, middle, fast = (float(value) for value in ratios)
    return dataclasses.replace(times, speedup_quartile_1=slow, speedup_median=middle, speedup_quartile_3=fast)


def duration(seconds: float) -> str:
    """Three digits of it, in milliseconds below a second."""
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"
