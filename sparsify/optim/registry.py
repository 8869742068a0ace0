"""The optimizers that a Config can name, with the options that each takes and their defaults.

torch is imported by the builders, not here, so that the command line can list the names without it.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

from sparsify.errors import SparsifyWarning, first_line
from sparsify.optim import papers
from sparsify.optim.spec import COUPLINGS, OptimizerSpec, Options, taken
from sparsify.optim.torch_optimizers import FLAG, torch_optimizer
from sparsify.settings import Setting, values_of

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn
    from torch.optim import Optimizer

    from sparsify.optim.slbi import SLBI


def sgd_pull(model: nn.Module, options: Options) -> Optimizer:
    """Build the control of SLBI: with λ = ∞, Γ stays 0, and only the coupling's pull towards 0 is left.

    That is SGD with decoupled weight decay (Loshchilov & Hutter 2019) of (α_p/α)·κ/μ, of structured weights alone.
    """
    kind = functools.partial(slbi_for(next(model.parameters()).device), threshold=float("inf"))
    return _selecting(kind, model, options)


def slbi(model: nn.Module, options: Options) -> Optimizer:
    """Build DessiLBI."""
    return _selecting(slbi_for(next(model.parameters()).device), model, options)


def _selecting(kind: Callable[..., Optimizer], model: nn.Module, options: Options, **own: object) -> Optimizer:
    """Build an optimizer with param groups by penalty, of those options that it takes."""
    from sparsify.optim.penalties import parameter_groups

    groups = parameter_groups(model, weight_decay=taken(options.weight_decay), structure=options.structure)
    given = {name: value for name in _OPTIONS if (value := getattr(options, name)) is not None}
    return kind(groups, **given, **own)


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


def random_release(model: nn.Module, options: Options) -> Optimizer:
    """Build the control of SLBI that lets as many grains go, at random; whose path is followed is said by `follow`."""
    from sparsify.optim.release import RandomRelease

    return _selecting(RandomRelease, model, options)


def slbi_adam(model: nn.Module, options: Options) -> Optimizer:
    """Build DessiLBI + Adam."""
    from sparsify.optim.slbi import SLBIAdam

    return _split_adam(SLBIAdam, model, options)


def adam_pull(model: nn.Module, options: Options) -> Optimizer:
    """Build the control of SLBIAdam: with λ = ∞ it is Adam with decoupled weight decay of (α_p/α)·κ/μ, as AdamW is.

    With the coupling in the gradient it is Adam with L2 regularisation, path_scale/μ in its gradient.
    """
    from sparsify.optim.slbi import SLBIAdam

    return _split_adam(functools.partial(SLBIAdam, threshold=float("inf")), model, options)


def _split_adam(kind: Callable[..., Optimizer], model: nn.Module, options: Options) -> Optimizer:
    return _selecting(kind, model, options, **values_of(FLAG, options.opt, options.opt_options, _COUPLING))


def linbreg(model: nn.Module, options: Options) -> Optimizer:
    """Build LinBreg, linearised Bregman iterations."""
    from sparsify.optim.bregman import LinBreg

    return _selecting(LinBreg, model, options)


def adabreg(model: nn.Module, options: Options) -> Optimizer:
    """Build AdaBreg, linearised Bregman iterations on Adam's direction."""
    from sparsify.optim.bregman import AdaBreg

    return _selecting(AdaBreg, model, options)


def prox_sgd(model: nn.Module, options: Options) -> Optimizer:
    """Build proximal SGD with the group lasso and the lasso."""
    from sparsify.optim.prox_sgd import ProxSGD

    return _selecting(ProxSGD, model, options)


def slimming(model: nn.Module, options: Options) -> Optimizer:
    """Build network slimming: torch's SGD with the lasso's subgradient on BatchNorm's scales."""
    from sparsify.optim.slimming import slim

    optimizer = _TORCH_SGD.build(model, options)
    slim(optimizer, model, taken(options.strength))
    return optimizer


def _thin_out(model: nn.Module, options: Options) -> None:
    from sparsify.optim.penalties import make_sparse

    make_sparse(model, taken(options.density), options.seed, options.structure)


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

_SLIMMING = {"lr": 0.02, "momentum": 0.9, "weight_decay": 0.0, "strength": 0.0001}

_OPTIONS = ("lr", "momentum", "kappa", "mu", "path_scale", "strength", "delta")
"""What the constructors of the selecting optimizers take under the same names."""

_DECAY = {"weight_decay": 0.0}
_DESSILBI = (papers.FU_2020, papers.FU_2022, papers.HUANG_2016)
_COUPLING = {
    "coupling": Setting(
        default="decoupled",
        choices=COUPLINGS,
        help="the pull towards Γ: a step of its own, or in the gradient, where Adam scales it",
    )
}
_ADAFACTOR = {"eps": Setting(default=(2.0**-23, 0.001), least=0)}  # the first is None in torch: float32's own

_TORCH_SGD = torch_optimizer(
    "SGD", "Stochastic gradient descent, with momentum", _SGD, papers.ROBBINS_1951, papers.SUTSKEVER_2013, colour=0
)

