"""The penalties on filters and on single weights: their proximal maps, subgradients and supports."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Penalty = Literal["filter", "weight"]

THRESHOLD = 1.0
"""λ of every run: with it Γ and the support are read off the Z that a run leaves behind."""


def penalty_of(parameter: Tensor, penalty: str | None) -> Penalty | None:
    """Resolve a param group's `penalty` for one parameter.

    "auto" goes by dimension: 3-D and more (convolutions) "filter", 2-D (fully connected) "weight", else None.
    """
    if penalty != "auto":
        return penalty
    return "filter" if parameter.ndim >= 3 else "weight" if parameter.ndim == 2 else None


def filter_norms(weight: Tensor, *, keepdim: bool = False) -> Tensor:
    """L2 norm of each output filter: shape (n, …) → (n,), or (n, 1, …); the same bits in every memory format."""
    if weight.ndim == 1:
        return weight.abs()
    # always summed channels last, the order in which training keeps filters: no copy there, one elsewhere
    order = torch.channels_last if weight.ndim == 4 else torch.contiguous_format
    filters = weight.contiguous(memory_format=order)
    return torch.linalg.vector_norm(filters, dim=tuple(range(1, weight.ndim)), keepdim=keepdim)


def shrink_factor(z: Tensor, threshold: float | Tensor) -> Tensor:
    """max(0, 1 − λ/‖Z_i‖₂) per output filter, shaped (n, 1, …) to multiply Z; 0 where ‖Z_i‖ is 0."""
    norms = filter_norms(z, keepdim=True)
    # as max(0, ‖Z_i‖ − λ) / max(‖Z_i‖, λ): nothing is divided by 0, and the factor is 0 exactly outside the support
    tiny = torch.finfo(z.dtype).tiny
    least = threshold.clamp(min=tiny) if isinstance(threshold, Tensor) else max(threshold, tiny)
    return shrink(norms, threshold).div_(norms.clamp_(min=least))


def shrink(z: Tensor, threshold: float | Tensor, penalty: Penalty = "weight") -> Tensor:
    """prox of λ times the penalty at Z; a λ that is a tensor of no dimension stays on its device.

    "weight": sign(z)·max(0, |z| − λ) (soft threshold). "filter": Z_i·max(0, 1 − λ/‖Z_i‖₂) per output filter.
    """
    if penalty == "filter":
        return z * shrink_factor(z, threshold)
    if isinstance(threshold, Tensor):
        return torch.copysign((z.abs() - threshold).clamp_(min=0), z)
    return F.softshrink(z, threshold) if threshold < math.inf else torch.zeros_like(z)


def residual(weight: Tensor, z: Tensor, kappa: float, threshold: float, penalty: Penalty) -> Tensor:
    """W − Γ, with Γ = κ·prox(Z): what couples W and Γ."""
    if penalty == "filter":
        return torch.addcmul(weight, z, shrink_factor(z, threshold), value=-kappa)  # Γ itself is not written down
    return torch.sub(weight, shrink(z, threshold), alpha=kappa)


def grain_size(weight: Tensor, penalty: Penalty) -> int:
    """How many weights one grain has: those of a filter, or 1."""
    return weight.numel() // len(weight) if penalty == "filter" else 1


def subgradient(weight: Tensor, threshold: float, penalty: Penalty) -> Tensor:
    """λ·W_i/‖W_i‖₂ of each grain i, 0 where it is 0: an element of the subdifferential of Σ λ‖W_i‖₂ at W.

    It is the inverse of `shrink`: at W plus its subgradient, `shrink` is W.
    """
    if penalty == "weight":
        return threshold * weight.sign()
    norms = filter_norms(weight, keepdim=True)
    return weight * torch.where(norms > 0, threshold / norms, 0)


def support(z: Tensor, threshold: float, penalty: Penalty) -> Tensor:
    """Which grains have Γ ≠ 0: shape (n,) for "filter", Z's own shape for "weight"."""
    return filter_norms(z) > threshold if penalty == "filter" else z.abs() > threshold
