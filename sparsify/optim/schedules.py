"""Learning-rate schedules: functions of the progress p (0 ≤ p < 1) that return a factor of the base rate."""

from __future__ import annotations

import math
from collections.abc import Callable


def constant(progress: float) -> float:
    """f(p) = 1."""
    return 1.0


def step(progress: float) -> float:
    """f(p) = 1 for p < 2/3, else 0.1; of 30 epochs, the last 10 are trained at a tenth of the rate."""
    return 1.0 if progress < 2 / 3 else 0.1


def cosine(progress: float) -> float:
    """f(p) = (1 + cos(πp)) / 2 (Loshchilov & Hutter 2017, without restarts)."""
    return (1 + math.cos(math.pi * progress)) / 2


def linear(progress: float) -> float:
    """f(p) = 1 − p."""
    return 1 - progress


def one_cycle(progress: float) -> float:
    """From 1/25 to 1 linearly while p < 0.2, then to 0 as a cosine (Smith & Topin 2018, with constant momentum)."""
    return 0.04 + 4.8 * progress if progress < 0.2 else cosine((progress - 0.2) / 0.8)


SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": constant,
    "step": step,
    "cosine": cosine,
    "linear": linear,
    "one-cycle": one_cycle,
}
