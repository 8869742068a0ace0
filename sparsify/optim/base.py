"""The base of the optimizers that select: the step, the support, the penalty, and Adam's direction."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.adam import adam

from sparsify.errors import SparsifyError
from sparsify.optim.penalties import Penalty, filter_norms, grain_size, penalty_of

Rate = float | Tensor
"""A learning rate, or a multiple of one."""

CACHED = 2**18
"""How many numbers of the parameters a step takes at once on a CPU, so that all that it needs fits into the cache."""


def check(name: str, value: float, *, strict: bool = True, infinite: bool = False) -> None:
    """Raise SparsifyError unless the value of the option `name` is above 0, or at least 0 if not `strict`."""
    bad = math.isnan(value) or value < 0 or (strict and value == 0) or (math.isinf(value) and not infinite)
    if bad:
        raise SparsifyError(f"{name} is {value}; it must be finite and {'above' if strict else 'at least'} 0")


def check_momentum(momentum: float, dampening: float = 0.0) -> None:
    """Raise SparsifyError unless momentum is in [0, 1) and dampening in [0, 1]."""
    check("momentum", momentum, strict=False)
    if not (momentum < 1 and 0 <= dampening <= 1):
        raise SparsifyError(f"momentum is {momentum} and dampening {dampening}; they must lie in [0, 1) and [0, 1]")


def _batches(params: list[Tensor]) -> Iterator[list[Tensor]]:
    """Divide parameters into lists that one step takes at once.

    A step reads each tensor several times. On a CPU, a list has at most CACHED numbers, or is a single tensor; on other
    devices all parameters are one list, because their kernels are the faster the more they get at once.
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


def gradients(params: list[Tensor]) -> list[Tensor]:
    """Return the gradients of parameters that all have one, as those that `step` moves do."""
    return [p.grad for p in params if p.grad is not None]


def add_scaled(tensors: list[Tensor], others: list[Tensor] | tuple[Tensor, ...], rate: Rate) -> None:
    """tensors += rate·others, in place.

    A rate that is a tensor stays on its device: a CUDA graph reads it at each replay, but a number only when it is
    captured.
    """
    if isinstance(rate, Tensor):
        torch._foreach_add_(tensors, torch._foreach_mul(others, rate))
    else:
        torch._foreach_add_(tensors, others, alpha=rate)


class SelectingOptimizer(Optimizer):
    """Base of the optimizers with a support: each structured parameter has a sparse copy, or is sparse itself.

    A grain is 0 as a whole or in the support. A param group's `penalty` says what a grain is: "filter", "weight",
    "auto" (by dimension), or None for parameters without structure. A subclass moves the parameters in `_move` and
    gives the norms of the sparse copy's grains in `sizes`.
    """

    def __init__(self, params: Any, lr: float, defaults: dict[str, Any]) -> None:
        super().__init__(params, {"lr": lr, **defaults})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group as torch.optim does. Raises SparsifyError for an option that is out of range."""
        options = {**self.defaults, **param_group}
        if options["penalty"] not in ("auto", "filter", "weight", None):
            raise SparsifyError(f"unknown penalty '{options['penalty']}'; choose from: auto, filter, weight, None")
        check("lr", float(options["lr"]), strict=False)
        super().add_param_group(param_group)

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Do one iteration. `closure`, if given, re-evaluates the loss with its gradients; the loss is returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            present = [p for p in group["params"] if p.grad is not None]
            if any(grad.is_sparse for grad in gradients(present)):
                raise SparsifyError(f"{type(self).__name__} takes dense gradients only")
            for params in _batches(present):
                self._move(group, params)
        return loss

    def _move(self, group: dict[str, Any], params: list[Tensor]) -> None:
        """Do one iteration of some parameters of a group, all of which have a gradient."""
        raise NotImplementedError

    def _momentum_buffers(self, params: list[Tensor]) -> list[Tensor]:
        """Return the state `momentum_buffer` of each parameter, 0 before its first step."""
        for p in params:
            if "momentum_buffer" not in self.state[p]:
                self.state[p]["momentum_buffer"] = torch.zeros_like(p)
        return [self.state[p]["momentum_buffer"] for p in params]

    def sizes(self, parameter: Tensor) -> Tensor:
        """Return the norm of each grain of the sparse copy: (filters,), or the weight's shape for single weights."""
        raise NotImplementedError

    @torch.no_grad()
    def support(self, parameter: Tensor) -> Tensor:
        """Return which grains of the sparse copy are not 0, in the shape of `sizes`."""
        return self.sizes(parameter) > 0

    def structured(self) -> Iterator[Tensor]:
        """Yield every parameter that has a sparse copy."""
        for group in self.param_groups:
            yield from (p for p in group["params"] if penalty_of(p, group["penalty"]))

    def penalty(self, parameter: Tensor) -> Penalty | None:
        """Return the parameter's resolved penalty; None if it is outside the structure or not this optimizer's."""
        for group in self.param_groups:
            if any(p is parameter for p in group["params"]):
                return penalty_of(parameter, group["penalty"])
        return None

    def _structure(self, parameter: Tensor) -> tuple[dict[str, Any], Penalty]:
        """Return the param group of a structured parameter and its resolved penalty; raise SparsifyError for others."""
        for group in self.param_groups:
            if any(p is parameter for p in group["params"]) and (penalty := penalty_of(parameter, group["penalty"])):
                return group, penalty
        raise SparsifyError("this parameter is not part of the optimizer's structure: it has no sparse copy")


class PenalizedOptimizer(SelectingOptimizer):
    """Base of the optimizers whose weights θ are sparse themselves, by J(θ) = λ·Σ_i √n_i·‖θ_i‖₂ over the grains θ_i.

    n_i is the number of weights of a grain. For "weight" it is 1, and J is λ‖θ‖₁; for "filter" it is that of a filter
    or row, and J is the group lasso of Yuan & Lin (2006). λ is `strength`, a key of the param group.
    """

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group as torch.optim does. Raises SparsifyError for an option that is out of range."""
        check("strength", {**self.defaults, **param_group}["strength"], strict=False)
        super().add_param_group(param_group)

    @torch.no_grad()
    def sizes(self, parameter: Tensor) -> Tensor:
        """Return the norm of each grain of θ: (filters,) for "filter", else the weight's shape."""
        _, penalty = self._structure(parameter)
        return filter_norms(parameter) if penalty == "filter" else parameter.abs()


def threshold_of(parameter: Tensor, strength: float | Tensor, penalty: Penalty) -> float | Tensor:
    """Return λ·√n_i, the norm above which the prox of J keeps a grain."""
    return strength * math.sqrt(grain_size(parameter, penalty))


def check_adam(betas: tuple[float, float], eps: float) -> None:
    """Raise SparsifyError unless both betas are in [0, 1) and eps is above 0."""
    if not all(0 <= beta < 1 for beta in betas):
        raise SparsifyError(f"betas are {betas}; both must be at least 0 and below 1")
    check("eps", eps)


def refuse_gaps(params: Iterable[Tensor], optimizer: str) -> None:
    """Raise SparsifyError for a parameter with gaps in memory, which torch's fused kernel would take for numbers."""
    for p in params:
        if torch.empty_like(p).stride() != p.stride():
            raise SparsifyError(
                f"a parameter of shape {tuple(p.shape)} has gaps in memory (strides {p.stride()}); "
                f"make it contiguous before {optimizer} takes it"
            )


def _laid_out_as(target: Tensor, tensor: Tensor) -> Tensor:
    """Return `tensor`, or a copy, with the strides of `target`: torch's fused kernel goes by the order in memory."""
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
