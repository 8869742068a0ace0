"""The effect of removing grains: which elements go with them, and how many parameters and MACs are left."""

from __future__ import annotations

import contextlib
import copy
import functools
import warnings
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import NamedTuple

import torch
import torch_pruning as tp
from torch import Tensor, nn

from sparsify.errors import SparsifyError, SparsifyWarning
from sparsify.nets.evaluation import evaluating
from sparsify.nets.layers import CONVOLUTIONS, Layer, prunable_layers
from sparsify.nets.mask import Mask, masked


@dataclass(frozen=True)
class Cost:
    """The number of parameters, and the multiply-accumulates of convolutions and linear layers for one input."""

    params: int
    macs: int


@dataclass(frozen=True)
class Cut:
    """The grains of one layer to remove: `drop` (True goes) is (outputs,), or the weight's shape for single weights."""

    layer: Layer
    grain: str
    drop: Tensor


def removed_grains(mask: Mask, layer: Layer, grain: str = "auto") -> Tensor:
    """Return which grains a mask removes, also those that went with others: bool, (outputs,) or the weight's shape."""
    if layer.parameter not in mask:
        mask = {layer.parameter: torch.ones_like(layer.weight, dtype=torch.bool)}
    keep = mask[layer.parameter]
    return ~(keep if layer.grain(grain) == "weight" else keep.flatten(1).any(1))


class Member(NamedTuple):
    """The outputs (or channels of a normalisation) or inputs of one module that go when outputs of a layer are removed.

    `indices[i]` goes because output `root[i]` of the layer goes; `root` is None if that is not known. `cut` is
    Torch-Pruning's function that removes indices from the module, or from another one of its shape.
    """

    module: nn.Module
    output_side: bool
    indices: Tensor
    root: list[int | None]
    cut: Callable[[nn.Module, Sequence[int]], nn.Module]


