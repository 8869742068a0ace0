"""DessiLBI + Adam: Adam preconditions the loss gradient, the coupling to Γ stays decoupled."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from sparsify.optim.adam import adam_step, check_adam, refuse_gaps
from sparsify.optim.split import SplitOptimizer
from sparsify.optim.structure import THRESHOLD


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
        threshold: float = THRESHOLD,
        penalty: str | None = "auto",
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
        """As SLBI's; raises SparsifyError for a parameter with gaps in memory too."""
        super().add_param_group(param_group)
        refuse_gaps(self.param_groups[-1]["params"], "SLBIAdam")

    def _descend(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        rate = group["lr"] * group["kappa"]
        adam_step(params, grads, [self.state[p] for p in params], lr=rate, betas=group["betas"], eps=group["eps"])
