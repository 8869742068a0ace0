"""What removing grains does to a network: which elements go, and how many parameters and MACs are left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch_pruning as tp
from torch import Tensor, nn

from sparsify.errors import SparsifyError
from sparsify.layers import Layer, prunable_layers
from sparsify.mask import Mask


@dataclass(frozen=True)
class Cost:
    """Parameters, and multiply-accumulate operations of convolutions and fully connected layers for one input."""

    params: int
    macs: int


class Structure:
    """A network's dependency graph (Torch-Pruning) and the sizes of its layers' outputs, traced once.

    `example` is one normalised input with a batch dimension. Raises SparsifyError if the network cannot be traced.
    """

    def __init__(self, model: nn.Module, example: Tensor) -> None:
        self._model = model
        self._positions = _output_positions(model, example)
        self._parameters = {name: p.numel() for name, p in model.named_parameters()}
        self._names = {module: name for name, module in model.named_modules()}
        self._graph: tp.DependencyGraph | None = None
        self._example = example

    def mask(self, drop: Mapping[str, Tensor], layers: Mapping[str, Layer], grains: Mapping[str, str]) -> Mask:
        """The mask that removes the grains `drop` (True goes) of each layer, by the layer's name.

        A filter or neuron takes every member of its dependency group on the output side with it: weight, bias,
        the scale and shift of the normalisation behind it, the same channel of layers that are added to it.
        """
        mask: Mask = {}
        for name, goes in drop.items():
            layer = layers[name]
            keep = mask.setdefault(layer.parameter, torch.ones_like(layer.weight, dtype=torch.bool))
            if grains[name] == "weight":
                keep &= ~goes
                continue
            for module, output_side, index in self._group(layer, goes):
                if output_side:
                    for parameter_name, parameter in module.named_parameters(self._names[module], recurse=False):
                        kept = mask.setdefault(parameter_name, torch.ones_like(parameter, dtype=torch.bool))
                        kept[index] = False
        return mask

    def cost(
        self, mask: Mask, drop: Mapping[str, Tensor], layers: Mapping[str, Layer], grains: Mapping[str, str]
    ) -> Cost:
        """What is left when the masked elements, and the inputs that they fed, are gone."""
        dead: Mask = {name: ~keep for name, keep in mask.items()}
        parameters = dict(self._model.named_parameters())
        for name, goes in drop.items():
            if grains[name] == "weight":
                continue
            for module, output_side, index in self._group(layers[name], goes):
                if not output_side:
                    parameter_name = f"{self._names[module]}.weight"
                    weight = parameters[parameter_name]
                    gone = dead.setdefault(parameter_name, torch.zeros_like(weight, dtype=torch.bool))
                    gone[:, index] = True
        removed = {name: int(gone.sum()) for name, gone in dead.items()}
        params = sum(count - removed.get(name, 0) for name, count in self._parameters.items())
        macs = sum(
            (self._parameters[name] - removed.get(name, 0)) * positions for name, positions in self._positions.items()
        )
        return Cost(params, macs)

    def _group(self, layer: Layer, goes: Tensor) -> list[tuple[nn.Module, bool, Tensor]]:
        """(module, whether its outputs go, indices) for each member of the dependency group that has parameters."""
        index = goes.nonzero().flatten().tolist()
        if not index:
            return []
        graph = self._dependency_graph()
        function = tp.prune_conv_out_channels if layer.is_convolution else tp.prune_linear_out_channels
        members = []
        for dependency, indices in graph.get_pruning_group(layer.module, function, index):
            module = dependency.target.module
            if module not in self._names or not any(True for _ in module.parameters(recurse=False)):
                if isinstance(module, nn.modules.batchnorm._NormBase):
                    raise SparsifyError(
                        f"filters of {layer.name} cannot be masked: the normalisation '{self._names[module]}' behind "
                        "it has no scale and shift, so that a zero does not stay a zero"
                    )
                continue
            where = torch.tensor(indices, device=goes.device)
            members.append((module, graph.is_out_channel_pruning_fn(dependency.pruning_fn), where))
        return members

    def _dependency_graph(self) -> tp.DependencyGraph:
        if self._graph is None:
            training = self._model.training
            required = {p: p.requires_grad for p in self._model.parameters()}
            try:
                for p in required:
                    p.requires_grad_(True)  # the graph is read off autograd's
                with torch.enable_grad():
                    self._graph = tp.DependencyGraph().build_dependency(self._model.eval(), self._example)
            except Exception as error:  # whatever the network's own forward raises
                raise SparsifyError(f"the network cannot be traced: {type(error).__name__}: {error}") from error
            finally:
                self._model.train(training)
                for p, value in required.items():
                    p.requires_grad_(value)
        return self._graph


@torch.inference_mode()
def _output_positions(model: nn.Module, example: Tensor) -> dict[str, int]:
    """How often each weight is used for one input, by the weight's name: a convolution's output height × width."""
    positions: dict[str, int] = {}
    handles = []
    for layer in prunable_layers(model):

        def note(_module: nn.Module, _inputs: object, output: Tensor, layer: Layer = layer) -> None:
            outputs = output.shape[1] if layer.is_convolution else output.shape[-1]
            used = output[0].numel() // outputs
            positions[layer.parameter] = positions.get(layer.parameter, 0) + used

        handles.append(layer.module.register_forward_hook(note))
    training = model.training
    try:
        model.eval()(example)
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    return positions
