"""Surgery: the modules of a network without some of their channels, in place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
import torch_pruning as tp
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from sparsify.errors import SparsifyError
from sparsify.nets.attention import NarrowAttention
from sparsify.nets.coupling import Removed
from sparsify.nets.heads import HEADS, WIDTHS, heads_left
from sparsify.nets.layers import CONVOLVING, TRANSPOSED
from sparsify.nets.parts import OUTPUT, Part, projections, vectors

Cutter = Callable[[nn.Module, Sequence[int]], nn.Module]


def cut(model: nn.Module, parts: Mapping[str, Part], removed: Removed) -> None:
    """Take what is removed out of the network's modules, in place; `parts` are those of the network as it was.

    Raises SparsifyError if a module cannot be without it.
    """
    attentions: set[str] = set()
    for name in parts:
        part = parts[name]
        if part.kind == OUTPUT:
            continue  # no channel of these is ever removed
        outputs = removed.outputs.get(name, np.zeros(part.outputs, dtype=bool))
        inputs = removed.inputs.get(name, np.zeros(part.inputs, dtype=bool))
        if not (outputs.any() or inputs.any()):
            continue
        if part.kind == "attention":
            attentions.add(name.rpartition(".")[0])
            continue
        module = model.get_submodule(name)
        if part.passes:
            _cut_channels(name, module, inputs)
        elif isinstance(module, nn.RNNBase):
            _cut_recurrent(module, inputs)
        elif isinstance(module, CONVOLVING) and module.groups > 1:
            _cut_groups(name, module, ~outputs, ~inputs)
        else:
            linear = isinstance(module, nn.Linear)
            ends: tuple[tuple[np.ndarray, Cutter], ...] = (
                (outputs, tp.prune_linear_out_channels if linear else tp.prune_conv_out_channels),
                (inputs, tp.prune_linear_in_channels if linear else tp.prune_conv_in_channels),
            )
            for gone, cutter in ends:
                if gone.any():
                    cutter(module, np.flatnonzero(gone).tolist())
    for (name, dimension), gone in removed.slices.items():
        owner, _, own = name.rpartition(".")
        _keep(model.get_submodule(owner), own, dimension, ~gone)
    _cut_heads(model, removed)
    for name in sorted(attentions):
        _narrow(model, name, removed)


def _cut_channels(name: str, module: nn.Module, gone: np.ndarray) -> None:
    kinds: tuple[tuple[type[nn.Module], Cutter], ...] = (
        (_NormBase, tp.prune_batchnorm_out_channels),  # InstanceNorm, too: it has the same attributes
        (nn.LayerNorm, tp.prune_layernorm_out_channels),
        (nn.PReLU, tp.prune_prelu_out_channels),
    )
    for kind, cutter in kinds:
        if isinstance(module, kind):
            cutter(module, np.flatnonzero(gone).tolist())
            return
    if isinstance(module, nn.GroupNorm):
        if module.num_groups == module.num_channels:
            module.num_groups -= int(gone.sum())
        tp.prune_groupnorm_out_channels(module, np.flatnonzero(gone).tolist())
        return
    if isinstance(module, nn.RMSNorm):
        module.normalized_shape = (int((~gone).sum()),)
    if not vectors(module):
        raise SparsifyError(f"it is not known how to take channels out of '{name}', a {type(module).__name__}")
    for own, _ in list(module.named_parameters(recurse=False)):
        _keep(module, own, 0, ~gone)


def _cut_groups(name: str, module: nn.Module, outputs: np.ndarray, inputs: np.ndarray) -> None:
    """Keep these outputs and inputs of a grouped convolution, of which each group must keep equally many, or none."""
    weight: Tensor = module.weight  # type: ignore[assignment]
    by_group = [ends.reshape(int(module.groups), -1) for ends in (outputs, inputs)]  # type: ignore[arg-type]
    left = np.flatnonzero(by_group[0].any(1) | by_group[1].any(1))
    counts = [ends.sum(1)[left] for ends in by_group]
    for what, of_each in zip(("outputs", "inputs"), counts, strict=True):
        if len(set(of_each.tolist())) != 1 or not of_each.all():
            listed = ", ".join(map(str, of_each))
            raise SparsifyError(f"the groups of '{name}' would have {listed} {what}; they need equally many")
    blocks = weight.detach().unflatten(0, (int(module.groups), -1))  # type: ignore[arg-type]
    first, second = by_group[::-1] if isinstance(module, TRANSPOSED) else by_group
    kept = [
        blocks[group][torch.from_numpy(first[group])][:, torch.from_numpy(second[group])] for group in left.tolist()
    ]
    module.weight = nn.Parameter(torch.cat(kept).contiguous())
    if module.bias is not None:
        _keep(module, "bias", 0, outputs)
    for attribute, count in (("groups", len(left)), ("out_channels", outputs.sum()), ("in_channels", inputs.sum())):
        setattr(module, attribute, int(count))


def _cut_recurrent(module: nn.RNNBase, gone: np.ndarray) -> None:
    for own, _ in list(module.named_parameters(recurse=False)):
        if own.startswith("weight_ih_l0"):
            _keep(module, own, 1, ~gone)
    module.input_size = int((~gone).sum())
    module.flatten_parameters()


def _cut_heads(model: nn.Module, removed: Removed) -> None:
    """Tell each attention that lost whole heads how many it has left, and how wide they are together."""
    for name, (left, heads) in heads_left(model, removed).items():
        module = model.get_submodule(name)
        for attribute in (*HEADS, *WIDTHS):
            value = getattr(module, attribute, None)
            if isinstance(value, int):
                setattr(module, attribute, value * left // heads)


def _narrow(model: nn.Module, name: str, removed: Removed) -> None:
    """Put a NarrowAttention in the place of torch's MultiheadAttention of this name."""
    attention = model.get_submodule(name)
    assert isinstance(attention, nn.MultiheadAttention)
    into, out = (part.name for part in projections(name, attention))
    width = attention.embed_dim
    entering, leaving = (
        ~gone.get(part, np.zeros(width, dtype=bool)) for gone, part in ((removed.inputs, into), (removed.outputs, out))
    )
    inner = ~removed.outputs.get(into, np.zeros(3 * width, dtype=bool))
    queries, keys, values = inner.reshape(3, -1, attention.head_dim)
    values &= ~removed.inputs.get(out, np.zeros(width, dtype=bool)).reshape(values.shape)
    narrow = NarrowAttention.of(name, attention, (entering, leaving), (queries, keys, values))
    model.set_submodule(name, narrow.train(attention.training))


def _keep(module: nn.Module, own: str, dimension: int, kept: np.ndarray) -> None:
    parameter = getattr(module, own)
    where = torch.from_numpy(np.flatnonzero(kept)).to(parameter.device)
    setattr(module, own, nn.Parameter(parameter.detach().index_select(dimension, where)))
