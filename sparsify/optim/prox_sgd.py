"""Proximal SGD: a gradient step and a proximal step, for the lasso on single weights and the group lasso on filters."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sparsify.optim.base import PenalizedOptimizer, add_scaled, check_momentum, gradients, threshold_of
from sparsify.optim.penalties import PenaltyChoice, penalty_of, prox


class ProxSGD(PenalizedOptimizer):
    r"""Proximal stochastic gradient descent with momentum. With g the gradient, α = `lr`, λ = `strength`::

        V  ← m·V + g                          m = momentum; first step: V = g
        W⁺ ← prox_{aJ}(W − αV)                a = α/(1 − m), the length of a step over time

    J(W) = λ·Σ_i √n_i·‖W_i‖₂ over the grains (filters, rows or single weights) of n_i weights, so that the prox is
    "filter": W_i·max(0, 1 − aλ√n_i/‖W_i‖₂); "weight": soft threshold at aλ. Its fixed points are the
    stationary points of the loss plus J, whatever the momentum. With λ = 0 it is torch's SGD, and with m = 0 proximal
    gradient descent. Parameters outside the structure take W ← W − αV. `penalty` is a key of the param group: "auto"
    (by dimension: 3-D and more filter, 2-D weight, else None), "filter", "weight" or None.

    State: `momentum_buffer` (V) with a momentum above 0.

    Source: Duchi & Singer, "Efficient Online and Batch Learning Using Forward Backward Splitting", JMLR 10 (2009), with
    the group lasso of Yuan & Lin (2006). Raises SparsifyError for values out of range.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 0.02,
        *,
        momentum: float = 0.9,
        strength: float = 3e-4,
        penalty: PenaltyChoice = "auto",
    ) -> None:
        check_momentum(momentum)
        super().__init__(params, lr, {"momentum": momentum, "strength": strength, "penalty": penalty})

    def _move(self, group: dict[str, Any], params: list[Tensor]) -> None:
        rate, momentum = group["lr"], group["momentum"]
        velocities = gradients(params)
        if momentum:
            buffers = self._momentum_buffers(params)
            torch._foreach_mul_(buffers, momentum)
            torch._foreach_add_(buffers, velocities)
            velocities = buffers
        add_scaled(params, velocities, -rate)
        strength = rate / (1 - momentum) * group["strength"]
        for p in params:
            penalty = penalty_of(p, group["penalty"])
            if penalty:
                p.copy_(prox(p, threshold_of(p, strength, penalty), penalty))