class Structure:
    """A network's dependency graph (Torch-Pruning) and the sizes of its layers' outputs, traced once.

    `example` is one normalised input with a batch dimension. Raises SparsifyError if the network cannot be traced.
    """

    def __init__(self, model: nn.Module, example: Tensor) -> None:
        self.model, self.example = model, example
        self._positions = _output_positions(model, example)
        self._parameters = {name: p.numel() for name, p in model.named_parameters()}
        self._weights = {layer.parameter: layer.weight.numel() for layer in prunable_layers(model)}
        owners = Counter(p for module in model.modules() for p in module.parameters(recurse=False))
        self._shared = {p for p, count in owners.items() if count > 1}
        self._names = {module: name for name, module in model.named_modules()}
        # traced when it is first asked for, and then that of `unwarned` copies, too
        self._graph = functools.cache(functools.partial(_trace, model, example))
        self._checked: set[str] = set()  # layers whose input is known to be 0 where it should be, or was warned about

    def remove(self, cuts: Sequence[Cut]) -> tuple[Mask, Cost]:
        """Return the mask of these cuts, and the cost without the removed elements and the inputs that they fed.

        With a filter or neuron goes every member of its dependency group on the output side: weight, bias, the scale
        and shift of the normalisation behind it, the same channel of layers that are added to it. Without cuts the mask
        is empty and the cost is that of the whole network. Raises SparsifyError if the group cannot be followed; warns
        (SparsifyWarning) if a mask and a physical removal would not compute the same function.
        """
        mask: Mask = {}
        unfed: Mask = {}  # elements of the layers behind whose input is gone, True is gone
        parameters = dict(self.model.named_parameters())
        for cut in cuts:
            reason = self._weight_obstacle(cut.layer.module)
            if reason:
                raise _refusal(cut.layer, reason)
            keep = mask.setdefault(cut.layer.parameter, torch.ones_like(cut.layer.weight, dtype=torch.bool))
            if cut.grain == "weight":
                keep &= ~cut.drop
                continue
            for module, output_side, index, *_ in self.group(cut.layer, cut.drop):
                if output_side:
                    self._warn_of_norm(module)
                    for name, parameter in module.named_parameters(self._names[module], recurse=False):
                        mask.setdefault(name, torch.ones_like(parameter, dtype=torch.bool))[index] = False
                else:
                    name = f"{self._names[module]}.weight"
                    unfed.setdefault(name, torch.zeros_like(parameters[name], dtype=torch.bool))[:, index] = True
        self._warn_of_leaks(mask, unfed)
        return mask, self._cost(mask, unfed)

    def unwarned(self) -> Structure:
        """The same structure, which gives again the warnings that it has given."""
        again = copy.copy(self)
        again._checked = set()
        return again

    def scale(self, layer: Layer) -> Tensor | None:
        """Return γ of the normalisation behind a layer for each output, (outputs,); None if there is none."""
        found = self.normalisation(layer)
        if found is None:
            return None
        scale = self.model.get_submodule(found[0]).weight
        assert isinstance(scale, Tensor)  # `group` has refused a normalisation without a scale
        return scale.detach()[found[1]]

    def normalisation(self, layer: Layer) -> tuple[str, Tensor] | None:
        """Return the module name of the normalisation behind a layer, and the channel in it of each output."""
        outputs = torch.ones(len(layer.weight), dtype=torch.bool, device=layer.weight.device)
        for module, output_side, index, *_ in self.group(layer, outputs):
            if output_side and isinstance(module, nn.modules.batchnorm._NormBase) and len(index) == len(outputs):
                return self._names[module], index
        return None

    def selected_by(self, layer: Layer, parameters: Container[str]) -> tuple[str, Tensor | EllipsisType] | None:
        """Return the one of these parameters by which the layer's grains are selected, and where the grains are in it.

        It is the layer's own weight or, as with the structure "bn-scale", the scale of the normalisation behind it.
        None if neither is among the parameters.
        """
        if layer.parameter in parameters:
            return layer.parameter, ...
        found = self.normalisation(layer)
        if found is None:
            return None
        scale = f"{found[0]}.weight"
        return (scale, found[1]) if scale in parameters else None

    def coupled(self, layer: Layer) -> list[str]:
        """Return this layer and the layers whose outputs are combined with its own, in the network's order."""
        outputs = torch.ones(len(layer.weight), dtype=torch.bool, device=layer.weight.device)
        together = {member.module for member in self.group(layer, outputs) if member.output_side}
        return [other.name for other in prunable_layers(self.model) if other.module in together]

    def coupled_groups(self, layers: Iterable[Layer]) -> list[tuple[str, ...]]:
        """The groups of two layers and more, each once, whose outputs are combined and that hold one of `layers`."""
        groups = dict.fromkeys(tuple(self.coupled(layer)) for layer in layers)
        return [group for group in groups if len(group) > 1]

    def _warn_of_norm(self, module: nn.Module) -> None:
        across = isinstance(module, nn.LayerNorm) or (
            isinstance(module, nn.GroupNorm) and module.num_groups < module.num_channels
        )
        if across and self._names[module] not in self._checked:
            self._checked.add(self._names[module])
            self._warn(f"'{self._names[module]}' normalises across channels, those that are masked among them")

    def _warn_of_leaks(self, mask: Mask, unfed: Mask) -> None:
        """Warn, once for each layer, if a masked filter still has an effect: its removal would differ from its mask."""
        leaking: set[str] = set()
        handles = []
        for name, dead in unfed.items():
            layer = name.removesuffix(".weight")
            if layer in self._checked or not dead.any():
                continue
            self._checked.add(layer)
            module = self.model.get_submodule(layer)
            channel = -1 if isinstance(module, nn.Linear) else 1
            gone = dead.transpose(0, 1).flatten(1).all(1)

            def look(_module: nn.Module, inputs: tuple[Tensor], layer: str = layer, channel: int = channel,
                     gone: Tensor = gone) -> None:  # fmt: skip
                if inputs[0].movedim(channel, -1)[..., gone].any():
                    leaking.add(layer)

            handles.append(module.register_forward_pre_hook(look))
        if not handles:
            return
        try:
            with masked(self.model, mask), evaluating(self.model), torch.inference_mode():
                self.model(self.example)
        finally:
            for handle in handles:
                handle.remove()
        for layer in sorted(leaking):
            self._warn(f"what is masked still reaches '{layer}': an activation with f(0) ≠ 0 stands before it")

    def _warn(self, reason: str) -> None:
        text = f"{reason}; accuracy is that of the mask, and a physical removal would compute another function"
        warnings.warn(text, SparsifyWarning, stacklevel=4)

    def _cost(self, mask: Mask, unfed: Mask) -> Cost:
        gone = {name: ~keep for name, keep in mask.items()}
        for name, dead in unfed.items():
            gone[name] = gone[name] | dead if name in gone else dead
        removed = {name: int(elements.sum()) for name, elements in gone.items()}
        params = sum(count - removed.get(name, 0) for name, count in self._parameters.items())
        macs = sum(
            (self._weights[name] - removed.get(name, 0)) * positions for name, positions in self._positions.items()
        )
        return Cost(params, macs)

    def group(self, layer: Layer, goes: Tensor) -> list[Member]:
        """Return the members with parameters of the dependency group of these outputs (True goes), one for each side.

        Raises SparsifyError if the group cannot be followed, masked and counted.
        """
        index = goes.nonzero().flatten().tolist()
        if not index:
            return []
        graph = self._graph()
        if layer.module not in graph.module2node:
            raise _refusal(layer, "the network's output does not depend on it, or not so that autograd sees it")
        function = tp.prune_conv_out_channels if layer.is_convolution else tp.prune_linear_out_channels
        members = []
        for item in graph.get_pruning_group(layer.module, function, index):
            module, function = item.dep.target.module, item.dep.pruning_fn
            reason = self._obstacle(module)
            if reason:
                raise _refusal(layer, reason)
            if _has_channels(module):
                where, side = torch.tensor(item.idxs, device=goes.device), graph.is_out_channel_pruning_fn(function)
                members.append(Member(module, side, where, item.root_idxs, function))
        return members

    def _obstacle(self, member: nn.Module | nn.Parameter) -> str:
        """Return why channels of a member of a dependency group cannot be masked and counted, or "" if they can."""
        if isinstance(member, nn.Parameter):
            return "a parameter that belongs to no layer is combined with its outputs"
        if member not in self._names:
            return ""  # an operation, such as an addition
        name = self._names[member]
        if isinstance(member, nn.modules.batchnorm._NormBase) and not member.affine:
            return f"the normalisation '{name}' behind it has no scale and shift, so that a zero does not stay a zero"
        if not _has_channels(member):
            return ""
        if not isinstance(member, _FOLLOWED):
            return f"what becomes of '{name}', a {type(member).__name__}, is not known here"
        if isinstance(member, CONVOLUTIONS) and member.groups > 1:
            depthwise = member.groups == member.in_channels == member.out_channels
            return "" if depthwise else f"'{name}' is a convolution of {member.groups} groups"
        return self._weight_obstacle(member)

    def _weight_obstacle(self, module: nn.Module) -> str:
        """Return why elements of a module's weight cannot be set to 0 and counted, or "" if they can."""
        name = self._names[module]
        if not isinstance(module.weight, nn.Parameter):
            return f"the weight of '{name}' is computed from other parameters"
        return f"'{name}' shares its weight with another module" if module.weight in self._shared else ""


