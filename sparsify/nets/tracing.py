"""Running a network to look at it: op by op, with errors in one line, and with the uses of weights in functions."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from sparsify.errors import SparsifyError, first_line
from sparsify.nets.parts import Part


@contextlib.contextmanager
def plainly() -> Iterator[None]:
    """Run networks op by op: not compiled, without gradients, and attention without its fused forms."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with (
            torch.no_grad(),
            torch.compiler.set_stance("force_eager"),
            torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),
        ):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


@contextlib.contextmanager
def running(what: str) -> Iterator[None]:
    try:
        yield
    except SparsifyError as error:
        raise SparsifyError(f"the network cannot be {what}: {error}") from error
    except Exception as error:  # whatever the network's own forward raises
        reason = first_line(error)
        raise SparsifyError(f"the network cannot be {what}: {type(error).__name__}: {reason}") from error


def first_tensor(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    inputs = args[0] if args else next(iter(kwargs.values()), None)
    if not isinstance(inputs, Tensor):
        raise SparsifyError(f"a layer is given a {type(inputs).__name__} in place of a tensor")
    return inputs


class WeightUses(TorchFunctionMode):
    """Hands the uses of layers' weights in torch's functions to `handle`, with the inputs and the outputs.

    `parts` are the layers, by the identity of their weights: layers whose forward is not called.
    """

    def __init__(self, parts: Mapping[int, Part], handle: Callable[[Part, Tensor, Any], Any]) -> None:
        super().__init__()
        self._parts, self._handle = parts, handle

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        weight = kwargs.get("weight", args[1] if len(args) > 1 else None)
        part = self._parts.get(id(weight)) if func in _WEIGHTED else None
        if part is None:
            return func(*args, **kwargs)
        return self._handle(part, first_tensor(args, kwargs), func(*args, **kwargs))


_WEIGHTED = frozenset(
    (F.linear, F.conv1d, F.conv2d, F.conv3d, F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)
)


def tensors(outputs: Any) -> list[Tensor]:
    """Return the tensors of floating-point numbers that a network gives."""
    if isinstance(outputs, Tensor):
        return [outputs] if outputs.is_floating_point() else []
    if isinstance(outputs, Mapping):
        outputs = list(outputs.values())
    elif not isinstance(outputs, (list, tuple)):
        outputs = list(getattr(outputs, "__dict__", {}).values())
    return [tensor for output in outputs for tensor in tensors(output)]
