"""What all optimizers that select share: which parameters have structure, their support, and the step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from sparsify.errors import SparsifyError
from sparsify.optim.structure import Penalty, penalty_of

Rate = float | Tensor
"""A learning rate, or a multiple of one."""

CACHED = 2**18
"""Numbers of one tensor that a CPU's cache should hold together with what a step needs beside them."""


def check(name: str, value: float, *, strict: bool = True, infinite: bool = False) -> None:
    """Raise SparsifyError unless the value of the option `name` is above 0, or at least 0 if not `strict`."""
    bad = math.isnan(value) or value < 0 or (strict and value == 0) or (math.isinf(value) and not infinite)
    if bad:
        raise SparsifyError(f"{name} is {value}; it must be finite and {'above' if strict else 'at least'} 0")


def check_momentum(momentum: float, dampening: float = 0.0) -> None:
    """Raise SparsifyError unless both are in range."""
    check("momentum", momentum, strict=False)
    if not (momentum < 1 and 0 <= dampening <= 1):
        raise SparsifyError(f"momentum is {momentum} and dampening {dampening}; they must lie in [0, 1) and [0, 1]")


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


def add_scaled(tensors: list[Tensor], others: list[Tensor], rate: Rate) -> None:
    """tensors += rate·others, in place.

    A rate that is a tensor stays on its device: in a CUDA graph it is read at each replay, where a number would be
    that of the capture.
    """
    if isinstance(rate, Tensor):
        torch._foreach_add_(tensors, torch._foreach_mul(others, rate))
    else:
        torch._foreach_add_(tensors, others, alpha=rate)


class SelectingOptimizer(Optimizer):
    """Base of optimizers with a support: each structured parameter has a sparse copy (or is one), by grains 0 or not.

    A param group's `penalty` says what a grain is: "filter", "weight", "auto" by dimension, None without structure.
    A subclass moves the parameters in `_move` and says in `sizes` how large the grains of the sparse copy are.
    """

    def __init__(self, params: Any, lr: float, defaults: dict[str, Any]) -> None:
        super().__init__(params, {"lr": lr, **defaults})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As torch.optim's; raises SparsifyError for an option of the group that is out of range."""
        options = {**self.defaults, **param_group}
        if options["penalty"] not in ("auto", "filter", "weight", None):
            raise SparsifyError(f"unknown penalty '{options['penalty']}'; choose from: auto, filter, weight, None")
        check("lr", float(options["lr"]), strict=False)
        super().add_param_group(param_group)

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
        raise NotImplementedError

    def _momentum_buffers(self, params: list[Tensor]) -> list[Tensor]:
        """The state `momentum_buffer` of each parameter, 0 before its first step."""
        for p in params:
            if "momentum_buffer" not in self.state[p]:
                self.state[p]["momentum_buffer"] = torch.zeros_like(p)
        return [self.state[p]["momentum_buffer"] for p in params]

    def sizes(self, parameter: Tensor) -> Tensor:
        """How large each grain of the sparse copy is: the norms of filters (filters,), or |w| of the weight's shape."""
        raise NotImplementedError

    @torch.no_grad()
    def support(self, parameter: Tensor) -> Tensor:
        """Which grains of the sparse copy are not 0: (filters,) for "filter", the weight's shape for "weight"."""
        return self.sizes(parameter) > 0

    def structured(self) -> Iterator[Tensor]:
        """Every parameter that has a sparse copy."""
        for group in self.param_groups:
            yield from (p for p in group["params"] if penalty_of(p, group["penalty"]))

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
        raise SparsifyError("this parameter is not part of the optimizer's structure: it has no sparse copy")
