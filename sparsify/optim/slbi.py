"""DessiLBI: the split linearized Bregman iteration with momentum (Fu et al. 2020, 2022)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sparsify.optim.selecting import add_scaled, check, check_momentum
from sparsify.optim.split import SplitOptimizer
from sparsify.optim.structure import THRESHOLD


class SLBI(SplitOptimizer):
    r"""Split linearized Bregman iteration. With g the gradient, α = `lr`, κ = `kappa`, ν = `mu`, λ = `threshold`::

        V  ← m·V + (1 − dampening)·g          first step: V = g
        V  ← V + weight_decay·W               only for weights of two or more dimensions
        W⁺ ← W − ακ·V − (α_p κ/μ)(W − Γ)      α_p = path_scale·α
        Z⁺ ← Z + (α_p/μ)(W − Γ)               old W, old Γ
        Γ⁺ ← κ·prox(Z⁺)                       "filter": Z_i·max(0, 1 − λ/‖Z_i‖₂); "weight": soft threshold at λ

    V = Z = Γ = 0 at the start. Parameters outside the structure take W ← W − ακ·V. `penalty` is a key of the param
    group: "auto" (by dimension: 3-D and more filter, 2-D weight, else None), "filter", "weight" or None.

    State: `momentum_buffer`, and `z` where there is structure. Γ is a function of Z: `optimizer.gamma(parameter)`.

    Source: Fu et al., "DessiLBI: Exploring Structural Sparsity of Deep Networks via Differential Inclusion Paths",
    ICML 2020, eq. (3); momentum as in the authors' code. Raises SparsifyError for values out of range.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 0.1,
        *,
        momentum: float = 0.9,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        kappa: float = 1.0,
        mu: float = 20.0,
        path_scale: float = 1.0,
        threshold: float = THRESHOLD,
        penalty: str | None = "auto",
    ) -> None:
        check_momentum(momentum, dampening)
        check("weight_decay", weight_decay, strict=False)
        options = {"momentum": momentum, "dampening": dampening, "weight_decay": weight_decay}
        split = {
            "kappa": kappa,
            "mu": mu,
            "path_scale": path_scale,
            "threshold": threshold,
            "penalty": penalty,
        }
        super().__init__(params, lr, options | split)

    def _descend(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        states = [self.state[p] for p in params]
        if group["dampening"]:
            kept = 1 - group["dampening"]
            grads = [kept * g if "momentum_buffer" in s else g for s, g in zip(states, grads, strict=True)]
        buffers = self._momentum_buffers(params)
        # a new V, in one pass where m·V and + g in place would be two
        velocity = torch._foreach_add(grads, buffers, alpha=group["momentum"])
        if group["weight_decay"]:
            weights = [p for p in params if p.ndim >= 2]
            if weights:
                decaying = [v for v in velocity if v.ndim >= 2]
                torch._foreach_add_(decaying, weights, alpha=group["weight_decay"])
        add_scaled(params, velocity, -group["lr"] * group["kappa"])
        if isinstance(group["lr"], Tensor):  # in a CUDA graph, whose memory keeps its place
            torch._foreach_copy_(buffers, velocity)
        else:
            for state, v in zip(states, velocity, strict=True):
                state["momentum_buffer"] = v
