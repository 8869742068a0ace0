"""What can be read off trained weights and paths without images."""

from __future__ import annotations

from collections.abc import Sequence
from types import EllipsisType

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights

from sparsify.nets.evaluation import batch_norms
from sparsify.nets.layers import prunable_layers
from sparsify.nets.mask import lowest, removed_count
from sparsify.nets.structure import Structure
from sparsify.optim.inclusion import InclusionPath
from sparsify.optim.penalties import filter_norms
from sparsify.runs import Run

NEAR_ZERO = 0.01


def near_zero(weight: Tensor, relative: float = NEAR_ZERO) -> tuple[int, int]:
    """How many filters have a norm below `relative` times the layer's largest, and how many there are.

    A layer whose filters are all exactly 0 counts as near zero as a whole.
    """
    norms = filter_norms(weight.detach())
    small = norms < relative * norms.max() if norms.max() > 0 else torch.ones_like(norms, dtype=torch.bool)
    return int(small.sum()), len(norms)


def smallest_filters(weight: Tensor, ratio: float) -> Tensor:
    """Which filters go when round(ratio·n) of the smallest L2 norm are pruned: (filters,), True goes."""
    norms = filter_norms(weight.detach())
    return lowest(norms, removed_count(ratio, len(norms)))


def support_shares(runs: Sequence[Run]) -> dict[str, list[float]]:
    """The share of each layer's grains in the support, one a run of one kind; empty if they have no path."""
    shares: dict[str, list[float]] = {}
    for run in runs:
        for name, counts in run.summary["support"].items():
            shares.setdefault(name.removesuffix(".weight"), []).append(counts["in"] / counts["of"])
    return shares


def layer_path(run: Run, layer: str) -> InclusionPath | None:
    """The path of the layer of that module name alone, under the name of the parameter by which it is selected.

    That is its weight or the scale behind it (`Structure.selected_by`), in the order of the layer's filters; of the
    scales, as of single weights, the norms are those of all together. None if the run selects nothing, or not here.
    """
    path = run.inclusion_path
    if path is None:
        return None
    found = _selected_by(run, layer, path)
    if found is None:
        return None
    name, grains = found
    norms = (kind[name] for kind in (path.gamma_norm, path.weight_norm))
    kinds = ({name: values if values.shape[1] == 1 else values[:, grains]} for values in norms)
    return InclusionPath(path.steps, path.time, {name: path.entry[name][grains]}, *kinds)


def layer_support(run: Run, layer: str) -> Tensor | None:
    """As `Run.support`, of the grains of the layer of that module name, in its own order."""
    path = run.inclusion_path
    found = None if path is None else _selected_by(run, layer, path)
    support = None if found is None else run.support(found[0])
    return None if found is None or support is None else support[found[1]]


def folded_filters(run: Run, layer: str) -> Tensor | None:
    """The filters of the layer of that module name as the trained network applies them: W_i·γ_i / √(v_i + ε).

    γ is the scale and v the variance of the BatchNorm that takes in what the layer gives, before which the scale of W_i
    itself does not matter. None if no BatchNorm with running statistics does.
    """
    model = run.model()
    (convolution,) = (one.module for one in prunable_layers(model) if one.name == layer)
    norm = _batch_norm_behind(model, convolution, torch.zeros(1, *run.summary["shape"]))
    if norm is None:
        return None
    assert norm.running_mean is not None  # `batch_norms` have statistics
    assert norm.running_var is not None
    filters, _ = fuse_conv_bn_weights(
        convolution.weight, None, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    return filters.detach()


@torch.inference_mode()
def _batch_norm_behind(model: nn.Module, layer: nn.Module, example: Tensor) -> _BatchNorm | None:
    given: list[Tensor] = []
    takers: list[tuple[_BatchNorm, Tensor]] = []
    handles = [layer.register_forward_hook(lambda _module, _inputs, output: given.append(output))]
    for norm in batch_norms(model):
        handles.append(
            norm.register_forward_pre_hook(lambda _module, inputs, norm=norm: takers.append((norm, inputs[0])))
        )
    try:
        model(example)
    finally:
        for handle in handles:
            handle.remove()
    found = [norm for norm, taken in takers if any(taken is output for output in given)]
    return found[0] if len(found) == 1 else None


def _selected_by(run: Run, layer: str, path: InclusionPath) -> tuple[str, np.ndarray | EllipsisType] | None:
    model = run.model()
    structure = Structure(model, torch.zeros(1, *run.summary["shape"]))
    (found,) = (one for one in prunable_layers(model) if one.name == layer)
    answer = structure.selected_by(found, path.entry)
    if answer is None:
        return None
    parameter, grains = answer
    return parameter, grains.numpy() if isinstance(grains, Tensor) else grains