# modules whose first dimension is their outputs or channels, and whose second, if they have one, is their inputs
_FOLLOWED = (*CONVOLUTIONS, nn.Linear, nn.PReLU, nn.GroupNorm, nn.LayerNorm, nn.modules.batchnorm._NormBase)


def _has_channels(module: nn.Module) -> bool:
    """Whether the module has parameters with a value for each channel; a PReLU may have one slope for all."""
    return any(True for _ in module.parameters(recurse=False)) and getattr(module, "num_parameters", None) != 1


def _refusal(layer: Layer, reason: str) -> SparsifyError:
    return SparsifyError(f"{layer.name or 'the layer'} cannot be pruned: {reason}")


def _trace(model: nn.Module, example: Tensor) -> tp.DependencyGraph:
    required = {p: p.requires_grad for p in model.parameters()}
    try:
        with evaluating(model), torch.enable_grad():
            for p in required:
                p.requires_grad_(True)  # the graph is read off autograd's
            with _tracing():
                model(example)  # if this fails, it does so without Torch-Pruning's hooks
            # by itself Torch-Pruning would first try the images of a batch as separate arguments
            with _tracing("followed by Torch-Pruning, so that only single weights can go"):
                return tp.DependencyGraph().build_dependency(
                    model, example, forward_fn=lambda model, inputs: model(inputs), verbose=False
                )
    finally:
        for p, value in required.items():
            p.requires_grad_(value)


@contextlib.contextmanager
def _tracing(what: str = "traced") -> Iterator[None]:
    try:
        yield
    except Exception as error:  # whatever the network's own forward, or Torch-Pruning, raises
        raise SparsifyError(f"the network cannot be {what}: {type(error).__name__}: {error}") from error


@torch.inference_mode()
def _output_positions(model: nn.Module, example: Tensor) -> dict[str, int]:
    """Return how often each weight is used for one input, by name: a convolution's output height × width."""
    positions: dict[str, int] = {}
    handles = []
    for layer in prunable_layers(model):

        def note(_module: nn.Module, _inputs: object, output: Tensor, layer: Layer = layer) -> None:
            used = output.numel() // (len(layer.weight) * len(example))
            positions[layer.parameter] = positions.get(layer.parameter, 0) + used

        handles.append(layer.module.register_forward_hook(note))
    try:
        with evaluating(model), _tracing():
            model(example)
    finally:
        for handle in handles:
            handle.remove()
    return positions
