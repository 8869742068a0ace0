"""What can be read off trained weights and paths without images."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from types import EllipsisType

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights

from sparsify.nets.evaluation import batch_norms
from sparsify.nets.layers import Layer, prunable_layers
from sparsify.nets.structure import Structure
from sparsify.optim.inclusion import InclusionPath
from sparsify.runs import Run


def support_shares(runs: Sequence[Run]) -> dict[str, list[float]]:
    """The share of each layer's grains in the support, one a run of one kind; empty if they have no path."""
    shares: dict[str, list[float]] = {}
    for run in runs:
        for name, counts in run.summary["support"].items():
            shares.setdefault(name.removesuffix(".weight"), []).append(counts["in"] / counts["of"])
    return shares


class TrainedNetwork:
    """The network of a finished run, loaded once, and what can be read off it and off the run's path.

    Layers are named by their modules. Raises SparsifyError if a file of the run is damaged.
    """

    def __init__(self, run: Run) -> None:
        self.run = run

    @functools.cached_property
    def model(self) -> nn.Module:
        """The trained network, on the CPU, in evaluation mode."""
        return self.run.model()

    def path(self, layer: str) -> InclusionPath | None:
        """The path of one layer alone, under the name of the parameter by which it is selected.

        That is its weight or the scale behind it (`Structure.selected_by`), in the order of the layer's filters. The
        norms of scales, as those of single weights, are norms of all together. None if the run selects nothing, or
        nothing in this layer.
        """
        path, found = self._inclusion, self._selected_by(layer)
        if path is None or found is None:
            return None
        name, grains = found
        norms = (kind[name] for kind in (path.gamma_norm, path.weight_norm))
        kinds = ({name: values if values.shape[1] == 1 else values[:, grains]} for values in norms)
        return InclusionPath(path.steps, path.time, {name: path.entry[name][grains]}, *kinds)

    def support(self, layer: str) -> Tensor | None:
        """Which grains of a layer are in the support, as `Run.support` says; None if the run selects none of them.

        Of kernels it is which filters have one in the support.
        """
        found = self._selected_by(layer)
        if found is None:
            return None
        name, grains = found
        inside = self.run.support(name)
        if inside is not None and inside.ndim == 2 and self._layer(layer).is_convolution:
            inside = inside.any(1)
        return None if inside is None else inside[grains]

    def folded_filters(self, layer: str) -> Tensor | None:
        """The filters of a layer as the trained network applies them: W_i·γ_i / √(v_i + ε).

        γ is the scale and v the variance of the BatchNorm that takes in the layer's output; before it the scale of W_i
        itself does not matter. None if the output goes into no BatchNorm with running statistics.
        """
        convolution = self._layer(layer).module
        norm = _batch_norm_behind(self.model, convolution, self._example)
        if norm is None:
            return None
        assert norm.running_mean is not None  # `batch_norms` have statistics
        assert norm.running_var is not None
        filters, _ = fuse_conv_bn_weights(
            self._layer(layer).weight, None, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        return filters.detach()

    def _layer(self, name: str) -> Layer:
        (found,) = (one for one in prunable_layers(self.model) if one.name == name)
        return found

    @functools.cached_property
    def _example(self) -> Tensor:
        return torch.zeros(1, *self.run.summary["shape"])

    @functools.cached_property
    def _structure(self) -> Structure:
        return Structure(self.model, self._example)

    @functools.cached_property
    def _inclusion(self) -> InclusionPath | None:
        return self.run.inclusion_path

    def _selected_by(self, layer: str) -> tuple[str, np.ndarray | EllipsisType] | None:
        """The parameter by which a layer is selected, and which of its grains are the layer's; None if none is."""
        if self._inclusion is None:
            return None
        answer = self._structure.selected_by(self._layer(layer), self._inclusion.entry)
        if answer is None:
            return None
        parameter, grains = answer
        return parameter, grains.numpy() if isinstance(grains, Tensor) else grains


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
