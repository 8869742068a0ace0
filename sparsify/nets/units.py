"""Units: layers that are ranked as one thing, because their outputs go together, and the grains that they lose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sparsify.nets.layers import Layer
from sparsify.nets.structure import Cut, Structure


@dataclass(frozen=True)
class Unit:
    """Layers that are ranked as one thing, and their grains.

    `asked` are the layers that were named, by the names they were asked for; `grain` is what is removed of them as one.
    `members` are all layers whose outputs go with a grain, those asked among them, and the grain of each of their
    outputs: a number from 0, (outputs,), −1 if it goes with none. Without members the grains are the single weights of
    the one layer that was named. `strata`, (grains,), numbers the grains by the groups of the grouped convolutions that
    they leave or enter: each group must lose equally many. None if there is none.
    """

    asked: Mapping[str, Layer]
    grain: str
    members: tuple[tuple[Layer, Tensor], ...] = ()
    strata: Tensor | None = None

    @property
    def name(self) -> str:
        """The names of the layers asked for."""
        return ",".join(self.asked)

    @property
    def count(self) -> int:
        """The number of grains."""
        if not self.members:
            return next(iter(self.asked.values())).weight.numel()
        return 1 + max(int(grains.max()) for _, grains in self.members)

    @property
    def layers(self) -> list[Layer]:
        """The layers whose outputs, or weights, make up the grains."""
        return [layer for layer, _ in self.members] or list(self.asked.values())

    @property
    def is_one_layer(self) -> bool:
        """Whether the grains are the outputs of one layer as they come, or its single weights."""
        return (
            all(torch.equal(grains, torch.arange(self.count)) for _, grains in self.members) and len(self.layers) == 1
        )

    def rows(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Return what these tensors hold of each grain: (grains, elements), or the tensor itself if `is_one_layer`.

        The tensors are by the names of their layers, in the shape of the weight or with a value for each output. Grains
        with fewer outputs than others, or of a layer that is left out, are filled up with zeros.
        """
        if self.is_one_layer:
            layer = self.layers[0]
            return layer.rows(tensors[layer.name]) if self.members else tensors[layer.name]
        found = [
            _by_grain(layer.rows(tensors[layer.name]), grains, self.count)
            for layer, grains in self.members
            if layer.name in tensors
        ]
        return torch.cat(found, 1)

    def least(self, values: Mapping[str, Tensor]) -> Tensor:
        """Return the least of the values of each grain's outputs, which are by layer, (outputs, …): (grains,)."""
        least = torch.full((self.count,), torch.inf, device=next(iter(values.values())).device)
        for layer, grains in self.members:
            if layer.name in values:
                inside = (grains >= 0).to(least.device)
                own = values[layer.name].float().reshape(len(grains), -1).amin(1)
                least.scatter_reduce_(0, grains.to(least.device)[inside], own[inside], "amin")
        return least

    def cuts(self, drop: Tensor) -> list[Cut]:
        """Return the cuts that remove these grains, (grains,) or the weight's shape: one of each layer asked for.

        Of heads they are all members', because queries, keys and values do not go with each other by themselves.
        """
        if not self.members:
            return [Cut(layer, "weight", drop) for layer in self.asked.values()]
        named = {layer.name for layer in self.asked.values()}
        return [
            Cut(layer, layer.grain("filter"), drop[grains.clamp_min(0)] & (grains >= 0).to(drop.device))
            for layer, grains in self.members
            if self.grain == "head" or layer.name in named
        ]

    def gone(self, removed: Mapping[str, Tensor]) -> Tensor:
        """Return the grains all of whose outputs, or weights, of the layers asked for are removed."""
        if not self.members:
            return removed[self.name]
        gone = torch.ones(self.count, dtype=torch.bool)
        of = {layer.name: grains for layer, grains in self.members}
        for name, layer in self.asked.items():
            gone[of[layer.name][~removed[name].cpu()]] = False
        return gone.to(removed[next(iter(self.asked))].device)


