"""The prunable layers of any network, and the names by which they are found."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from sparsify.errors import SparsifyError, unknown
from sparsify.nets.modules import Prunable
from sparsify.nets.registry import GRAINS

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
CONVOLVING = (*CONVOLUTIONS, *TRANSPOSED)


IN_PROJECTION = "in_proj"
"""The layer of torch's MultiheadAttention that gives queries, keys and values; its weight is the attention's own."""


@dataclass(frozen=True)
class Layer:
    """One convolution or fully connected layer; `name` is the module's own name in its network.

    A module with several weights has a layer for each; `own` is the weight's name in the module. These are the
    projection of an attention to queries, keys and values, and the weights of an LSTM or the like.
    """

    name: str
    module: Prunable
    own: str = "weight"

    @property
    def is_convolution(self) -> bool:
        """Whether the layer is a convolution, with filters; else it is fully connected, with neurons."""
        return isinstance(self.module, CONVOLVING)

    @property
    def weight(self) -> Tensor:
        """The weight: (outputs, inputs, …), or (inputs, outputs, …) if the convolution is transposed.

        A convolution with groups has in it only the inputs, or if transposed the outputs, of one group.
        """
        weight: Tensor = getattr(self.module, self.own)
        return weight

    @property
    def outputs(self) -> int:
        """The number of outputs: filters or neurons."""
        return self.module.out_channels if isinstance(self.module, CONVOLVING) else len(self.weight)

    @property
    def inputs(self) -> int:
        """The number of channels or features that enter."""
        return self.module.in_channels if isinstance(self.module, CONVOLVING) else self.weight.shape[1]

    @property
    def groups(self) -> int:
        """The number of groups of a convolution; otherwise 1."""
        return self.module.groups if isinstance(self.module, CONVOLVING) else 1

    def rows(self, tensor: Tensor) -> Tensor:
        """Return a tensor of the weight's shape, or one value for each output, with the outputs first."""
        if not isinstance(self.module, TRANSPOSED) or tensor.ndim == 1:
            return tensor
        # (groups · inputs of one, outputs of one, …) → (groups · outputs of one, inputs of one, …)
        rows: Tensor = tensor.unflatten(0, (self.groups, -1)).transpose(1, 2).flatten(0, 1)
        return rows

    def output_elements(self, goes: Tensor) -> Tensor:
        """Return which elements of the weight belong to these outputs: bool, in the weight's shape."""
        if not isinstance(self.module, TRANSPOSED):
            return goes.view(-1, *[1] * (self.weight.ndim - 1)).expand(self.weight.shape)
        columns = goes.view(self.groups, 1, -1).expand(-1, self.inputs // self.groups, -1).flatten(0, 1)
        return columns.view(*columns.shape, *[1] * (self.weight.ndim - 2)).expand(self.weight.shape)

    def input_elements(self, goes: Tensor) -> Tensor:
        """Return which elements of the weight take these inputs: bool, in the weight's shape."""
        if isinstance(self.module, TRANSPOSED):
            return goes.view(-1, *[1] * (self.weight.ndim - 1)).expand(self.weight.shape)
        columns = goes.view(self.groups, -1).repeat_interleave(self.outputs // self.groups, 0)
        return columns.view(*columns.shape, *[1] * (self.weight.ndim - 2)).expand(self.weight.shape)

    @property
    def parameter(self) -> str:
        """The name of the weight in the network's `state_dict`."""
        return self._named(self.own)

    @property
    def bias(self) -> str | None:
        """The name of the bias in the network's `state_dict`; None if there is none."""
        own = self.own.replace("weight", "bias")
        return None if getattr(self.module, own, None) is None else self._named(own)

    def _named(self, own: str) -> str:
        path = self.name if self.own == "weight" else self.name.rpartition(".")[0]
        return f"{path}.{own}" if path else own

    def grain(self, grain: str = "auto") -> str:
        """Return what is removed as one in this layer: "filter", "neuron" or "weight".

        "auto" is "filter" for a convolution and "weight" for a fully connected layer. "filter" and "neuron" both mean
        whole outputs, and so does "head", of which several go as one (`find_units`); the result is the word for the
        layer's kind. Raises SparsifyError for an unknown grain.
        """
        if grain not in GRAINS:
            raise unknown("grain", grain, GRAINS)
        if grain == "auto":
            return "filter" if self.is_convolution else "weight"
        if grain == "weight":
            return "weight"
        return "filter" if self.is_convolution else "neuron"


def prunable_layers(model: nn.Module) -> list[Layer]:
    """Return every convolution and fully connected layer, in the order in which the network lists them."""
    layers = []
    for name, module in model.named_modules():
        if isinstance(module, (*CONVOLVING, nn.Linear)):
            layers.append(Layer(name, module))
        elif isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is not None:
            layers.append(Layer(f"{name}.{IN_PROJECTION}".lstrip("."), module, "in_proj_weight"))
        elif isinstance(module, nn.RNNBase):
            own = (one for one, _ in module.named_parameters(recurse=False) if one.startswith("weight_"))
            layers += [Layer(f"{name}.{one}".lstrip("."), module, one) for one in own]
    return layers


def layer_names(model: nn.Module) -> dict[str, Layer]:
    """Return the layers by all their names: module names, and conv1 …, fc1 … in order where no module has that name."""
    layers = prunable_layers(model)
    names = {layer.name: layer for layer in layers if layer.name}
    counts = {"conv": 0, "fc": 0}
    for layer in layers:
        kind = "conv" if layer.is_convolution else "fc"
        counts[kind] += 1
        names.setdefault(f"{kind}{counts[kind]}", layer)
    return names


def find_layer(model: nn.Module, name: str, where: str = "the network") -> Layer:
    """Return the layer `name`. Raises SparsifyError for an unknown name, with the known names."""
    names = layer_names(model)
    if name not in names:
        raise unknown("layer", name, names, where=where)
    return names[name]


LeftOut = Callable[[], Mapping[str, str]]
"""A function that returns the layers that a pattern passes over, with the reason; it is called only for a pattern."""


def find_layers(
    model: nn.Module, asked: str | Sequence[str], where: str = "the network", left_out: LeftOut | None = None
) -> dict[str, Layer]:
    """Return the layers of one set, such as "conv3,fc1", by the names asked for; each layer once.

    "all" means every layer, and a glob such as "conv*" every layer with a matching name, in the network's order, but
    for those that `left_out` names: they have to be named. Without `left_out` only names are taken. Raises
    SparsifyError for an empty set, an unknown name and a glob without a match, with the known names.
    """
    wanted = [name.strip() for name in (asked.split(",") if isinstance(asked, str) else asked)]
    names = layer_names(model)
    if not names:
        raise SparsifyError(f"{where} has no convolution and no fully connected layer")
    if not any(wanted):
        raise SparsifyError(f"layers are missing; {where} has: {', '.join(names)}")
    found: dict[str, Layer] = {}
    for name in wanted:
        for one in [name] if name in names else _matches(name, names, where, left_out):
            if all(layer.name != names[one].name for layer in found.values()):
                found[one] = names[one]
    return found


def find_sets(
    model: nn.Module, asked: str | Sequence[str], where: str = "the network", left_out: LeftOut | None = None
) -> dict[str, dict[str, Layer]]:
    """Return sets of layers as `find_layers` does, each once, by their names with commas. A text is a single set."""
    sets = [asked] if isinstance(asked, str) else list(asked) or [""]
    return {",".join(found): found for found in (find_layers(model, names, where, left_out) for names in sets)}


def _matches(pattern: str, names: dict[str, Layer], where: str, left_out: LeftOut | None) -> list[str]:
    """Return a name of each layer that "all" or a glob matches, in the network's order; a module name if it matches."""
    if left_out is None or (pattern != "all" and not set(pattern) & set("*?[")):
        raise unknown("layer", pattern, names, where=where)
    called: dict[str, list[str]] = {}
    for name, layer in names.items():
        called.setdefault(layer.name, []).append(name)
    glob = "*" if pattern == "all" else pattern
    fits = {layer: [name for name in calls if fnmatch.fnmatchcase(name, glob)] for layer, calls in called.items()}
    passed_over = left_out()
    chosen = [calls[0] for layer, calls in fits.items() if calls and layer not in passed_over]
    if not chosen:
        only = "; ".join(f"{calls[0]} ({passed_over[layer]})" for layer, calls in fits.items() if calls)
        reason = f", but for what it leaves out: {only}" if only else ""
        raise SparsifyError(f"'{pattern}' matches no layer in {where}{reason}; choose from: {', '.join(names)}")
    return chosen
