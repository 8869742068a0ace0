"""DessiLBI + Adam: Adam preconditions the loss gradient, the coupling to Γ stays decoupled."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam

from sparsify.errors import SparsifyError
from sparsify.optim.split import SplitOptimizer, _check


def _laid_out_as(parameter: Tensor, tensor: Tensor) -> Tensor:
    """`tensor` with the strides of `parameter`: itself, or a copy. torch's fused kernel goes by memory's order."""
    return tensor if tensor.stride() == parameter.stride() else torch.empty_like(parameter).copy_(tensor)


class SLBIAdam(SplitOptimizer):
    r"""Split linearized Bregman iteration on Adam's direction. With α = `lr` and α_p = `path_scale`·α::

        W⁺ ← W − ακ·m̂/(√v̂ + ε) − (α_p κ/μ)(W − Γ)
        Z⁺ ← Z + (α_p/μ)(W − Γ)               old W, old Γ
        Γ⁺ ← κ·prox(Z⁺)                       as in SLBI

    m̂ and v̂ are Adam's bias-corrected moments of the loss gradient alone: the coupling is not preconditioned, as
    weight decay is not in AdamW (Loshchilov & Hutter 2019). `path_scale` makes up for Adam's small α: with 1 and
    α = 3e-4 the path is too short for anything to enter. State: `step`, `exp_avg`, `exp_avg_sq`, and `z`.
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
        threshold: float = 1.0,
        penalty: str | None = "auto",
    ) -> None:
        if not all(0 <= beta < 1 for beta in betas):
            raise SparsifyError(f"betas are {betas}; both must be at least 0 and below 1")
        _check("eps", eps)
        split = {
            "kappa": kappa,
            "mu": mu,
            "path_scale": path_scale,
            "threshold": threshold,
            "penalty": penalty,
        }
        super().__init__(params, lr, {"betas": betas, "eps": eps} | split)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As SLBI's; raises SparsifyError for a parameter with gaps in memory too."""
        super().add_param_group(param_group)
        for p in self.param_groups[-1]["params"]:
            if torch.empty_like(p).stride() != p.stride():
                raise SparsifyError(
                    f"a parameter of shape {tuple(p.shape)} has gaps in memory (strides {p.stride()}); "
                    "make it contiguous before SLBIAdam takes it"
                )

    def _descend(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        states = [self.state[p] for p in params]
        for p, state in zip(params, states, strict=True):
            if "step" not in state:
                state["step"] = torch.zeros((), device=p.device)
                state["exp_avg"] = torch.zeros_like(p)
                state["exp_avg_sq"] = torch.zeros_like(p)
            for moment in ("exp_avg", "exp_avg_sq"):
                state[moment] = _laid_out_as(p, state[moment])
        beta1, beta2 = group["betas"]
        adam(
            params,
            [_laid_out_as(p, grad) for p, grad in zip(params, grads, strict=True)],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            fused=True,
            amsgrad=False,
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"] * group["kappa"],
            weight_decay=0.0,
            eps=group["eps"],
            maximize=False,
        )
