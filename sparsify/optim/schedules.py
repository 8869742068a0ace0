"""Learning-rate schedules: pure functions of progress (0 ≤ progress < 1) that return a factor of the base rate."""

from __future__ import annotations

import math
from collections.abc import Callable


def constant(progress: float) -> float:
    """1 throughout."""
    return 1.0


def step(progress: float) -> float:
    """1, and 0.1 in the last third (30 epochs: ×0.1 after 20)."""
    return 1.0 if progress < 2 / 3 else 0.1


def cosine(progress: float) -> float:
    """(1 + cos(π·progress)) / 2 (Loshchilov & Hutter 2017, without restarts)."""
    return (1 + math.cos(math.pi * progress)) / 2


def linear(progress: float) -> float:
    """1 − progress."""
    return 1 - progress


def one_cycle(progress: float) -> float:
    """1/25 to 1 linearly in the first fifth, then (1 + cos) / 2 down to 0 (Smith & Topin 2018; momentum stays)."""
    return 0.04 + 4.8 * progress if progress < 0.2 else cosine((progress - 0.2) / 0.8)


SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": constant,
    "step": step,
    "cosine": cosine,
    "linear": linear,
    "one-cycle": one_cycle,
}
