"""DessiLBI + Adam: Adam preconditions the loss gradient, the coupling to Γ stays decoupled."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sparsify.errors import SparsifyError
from sparsify.optim.split import SplitOptimizer, _check


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

    def _descend(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        beta1, beta2 = group["betas"]
        for p in params:
            if "step" not in self.state[p]:
                self.state[p]["step"] = torch.tensor(0.0)  # on the CPU: it is read at every step
                self.state[p]["exp_avg"] = torch.zeros_like(p)
                self.state[p]["exp_avg_sq"] = torch.zeros_like(p)
        states = [self.state[p] for p in params]
        first = [s["exp_avg"] for s in states]
        second = [s["exp_avg_sq"] for s in states]
        steps = [s["step"] for s in states]
        torch._foreach_add_(steps, torch.tensor(1.0))  # a tensor, so that 1 is not made into one for each parameter
        torch._foreach_lerp_(first, grads, 1 - beta1)
        torch._foreach_mul_(second, beta2)
        torch._foreach_addcmul_(second, grads, grads, 1 - beta2)
        # m̂/(√v̂ + ε) with both bias corrections b taken out: m/(√v + ε·√b₂) · √b₂/b₁
        counts = [step.item() for step in steps]
        roots = [(1 - beta2**t) ** 0.5 for t in counts]
        denominators = torch._foreach_sqrt(second)
        torch._foreach_add_(denominators, [group["eps"] * root for root in roots])
        rate = float(group["lr"]) * group["kappa"]
        scales = [-rate * root / (1 - beta1**t) for root, t in zip(roots, counts, strict=True)]
        torch._foreach_addcdiv_(params, first, denominators, scales)
