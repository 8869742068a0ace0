"""What DessiLBI and DessiLBI + Adam share: the split between W and Γ, its state Z and its coupling."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from sparsify.errors import SparsifyError
from sparsify.optim.structure import Penalty, penalty_of, shrink, shrink_factor, support


def _check(name: str, value: float, *, low: float = 0.0, strict: bool = True, infinite: bool = False) -> None:
    bad = math.isnan(value) or value < low or (strict and value == low) or (math.isinf(value) and not infinite)
    if bad:
        raise SparsifyError(f"{name} is {value}; it must be finite and {'above' if strict else 'at least'} {low:g}")


class SplitOptimizer(Optimizer):
    """Base of the SLBI family: parameters W coupled to a sparse copy Γ = κ·prox_λ(Z), which starts at 0.

    A subclass moves W by the loss in `_descend` and calls nothing else. State of a structured parameter: `z`.
    """

    def __init__(self, params: Any, lr: float, defaults: dict[str, Any]) -> None:
        defaults = {"lr": lr, **defaults}
        if defaults["penalty"] not in ("auto", "filter", "weight", None):
            raise SparsifyError(f"unknown penalty '{defaults['penalty']}'; choose from: auto, filter, weight, None")
        _check("lr", float(lr), strict=False)
        _check("kappa", defaults["kappa"])
        _check("mu", defaults["mu"])
        _check("path_scale", defaults["path_scale"])
        _check("threshold", defaults["threshold"], infinite=True)
        super().__init__(params, defaults)

    def _descend(self, group: dict[str, Any], params: list[Tensor]) -> None:
        """Move every parameter of the group by the gradient of the loss (−ακ·direction), in place."""
        raise NotImplementedError

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """One iteration; `closure`, if given, re-evaluates the loss with gradients and is returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            if any(p.grad.is_sparse for p in params):
                raise SparsifyError(f"{type(self).__name__} takes dense gradients only")
            split = [p for p in params if penalty_of(p, group["penalty"])]
            residuals = self._residuals(group, split)  # old W, old Γ
            self._descend(group, params)
            if split:
                rate = float(group["lr"]) * group["path_scale"] / group["mu"]
                torch._foreach_add_([self.state[p]["z"] for p in split], residuals, alpha=rate)
                torch._foreach_add_(split, residuals, alpha=-rate * group["kappa"])
        return loss

    def _residuals(self, group: dict[str, Any], split: list[Tensor]) -> list[Tensor]:
        """W − Γ for every parameter of the split; shapes as the parameters'."""
        kappa, threshold = group["kappa"], group["threshold"]
        residuals, weights, zs = [], [], []
        for p in split:
            state = self.state[p]
            if "z" not in state:
                state["z"] = torch.zeros_like(p)
            if penalty_of(p, group["penalty"]) == "filter":
                factor = shrink_factor(state["z"], threshold)
                residuals.append(torch.addcmul(p, state["z"], factor, value=-kappa))
            else:
                residuals.append(p)  # a place; the soft threshold of all fully connected layers comes below at once
                weights.append(p)
                zs.append(state["z"])
        if weights:
            inner = torch._foreach_clamp_max(zs, threshold)
            torch._foreach_clamp_min_(inner, -threshold)  # Γ = κ·(Z − clamp(Z, −λ, λ))
            torch._foreach_sub_(inner, zs)
            torch._foreach_mul_(inner, kappa)
            torch._foreach_add_(inner, weights)
            done = iter(inner)
            residuals = [next(done) if r is p else r for r, p in zip(residuals, split, strict=True)]
        return residuals

    def penalty(self, parameter: Tensor) -> Penalty | None:
        """The parameter's resolved penalty; None if it is outside the structure or not this optimizer's."""
        for group in self.param_groups:
            if any(p is parameter for p in group["params"]):
                return penalty_of(parameter, group["penalty"])
        return None

    def _group(self, parameter: Tensor) -> dict[str, Any]:
        for group in self.param_groups:
            if any(p is parameter for p in group["params"]) and penalty_of(parameter, group["penalty"]):
                return group
        raise SparsifyError("this parameter is not part of the optimizer's structure: it has no Γ")

    @torch.no_grad()
    def gamma(self, parameter: Tensor) -> Tensor:
        """Γ = κ·prox_λ(Z) of one parameter; zeros before the first step."""
        group = self._group(parameter)
        z = self.state[parameter].get("z")
        if z is None:
            return torch.zeros_like(parameter)
        return group["kappa"] * shrink(z, group["threshold"], penalty_of(parameter, group["penalty"]))

    @torch.no_grad()
    def support(self, parameter: Tensor) -> Tensor:
        """Which grains of one parameter have Γ ≠ 0: (filters,) for "filter", the weight's shape for "weight"."""
        group = self._group(parameter)
        z = self.state[parameter].get("z")
        z = torch.zeros_like(parameter) if z is None else z
        return support(z, group["threshold"], penalty_of(parameter, group["penalty"]))

    def structured(self) -> Iterator[Tensor]:
        """Every parameter that has a Γ."""
        for group in self.param_groups:
            yield from (p for p in group["params"] if penalty_of(p, group["penalty"]))
