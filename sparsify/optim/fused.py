"""SLBI's step in one pass over the memory: Triton kernels for a GPU."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.distributed.tensor import DTensor

from sparsify.errors import SparsifyError
from sparsify.optim.slbi import SLBI
from sparsify.optim.updates import Part

BLOCK = 1024


class FusedSLBI(SLBI):
    """SLBI that reads and writes its structured parameters once in each step: W, g, V and Z in, W, V and Z out.

    These are 7 numbers for each weight; torch's fused SGD with momentum moves 5. Update and state are those of SLBI, up
    to rounding; parameters without structure, and those with the penalty "kernel", take SLBI's own step. Parameters
    must be on a GPU, without gaps in memory; those of fewer bits than float32 are moved in float32, as in SLBI, and
    DTensors are refused.

    >>> import torch
    >>> from sparsify.optim.fused import FusedSLBI
    >>> weight = torch.ones(1, 3, device="cuda", requires_grad=True)
    >>> weight.grad = torch.zeros_like(weight)
    >>> optimizer = FusedSLBI([("weight", weight)], lr=3.0, mu=2.0)
    >>> optimizer.step()
    >>> optimizer.support("weight").tolist()
    [[True, True, True]]
    """

    FUSED: ClassVar[bool] = True

    def _check_parameters(self, params: list[Tensor]) -> None:
        super()._check_parameters(params)
        for p in params:
            if isinstance(p, DTensor):
                raise SparsifyError(
                    f"a parameter of shape {tuple(p.shape)} is a DTensor, which FusedSLBI's kernels cannot read; take "
                    "SLBI, which computes the same"
                )

    def _move(self, group: dict[str, Any], parts: list[Part]) -> None:
        kernels = {"filter": _filters, "weight": _weights}
        for part in parts:
            if part.penalty in kernels:
                self._launch(group, part, kernels[part.penalty])
        rest = [part for part in parts if part.penalty not in kernels]
        if rest:
            super()._move(group, rest)

    def _launch(self, group: dict[str, Any], part: Part, kernel: triton.JITFunction) -> None:
        p, state = part.weight, part.state
        first = "momentum_buffer" not in state
        for name in ("momentum_buffer", "z"):
            if name not in state:
                state[name] = torch.zeros_like(p)
        tensors = (p, part.grad, state["momentum_buffer"], state["z"])
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
