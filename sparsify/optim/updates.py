"""What the updates share: what a step moves of each parameter, weight decay, and Adam's direction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim.adam import adam

from sparsify.errors import SparsifyError
from sparsify.optim.penalties import Penalty

Rate = float | Tensor
"""A learning rate, or a multiple of one."""

CACHED = 2**18
"""How many numbers of the parameters a step takes at once on a CPU, so that all that it needs fits into the cache."""


class Part(NamedTuple):
    """One parameter of a step: the weight W that moves, its gradient g, its state, its resolved penalty, and itself.

    The weight is the parameter itself, or a copy in float32 of one with fewer bits; all arithmetic has its type.
    """

    weight: Tensor
    grad: Tensor
    state: dict[str, Any]
    penalty: Penalty | None
    parameter: Tensor


def accumulated(parameter: Tensor) -> torch.dtype:
    """Return the type of sums over many steps: float32 for a parameter of fewer bits, else the parameter's own.

    A bfloat16 has 8 binary digits: what is added to it is lost if it is below 1/256 of it.
    """
    return torch.promote_types(parameter.dtype, torch.float32)


def batches(params: list[Tensor], foreach: bool | None) -> Iterator[list[Tensor]]:
    """Divide parameters into lists that one step takes at once: each alone if `foreach` is False, all if it is True.

    A step reads each tensor several times. If `foreach` is None, a list on a CPU has at most CACHED numbers, or is a
    single tensor; on other devices all parameters are one list, because their kernels are the faster the more they get
    at once.
    """
    batch: list[Tensor] = []
    size = 0
    for p in params:
        full = size + p.numel() > CACHED and p.device.type == "cpu" if foreach is None else not foreach
        if batch and full:
            yield batch
            batch, size = [], 0
        batch.append(p)
        size += p.numel()
    if batch:
        yield batch


def add_scaled(tensors: list[Tensor], others: list[Tensor] | tuple[Tensor, ...], rate: Rate) -> None:
    """tensors += rate·others, in place.

    A rate that is a tensor stays on its device: a CUDA graph reads it at each replay, but a number only when it is
    captured.
    """
    if isinstance(rate, Tensor):
        torch._foreach_add_(tensors, torch._foreach_mul(others, rate))
    else:
        torch._foreach_add_(tensors, others, alpha=rate)


def decay(group: dict[str, Any], parts: Sequence[Part], targets: list[Tensor], rate: Rate) -> None:
    """targets += rate·weight_decay·W, in place, for the weights of two or more dimensions."""
    if not group["weight_decay"]:
        return
    chosen = [number for number, part in enumerate(parts) if part.weight.ndim >= 2]
    if chosen:
        weights = [parts[number].weight for number in chosen]
        add_scaled([targets[number] for number in chosen], weights, rate * group["weight_decay"])


def momentum_buffers(parts: Sequence[Part]) -> list[Tensor]:
    """Return the state `momentum_buffer` of each part, 0 before its first step."""
    for part in parts:
        if "momentum_buffer" not in part.state:
            part.state["momentum_buffer"] = torch.zeros_like(part.weight)
    return [part.state["momentum_buffer"] for part in parts]


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
    parts: Sequence[Part],
    *,
    lr: Rate,
    betas: tuple[float, float],
    eps: float,
) -> None:
    """T ← T − lr·m̂/(√v̂ + ε) in place, with Adam's bias-corrected moments m̂ and v̂ of the gradients (Kingma & Ba 2015).

    State of each part: `step`, `exp_avg`, `exp_avg_sq`. The targets must lie in memory without gaps.
    """
    states = [part.state for part in parts]
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
        [_laid_out_as(target, part.grad) for target, part in zip(targets, parts, strict=True)],
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
