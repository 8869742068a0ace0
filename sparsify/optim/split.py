"""What DessiLBI and DessiLBI + Adam share: the split between W and Γ, its state Z and its coupling."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from sparsify.errors import SparsifyError
from sparsify.optim.structure import Penalty, penalty_of, residual, shrink, support

CACHED = 2**18
"""Numbers of one tensor that a CPU's cache should hold together with what a step needs beside them."""


def _check(name: str, value: float, *, low: float = 0.0, strict: bool = True, infinite: bool = False) -> None:
    bad = math.isnan(value) or value < low or (strict and value == low) or (math.isinf(value) and not infinite)
    if bad:
        raise SparsifyError(f"{name} is {value}; it must be finite and {'above' if strict else 'at least'} {low:g}")


def _batches(params: list[Tensor]) -> Iterator[list[Tensor]]:
    """All at once on a device, whose kernels want many; on a CPU as many at a time as its cache holds, at least one.

    A step reads each tensor several times.
    """
    batch: list[Tensor] = []
    size = 0
    for p in params:
        if batch and size + p.numel() > CACHED and p.device.type == "cpu":
            yield batch
            batch, size = [], 0
        batch.append(p)
        size += p.numel()
    if batch:
        yield batch


def add_scaled(tensors: list[Tensor], others: list[Tensor], rate: float | Tensor) -> None:
    """tensors += rate·others, in place.

    A rate that is a tensor stays on its device: in a CUDA graph it is read at each replay, where a number would be
    that of the capture.
    """
    if isinstance(rate, Tensor):
        torch._foreach_add_(tensors, torch._foreach_mul(others, rate))
    else:
        torch._foreach_add_(tensors, others, alpha=rate)


class SplitOptimizer(Optimizer):
    """Base of the SLBI family: parameters W coupled to a sparse copy Γ = κ·prox_λ(Z), which starts at 0.

    A subclass moves W by the loss in `_descend` and calls nothing else. State of a structured parameter: `z`.
    """

    def __init__(self, params: Any, lr: float, defaults: dict[str, Any]) -> None:
        super().__init__(params, {"lr": lr, **defaults})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As torch.optim's; raises SparsifyError for an option of the group that is out of range."""
        options = {**self.defaults, **param_group}
        if options["penalty"] not in ("auto", "filter", "weight", None):
            raise SparsifyError(f"unknown penalty '{options['penalty']}'; choose from: auto, filter, weight, None")
        _check("lr", float(options["lr"]), strict=False)
        for name in ("kappa", "mu", "path_scale"):
            _check(name, options[name])
        _check("threshold", options["threshold"], infinite=True)
        super().add_param_group(param_group)

    def _descend(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
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
            present = [p for p in group["params"] if p.grad is not None]
            if any(p.grad.is_sparse for p in present):
                raise SparsifyError(f"{type(self).__name__} takes dense gradients only")
            for params in _batches(present):
                self._move(group, params)
        return loss

    def _move(self, group: dict[str, Any], params: list[Tensor]) -> None:
        """One iteration of some parameters of a group, all of which have a gradient."""
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
