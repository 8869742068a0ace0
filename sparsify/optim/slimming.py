"""Network slimming: the lasso on BatchNorm's scales, by its subgradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from sparsify.errors import SparsifyError


def slim(optimizer: Optimizer, model: nn.Module, strength: float) -> None:
    """Add λ·sign(γ) to the gradient of each scale γ of BatchNorm before every step of the optimizer; λ is `strength`.

    The loss has then the term λ·Σ|γ|, whose subgradient at 0 is taken to be 0. Unlike with a proximal step no scale
    becomes exactly 0: the small ones are pruned by `--criterion bn-scale`.

    Source: Liu et al., "Learning Efficient Convolutional Networks through Network Slimming", ICCV 2017, eq. (1), by the
    subgradient as in the authors' code. Raises SparsifyError for a network without BatchNorm's scales.
    """
    batch_norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.affine]
    scales = [m.weight for m in batch_norms]
    if not scales:
        raise SparsifyError("--opt slimming: the network has no BatchNorm with scales; take prox-sgd")

    @torch.no_grad()
    def add(_optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        for scale in scales:
            if scale.grad is not None:
                scale.grad.add_(scale.sign(), alpha=strength)

    optimizer.register_step_pre_hook(add)
