"""Figures that need no run: what schedules do to the learning rate, and where optimizers go."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn

from sparsify.config import Config
from sparsify.drawing.schedules import schedules_figure
from sparsify.drawing.style import per_row
from sparsify.drawing.valley import START, Walk, beale, valley_figure
from sparsify.errors import SparsifyError, unknown
from sparsify.optim.registry import OPTIMIZERS
from sparsify.optim.schedules import SCHEDULES, learning_rates
from sparsify.optim.slbi import SplitOptimizer
from sparsify.optim.spec import Steps, taken
from sparsify.settings import Given, as_text, named

_FLAG = "--schedule-options"
_MOST_STEPS = 2_000_000  # of all schedules together; some are computed step by step
_MOST_WALKED = 35_000  # steps of all optimizers together
_FAR = 1e6
_TOGETHER = 6  # paths in one panel

_RATES = {
    "sgd": 0.01,
    "sgd-pull": 0.01,
    "slbi": 0.01,
    "slbi-adam": 0.1,
    "linbreg": 0.03,
    "adabreg": 0.1,
    "adam-pull": 0.1,
    "prox-sgd": 0.003,
    "adam": 0.1,
    "adamw": 0.1,
    "rmsprop": 0.03,
    "adagrad": 0.3,
    "adadelta": 3.0,
    "adamax": 0.3,
    "nadam": 0.1,
    "radam": 0.1,
    "adafactor": 0.03,
    "asgd": 0.03,
    "rprop": 0.03,
}
"""With these each comes near the minimum in 250 steps, without leaps; others have their defaults."""

_PATH_TIME = 4.0
"""α_p/μ of all steps: what is at 1 enters the support after a quarter of them."""


def schedule(
    names: str | Sequence[str] = "",
    *,
    options: Given = "",
    lr: float = 1.0,
    epochs: int = 20,
    steps_per_epoch: int = 469,
    title: str | None = None,
) -> Figure:
    """Draw the learning rate over the epochs, one panel a schedule, before anything trains.

    `names` are several or one text, as in "cosine,step-lr"; without any all are drawn. `options` are those of the
    schedules, as in "gamma=0.5": each goes to every schedule that has one of this name. An epoch of MNIST in batches of
    128 has 469 steps. Raises SparsifyError for an unknown schedule, for an option that none of them has, and for a
    value that it cannot have.

    >>> sparsify.viz.schedule(["cosine", "step-lr"], options="step_size=5").savefig("schedule.png")
    """
    asked = _asked("schedule", names, SCHEDULES)
    settings = {name: SCHEDULES[name].settings() for name in asked}
    given = named(_FLAG, options)
    for option in given:
        if not any(option in own for own in settings.values()):
            known = list(dict.fromkeys(one for own in settings.values() for one in own))
            raise unknown(f"option of {', '.join(asked)}", option, known, where=_FLAG)
    lr, epochs = taken(Config(opt="sgd", lr=lr).lr), Config(epochs=epochs).epochs  # which checks them
    steps = Steps(epochs, steps_per_epoch)
    most = _MOST_STEPS // len(asked)
    if not 0 < steps.total <= most:
        wanted = f"with --epochs {epochs} it must give 1 to {most:,} steps{_of_each(asked, 'schedule')}"
        raise SparsifyError(f"--steps-per-epoch is {steps_per_epoch}; {wanted}")
    rates = {}
    for name, own in settings.items():
        text = as_text(_FLAG, name, {option: value for option, value in given.items() if option in own}, own)
        label = f"{name}, {text}" if text else name
        rates[label] = learning_rates(name, lr, steps, text)
    if title is None:
        title = f"Learning rate over {epochs:,} epochs of {steps_per_epoch:,} steps, α = {lr:g}"
    return schedules_figure(rates, per_epoch=dict.fromkeys(rates, steps_per_epoch), title=title)


def _of_each(asked: Sequence[str], what: str) -> str:
    """What a limit is of, where several share it."""
    return f" for each of {len(asked)} {what}s" if len(asked) > 1 else ""


def optimizers(
    names: str | Sequence[str] = "",
    *,
    lr: float | None = None,
    steps: int = 250,
    title: str | None = None,
) -> Figure:
    """Draw the paths of optimizers on a valley of two weights, Beale's function, from one start to its minimum.

    `names` are several or one text, as in "sgd,slbi"; without any all are drawn but for slimming, which is of
    networks with BatchNorm, and random-release, which follows another run. Of DessiLBI both W and Γ are drawn: Γ
    starts at 0, and the larger weight enters first. Each has a rate that suits it here, or `lr`. Raises SparsifyError
    for an unknown optimizer, and a value out of range.

    >>> sparsify.viz.optimizers(["sgd", "adam", "slbi"], steps=100).savefig("optimizers.png")
    """
    # a valley has neither BatchNorm nor another run's path
    known = [name for name, spec in OPTIMIZERS.items() if not spec.follows and not spec.needs_batch_norm]
    asked = _asked("optimizer", names, known)
    most = _MOST_WALKED // len(asked)
    if not 0 < steps <= most:
        raise SparsifyError(f"--steps is {steps}; it must be from 1 to {most:,}{_of_each(asked, 'optimizer')}")
    walks = {name: _walk(_on_valley(name, lr, steps), steps) for name in asked}
    sparse = [name for name in asked if OPTIMIZERS[name].selects or OPTIMIZERS[name].couples]
    dense = [name for name in asked if name not in sparse]
    if len(asked) <= _TOGETHER:
        panels = {"": asked}
    else:
        panels = {"sparse, or pulled to 0; Γ dashed": sparse} if sparse else {}
        size = per_row(len(dense), _TOGETHER) if dense else 1
        for first in range(0, len(dense), size):
            part = dense[first : first + size]
            panels[part[0] if len(part) == 1 else f"{part[0]} to {part[-1]}"] = part
    if title is None:
        title = f"{steps:,} steps on Beale's function; behind each name is its learning rate"
    return valley_figure({name: {one: walks[one] for one in part} for name, part in panels.items()}, title=title)


def _asked(kind: str, names: str | Sequence[str], known: Collection[str]) -> list[str]:
    """The names that are asked for, each once; all that are known if there are none."""
    found = [name.strip() for name in names.split(",") if name.strip()] if isinstance(names, str) else names
    for name in found:
        if name not in known:
            raise unknown(kind, name, known)
    return list(dict.fromkeys(found or known))


class _Weights(nn.Module):
    """Two weights of a fully connected layer, so that each is a grain of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([START], dtype=torch.float64))


