"""The optimizers that a Config can name, with the options that each takes and their defaults.

torch is imported by the builders, not here, so that the command line can list the names without it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from sparsify.errors import SparsifyWarning, first_line

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn
    from torch.optim import Optimizer

    from sparsify.optim.slbi import SLBI


class Options(Protocol):
    """The options of a Config that the builders read; one that the optimizer does not take is None."""

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


def taken(option: float | None) -> float:
    """Return the value of an option that the optimizer takes: a Config has put the default where none was given."""
    assert option is not None
    return option


def _keep_weights(model: nn.Module, options: Options) -> None:
    """Start from the network's own initial weights."""


@dataclass(frozen=True)
class OptimizerSpec:
    """How to build one optimizer, and what studies and figures need to know of it.

    `defaults` holds every option that it takes; other options are refused. `colour` is its place among the colours and
    markers of figures, which it shares with no other optimizer. `prepare` changes the network's initial weights in
    place. `path` is None unless the optimizer selects; it gives the path time of each step from the learning rates.
    `control` names the optimizer that takes the same options and does the same without selecting, if there is one.
    """

    build: Callable[[nn.Module, Options], Optimizer]
    defaults: Mapping[str, float]
    colour: int
    prepare: Callable[[nn.Module, Options], None] = _keep_weights
    path: Callable[[np.ndarray, Options], np.ndarray] | None = None
    control: str | None = None

    @property
    def selects(self) -> bool:
        """Whether it has a path: a support that each grain enters at some step or never."""
        return self.path is not None

    @property
    def couples(self) -> bool:
        """Whether a coupling of strength 1/μ pulls the weights W towards Γ."""
        return "mu" in self.defaults


def sgd(model: nn.Module, options: Options) -> Optimizer:
    """Build torch's SGD. Weight decay acts on weights of two or more dimensions only, as in SLBI."""
    from torch.optim import SGD

    from sparsify.devices import has_fused_kernels
    from sparsify.optim.penalties import decay_groups

    groups = decay_groups(model, taken(options.weight_decay))
    # the fused step where there is one, because the others copy a learning rate that is a tensor back from the device
    fused = all(has_fused_kernels(p.device) for p in model.parameters())
    return SGD(groups, taken(options.lr), taken(options.momentum), fused=True if fused else None)


def sgd_pull(model: nn.Module, options: Options) -> Optimizer:
    """Build the control of SLBI: with λ = ∞, Γ stays 0, and only the coupling's pull towards 0 is left."""
    return _slbi(model, options, threshold=float("inf"))


def slbi(model: nn.Module, options: Options) -> Optimizer:
    """Build DessiLBI."""
    from sparsify.optim.penalties import THRESHOLD

    return _slbi(model, options, threshold=THRESHOLD)


def _slbi(model: nn.Module, options: Options, *, threshold: float) -> Optimizer:
    from sparsify.optim.penalties import parameter_groups

    return slbi_for(next(model.parameters()).device)(
        parameter_groups(model, weight_decay=taken(options.weight_decay), structure=options.structure),
        taken(options.lr),
        momentum=taken(options.momentum),
        kappa=taken(options.kappa),
        mu=taken(options.mu),
        path_scale=taken(options.path_scale),
        threshold=threshold,
    )


def slbi_for(device: torch.device) -> type[SLBI]:
    """Return FusedSLBI on CUDA, else SLBI. Warns and returns SLBI if Triton cannot compile or launch the kernels."""
    from sparsify.devices import has_fused_kernels
    from sparsify.optim.slbi import SLBI

    if not has_fused_kernels(device):
        return SLBI
    try:
        from sparsify.optim.fused import FusedSLBI, try_out

        try_out(device)
    except Exception as error:  # Triton may be absent or lack a C compiler, and raises errors of many types
        reason = first_line(error)
        warnings.warn(
            f"Triton does not run here ({reason}); SLBI's step takes several passes over the memory, which is slower "
            "and computes the same",
            SparsifyWarning,
            stacklevel=2,
        )
        return SLBI
    return FusedSLBI


