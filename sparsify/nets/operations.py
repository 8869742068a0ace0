"""Operations: the multiply-accumulates (MACs) of a network, by the weight that they use."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from sparsify.data.dataset import Inputs, each
from sparsify.nets.evaluation import call, evaluating
from sparsify.nets.tracing import plainly, running


@dataclass(frozen=True)
class Operations:
    """The MACs of convolutions and matrix products for one input.

    `of` are those that use a weight, by the parameter's name; each of its elements is used equally often. `others` are
    those without a weight, such as the products within an attention, by the name of the module that they are in.
    """

    of: Mapping[str, int]
    others: Mapping[str, int]


def count_operations(model: nn.Module, example: Inputs) -> Operations:
    """Count what torch.utils.flop_counter counts, as MACs: half of its operations, in evaluation mode, for one input.

    Raises SparsifyError if the network cannot be run on the example.
    """
    counter = _Counter(model)
    with contextlib.ExitStack() as hooks:
        for name, module in model.named_modules():
            counter.follow(name, module, hooks)
        with evaluating(model), plainly(), running("run on the example"), counter:
            call(model, example)
    count = len(each(example)[0])
    of, others = ({name: macs // count for name, macs in macs.items()} for macs in (counter.of, counter.others))
    return Operations(of, others)


class _Counter(TorchDispatchMode):
    """Counts MACs by the name of the parameter that is an operand, or of which it is a view, or else by the module."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch does not annotate it
        self.of: Counter[str] = Counter()
        self.others: Counter[str] = Counter()
        self._names = {_storage(parameter): name for name, parameter in reversed(list(model.named_parameters()))}
        self._running: list[str] = []  # not torch's ModuleTracker, which fails on views made without gradients

    def follow(self, name: str, module: nn.Module, hooks: contextlib.ExitStack) -> None:
        """Know when a module runs, until the hooks are removed."""

        def begin(*_: Any) -> None:
            self._running.append(name)

        def end(*_: Any) -> None:
            self._running.pop()

        hooks.callback(module.register_forward_pre_hook(begin).remove)
        hooks.callback(module.register_forward_hook(end).remove)

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        outputs = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            macs = formula(*args, **(kwargs or {}), out_val=outputs) // 2
            operands = [operand for operand in args if isinstance(operand, Tensor) and operand.ndim > 1]
            name = max((self._names.get(_storage(operand), "") for operand in operands), default="")
            if name:
                self.of[name] += macs
            else:
                self.others[self._running[-1]] += macs
        return outputs


def _storage(tensor: Tensor) -> int:
    address: int = tensor.untyped_storage()._cdata
    return address
