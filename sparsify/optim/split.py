"""What DessiLBI and DessiLBI + Adam share: the split between W and Γ, its state Z and its coupling."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sparsify.optim.selecting import SelectingOptimizer, add_scaled, check
from sparsify.optim.structure import filter_norms, penalty_of, residual, shrink, support


class SplitOptimizer(SelectingOptimizer):
    """Base of the SLBI family: parameters W coupled to a sparse copy Γ = κ·prox_λ(Z), which starts at 0.

    A subclass moves W by the loss in `_descend` and calls nothing else. State of a structured parameter: `z`.
    """

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As torch.optim's; raises SparsifyError for an option of the group that is out of range."""
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
        self._descend(group, params, [p.grad for p in params])
        if weights:
            rate = group["lr"] * group["path_scale"] / group["mu"]
            add_scaled(zs, residuals, rate)
            add_scaled(weights, residuals, -rate * group["kappa"])

    def _couple(self, group: dict[str, Any], params: list[Tensor]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """W, Z and W − Γ of every structured parameter of a group, before any of them moves."""
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
        """Z of one parameter; zeros before the first step."""
        z = self.state[parameter].get("z")
        return torch.zeros_like(parameter) if z is None else z

    @torch.no_grad()
    def gamma(self, parameter: Tensor) -> Tensor:
        """Γ = κ·prox_λ(Z) of one parameter; zeros before the first step."""
        group = self._group(parameter)
        penalty = penalty_of(parameter, group["penalty"])
        return group["kappa"] * shrink(self._z(parameter), group["threshold"], penalty)

    @torch.no_grad()
    def sizes(self, parameter: Tensor) -> Tensor:
        """The norm of each grain of Γ, κ·max(0, ‖Z_i‖ − λ): (filters,) for "filter", else the weight's shape."""
        group, z = self._group(parameter), self._z(parameter)
        norms = filter_norms(z) if penalty_of(parameter, group["penalty"]) == "filter" else z.abs()
        return group["kappa"] * (norms - group["threshold"]).clamp_(min=0)

    @torch.no_grad()
    def support(self, parameter: Tensor) -> Tensor:
        """Which grains of one parameter have Γ ≠ 0: (filters,) for "filter", the weight's shape for "weight"."""
        group = self._group(parameter)  # by Z: a tiny κ rounds a small Γ to 0
        return support(self._z(parameter), group["threshold"], penalty_of(parameter, group["penalty"]))
