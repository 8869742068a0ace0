"""The effect of removing grains: which elements go with them, and how many parameters and MACs are left."""

from __future__ import annotations

import functools
import warnings
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from types import EllipsisType

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from sparsify.data.dataset import Inputs
from sparsify.errors import SparsifyError, SparsifyWarning
from sparsify.nets.coupling import Coupling, Removed, find_coupling
from sparsify.nets.evaluation import call, evaluating, require_shapes
from sparsify.nets.heads import heads_left
from sparsify.nets.layers import Layer, prunable_layers
from sparsify.nets.mask import Mask, masked
from sparsify.nets.operations import count_operations
from sparsify.nets.parametrized import with_own_weights
from sparsify.nets.parts import ACROSS, OUTPUT
from sparsify.nets.tracing import plainly


@dataclass(frozen=True)
class Cost:
    """The number of parameters, and the multiply-accumulates of convolutions and matrix products for one input."""

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
    return ~(keep if layer.grain(grain) == "weight" else layer.rows(keep).flatten(1).any(1))


class Structure:
    """A network, its operations, and which of its channels go together, which is found once, when first asked for.

    `example` is one normalised input with a batch dimension: a tensor, or a tuple or dict of the forward's arguments.
    Raises SparsifyError if the network cannot be run on it.
    """

    def __init__(self, model: nn.Module, example: Inputs) -> None:
        if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
            raise SparsifyError(
                "the network is compiled by torch.jit (script or trace); give the module from which it was made"
            )
        require_shapes(model)
        self.model, self.example = model, example
        self.layers = {layer.name: layer for layer in prunable_layers(model)}
        self._parameters = dict(model.named_parameters())
        owners = Counter(p for module in model.modules() for p in module.parameters(recurse=False))
        self._shared = {p for p, count in owners.items() if count > 1}
        self.operations = count_operations(model, example)
        self._coupling = functools.cache(functools.partial(find_coupling, model, example))
        self._obstacle_beside = functools.cache(self._find_obstacle_beside)  # it is asked for at each point of a sweep
        self._left_out = functools.cache(self._find_left_out)
        self._checked: set[str] = set()  # parts of which it is known whether their inputs are 0 where they should be

    @property
    def coupling(self) -> Coupling:
        """Which channels of the network go together. Raises SparsifyError if the network cannot be followed."""
        return self._coupling()

    def remove(self, cuts: Sequence[Cut]) -> tuple[Mask, Cost]:
        """Return the mask of these cuts, and the cost without the removed elements and the inputs that they fed.

        With a filter or neuron goes all that `goes_with` it. Without cuts the mask is empty and the cost is that of the
        whole network. Raises SparsifyError if a layer cannot be masked; warns (SparsifyWarning), once for each place,
        if a mask and a physical removal would not compute the same function.
        """
        mask, removed = self.goes(cuts)
        unfed = {self.layers[name].parameter: gone for name, gone in self.unfed(removed).items()}
        for reason in self.inexact(mask, removed, self._checked).values():
            warnings.warn(
                f"{reason}; accuracy is that of the mask, and a physical removal would compute another function",
                SparsifyWarning,
                stacklevel=3,
            )
        self._checked |= removed.inputs.keys()
        return mask, self._cost(mask, unfed, heads_left(self.model, removed))

    def unfed(self, removed: Removed) -> dict[str, Tensor]:
        """Return which elements of the weight see an input that goes, of each layer that has such inputs."""
        found = {}
        for name in removed.inputs.keys() & self.layers.keys():
            layer = self.layers[name]
            found[name] = layer.input_elements(torch.from_numpy(removed.inputs[name]).to(layer.weight.device))
        return found

    def mask(self, cuts: Sequence[Cut]) -> Mask:
        """Return the mask of `remove`, which raises the same, without a warning."""
        return self.goes(cuts)[0]

    def goes(self, cuts: Sequence[Cut]) -> tuple[Mask, Removed]:
        """Return the mask of these cuts, and the channels that go. Raises SparsifyError as `remove` does."""
        for cut in cuts:
            self.require(cut.layer, cut.grain)
        mask: Mask = {}
        drops: dict[str, Tensor] = {}
        for cut in cuts:
            # a mask names every layer that was asked for, also one that keeps all of its grains
            mask.setdefault(cut.layer.parameter, torch.ones_like(cut.layer.weight, dtype=torch.bool))
            if cut.grain == "weight":
                self._zero(mask, cut.layer.parameter, cut.drop)
            elif cut.drop.any():
                drops[cut.layer.name] = cut.drop | drops.get(cut.layer.name, torch.zeros_like(cut.drop))
        removed = self.goes_with(drops) if drops else Removed({}, {}, {})
        self._mask(removed, mask)
        return mask, removed

    def goes_with(self, drops: Mapping[str, Tensor]) -> Removed:
        """Return all that goes with these outputs of layers, (outputs,) each.

        That is each output that is added to them, multiplied by them or otherwise combined with them, the scale and
        shift of the normalisation behind them, parameters along the channel, and the inputs that they alone fed.
        """
        coupling = self.coupling
        goes = np.zeros(coupling.channels, dtype=bool)
        for name, drop in drops.items():
            goes[coupling.channels_of(name)] |= drop.cpu().numpy()
        return coupling.removed(coupling.goes_with(goes))

    def obstacle(self, layer: Layer, grain: str = "filter") -> str:
        """Return why grains of a layer cannot be masked and counted, or "" if they can."""
        reason = self._weight_obstacle(layer.name)
        if reason or layer.grain(grain) == "weight":
            return reason
        if isinstance(layer.module, nn.RNNBase):
            kind = type(layer.module).__name__
            return f"the outputs of a layer of the {kind} go into its gates; its single weights can go (--grain weight)"
        if layer.name not in self.coupling.parts:
            return f"the network does not call it; if its weight is used, then not by '{layer.name}' itself"
        return self._obstacle_beside(layer) or (self._headless(layer) if grain == "head" else "")

    def _find_obstacle_beside(self, layer: Layer) -> str:
        """Return why what goes with a layer's outputs cannot be masked and counted, or "" if it can."""
        classes = self.coupling.class_of[self.coupling.channels_of(layer.name)]
        if layer.outputs > 1 and len(np.unique(classes)) == 1:
            return f"its {layer.outputs} outputs can only go together, all of them as one"
        removed = self._with_all_outputs(layer)
        reasons = (self._weight_obstacle(name) for name in (*removed.outputs, *removed.inputs))
        return next((reason for reason in reasons if reason), "")

    def _headless(self, layer: Layer) -> str:
        """Return why whole heads of a layer cannot go, or "" if its outputs are in several heads."""
        grains = self.coupling.grains([layer.name], heads=True)
        if grains.max() == 0 and layer.outputs > 1:
            return f"it has no heads: its {layer.outputs} outputs would all go as one"
        of_parts = [grains[self.coupling.channels_of(part)] for part in self.coupling.by_part]
        if all(len(np.unique(own)) == len(own) for own in of_parts if (own >= 0).any()):
            return f"it has no heads: each of its {layer.outputs} outputs can go by itself"
        return ""

    def _with_all_outputs(self, layer: Layer) -> Removed:
        return self.goes_with({layer.name: torch.ones(layer.outputs, dtype=torch.bool)})

    def left_out(self, grain: str = "auto") -> dict[str, str]:
        """Return the layers that "all" does not take, with the reason: they make the network's output or cannot go."""
        return self._left_out(grain)

    def _find_left_out(self, grain: str) -> dict[str, str]:
        reasons = {name: self.obstacle(layer, grain) for name, layer in self.layers.items()}
        for name in self.layers.keys() & self.coupling.to_output:
            reasons[name] = "it makes the network's output"
        return {name: reasons[name] for name in self.layers if reasons[name]}

    def require(self, layer: Layer, grain: str = "filter") -> None:
        """Raise SparsifyError if grains of the layer cannot be masked and counted."""
        reason = self.obstacle(layer, grain)
        if reason:
            raise SparsifyError(f"{layer.name or 'the layer'} cannot be pruned: {reason}", about="coupled")

    def _weight_obstacle(self, name: str) -> str:
        """Return why elements of a part's parameters cannot be set to 0 and counted, or "" if they can."""
        if name in self.layers:
            weight: object = self.layers[name].weight
        else:
            module = self.coupling.parts[name].module
            weight = getattr(module, "weight", None)
            if isinstance(module, _BatchNorm) and not module.affine:
                behind = f"the normalisation '{name}' behind it has no scale and shift"
                return f"{behind}, so that a zero does not stay a zero"
        if isinstance(weight, Tensor) and not isinstance(weight, nn.Parameter):
            return f"the weight of '{name}' is computed from other parameters"
        return f"'{name}' shares its weight with another module" if weight in self._shared else ""

    def _mask(self, removed: Removed, mask: Mask) -> None:
        """Set in the mask what is removed."""
        for name, goes in removed.outputs.items():
            layer = self.layers[name]
            drop = torch.from_numpy(goes).to(layer.weight.device)
            self._zero(mask, layer.parameter, layer.output_elements(drop))
            if layer.bias is not None:
                self._zero(mask, layer.bias, drop)
        for name, goes in removed.inputs.items():
            part = self.coupling.parts[name]
            for parameter, _ in part.module.named_parameters(name, recurse=False) if part.passes else ():
                self._zero(mask, parameter, torch.from_numpy(goes))
        for (name, dimension), goes in removed.slices.items():
            values = self._parameters[name]
            drop = torch.from_numpy(goes).to(values.device)
            self._zero(mask, name, drop.view(-1, *[1] * (values.ndim - dimension - 1)).expand(values.shape))

    def _zero(self, mask: Mask, name: str, goes: Tensor) -> None:
        keep = mask.setdefault(name, torch.ones_like(self._parameters[name], dtype=torch.bool))
        keep &= ~goes.to(keep.device)

    def scale(self, layer: Layer) -> Tensor | None:
        """Return γ of the normalisation behind a layer for each output, (outputs,); None if there is none."""
        found = self.normalisation(layer)
        if found is None:
            return None
        scale = self.model.get_submodule(found[0]).weight
        assert isinstance(scale, Tensor)  # `normalisation` passes over one without a scale
        return scale.detach()[found[1].to(scale.device)]

    def normalisation(self, layer: Layer) -> tuple[str, Tensor] | None:
        """Return the module name of the first normalisation behind a layer, and the channel in it of each output."""
        for name, channels in self.coupling.entered_by(layer.name).items():
            module = self.coupling.parts[name].module
            if isinstance(module, _NormBase) and module.affine:
                return name, torch.from_numpy(channels)
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
        together = self._with_all_outputs(layer).outputs.keys() | {layer.name}
        return [name for name in self.layers if name in together]

    def coupled_groups(self, layers: Iterable[Layer]) -> list[tuple[str, ...]]:
        """The groups of two layers and more, each once, whose outputs are combined and that hold one of `layers`."""
        groups = dict.fromkeys(tuple(self.coupled(layer)) for layer in layers)
        return [group for group in groups if len(group) > 1]

    def inexact(self, mask: Mask, removed: Removed, known: Set[str] = frozenset()) -> dict[str, str]:
        """Return the parts, with the reason, at which the mask and the removal would compute different functions.

        These are norms across channels that lose some of them, and parts that a masked filter still has an effect on.
        Parts that are `known` are passed over.
        """
        found = {
            name: f"'{name}' normalises across channels, those that are masked among them"
            for name in removed.inputs
            if name not in known and self.coupling.parts[name].kind == ACROSS
        }
        for name in sorted(self._leaking(mask, removed, known)):
            found[name] = f"what is masked still reaches '{name}': what stands before it does not keep a zero a zero"
        return found

    def _leaking(self, mask: Mask, removed: Removed, known: Set[str]) -> set[str]:
        """Return the parts that are reached by something else than 0 from a masked filter."""
        leaking: set[str] = set()
        handles = []
        for name, dead in removed.inputs.items():
            part = self.coupling.parts[name]
            if name in known or part.passes or part.kind == OUTPUT:
                continue

            def look(_module: nn.Module, inputs: tuple[Tensor, ...], name: str = name, along: int = part.entering,
                     gone: np.ndarray = dead) -> None:  # fmt: skip
                if inputs[0].movedim(along, -1)[..., torch.from_numpy(gone).to(inputs[0].device)].any():
                    leaking.add(name)

            handles.append(part.module.register_forward_pre_hook(look))
        if not handles:
            return leaking
        try:
            with masked(self.model, mask), evaluating(self.model), plainly():
                call(self.model, self.example)
        finally:
            for handle in handles:
                handle.remove()
        return leaking

    def _cost(self, mask: Mask, unfed: Mask, heads: Mapping[str, tuple[int, int]]) -> Cost:
        """Return the cost without what is masked or unfed; `heads` are those left of each attention, of how many."""
        gone = {name: ~keep for name, keep in mask.items()}
        for name, dead in unfed.items():
            gone[name] = gone[name] | dead if name in gone else dead
        left = {
            name: p.numel() - (int(gone[name].sum()) if name in gone else 0) for name, p in self._parameters.items()
        }
        macs = sum(macs * left[name] // self._parameters[name].numel() for name, macs in self.operations.of.items())
        for name, others in self.operations.others.items():
            part, whole = heads.get(name, (1, 1))
            macs += others * part // whole
        return Cost(sum(left.values()), macs)


def prunable(model: nn.Module, example: Inputs, grain: str = "auto") -> dict[str, str]:
    """Return for each layer "" if "all" takes it, else why not: it makes the network's output, or cannot be pruned.

    `example` is one normalised input with a batch dimension, and `grain` that of the sweep. Raises SparsifyError if the
    network cannot be run on the example, and for an unknown grain.

    >>> sparsify.prunable(torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2)), torch.zeros(1, 4))
    {'0': '', '1': "it makes the network's output"}
    """
    structure = Structure(with_own_weights(model), example)
    left_out = structure.left_out(grain)
    return {name: left_out.get(name, "") for name in structure.layers}
