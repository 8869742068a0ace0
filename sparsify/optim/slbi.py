"""DessiLBI, the split linearized Bregman iteration (Fu et al. 2020, 2022), and DessiLBI + Adam."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sparsify.optim.base import (
    SelectingOptimizer,
    adam_step,
    add_scaled,
    check,
    check_adam,
    check_momentum,
    gradients,
    refuse_gaps,
)
from sparsify.optim.penalties import THRESHOLD, PenaltyChoice, filter_norms, penalty_of, prox, residual, support


class SplitOptimizer(SelectingOptimizer):
    """Base of the SLBI family: the parameters W are coupled to a sparse copy Γ = κ·prox_λ(Z), which starts at 0.

    A subclass has to move W by the gradient of the loss in `_descend`. State of a structured parameter: `z`.
    """

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group as torch.optim does. Raises SparsifyError for an option that is out of range."""
        options = {**self.defaults, **param_group}
        for name in ("kappa", "mu", "path_scale"):
            check(name, options[name])
        check("threshold", options["threshold"], infinite=True)
        super().add_param_group(param_group)

    def _descend(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        """Move every parameter of the group by the gradient of the loss (−ακ·direction), in place."""
        raise NotImplementedError

    def _move(self, group: dict[str, Any], params: list[Tensor]) -> None:
        weights, zs, residuals = self._couple(group, params)
        self._descend(group, params, gradients(params))
        if weights:
            rate = group["lr"] * group["path_scale"] / group["mu"]
            add_scaled(zs, residuals, rate)
            add_scaled(weights, residuals, -rate * group["kappa"])

    def _couple(self, group: dict[str, Any], params: list[Tensor]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Return W, Z and W − Γ of every structured parameter of a group, before any of them moves."""
        weights, zs, residuals = [], [], []
        for p in params:
            penalty = penalty_of(p, group["penalty"])
            if penalty is None:
                continue
            state = self.state[p]
            if "z" not in state:
                state["z"] = torch.zeros_like(p)
            weights.append(p)
            zs.append(state["z"])
            residuals.append(residual(p, state["z"], group["kappa"], group["threshold"], penalty))
        return weights, zs, residuals

    def _z(self, parameter: Tensor) -> Tensor:
        """Return Z of one parameter; zeros before the first step."""
        z = self.state[parameter].get("z")
        return torch.zeros_like(parameter) if z is None else z

    @torch.no_grad()
    def gamma(self, parameter: Tensor) -> Tensor:
        """Return Γ = κ·prox_λ(Z) of one parameter; zeros before the first step."""
        group, penalty = self._structure(parameter)
        gamma: Tensor = group["kappa"] * prox(self._z(parameter), group["threshold"], penalty)
        return gamma

    @torch.no_grad()
    def sizes(self, parameter: Tensor) -> Tensor:
        """Return the norm of each grain of Γ, κ·max(0, ‖Z_i‖ − λ): (filters,) for "filter", else the weight's shape."""
        (group, penalty), z = self._structure(parameter), self._z(parameter)
        norms = filter_norms(z) if penalty == "filter" else z.abs()
        sizes: Tensor = group["kappa"] * (norms - group["threshold"]).clamp_(min=0)
        return sizes

    @torch.no_grad()
    def support(self, parameter: Tensor) -> Tensor:
        """Return which grains of one parameter have Γ ≠ 0: (filters,) for "filter", the weight's shape for "weight"."""
        group, penalty = self._structure(parameter)
        return support(self._z(parameter), group["threshold"], penalty)  # of Z, as a tiny κ rounds a small Γ to 0


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
        penalty: PenaltyChoice = "auto",
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
        # into a new V, which takes one pass; in place, m·V and + g would take two
        velocity = torch._foreach_add(grads, buffers, alpha=group["momentum"])
        if group["weight_decay"]:
            weights = [p for p in params if p.ndim >= 2]
            if weights:
                decaying = [v for v in velocity if v.ndim >= 2]
                torch._foreach_add_(decaying, weights, alpha=group["weight_decay"])
        add_scaled(params, velocity, -group["lr"] * group["kappa"])
        if isinstance(group["lr"], Tensor):  # in a CUDA graph, whose buffers must stay where they are
            torch._foreach_copy_(buffers, velocity)
        else:
            for state, v in zip(states, velocity, strict=True):
                state["momentum_buffer"] = v


class SLBIAdam(SplitOptimizer):
    r"""Split linearized Bregman iteration on Adam's direction. With α = `lr` and α_p = `path_scale`·α::

        W⁺ ← W − ακ·m̂/(√v̂ + ε) − (α_p κ/μ)(W − Γ)
        Z⁺ ← Z + (α_p/μ)(W − Γ)               old W, old Γ
        Γ⁺ ← κ·prox(Z⁺)                       as in SLBI

    m̂ and v̂ are Adam's bias-corrected moments of the loss gradient alone: like weight decay in AdamW (Loshchilov &
    Hutter 2019), the coupling is not preconditioned. `path_scale` compensates for Adam's small α: with path_scale = 1
    and α = 3e-4 the path is too short for anything to enter. State: `step`, `exp_avg`, `exp_avg_sq`, and `z`.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        kappa: float = 1.0,
        mu: float = 20.0,
        path_scale: float = 20.0,
        threshold: float = THRESHOLD,
        penalty: PenaltyChoice = "auto",
    ) -> None:
        check_adam(betas, eps)
        split = {
            "kappa": kappa,
            "mu": mu,
            "path_scale": path_scale,
            "threshold": threshold,
            "penalty": penalty,
        }
        super().__init__(params, lr, {"betas": betas, "eps": eps} | split)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group as SLBI does. Raises SparsifyError also for a parameter with gaps in memory."""
        super().add_param_group(param_group)
        refuse_gaps(self.param_groups[-1]["params"], "SLBIAdam")

    def _descend(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        rate = group["lr"] * group["kappa"]
        adam_step(params, grads, [self.state[p] for p in params], lr=rate, betas=group["betas"], eps=group["eps"])