def _on_valley(name: str, lr: float | None, steps: int) -> Config:
    """The Config of an optimizer on the valley: nothing is 0 at the start, and Γ has a path that is long enough."""
    defaults = OPTIMIZERS[name].defaults
    rate = _RATES.get(name, defaults["lr"]) if lr is None else taken(Config(opt=name, lr=lr).lr)  # which checks it
    return Config(
        opt=name,
        lr=rate,
        density=1.0 if "density" in defaults else None,
        strength=0.1 if "strength" in defaults else None,
        path_scale=_PATH_TIME * defaults["mu"] / (rate * steps) if OPTIMIZERS[name].couples else None,
    )


def _walk(config: Config, steps: int) -> Walk:
    """Step down the valley; a path that goes far off ends there."""
    model = _Weights()
    optimizer = OPTIMIZERS[config.opt].build(model, config)
    split = optimizer if isinstance(optimizer, SplitOptimizer) and OPTIMIZERS[config.opt].selects else None
    weights, gammas = [], []
    for step in range(steps + 1):
        weights.append(model.weight.detach()[0].tolist())
        if split is not None:
            gammas.append(split.gamma(model.weight)[0].tolist())
        if step == steps or not max(map(abs, weights[-1])) < _FAR:
            break
        optimizer.zero_grad()
        beale(*model.weight[0]).backward()
        optimizer.step()
    return Walk(taken(config.lr), np.array(weights), np.array(gammas) if split is not None else None)