def _by_grain(rows: Tensor, grains: Tensor, count: int) -> Tensor:
    """Return the rows of each grain, one after the other: (grains, elements)."""
    counts = torch.bincount(grains[grains >= 0], minlength=count)
    order = grains.argsort(stable=True)[int((grains < 0).sum()) :]
    position = torch.arange(len(order)) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    found = rows.new_zeros(count, int(counts.max()), *rows.shape[1:])
    found[grains[order].to(rows.device), position.to(rows.device)] = rows[order.to(rows.device)]
    return found.flatten(1)


def find_units(structure: Structure, layers: Mapping[str, Layer], grain: str = "auto") -> list[Unit]:
    """Return the units of a set of layers, by the names they were asked for, in the order of their first layers.

    Layers whose outputs go together are one unit. Raises SparsifyError for a layer that cannot be pruned, and for the
    grain "head" of a layer whose outputs are not in heads.
    """
    for layer in layers.values():
        structure.require(layer, grain)
    heads = grain == "head"
    near = {
        name: {member.name for member in _unit(structure, {name: layer}, heads=True).layers}
        if heads
        else set(structure.coupled(layer))
        for name, layer in layers.items()
        if layer.grain(grain) != "weight"
    }

    def go_together(one: str, other: str) -> bool:
        return layers[one].name in near[other] or layers[other].name in near[one]

    units, waiting = [], list(layers)
    while waiting:
        found = [waiting.pop(0)]
        if found[0] not in near:
            units.append(Unit({found[0]: layers[found[0]]}, "weight"))
            continue
        # through others that were asked for, too: of a, b and the c that both are added to
        while more := [name for name in waiting if name in near and any(go_together(name, one) for one in found)]:
            found += more
            waiting = [name for name in waiting if name not in more]
        units.append(_unit(structure, {name: layers[name] for name in layers if name in found}, heads=heads))
    return units


def _unit(structure: Structure, asked: Mapping[str, Layer], *, heads: bool) -> Unit:
    coupling = structure.coupling
    grains = torch.from_numpy(coupling.grains([layer.name for layer in asked.values()], heads=heads))
    members = [(structure.layers[part], grains[coupling.channels_of(part)]) for part in coupling.by_part]
    members = [(layer, numbers) for layer, numbers in members if (numbers >= 0).any()]
    first = next(iter(asked.values()))
    return Unit(asked, "head" if heads else first.grain("filter"), tuple(members), _strata(structure, grains))


def _strata(structure: Structure, grains: Tensor) -> Tensor | None:
    """Return the groups of each grain in all grouped convolutions together, as one number; None if there are none.

    Also None if the groups are not equally large, so that they cannot lose equally many.
    """
    coupling, numbers = structure.coupling, grains.numpy()
    sides = []  # for each side of a grouped convolution, pairs (grain, group)
    for name, layer in structure.layers.items():
        if name in coupling.parts and coupling.parts[name].kind == "layer" and layer.groups > 1:
            outputs = numbers[coupling.channels_of(name)]
            groups = np.arange(layer.outputs) // (layer.outputs // layer.groups)
            sides.append(np.stack([outputs, groups]))
            channel, place = coupling.entering_edges(name)
            sides.append(np.stack([numbers[channel], place // (layer.inputs // layer.groups)]))
    labels: list[list[tuple[int, int]]] = [[] for _ in range(numbers.max() + 1)]
    for side, pairs in enumerate(sides):
        for grain, group in np.unique(pairs[:, pairs[0] >= 0], axis=1).T.tolist():
            labels[grain].append((side, group))
    known = list(dict.fromkeys(map(tuple, labels)))
    strata = np.array([known.index(tuple(label)) for label in labels])
    equal = len(set(np.bincount(strata).tolist())) == 1
    return torch.from_numpy(strata) if len(known) > 1 and equal else None
