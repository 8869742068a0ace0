"""Adam's direction for the optimizers that apply it to something of their own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam

from sparsify.errors import SparsifyError
from sparsify.optim.selecting import check


def check_adam(betas: tuple[float, float], eps: float) -> None:
    """Raise SparsifyError unless they are in range."""
    if not all(0 <= beta < 1 for beta in betas):
        raise SparsifyError(f"betas are {betas}; both must be at least 0 and below 1")
    check("eps", eps)


def refuse_gaps(params: Iterable[Tensor], optimizer: str) -> None:
    """Raise SparsifyError for a parameter with gaps in memory, over which torch's fused kernel walks."""
    for p in params:
        if torch.empty_like(p).stride() != p.stride():
            raise SparsifyError(
                f"a parameter of shape {tuple(p.shape)} has gaps in memory (strides {p.stride()}); "
                f"make it contiguous before {optimizer} takes it"
            )


def _laid_out_as(target: Tensor, tensor: Tensor) -> Tensor:
    """`tensor` with the strides of `target`: itself, or a copy. torch's fused kernel goes by memory's order."""
    return tensor if tensor.stride() == target.stride() else torch.empty_like(target).copy_(tensor)


def adam_step(
    targets: list[Tensor],
    grads: list[Tensor],
    states: list[dict[str, Any]],
    *,
    lr: float | Tensor,
    betas: tuple[float, float],
    eps: float,
) -> None:
    """T ← T − lr·m̂/(√v̂ + ε) in place, with Adam's bias-corrected moments m̂ and v̂ of the gradients (Kingma & Ba 2015).

    State of each target: `step`, `exp_avg`, `exp_avg_sq`. The targets must lie in memory without gaps.
    """
    for target, state in zip(targets, states, strict=True):
        if "step" not in state:
            state["step"] = torch.zeros((), device=target.device)
            state["exp_avg"] = torch.zeros_like(target)
            state["exp_avg_sq"] = torch.zeros_like(target)
        for moment in ("exp_avg", "exp_avg_sq"):
            state[moment] = _laid_out_as(target, state[moment])
    beta1, beta2 = betas
    adam(
        targets,
        [_laid_out_as(target, grad) for target, grad in zip(targets, grads, strict=True)],
        [state["exp_avg"] for state in states],
        [state["exp_avg_sq"] for state in states],
        [],
        [state["step"] for state in states],
        fused=True,
        amsgrad=False,
        beta1=beta1,
        beta2=beta2,
        lr=lr,
        weight_decay=0.0,
        eps=eps,
        maximize=False,
    )
