"""SLBI's step in one pass over the memory: Triton kernels for a GPU."""

from __future__ import annotations

from collections.abc import Mapping
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
    to rounding. Parameters must be on a GPU, without gaps in memory; those of fewer bits than float32 are moved in
    float32, as in SLBI, and DTensors are refused. SLBI's own step is that of parameters without structure, of those
    with the penalty "kernel", of float64, and of filters that do not lie one after the other, as those of a transposed
    weight.

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

    _noting: _Noting | None = None  # only within `step_noting`

    def step_noting(self, number: float | Tensor, entries: Mapping[Tensor, Tensor]) -> frozenset[Tensor]:
        """Do one iteration as `SelectingOptimizer` says; the kernels write `entries` in the same pass."""
        self._noting = _Noting(number, entries)
        try:
            self.step()
            return frozenset(self._noting.written)
        finally:
            self._noting = None

    def _check_parameters(self, params: list[Tensor]) -> None:
        super()._check_parameters(params)
        for p in params:
            if isinstance(p, DTensor):
                raise SparsifyError(
                    f"a parameter of shape {tuple(p.shape)} is a DTensor, which FusedSLBI's kernels cannot read; take "
                    "SLBI, which computes the same"
                )

    def _move(self, group: dict[str, Any], parts: list[Part]) -> None:
        rest = []
        for part in parts:
            if _one_after_the_other(part):
                self._launch(group, part, _filters if part.penalty == "filter" else _weights)
            else:
                rest.append(part)
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
        lr = _placed(group["lr"], p)
        size = p.numel() // len(p) if kernel is _filters else p.numel()
        programs = len(p) if kernel is _filters else triton.cdiv(size, BLOCK)
        entry, number = self._entry(part)
        with torch.cuda.device_of(p):  # Triton launches on the current device
            kernel[(programs,)](
                *tensors,
                lr,
                p if entry is None else entry,
                lr if number is None else number,
                size,
                group["weight_decay"] if p.ndim >= 2 else 0.0,
                group["momentum"],
                1.0 if first else 1.0 - group["dampening"],
                group["path_scale"] / group["mu"],
                group["kappa"],
                group["threshold"],
                BLOCK,
                entry is not None,
            )

    def _entry(self, part: Part) -> tuple[Tensor | None, Tensor | None]:
        """Where the kernel writes in which step each grain of a parameter enters, and that step; None for neither."""
        entry = None if self._noting is None else self._noting.entries.get(part.parameter)
        if self._noting is None or entry is None:
            return None, None
        if part.penalty == "weight" and _strides(entry) != _strides(part.weight):
            return None, None
        self._noting.written.append(part.parameter)
        return entry, _placed(self._noting.number, part.weight)


class _Noting:
    """An iteration's number, the entries that it may write, and the parameters of those that it has written."""

    def __init__(self, number: float | Tensor, entries: Mapping[Tensor, Tensor]) -> None:
        self.number, self.entries = number, entries
        self.written: list[Tensor] = []


def try_out(device: torch.device) -> None:
    """Do a small step. Raises what Triton raises if it cannot compile the kernels or launch them on this device."""
    filters, weights = (torch.ones(shape, device=device, requires_grad=True) for shape in ((2, 1, 1, 1), (2, 1)))
    filters.grad, weights.grad = torch.zeros_like(filters), torch.zeros_like(weights)
    FusedSLBI([filters, weights]).step()


def _one_after_the_other(part: Part) -> bool:
    """Whether the kernels can move this: it has structure, and the numbers of each grain are float32 in one piece."""
    weight = part.weight
    if part.penalty not in ("filter", "weight") or weight.dtype != torch.float32 or not weight.numel():
        return False
    return part.penalty == "weight" or len(weight) == 1 or weight.stride(0) == weight.numel() // len(weight)


def _placed(number: float | Tensor, weight: Tensor) -> Tensor:
    """Return a number in the memory where a weight is, of its type; a tensor that is there already as it is."""
    if isinstance(number, Tensor):
        return number.to(weight.device, weight.dtype)
    return torch.full((), number, dtype=weight.dtype, device=weight.device)


def _strides(tensor: Tensor) -> tuple[int, ...]:
    """Return the strides of the dimensions longer than 1; that of a dimension of length 1 has no effect."""
    return tuple(stride for stride, length in zip(tensor.stride(), tensor.shape, strict=True) if length > 1)


@triton.jit
def _update(w_ptr, g_ptr, v_ptr, z_ptr, lr_ptr, at, inside, z, gamma, decay, momentum, kept, path_scale, kappa):
    lr = tl.load(lr_ptr)  # from memory, so that a captured launch reads the current rate at each replay
    w = tl.load(w_ptr + at, inside)
    v = momentum * tl.load(v_ptr + at, inside) + kept * tl.load(g_ptr + at, inside) + decay * w
    apart = w - gamma
    z += lr * path_scale * apart
    tl.store(v_ptr + at, v, inside)
    tl.store(w_ptr + at, w - lr * kappa * v - lr * path_scale * kappa * apart, inside)
    tl.store(z_ptr + at, z, inside)
    return z


@triton.jit
def _enter(entry_ptr, step_ptr, at, entered):
    # The step is the largest so far: what has entered before keeps its own.
    entry = tl.load(entry_ptr + at, entered)
    tl.store(entry_ptr + at, tl.minimum(entry, tl.load(step_ptr)), entered)


@triton.jit
def _filters(
    w_ptr, g_ptr, v_ptr, z_ptr, lr_ptr, entry_ptr, step_ptr,
    size, decay, momentum, kept, path_scale, kappa, threshold, block: tl.constexpr, noted: tl.constexpr
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
    squares = tl.zeros((block,), z_ptr.dtype.element_ty)
    for start in range(0, size, block):
        at = start + tl.arange(0, block)
        inside = at < size
        at += begin
        z = tl.load(z_ptr + at, inside, 0.0)
        z = _update(
            w_ptr, g_ptr, v_ptr, z_ptr, lr_ptr, at, inside, z, factor * z, decay, momentum, kept, path_scale, kappa
        )  # fmt: skip
        if noted:
            squares += tl.where(inside, z * z, 0.0)
    if noted:
        _enter(entry_ptr, step_ptr, tl.program_id(0), tl.sqrt(tl.sum(squares)) > threshold)


@triton.jit
def _weights(
    w_ptr, g_ptr, v_ptr, z_ptr, lr_ptr, entry_ptr, step_ptr,
    size, decay, momentum, kept, path_scale, kappa, threshold, block: tl.constexpr, noted: tl.constexpr
):  # fmt: skip
    # One program for each block of single weights.
    at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = at < size
    z = tl.load(z_ptr + at, inside)
    left = tl.maximum(tl.abs(z) - threshold, 0.0)
    gamma = kappa * tl.where(z > 0, left, -left)
    z = _update(w_ptr, g_ptr, v_ptr, z_ptr, lr_ptr, at, inside, z, gamma, decay, momentum, kept, path_scale, kappa)
    if noted:
        _enter(entry_ptr, step_ptr, at, inside & (tl.abs(z) > threshold))