OPTIMIZERS: dict[str, OptimizerSpec] = {
    "sgd": _TORCH_SGD,
    "sgd-pull": OptimizerSpec(
        sgd_pull,
        "The control of slbi: its pull alone, without selection, which is SGD with decoupled weight decay",
        _SLBI,
        colour=1,
        steps_as="sgd",
        papers=(papers.LOSHCHILOV_2019,),
    ),
    "slbi": OptimizerSpec(
        slbi,
        "DessiLBI: SGD whose weights W are pulled towards a sparse copy Γ, in which grains enter along a path",
        _SLBI,
        colour=2,
        path=_split_path,
        control="sgd-pull",
        steps_as="sgd",
        papers=_DESSILBI,
    ),
    "slbi-adam": OptimizerSpec(
        slbi_adam,
        "DessiLBI with Adam's steps in place of those of SGD",
        _SLBI_ADAM,
        colour=3,
        path=_split_path,
        control="adam-pull",
        settings=lambda: _COUPLING,
        steps_as="adam",
        papers=(*_DESSILBI, papers.KINGMA_2015),
    ),
    "adam-pull": OptimizerSpec(
        adam_pull,
        "The control of slbi-adam: its pull alone, without selection, which is Adam with weight decay",
        _SLBI_ADAM,
        colour=18,
        settings=lambda: _COUPLING,
        steps_as="adam",
        papers=(papers.LOSHCHILOV_2019,),
    ),
    "random-release": OptimizerSpec(
        random_release,
        "A control of slbi: frees as many grains from the pull as a run with slbi, at the same steps, but random ones",
        _SLBI,
        colour=19,
        path=_split_path,
        steps_as="sgd",
        follows=True,
    ),
    "linbreg": OptimizerSpec(
        linbreg,
        "Linearised Bregman iterations: sparse at the start; grains enter once their gradients add up to the penalty",
        _LINBREG,
        colour=4,
        prepare=_thin_out,
        path=_own_path,
        papers=(papers.BUNGERT_2022,),
    ),
    "adabreg": OptimizerSpec(
        adabreg,
        "Linearised Bregman iterations on Adam's direction",
        _ADABREG,
        colour=5,
        prepare=_thin_out,
        path=_own_path,
        papers=(papers.BUNGERT_2022, papers.KINGMA_2015),
    ),
    "prox-sgd": OptimizerSpec(
        prox_sgd,
        "Proximal SGD: the group lasso on filters and the lasso on single weights make grains exactly 0",
        _PROX_SGD,
        colour=6,
        path=_own_path,
        steps_as="sgd",
        papers=(papers.DUCHI_2009,),
    ),
    "slimming": OptimizerSpec(
        slimming,
        "Network slimming: SGD with the lasso on the scales of BatchNorm, by its subgradient",
        _SLIMMING,
        colour=20,
        settings=_TORCH_SGD.settings,
        check=_TORCH_SGD.check,
        steps_as="sgd",
        needs_batch_norm=True,
        papers=(papers.LIU_2017,),
    ),
    "adam": torch_optimizer(
        "Adam",
        "Steps scaled by running means of the gradients and of their squares",
        {"lr": 0.001} | _DECAY,
        papers.KINGMA_2015,
        colour=7,
    ),
    "adamw": torch_optimizer(
        "AdamW",
        "Adam with decoupled weight decay",
        {"lr": 0.001, "weight_decay": 0.01},
        papers.LOSHCHILOV_2019,
        colour=8,
    ),
    "rmsprop": torch_optimizer(
        "RMSprop",
        "Steps divided by the root of a running mean of the squared gradients",
        {"lr": 0.01, "momentum": 0.0} | _DECAY,
        papers.TIELEMAN_2012,
        colour=9,
    ),
    "adagrad": torch_optimizer(
        "Adagrad",
        "Steps divided by the root of the sum of all squared gradients",
        {"lr": 0.01} | _DECAY,
        papers.DUCHI_2011,
        colour=10,
    ),
    "adadelta": torch_optimizer(
        "Adadelta",
        "Steps scaled by running means of the squared gradients and of the squared steps",
        {"lr": 1.0} | _DECAY,
        papers.ZEILER_2012,
        colour=11,
    ),
    "adamax": torch_optimizer(
        "Adamax",
        "Adam with the largest of the recent gradients in place of their mean square",
        {"lr": 0.002} | _DECAY,
        papers.KINGMA_2015,
        colour=12,
    ),
    "nadam": torch_optimizer(
        "NAdam", "Adam with Nesterov's momentum", {"lr": 0.002} | _DECAY, papers.DOZAT_2016, colour=13
    ),
    "radam": torch_optimizer(
        "RAdam",
        "Adam whose first steps are rectified, while its mean square is of few gradients",
        {"lr": 0.001} | _DECAY,
        papers.LIU_2020,
        colour=14,
    ),
    "adafactor": torch_optimizer(
        "Adafactor",
        "Adam with a mean square for each row and column in place of one for each weight",
        {"lr": 0.01} | _DECAY,
        papers.SHAZEER_2018,
        colour=15,
        own=_ADAFACTOR,
    ),
    "asgd": torch_optimizer(
        "ASGD",
        "SGD with a falling rate, which keeps the mean of the weights beside them",
        {"lr": 0.01} | _DECAY,
        papers.POLYAK_1992,
        colour=16,
    ),
    "rprop": torch_optimizer(
        "Rprop",
        "Each weight has a step of its own, which grows while its gradient keeps its sign",
        {"lr": 0.01},
        papers.RIEDMILLER_1993,
        colour=17,
    ),
}
"""Each of torch.optim is here that takes dense gradients of any network: not SparseAdam, LBFGS, which needs a closure,
and Muon, which takes weights of two dimensions alone.
"""
