"""Linearised Bregman iterations (Bungert et al. 2022): LinBreg, and AdaBreg on Adam's direction."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sparsify.optim.base import (
    PenalizedOptimizer,
    Rate,
    adam_step,
    add_scaled,
    check,
    check_adam,
    check_momentum,
    gradients,
    refuse_gaps,
    threshold_of,
)
from sparsify.optim.penalties import Penalty, PenaltyChoice, penalty_of, prox, subgradient


class BregmanOptimizer(PenalizedOptimizer):
    """Base of the linearised Bregman iterations: v moves, and θ = δ·prox_J(v). State of a structured parameter: `v`.

    v is a subgradient of the elastic net J_δ = J + ‖·‖²/(2δ) at θ. At a parameter's first step it is θ/δ + p with
    p ∈ ∂J(θ), and p = 0 for grains that are 0. After that, changes of θ from outside are lost at the next step.
    """

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group as torch.optim does. Raises SparsifyError for an option that is out of range."""
        check("delta", {**self.defaults, **param_group}["delta"])
        super().add_param_group(param_group)

    def _descend(self, group: dict[str, Any], params: list[Tensor], targets: list[Tensor], rate: Rate) -> None:
        """Move the targets by −rate·direction, in place; gradients and state are those of the parameters."""
        raise NotImplementedError

    def _move(self, group: dict[str, Any], params: list[Tensor]) -> None:
        rate, delta = group["lr"], group["delta"]
        inside = [(p, penalty) for p in params if (penalty := penalty_of(p, group["penalty"]))]
        if inside:
            duals = [self._dual(group, p, penalty) for p, penalty in inside]
            self._descend(group, [p for p, _ in inside], duals, rate)
            for (p, penalty), v in zip(inside, duals, strict=True):
                torch.mul(prox(v, threshold_of(p, group["strength"], penalty), penalty), delta, out=p)
        outside = [p for p in params if penalty_of(p, group["penalty"]) is None]
        if outside:
            self._descend(group, outside, outside, rate * delta)  # J is 0 there: θ = δ·v

    def _dual(self, group: dict[str, Any], p: Tensor, penalty: Penalty) -> Tensor:
        state = self.state[p]
        if "v" not in state:
            threshold = threshold_of(p, group["strength"], penalty)
            state["v"] = subgradient(p, threshold, penalty).add_(p, alpha=1 / group["delta"])
        dual: Tensor = state["v"]
        return dual


class LinBreg(BregmanOptimizer):
    r"""Linearised Bregman iteration with momentum. With g the gradient, τ = `lr`, δ = `delta`, λ = `strength`::

        m⁺ ← β·m + (1 − β)·τ·g                β = momentum; m = 0 at the start
        v⁺ ← v − m⁺                           v = θ/δ + p at the start, p ∈ ∂J(θ)
        θ⁺ ← δ·prox_J(v⁺)                     "filter": v_i·max(0, 1 − λ√n_i/‖v_i‖₂); "weight": soft threshold at λ

    J(θ) = λ·Σ_i √n_i·‖θ_i‖₂ over the grains (filters, rows or single weights) of n_i weights. A grain that is 0 enters
    once its summed gradients reach the threshold (an inverse scale space); it can leave again. With λ = 0, β = 0 and
    δ = 1 it is SGD. Parameters outside the structure take θ ← θ − δ·m⁺. torch's SGD does not have the factor 1 − β.
    `penalty` is a key of the param group: "auto" (by dimension: 3-D and more filter, 2-D weight, else None), "filter",
    "weight" or None.

    State: `v` where there is structure, and `momentum_buffer` (m) with a momentum above 0. θ starts sparse if
    the module does: see `sparsify.optim.penalties.make_sparse`.

    Source: Bungert, Roith, Tenbrinck & Burger, "A Bregman Learning Framework for Sparse Neural Networks", JMLR 23
    (2022), LinBreg and LinBreg with momentum; the start of v as in the authors' code. Raises SparsifyError for values
    out of range.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 0.5,
        *,
        momentum: float = 0.9,
        strength: float = 0.05,
        delta: float = 1.0,
        penalty: PenaltyChoice = "auto",
    ) -> None:
        check_momentum(momentum)
        super().__init__(params, lr, {"momentum": momentum, "strength": strength, "delta": delta, "penalty": penalty})

    def _descend(self, group: dict[str, Any], params: list[Tensor], targets: list[Tensor], rate: Rate) -> None:
        grads, momentum = gradients(params), group["momentum"]
        if not momentum:
            add_scaled(targets, grads, -rate)
            return
        buffers = self._momentum_buffers(params)
        torch._foreach_mul_(buffers, momentum)
        add_scaled(buffers, grads, (1 - momentum) * rate)
        torch._foreach_sub_(targets, buffers)


class AdaBreg(BregmanOptimizer):
    r"""Linearised Bregman iteration on Adam's direction. With τ = `lr`, δ = `delta`, λ = `strength`::

        v⁺ ← v − τ·m̂/(√ŝ + ε)                 v = θ/δ + p at the start, p ∈ ∂J(θ)
        θ⁺ ← δ·prox_J(v⁺)                     J and its prox as in LinBreg

    m̂ and ŝ are Adam's bias-corrected moments of the gradient. With λ = 0 and δ = 1 it is Adam. Parameters outside the
    structure take θ ← θ − δτ·m̂/(√ŝ + ε). `penalty` as in LinBreg.

    State: `step`, `exp_avg`, `exp_avg_sq`, and `v` where there is structure.

    Source: Bungert, Roith, Tenbrinck & Burger, "A Bregman Learning Framework for Sparse Neural Networks", JMLR 23
    (2022), AdaBreg. Raises SparsifyError for values out of range.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        strength: float = 0.05,
        delta: float = 1.0,
        penalty: PenaltyChoice = "auto",
    ) -> None:
        check_adam(betas, eps)
        options = {"betas": betas, "eps": eps, "strength": strength, "delta": delta, "penalty": penalty}
        super().__init__(params, lr, options)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group as LinBreg does. Raises SparsifyError also for a parameter with gaps in memory."""
        super().add_param_group(param_group)
        refuse_gaps(self.param_groups[-1]["params"], "AdaBreg")

    def _descend(self, group: dict[str, Any], params: list[Tensor], targets: list[Tensor], rate: Rate) -> None:
        grads, states = gradients(params), [self.state[p] for p in params]
        adam_step(targets, grads, states, lr=rate, betas=group["betas"], eps=group["eps"])