def slbi_adam(model: nn.Module, options: Options) -> Optimizer:
    """Build DessiLBI + Adam."""
    from sparsify.optim.penalties import parameter_groups
    from sparsify.optim.slbi import SLBIAdam

    return SLBIAdam(
        parameter_groups(model, weight_decay=taken(options.weight_decay), structure=options.structure),
        taken(options.lr),
        kappa=taken(options.kappa),
        mu=taken(options.mu),
        path_scale=taken(options.path_scale),
    )


def linbreg(model: nn.Module, options: Options) -> Optimizer:
    """Build LinBreg, linearised Bregman iterations."""
    from sparsify.optim.bregman import LinBreg
    from sparsify.optim.penalties import parameter_groups

    return LinBreg(
        parameter_groups(model, weight_decay=taken(options.weight_decay)),
        taken(options.lr),
        momentum=taken(options.momentum),
        strength=taken(options.strength),
        delta=taken(options.delta),
    )


def adabreg(model: nn.Module, options: Options) -> Optimizer:
    """Build AdaBreg, linearised Bregman iterations on Adam's direction."""
    from sparsify.optim.bregman import AdaBreg
    from sparsify.optim.penalties import parameter_groups

    return AdaBreg(
        parameter_groups(model, weight_decay=taken(options.weight_decay)),
        taken(options.lr),
        strength=taken(options.strength),
        delta=taken(options.delta),
    )


def prox_sgd(model: nn.Module, options: Options) -> Optimizer:
    """Build proximal SGD with the group lasso and the lasso."""
    from sparsify.optim.penalties import parameter_groups
    from sparsify.optim.prox_sgd import ProxSGD

    return ProxSGD(
        parameter_groups(model, weight_decay=taken(options.weight_decay)),
        taken(options.lr),
        momentum=taken(options.momentum),
        strength=taken(options.strength),
    )


def _thin_out(model: nn.Module, options: Options) -> None:
    from sparsify.optim.penalties import make_sparse

    make_sparse(model, taken(options.density), options.seed)


def _split_path(rates: np.ndarray, options: Options) -> np.ndarray:
    return rates * taken(options.path_scale) / taken(options.mu)


def _own_path(rates: np.ndarray, options: Options) -> np.ndarray:
    return rates


_SGD = {"lr": 0.02, "momentum": 0.9, "weight_decay": 0.0}
_SLBI = {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.0, "kappa": 1.0, "mu": 20.0, "path_scale": 1.0}
_SLBI_ADAM = {"lr": 0.003, "weight_decay": 0.0, "kappa": 1.0, "mu": 20.0, "path_scale": 20.0}
_LINBREG = {"lr": 0.5, "momentum": 0.9, "weight_decay": 0.0, "strength": 0.05, "delta": 1.0, "density": 0.1}
_ADABREG = {"lr": 0.003, "weight_decay": 0.0, "strength": 0.05, "delta": 1.0, "density": 0.1}
_PROX_SGD = {"lr": 0.02, "momentum": 0.9, "weight_decay": 0.0, "strength": 0.0003}

OPTIMIZERS: dict[str, OptimizerSpec] = {
    "sgd": OptimizerSpec(sgd, _SGD, colour=0),
    "sgd-pull": OptimizerSpec(sgd_pull, _SLBI, colour=1),
    "slbi": OptimizerSpec(slbi, _SLBI, colour=2, path=_split_path, control="sgd-pull"),
    "slbi-adam": OptimizerSpec(slbi_adam, _SLBI_ADAM, colour=3, path=_split_path),
    "linbreg": OptimizerSpec(linbreg, _LINBREG, colour=4, prepare=_thin_out, path=_own_path),
    "adabreg": OptimizerSpec(adabreg, _ADABREG, colour=5, prepare=_thin_out, path=_own_path),
    "prox-sgd": OptimizerSpec(prox_sgd, _PROX_SGD, colour=6, path=_own_path),
}
