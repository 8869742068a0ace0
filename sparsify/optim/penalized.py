"""What the optimizers share whose weights are sparse themselves: the penalty J, and the support of the weights."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from sparsify.optim.selecting import SelectingOptimizer, check
from sparsify.optim.structure import Penalty, filter_norms, grain_size, penalty_of


class PenalizedOptimizer(SelectingOptimizer):
    """Base of optimizers whose weights θ are sparse themselves, by J(θ) = λ·Σ_i √n_i·‖θ_i‖₂ over the grains θ_i.

    n_i is how many weights a grain has: 1 for "weight", where J is λ‖θ‖₁; a filter's or row's for "filter", the group
    lasso of Yuan & Lin (2006). λ is `strength`, a key of the param group.
    """

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As torch.optim's; raises SparsifyError for an option of the group that is out of range."""
        check("strength", {**self.defaults, **param_group}["strength"], strict=False)
        super().add_param_group(param_group)

    @torch.no_grad()
    def sizes(self, parameter: Tensor) -> Tensor:
        """The norm of each grain of θ: (filters,) for "filter", else the weight's shape."""
        penalty = penalty_of(parameter, self._group(parameter)["penalty"])
        return filter_norms(parameter) if penalty == "filter" else parameter.abs()


def threshold_of(parameter: Tensor, strength: float | Tensor, penalty: Penalty) -> float | Tensor:
    """λ·√n_i: from which norm on the prox of J keeps a grain."""
    return strength * math.sqrt(grain_size(parameter, penalty))
