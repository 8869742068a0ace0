"""Learning-rate schedules: the rate of every step, mostly a factor f(p) of the base rate at progress p, 0 ≤ p < 1."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparsify.settings import Setting, Value, values_of

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Steps:
    """The steps of a training: so many epochs of so many steps each."""

    epochs: int
    per_epoch: int

    @property
    def total(self) -> int:
        """The number of all steps."""
        return self.epochs * self.per_epoch


@dataclass(frozen=True)
class ScheduleSpec:
    """One schedule. `rates` gives the learning rate of every step from the base rate, the steps and the settings.

    `settings` gives its options; it can import torch.
    """

    rates: Callable[[float, Steps, Mapping[str, Value]], np.ndarray]
    settings: Callable[[], Mapping[str, Setting]] = dict


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


def _of_progress(factor: Callable[[float], float]) -> ScheduleSpec:
    """The schedule α·f(p) of a function of the progress p, which has no options."""

    def rates(lr: float, steps: Steps, options: Mapping[str, Value]) -> np.ndarray:
        import numpy as np

        return lr * np.array([factor(step / steps.total) for step in range(steps.total)])

    return ScheduleSpec(rates)


SCHEDULES: dict[str, ScheduleSpec] = {
    "constant": _of_progress(constant),
    "step": _of_progress(step),
    "cosine": _of_progress(cosine),
    "linear": _of_progress(linear),
    "one-cycle": _of_progress(one_cycle),
}


def learning_rates(name: str, lr: float, steps: Steps, options: str = "") -> np.ndarray:
    """Return the learning rate of every step, (steps.total,), of the schedule `name` with its options.

    Raises SparsifyError for an unknown option, and for a value that it cannot have.
    """
    spec = SCHEDULES[name]
    return spec.rates(lr, steps, values_of("--schedule-options", name, options, spec.settings()))
