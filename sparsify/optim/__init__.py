"""The optimizers that a Config can name, with the options that each takes and their defaults.

torch is imported by the builders, not here, so that the command line can list the names without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

    from sparsify.config import Config


@dataclass(frozen=True)
class OptimizerSpec:
    """How to build one optimizer; `defaults` holds every option that it takes, and no other is accepted."""

    build: Callable[[nn.Module, Config], Optimizer]
    defaults: Mapping[str, float]
    selects: bool = False  # whether it has a path, that is, a support that can grow


def sgd(model: nn.Module, config: Config) -> Optimizer:
    """torch's SGD; weight decay acts on weights of two or more dimensions only, as in SLBI."""
    from torch.optim import SGD

    from sparsify.optim.groups import decay_groups

    groups = decay_groups(model, config.weight_decay)
    # on CUDA the fused step: the others read a learning rate that is a tensor back from the device
    on_cuda = all(p.is_cuda for p in model.parameters())
    return SGD(groups, config.lr, config.momentum, fused=True if on_cuda else None)


def sgd_pull(model: nn.Module, config: Config) -> Optimizer:
    """The control of SLBI: λ = ∞, so Γ stays 0 and only the coupling's pull towards 0 is left."""
    return _slbi(model, config, threshold=float("inf"))


def slbi(model: nn.Module, config: Config) -> Optimizer:
    """DessiLBI."""
    return _slbi(model, config, threshold=1.0)


def _slbi(model: nn.Module, config: Config, *, threshold: float) -> Optimizer:
    from sparsify.optim.groups import parameter_groups
    from sparsify.optim.slbi import SLBI

    return SLBI(
        parameter_groups(model, weight_decay=config.weight_decay),
        config.lr,
        momentum=config.momentum,
        kappa=config.kappa,
        mu=config.mu,
        path_scale=config.path_scale,
        threshold=threshold,
    )


def slbi_adam(model: nn.Module, config: Config) -> Optimizer:
    """DessiLBI + Adam."""
    from sparsify.optim.groups import parameter_groups
    from sparsify.optim.slbi_adam import SLBIAdam

    return SLBIAdam(parameter_groups(model), config.lr, kappa=config.kappa, mu=config.mu, path_scale=config.path_scale)


_SLBI = {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.0, "kappa": 1.0, "mu": 20.0, "path_scale": 1.0}

OPTIMIZERS: dict[str, OptimizerSpec] = {
    "sgd": OptimizerSpec(sgd, {"lr": 0.02, "momentum": 0.9, "weight_decay": 0.0}),
    "sgd-pull": OptimizerSpec(sgd_pull, _SLBI),
    "slbi": OptimizerSpec(slbi, _SLBI, selects=True),
    "slbi-adam": OptimizerSpec(slbi_adam, {"lr": 0.003, "kappa": 1.0, "mu": 20.0, "path_scale": 20.0}, selects=True),
}
