"""Arms that take turns in one process, and what their times say."""

from __future__ import annotations

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


def take_turns(arms: list[Arm], turns: int, steps: int, device: torch.device) -> dict[str, np.ndarray]:
    """Seconds a step of every arm at every turn; one more turn goes before, and is not counted."""
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


def summarise(arms: list[Arm], seconds: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Per arm: median, quartiles and minimum of the time of a step, and the speed-up over its baseline by turn."""
    rows = []
    for arm in arms:
        low, median, high = np.quantile(seconds[arm.name], [0.25, 0.5, 0.75])
        row = {"arm": arm.name, "n": len(seconds[arm.name]), "baseline": arm.baseline}
        row |= {"median_seconds": median, "quartile_1_seconds": low, "quartile_3_seconds": high}
        row["fastest_seconds"] = seconds[arm.name].min()
        if arm.baseline is not None:
            # turn by turn, so that what slows the machine for a while slows both
            ratios = np.quantile(seconds[arm.baseline] / seconds[arm.name], [0.25, 0.5, 0.75])
            row |= dict(zip(("speedup_quartile_1", "speedup_median", "speedup_quartile_3"), ratios, strict=True))
        rows.append(row)
    return rows


def table(title: str, rows: list[dict[str, Any]]) -> Table:
    """The rows of `summarise` for a person."""
    result = Table(title=title, title_justify="left")
    result.add_column("arm")
    for column in ("median step", "quartiles", "fastest", "n", "speed-up", "quartiles"):
        result.add_column(column, justify="right")
    for row in rows:
        cells = [_time(row["median_seconds"])]
        cells.append(f"{_time(row['quartile_1_seconds'])} to {_time(row['quartile_3_seconds'])}")
        cells += [_time(row["fastest_seconds"]), str(row["n"])]
        if row["baseline"] is not None:
            cells.append(f"{row['speedup_median']:.2f}×")
            cells.append(f"{row['speedup_quartile_1']:.2f} to {row['speedup_quartile_3']:.2f}")
        result.add_row(row["arm"], *cells)
    return result


def peak(dtype: torch.dtype, device: torch.device, size: int = 2048) -> float:
    """Operations a second of a product of two square matrices, the best of ten: what the hardware can do at most."""
    one, other = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    arm = Arm("product", lambda steps: [one @ other for _ in range(steps)])
    return 2 * size**3 / take_turns([arm], 10, 1, device)["product"].min()


def machine(device: torch.device, now: datetime.datetime) -> dict[str, Any]:
    """When and on what it is measured."""
    environment = describe_environment(device, "exact")
    kept = ("device", "threads", "torch", "torchvision", "python", "git_commit")
    about = {"date": now.isoformat(timespec="seconds"), "cores": os.cpu_count()}
    return about | {key: environment[key] for key in kept}


def save(path: Path, content: dict[str, Any]) -> None:
    """JSON, in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(content, indent=2) + "\n")


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms"
