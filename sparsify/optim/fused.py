"""SLBI's step in one pass over the memory: Triton kernels for a GPU."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from sparsify.errors import SparsifyError
from sparsify.optim.base import gradients
from sparsify.optim.penalties import penalty_of
from sparsify.optim.slbi import SLBI

BLOCK = 1024


class FusedSLBI(SLBI):
    """SLBI that reads and writes its structured parameters once in each step: W, g, V and Z in, W, V and Z out.

    These are 7 numbers for each weight; torch's fused SGD with momentum moves 5. Update and state are those of SLBI, up
    to rounding; parameters without structure take SLBI's own step. Parameters must be on a GPU, without gaps in memory.
    """

    def _move(self, group: dict[str, Any], params: list[Tensor]) -> None:
        rest = []
        for p in params:
            penalty = penalty_of(p, group["penalty"])
            if penalty is None:
                rest.append(p)
                continue
            self._launch(group, p, _filters if penalty == "filter" else _weights)
        if rest:
            super()._move(group, rest)

    def _launch(self, group: dict[str, Any], p: Tensor, kernel: triton.JITFunction) -> None:
        state = self.state[p]
        first = "momentum_buffer" not in state
        if first:
            state["momentum_buffer"] = torch.zeros_like(p)
        if "z" not in state:
            state["z"] = torch.zeros_like(p)
        (grad,) = gradients([p])
        tensors = (p, grad, state["momentum_buffer"], state["z"])
        if len({_strides(tensor) for tensor in (*tensors, torch.empty_like(p, device="meta"))}) > 1:
            raise SparsifyError(
                f"a parameter of shape {tuple(p.shape)}, its gradient and its state must lie alike in memory, without "
                "gaps; SLBI itself takes them as they are"
            )
        lr = group["lr"]
        lr = lr if isinstance(lr, Tensor) else torch.full((), lr, dtype=p.dtype, device=p.device)
        size = p.numel() // len(p) if kernel is _filters else p.numel()
        programs = len(p) if kernel is _filters else triton.cdiv(size, BLOCK)
        with torch.cuda.device_of(p):  # Triton launches on the current device
            kernel[(programs,)](
                *tensors,
                lr,
                size,
                group["weight_decay"] if p.ndim >= 2 else 0.0,
                group["momentum"],
                1.0 if first else 1.0 - group["dampening"],
                group["path_scale"] / group["mu"],
                group["kappa"],
                group["threshold"],
                BLOCK,
            )


def try_out(device: torch.device) -> None:
    """Do a small step. Raises what Triton raises if it cannot compile the kernels or launch them on this device."""
    filters, weights = (torch.ones(shape, device=device, requires_grad=True) for shape in ((2, 1, 1, 1), (2, 1)))
    filters.grad, weights.grad = torch.zeros_like(filters), torch.zeros_like(weights)
    FusedSLBI([filters, weights]).step()


def _strides(tensor: Tensor) -> tuple[int, ...]:
    """Return the strides of the dimensions longer than 1; that of a dimension of length 1 has no effect."""
    return tuple(stride for stride, length in zip(tensor.stride(), tensor.shape, strict=True) if length > 1)


@triton.jit
def _update(w_ptr, g_ptr, v_ptr, z_ptr, lr_ptr, at, inside, z, gamma, decay, momentum, kept, path_scale, kappa):
    lr = tl.load(lr_ptr)  # from memory, so that a captured launch reads the current rate at each replay
    w = tl.load(w_ptr + at, inside)
    v = momentum * tl.load(v_ptr + at, inside) + kept * tl.load(g_ptr + at, inside) + decay * w
    apart = w - gamma
    tl.store(v_ptr + at, v, inside)
    tl.store(w_ptr + at, w - lr * kappa * v - lr * path_scale * kappa * apart, inside)
    tl.store(z_ptr + at, z + lr * path_scale * apart, inside)


@triton.jit
def _filters(
    w_ptr, g_ptr, v_ptr, z_ptr, lr_ptr, size, decay, momentum, kept, path_scale, kappa, threshold, block: tl.constexpr
):  # fmt: skip
    # One program for each filter: first ‖Z_i‖, then the update, for which Z_i is still in the cache.
    begin = tl.program_id(0).to(tl.int64) * size
    squares = tl.zeros((block,), z_ptr.dtype.element_ty)
    for start in range(0, size, block):
        at = start + tl.arange(0, block)
        z = tl.load(z_ptr + begin + at, at < size, 0.0)
        squares += z * z
    norm = tl.sqrt(tl.sum(squares))
    factor = kappa * tl.maximum(norm - threshold, 0.0) / tl.maximum(norm, threshold)
    for start in range(0, size, block):
        at = start + tl.arange(0, block)
        inside = at < size
        at += begin
        z = tl.load(z_ptr + at, inside)
        _update(
            w_ptr, g_ptr, v_ptr, z_ptr, lr_ptr, at, inside, z, factor * z, decay, momentum, kept, path_scale, kappa
        )  # fmt: skip


@triton.jit
def _weights(
    w_ptr, g_ptr, v_ptr, z_ptr, lr_ptr, size, decay, momentum, kept, path_scale, kappa, threshold, block: tl.constexpr
):  # fmt: skip
    # One program for each block of single weights.
    at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = at < size
    z = tl.load(z_ptr + at, inside)
    left = tl.maximum(tl.abs(z) - threshold, 0.0)
    gamma = kappa * tl.where(z > 0, left, -left)
    _update(w_ptr, g_ptr, v_ptr, z_ptr, lr_ptr, at, inside, z, gamma, decay, momentum, kept, path_scale, kappa)
