"""The proximal maps of the split: how Γ follows from Z, for filters and for single weights."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Penalty = Literal["filter", "weight"]


def penalty_of(parameter: Tensor, penalty: str | None) -> Penalty | None:
    """Resolve a param group's `penalty` for one parameter.

    "auto" goes by dimension: 3-D and more (convolutions) "filter", 2-D (fully connected) "weight", else None.
    """
    if penalty != "auto":
        return penalty
    return "filter" if parameter.ndim >= 3 else "weight" if parameter.ndim == 2 else None


def filter_norms(weight: Tensor) -> Tensor:
    """L2 norm of each output filter: shape (n, …) → (n,), the same bits in every memory format."""
    # flatten copies a channels_last tensor into logical order, so the summation order never depends on strides
    return torch.linalg.vector_norm(weight.flatten(1) if weight.ndim > 1 else weight[:, None], dim=1)


def shrink_factor(z: Tensor, threshold: float) -> Tensor:
    """max(0, 1 − λ/‖Z_i‖₂) per output filter, shaped (n, 1, …) to multiply Z; 0 where ‖Z_i‖ is 0."""
    factor = 1 - threshold / filter_norms(z)
    return factor.clamp_(min=0).view(-1, *[1] * (z.ndim - 1))


def shrink(z: Tensor, threshold: float, penalty: Penalty = "weight") -> Tensor:
    """prox of λ times the penalty at Z.

    "weight": sign(z)·max(0, |z| − λ) (soft threshold). "filter": Z_i·max(0, 1 − λ/‖Z_i‖₂) per output filter.
    """
    if penalty == "filter":
        return z * shrink_factor(z, threshold)
    return z - z.clamp(-threshold, threshold)


def support(z: Tensor, threshold: float, penalty: Penalty) -> Tensor:
    """Which grains have Γ ≠ 0: shape (n,) for "filter", Z's own shape for "weight"."""
    return filter_norms(z) > threshold if penalty == "filter" else z.abs() > threshold
