"""Learning-rate schedules: the rate of every step, mostly a factor f(p) of the base rate at progress p, 0 ≤ p < 1."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

from sparsify.errors import SparsifyError
from sparsify.limits import EPOCHS
from sparsify.optim.papers import LOSHCHILOV_2017, SMITH_2017, SMITH_2018, VASWANI_2017
from sparsify.optim.spec import ScheduleSpec, Steps
from sparsify.optim.torch_schedules import torch_schedule
from sparsify.publications import Publication
from sparsify.settings import Setting, Value, values_of

if TYPE_CHECKING:
    import numpy as np


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


def _of_progress(factor: Callable[[float], float], *papers: Publication) -> ScheduleSpec:
    """The schedule α·f(p) of a function of the progress p, which has no options."""

    def rates(lr: float, steps: Steps, options: Mapping[str, Value]) -> np.ndarray:
        import numpy as np

        return lr * np.array([factor(step / steps.total) for step in range(steps.total)])

    return ScheduleSpec(rates, papers=papers)


def noam(lr: float, steps: Steps, options: Mapping[str, Value]) -> np.ndarray:
    """α·d^(−1/2)·min(s^(−1/2), s·w^(−3/2)) at step s = 1, 2, …: linear for w steps, then as 1/√s.

    d is the `dimension` of the model, w is `warmup`. Its highest rate is α/√(d·w), at s = w. Source: Vaswani et al.,
    "Attention Is All You Need", NeurIPS 2017, eq. (3), where α is 1.
    """
    import numpy as np

    dimension, warmup = (float(cast(int, options[name])) for name in ("dimension", "warmup"))
    step = np.arange(1.0, steps.total + 1)
    rates: np.ndarray = lr * dimension**-0.5 * np.minimum(step**-0.5, step * warmup**-1.5)
    return rates


def sgdr(lr: float, steps: Steps, options: Mapping[str, Value]) -> np.ndarray:
    """η + (α − η)·(1 + cos(π·(t − a)/(b − a)))/2 at t epochs, between the restarts a and b; η is `eta_min`.

    The first period begins at 0; the last one ends with the training, and restarts behind that do not count. Source:
    Loshchilov & Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017, eq. (5).
    """
    import numpy as np

    restarts, least = cast(tuple[int, ...], options["restarts"]), cast(float, options["eta_min"])
    edges = np.unique([0, *(one for one in restarts if one < steps.epochs)])
    edges = np.append(edges, steps.epochs)
    time = np.arange(steps.total) / steps.per_epoch
    period = np.searchsorted(edges, time, side="right")
    begin, end = edges[period - 1], edges[period]
    rates: np.ndarray = least + (lr - least) * (1 + np.cos(math.pi * (time - begin) / (end - begin))) / 2
    return rates


_FACTOR = Setting(default=0.1, least=0, help="what the rate is multiplied by")
_NOAM = {
    "dimension": Setting(default=512, least=1, help="d, the dimension of the model"),
    "warmup": Setting(default=4000, least=1, help="w, the steps in which the rate grows"),
}
_SGDR = {
    "restarts": Setting(
        default=(10, 30, 70, 150), any_count=True, least=1, most=EPOCHS.most, help="the epochs that begin a period"
    ),
    "eta_min": Setting(default=0.0, least=0, help="the rate at the end of a period"),
}
_STEP_LR = {"step_size": Setting(default=10, least=1, help="epochs between two drops"), "gamma": _FACTOR}
_MULTI_STEP = {
    "milestones": Setting(default=(10, 15), any_count=True, least=1, help="the epochs after which it drops"),
    "gamma": _FACTOR,
}
_RESTARTS = {
    "T_0": Setting(default=10, least=1, help="epochs until the first restart"),
    "T_mult": Setting(default=1, least=1, help="how much longer each period is than the one before"),
}
_CYCLIC = {
    "top": Setting(default=4.0, above=0, help="the highest rate, in multiples of the base rate"),
    "step_size_up": Setting(default=2000, least=1, help="steps from the base to the top, and back again"),
    "mode": Setting(default="triangular", choices=("triangular", "triangular2", "exp_range")),
}


def _cycle(lr: float, steps: Steps, values: dict[str, Value]) -> dict[str, object]:
    top = cast(float, values.pop("top"))
    return {**values, "base_lr": lr, "max_lr": lr * top, "cycle_momentum": False}


SCHEDULES: dict[str, ScheduleSpec] = {
    "constant": _of_progress(constant),
    "step": _of_progress(step),
    "cosine": _of_progress(cosine, LOSHCHILOV_2017),
    "linear": _of_progress(linear),
    "one-cycle": _of_progress(one_cycle, SMITH_2018),
    "noam": ScheduleSpec(noam, lambda: _NOAM, (VASWANI_2017,)),
    "sgdr": ScheduleSpec(sgdr, lambda: _SGDR, (LOSHCHILOV_2017,)),
    "step-lr": torch_schedule("StepLR", "epoch", own=_STEP_LR),
    "multi-step": torch_schedule("MultiStepLR", "epoch", own=_MULTI_STEP),
    "exponential": torch_schedule("ExponentialLR", "epoch", own={"gamma": Setting(default=0.95, least=0)}),
    "cosine-restarts": torch_schedule(
        "CosineAnnealingWarmRestarts", "part of an epoch", LOSHCHILOV_2017, own=_RESTARTS
    ),
    "polynomial": torch_schedule(
        "PolynomialLR",
        "step",
        without=("total_iters",),
        arguments=lambda lr, steps, values: {**values, "total_iters": steps.total},
    ),
    "cyclic": torch_schedule(
        "CyclicLR",
        "step",
        SMITH_2017,
        own=_CYCLIC,
        without=("cycle_momentum", "base_momentum", "max_momentum"),
        arguments=_cycle,
    ),
}
"""torch's OneCycleLR is not here: it is `one-cycle` with other numbers. Its plateaus need the loss, so the training."""


def learning_rates(name: str, lr: float, steps: Steps, options: str = "") -> np.ndarray:
    """Return the learning rate of every step, (steps.total,), of the schedule `name` with its options.

    Raises SparsifyError for an unknown option, for a value that it cannot have, and for rates that are not finite.
    """
    return _values(name, lr, steps, options, "--schedule-options", f"the rates of {name} are not finite at --lr {lr:g}")


def decay_factors(name: str, steps: Steps, options: str = "") -> np.ndarray:
    """Return what the weight decay is multiplied by in each epoch, (steps.epochs,).

    That is the schedule `name` of a base rate of 1, at the epoch's first step. Raises SparsifyError as
    `learning_rates` does.
    """
    reason = f"the factors of {name} are not finite"
    return _values(name, 1.0, steps, options, "--decay-schedule-options", reason)[:: steps.per_epoch]


def _values(name: str, base: float, steps: Steps, options: str, flag: str, reason: str) -> np.ndarray:
    """Return the value of every step. Raises SparsifyError with the reason if one is not finite."""
    import numpy as np

    spec = SCHEDULES[name]
    try:
        values = spec.rates(base, steps, values_of(flag, name, options, spec.settings()))
    except ArithmeticError as error:
        raise SparsifyError(f"{flag} {options}: {reason} ({error})") from error
    if not np.isfinite(values).all():
        raise SparsifyError(f"{flag} {options}: {reason}")
    return values
