"""What an entry of the registries of optimizers and of schedules holds, and the options of a Config that it reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from sparsify.publications import Publication
from sparsify.settings import Setting, Value

if TYPE_CHECKING:
    import numpy as np
    from torch import nn
    from torch.optim import Optimizer


class Options(Protocol):
    """The options of a Config that the builders read; one that the optimizer does not take is None."""

    @property
    def opt(self) -> str: ...
    @property
    def lr(self) -> float | None: ...
    @property
    def momentum(self) -> float | None: ...
    @property
    def weight_decay(self) -> float | None: ...
    @property
    def kappa(self) -> float | None: ...
    @property
    def mu(self) -> float | None: ...
    @property
    def path_scale(self) -> float | None: ...
    @property
    def strength(self) -> float | None: ...
    @property
    def delta(self) -> float | None: ...
    @property
    def density(self) -> float | None: ...
    @property
    def structure(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def opt_options(self) -> str: ...


STRUCTURES = ("grains", "bn-scale", "kernels")
"""What the grains of convolutions can be: their filters, the scales of BatchNorm behind them, or their kernels."""

COUPLINGS = ("decoupled", "gradient")
"""How SLBIAdam pulls W towards Γ: by a step of its own, or by a term of the gradient, which Adam scales."""


def taken(option: float | None) -> float:
    """Return the value of an option that the optimizer takes: a Config has put the default where none was given."""
    assert option is not None
    return option


def _keep_weights(model: nn.Module, options: Options) -> None:
    """Start from the network's own initial weights."""


def _fine(options: Options) -> None:
    """Each option is good by itself."""


@dataclass(frozen=True)
class OptimizerSpec:
    """How to build one optimizer, and what studies and figures need to know of it.

    `description` says what it is, for help texts and reports. `defaults` holds every option that it takes; other
    options are refused. `colour` is its place in the palette of figures, which it shares with no other optimizer.
    `prepare` changes the network's initial weights in place. `path` is None unless the optimizer selects; it gives the
    path time of each step from the learning rates. `control` names the optimizer that takes the same options and does
    the same without selecting, if there is one. `settings` gives the options that are no field of a Config,
    `opt_options`; it can import torch. `check` raises SparsifyError for `opt_options` that do not go together, or not
    with the fields; it is asked where there are any. `steps_as` names the optimizer whose steps it takes but for what
    it selects or pulls, so that a learning rate which is right for one of the two is right for both. `follows` says
    whether it takes its path from another run: `release`; `needs_batch_norm` whether it takes networks with BatchNorm
    alone. `papers` are what it was published as; a control of our own has none.
    """

    build: Callable[[nn.Module, Options], Optimizer]
    description: str
    defaults: Mapping[str, float]
    colour: int
    prepare: Callable[[nn.Module, Options], None] = _keep_weights
    path: Callable[[np.ndarray, Options], np.ndarray] | None = None
    control: str | None = None
    settings: Callable[[], Mapping[str, Setting]] = dict
    check: Callable[[Options], None] = _fine
    steps_as: str | None = None
    follows: bool = False
    needs_batch_norm: bool = False
    papers: tuple[Publication, ...] = ()

    @property
    def selects(self) -> bool:
        """Whether it has a path: a support that each grain enters at some step or never."""
        return self.path is not None

    @property
    def couples(self) -> bool:
        """Whether a coupling of strength 1/μ pulls the weights W towards Γ."""
        return "mu" in self.defaults

    @property
    def structures(self) -> tuple[str, ...]:
        """Which of STRUCTURES it takes; of those that neither couple nor select the first stands for none."""
        if self.couples:
            return STRUCTURES
        return tuple(name for name in STRUCTURES if name != "bn-scale") if self.selects else STRUCTURES[:1]


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

    `settings` gives its options; it can import torch. `papers` are what it was published as.
    """

    rates: Callable[[float, Steps, Mapping[str, Value]], np.ndarray]
    settings: Callable[[], Mapping[str, Setting]] = dict
    papers: tuple[Publication, ...] = ()
