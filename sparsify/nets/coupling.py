"""Coupling: which channels of a network go together, and what they leave without an effect."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from sparsify.data.dataset import Inputs
from sparsify.nets.parts import Part
from sparsify.nets.probing import Probe, Source
from sparsify.nets.reach import Reach, find_reach


@dataclass(frozen=True)
class Removed:
    """What goes with some outputs; each array is bool, True goes.

    - `outputs`: the outputs of each layer and depthwise convolution: (outputs,).
    - `inputs`: the channels that enter each part and come from removed outputs alone: (inputs,).
    - `slices`: those of parameters that belong to no part, by name and dimension.
    """

    outputs: dict[str, np.ndarray]
    inputs: dict[str, np.ndarray]
    slices: dict[tuple[str, int], np.ndarray]


class Coupling:
    """The channels of a network in classes that go together.

    Two channels are in one class if they reach the same places of a part: they are added, multiplied or compared
    there, or are stacked to one channel (PixelShuffle, a view). A channel that reaches several places of a part, each
    of which others reach alone, is broadcast over these: it stays if one of them goes, but takes them with it.
    """

    def __init__(self, parts: Mapping[str, Part], first_place: Mapping[str, int], reach: Reach) -> None:
        self.parts, self._first_place, self._reach = parts, first_place, reach
        self._sources = {source: slice(first, first + source.count) for source, first in reach.first.items()}
        self.by_part = {source.part: source for source in self._sources if source.part}
        self.channels = sum(source.count for source in self._sources)
        self._couple()

    def _couple(self) -> None:
        channel, place = self._reach.channel, self._reach.place
        starts = np.array(list(self._first_place.values()))
        part = np.searchsorted(starts, place, side="right") - 1
        order = np.lexsort((place, part, channel))
        channel, place, part = channel[order], place[order], part[order]
        new = np.flatnonzero((np.diff(channel, prepend=-1) != 0) | (np.diff(part, prepend=-1) != 0))
        # the places of one part that a channel reaches; each such set once, with the channels that reach just these
        sets: dict[bytes, int] = {}
        which = np.empty(len(new), dtype=int)
        members: list[np.ndarray] = []
        for number, places in enumerate(np.split(place, new[1:]) if len(new) else []):
            key = places.tobytes()
            if key not in sets:
                sets[key] = len(members)
                members.append(places)
            which[number] = sets[key]
        finer, overlapping = _relations(members)
        pairs = [
            *zip(channel[new], which + self.channels, strict=True),
            *(np.array(overlapping, dtype=int).reshape(-1, 2) + self.channels),
        ]
        labels = _components(self.channels + len(members), pairs)
        self.class_of = labels[: self.channels]
        """The class of each channel of the network, a number."""
        of_set = labels[self.channels :]
        self._takes: dict[int, set[int]] = {}
        for coarse, fine in finer:
            if of_set[coarse] != of_set[fine]:
                self._takes.setdefault(int(of_set[coarse]), set()).add(int(of_set[fine]))
        # what is broadcast over a place need not go for the place to be without an effect
        covered = {(coarse, place) for coarse, fine in finer for place in members[fine].tolist()}
        of_edge = np.repeat(which, np.diff(new, append=len(channel)))
        broad = np.isin(of_edge, list({coarse for coarse, _ in finer}))
        narrow = ~broad
        for edge in np.flatnonzero(broad):
            narrow[edge] = (int(of_edge[edge]), int(place[edge])) not in covered
        self._edges = channel[narrow], place[narrow]
        self._all_edges = channel, place

    def channels_of(self, part: str) -> slice:
        """Return where the channels of a part are among those of the network."""
        return self._sources[self.by_part[part]]

    def closure(self, classes: Iterable[int]) -> set[int]:
        """Return these classes and those that they take with them."""
        found, waiting = set(), list(classes)
        while waiting:
            one = waiting.pop()
            if one not in found:
                found.add(one)
                waiting += self._takes.get(one, ())
        return found

    def goes_with(self, goes: np.ndarray) -> np.ndarray:
        """Return the channels that go with these: bool, (channels of the network,)."""
        together = np.isin(self.class_of, list(self.closure(set(self.class_of[goes].tolist()))))
        return goes | together

    def grains(self, parts: Sequence[str], *, heads: bool = False) -> np.ndarray:
        """Return the grain of each channel of the network, a number from 0; −1 if it is in none of these parts' grains.

        A grain is a class, or several: those of one part of which one takes the other with it. With `heads` it is all
        classes that take each other, as do those of the queries, keys and values of one head of an attention. Grains
        are in the order of their first outputs in the parts as given.
        """
        asked = np.concatenate([self.class_of[self.channels_of(part)] for part in parts])
        pairs = [(one, other) for one, others in self._takes.items() for other in others]
        if heads:
            pairs = [pair for pair in pairs if not set(pair).isdisjoint(asked.tolist())]
        else:
            sets = [set(self.class_of[self.channels_of(part)].tolist()) for part in parts]
            pairs = [pair for pair in pairs if any(set(pair) <= classes for classes in sets)]
        merged = _components(int(self.class_of.max()) + 1, pairs)
        _, first = np.unique(merged[asked], return_index=True)
        order = merged[asked][np.sort(first)]
        numbers = np.full(merged.max() + 1, -1)
        numbers[order] = np.arange(len(order))
        grains: np.ndarray = numbers[merged[self.class_of]]
        return grains

    def removed(self, goes: np.ndarray) -> Removed:
        """Return what the removal of these channels, which is closed (`goes_with`), leaves without an effect."""
        channel, place = self._edges
        size = sum(part.inputs for part in self.parts.values())
        reached = np.bincount(place, minlength=size)
        lost = np.bincount(place[goes[channel]], minlength=size)
        gone = (reached > 0) & (lost == reached)
        outputs, slices = {}, {}
        for source, where in self._sources.items():
            if goes[where].any():
                if source.part:
                    outputs[source.part] = goes[where]
                else:
                    slices[source.parameter, source.dimension] = goes[where]
        inputs = {name: gone[start : start + self.parts[name].inputs] for name, start in self._first_place.items()}
        return Removed(outputs, {name: lost for name, lost in inputs.items() if lost.any()}, slices)

    @property
    def sources(self) -> list[Source]:
        """The sources of the channels, in the order of the channels."""
        return list(self._sources)

    @functools.cached_property
    def inner(self) -> np.ndarray:
        """The channels that enter a part, and whose source does not reach the network's outputs: bool, (channels,)."""
        inner = np.zeros(self.channels, dtype=bool)
        inner[self._all_edges[0]] = True
        for source in self._reach.output:
            inner[self._sources[source]] = False
        return inner

    def whole(self, goes: np.ndarray) -> np.ndarray:
        """Return those of these channels with which only channels among them go: bool, (channels of the network,)."""
        broken = set(self.class_of[~goes].tolist())
        while True:
            more = {one for one, others in self._takes.items() if one not in broken and not broken.isdisjoint(others)}
            if not more:
                break
            broken |= more
        whole: np.ndarray = goes & ~np.isin(self.class_of, list(broken))
        return whole

    def entering(self, channels: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the channels of the network that enter these of parts, (inputs,) each: bool, (channels,)."""
        channel, place = self._all_edges
        wanted = np.zeros(sum(part.inputs for part in self.parts.values()), dtype=bool)
        for name, where in channels.items():
            start = self._first_place[name]
            wanted[start : start + len(where)] = where
        entering = np.zeros(self.channels, dtype=bool)
        entering[channel[wanted[place]]] = True
        return entering

    def entered_by(self, part: str) -> dict[str, np.ndarray]:
        """Return the parts that each output of a part enters at one place, and its channel there: (outputs,)."""
        channel, place = self._all_edges
        where = self.channels_of(part)
        mine = (channel >= where.start) & (channel < where.stop)
        found = {}
        for name, start in self._first_place.items():
            here = mine & (place >= start) & (place < start + self.parts[name].inputs)
            if np.array_equal(channel[here], np.arange(where.start, where.stop)):
                found[name] = place[here] - start
        return found

    @functools.cached_property
    def to_output(self) -> frozenset[str]:
        """The names of the parts whose outputs reach the network's own with no other layer between."""
        return frozenset(source.part for source in self._reach.output)


def find_coupling(model: object, example: Inputs) -> Coupling:
    """Probe a network and return its Coupling. Raises SparsifyError if the network cannot be run on the example."""
    with Probe(model, example) as probe:  # type: ignore[arg-type]
        return Coupling(probe.parts, probe.first_place, find_reach(probe))


def _relations(sets: list[np.ndarray]) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Return the pairs (larger, smaller) of sets of which one holds the other, and those that overlap otherwise."""
    at: dict[int, list[int]] = {}
    for number, places in enumerate(sets):
        for place in places.tolist():
            at.setdefault(place, []).append(number)
    finer, overlapping = [], []
    for one, two in {pair for numbers in at.values() if len(numbers) > 1 for pair in _each_pair(numbers)}:
        small, large = sorted((one, two), key=lambda number: len(sets[number]))
        if np.isin(sets[small], sets[large]).all():
            finer.append((large, small))
        else:
            overlapping.append((one, two))
    return finer, overlapping


def _each_pair(numbers: list[int]) -> Iterable[tuple[int, int]]:
    return ((one, two) for place, one in enumerate(numbers) for two in numbers[place + 1 :])


def _components(count: int, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    """Return the component of each of `count` nodes in the graph of these pairs: a number from 0, (count,)."""
    ends = np.array(pairs, dtype=int).reshape(-1, 2).T
    graph = coo_array((np.ones(ends.shape[1], dtype=bool), (ends[0], ends[1])), shape=(count, count))
    labels: np.ndarray = connected_components(graph, directed=False)[1]
    return labels
