"""What can be read off trained weights and paths without images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sparsify.mask import lowest, removed_count
from sparsify.optim.structure import filter_norms
from sparsify.runs import Run

NEAR_ZERO = 0.01


def near_zero(weight: Tensor, relative: float = NEAR_ZERO) -> tuple[int, int]:
    """How many filters have a norm below `relative` times the layer's largest, and how many there are.

    A layer whose filters are all exactly 0 counts as near zero as a whole.
    """
    norms = filter_norms(weight.detach())
    small = norms < relative * norms.max() if norms.max() > 0 else torch.ones_like(norms, dtype=torch.bool)
    return int(small.sum()), len(norms)


def smallest_filters(weight: Tensor, ratio: float) -> Tensor:
    """Which filters go when round(ratio·n) of the smallest L2 norm are pruned: (filters,), True goes."""
    norms = filter_norms(weight.detach())
    return lowest(norms, removed_count(ratio, len(norms)))


def support_shares(runs: Sequence[Run]) -> dict[str, list[float]]:
    """The share of each layer's grains in the support, one a run of one kind; empty if they have no path."""
    shares: dict[str, list[float]] = {}
    for run in runs:
        for name, counts in run.summary["support"].items():
            shares.setdefault(name.removesuffix(".weight"), []).append(counts["in"] / counts["of"])
    return shares
