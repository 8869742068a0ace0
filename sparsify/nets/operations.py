"""Operations: the multiply-accumulates (MACs) of a network, by the weight that they use."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from torch.utils.module_tracker import ModuleTracker

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
    with warnings.catch_warnings(), evaluating(model), plainly(), running("run on the example"), counter:
        warnings.filterwarnings("ignore", "Using `torch.compile")  # the tracker hooks all modules; they only note names
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
        self._modules = ModuleTracker()

    def __enter__(self) -> _Counter:
        self._modules.__enter__()
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)  # type: ignore[no-untyped-call]
        self._modules.__exit__(*exception)

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
                # the tracker's names begin with the class of the network
                self.others[max(self._modules.parents, key=len).partition(".")[2]] += macs
        return outputs


def _storage(tensor: Tensor) -> int:
    address: int = tensor.untyped_storage()._cdata
    return address
