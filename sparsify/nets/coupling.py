"""Coupling: which channels of a network go together, and what they leave without an effect."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import nn

from sparsify.data.dataset import Inputs
from sparsify.nets.parts import Part
from sparsify.nets.probing import Probe, Source
from sparsify.nets.reach import find_reach


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
    there, or are stacked to one channel (PixelShuffle, a view). A channel that is multiplied with several of another
    source, or added to all of them, is broadcast over these (a gate, the queries and keys of an attention): it is in no
    class with them, stays when they go, and can be taken out of the network only with all of them.
    """

    def __init__(self, probe: Probe) -> None:
        self.parts, self._first_place, self._reach = probe.parts, probe.first_place, find_reach(probe)
        self._sources = {source: slice(at, at + source.count) for source, at in self._reach.first.items()}
        self.by_part = {source.part: source for source in self._sources if source.part}
        self.channels = sum(source.count for source in self._sources)
        self._couple(functools.cache(probe.zeros))

    def _couple(self, zeros: Callable[[Source], np.ndarray]) -> None:
        channel, place = self._reach.channel, self._reach.place
        part = np.searchsorted(np.array(list(self._first_place.values())), place, side="right") - 1
        order = np.lexsort((place, part, channel))
        channel, place, part = channel[order], place[order], part[order]
        new = np.flatnonzero((np.diff(channel, prepend=-1) != 0) | (np.diff(part, prepend=-1) != 0))
        # the places of one part that a channel reaches; each such set once
        sets: dict[bytes, int] = {}
        members: list[np.ndarray] = []
        which = np.empty(len(new), dtype=int)
        for number, places in enumerate(np.split(place, new[1:]) if len(new) else []):
            key = places.tobytes()
            if key not in sets:
                sets[key] = len(members)
                members.append(places)
            which[number] = sets[key]
        of_channel = channel[new]
        wider, together = self._relations(members, self._sources_of_sets(which, of_channel, len(members)), zeros)
        broad = np.isin(which, [large for large, _ in wider])
        first = self.channels  # the nodes of the sets come after those of the channels
        pairs = [(int(one), first + int(of)) for one, of in zip(of_channel[~broad], which[~broad], strict=True)]
        pairs += [(first + one, first + other) for one, other in together]
        covered = {(large, place) for large, small in wider for place in members[small].tolist()}
        of_edge = np.repeat(which, np.diff(new, append=len(channel)))
        # what is broadcast over a place need not go for the place to be without an effect
        within = np.array(
            [edge not in covered for edge in zip(of_edge.tolist(), place.tolist(), strict=True)], dtype=bool
        )
        self._edges = channel[within], place[within]
        self._all_edges = channel, place
        pairs += self._passed_on(lambda part: part.outputs == part.inputs)
        labels = _components(self.channels + len(members), pairs)
        self.class_of = labels[: self.channels]
        """The class of each channel of the network, a number."""
        self._covers: dict[int, set[int]] = {}
        for large, small in wider:
            for one in of_channel[which == large].tolist():
                self._covers.setdefault(int(self.class_of[one]), set()).add(int(labels[first + small]))
        self._feeds: dict[int, set[int]] = {}
        for entering, output in self._passed_on(lambda part: part.outputs > part.inputs):
            self._feeds.setdefault(int(self.class_of[entering]), set()).add(int(self.class_of[output]))

    def _relations(
        self, sets: Sequence[np.ndarray], sources: Sequence[set[Source]], zeros: Callable[[Source], np.ndarray]
    ) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """Return which sets of places are broadcast over others, pairs (broadcast, other), and which go together.

        A set is broadcast over several of a source if it is multiplied with them wherever they meet, so that the place
        is 0 where the source is (`zeros`), or combined with all that the source reaches in the part. Other sets that
        meet go together, as do two of which each is broadcast over the other: their channels are combined at some
        places, and may reach others, too.
        """
        at: dict[int, list[int]] = {}
        for number, places in enumerate(sets):
            for place in places.tolist():
                at.setdefault(place, []).append(number)
        meeting = {pair for numbers in at.values() for pair in itertools.combinations(numbers, 2)}
        pairs = [sorted(pair, key=lambda number: len(sets[number])) for pair in meeting]
        crossing = {(small, large) for small, large in pairs if not np.isin(sets[small], sets[large]).all()}
        met: dict[int, list[int]] = {}  # what a set may be broadcast over: not one that holds it
        for small, large in pairs:
            met.setdefault(large, []).append(small)
            if (small, large) in crossing:
                met.setdefault(small, []).append(large)

        def is_broadcast(large: int) -> bool:
            of_source: dict[Source, list[int]] = {}
            for one in met[large]:
                for source in sources[one]:
                    of_source.setdefault(source, []).append(one)
            return any(
                self._holds_all(source, sets[large])
                or zeros(source)[np.intersect1d(np.concatenate([sets[one] for one in mine]), sets[large])].all()
                for source, mine in of_source.items()
                if len(mine) > 1
            )

        broadcast = {large for large in met if is_broadcast(large)}
        # what goes together with another is not broadcast over a third: its class would not be that of its channels
        broadcast -= {one for pair in crossing if len(broadcast.intersection(pair)) != 1 for one in pair}
        wider, together = [], []
        for small, large in pairs:
            if large in broadcast:
                wider.append((large, small))
            elif small in broadcast and (small, large) in crossing:
                wider.append((small, large))
            else:
                together.append((small, large))
        return wider, together

    def _holds_all(self, source: Source, large: np.ndarray) -> bool:
        """Whether a set of places of one part holds all that a source reaches in this part."""
        where = self._sources[source]
        channel, place = self._reach.channel, self._reach.place
        part = next(p for p, start in reversed(self._first_place.items()) if start <= large[0])
        start = self._first_place[part]
        mine = (channel >= where.start) & (channel < where.stop)
        here = place[mine & (place >= start) & (place < start + self.parts[part].inputs)]
        return bool(np.isin(here, large).all())

    def _sources_of_sets(self, which: np.ndarray, channels: np.ndarray, count: int) -> list[set[Source]]:
        """Return for each set of places the sources of the channels that reach it."""
        starts, names = np.array([where.start for where in self._sources.values()]), self.sources
        sources: list[set[Source]] = [set() for _ in range(count)]
        for one, of in zip(which.tolist(), (np.searchsorted(starts, channels, side="right") - 1).tolist(), strict=True):
            sources[one].add(names[of])
        return sources

    def _passed_on(self, wanted: Callable[[Part], bool]) -> list[tuple[int, int]]:
        """Return the channels that enter each wanted depthwise convolution, each with each of its outputs."""
        pairs = []
        for name, part in self.parts.items():
            if part.kind == "depthwise" and wanted(part):
                each = part.outputs // part.inputs
                outputs = self.channels_of(name).start + np.arange(part.outputs).reshape(part.inputs, each)
                for one, entered in zip(*self.entering_edges(name), strict=True):
                    pairs += [(int(one), output) for output in outputs[entered].tolist()]
        return pairs

    def channels_of(self, part: str) -> slice:
        """Return where the channels of a part are among those of the network."""
        return self._sources[self.by_part[part]]

    def goes_with(self, goes: np.ndarray) -> np.ndarray:
        """Return the channels that go with these, themselves among them: bool, (channels of the network,)."""
        found: set[int] = set()
        waiting = set(self.class_of[goes].tolist())
        while waiting:
            found |= waiting
            waiting = {fed for one in waiting for fed in self._feeds.get(one, ())} - found
        together: np.ndarray = np.isin(self.class_of, list(found))
        return together

    def grains(self, parts: Sequence[str], *, heads: bool = False) -> np.ndarray:
        """Return the grain of each channel of the network, a number from 0; −1 if it is in none of these parts' grains.

        A grain is a class. With `heads` it is all classes of which one is broadcast over the other, as are queries and
        keys over the values of their head in an attention. Grains are in the order of their first outputs in the parts
        as given.
        """
        asked = np.concatenate([self.class_of[self.channels_of(part)] for part in parts])
        pairs = [(one, other) for one, others in self._covers.items() for other in others] if heads else []
        near = set(asked.tolist())
        for _ in range(2):  # from queries to values, and from these to keys
            beside = [pair for pair in pairs if not near.isdisjoint(pair)]
            near.update(itertools.chain.from_iterable(beside))
        merged = _components(int(self.class_of.max()) + 1, beside)
        _, first = np.unique(merged[asked], return_index=True)
        order = merged[asked][np.sort(first)]
        numbers = np.full(int(merged.max()) + 1, -1)
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
            more = {one for one, others in self._covers.items() if one not in broken and not broken.isdisjoint(others)}
            if not more:
                break
            broken |= more
        whole: np.ndarray = goes & ~np.isin(self.class_of, list(broken))
        return whole

    def held(self, goes: np.ndarray) -> np.ndarray:
        """Return those of these channels whose class is among them, but which are broadcast over channels that stay."""
        held: np.ndarray = goes & ~np.isin(self.class_of, self.class_of[~goes]) & ~self.whole(goes)
        return held

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

    def entering_edges(self, part: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the channels of the network that enter a part, and where: the numbers of each pair."""
        channel, place = self._edges
        start = self._first_place[part]
        here = (place >= start) & (place < start + self.parts[part].inputs)
        return channel[here], place[here] - start

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


def find_coupling(model: nn.Module, example: Inputs) -> Coupling:
    """Probe a network and return its Coupling. Raises SparsifyError if the network cannot be run on the example."""
    with Probe(model, example) as probe:
        return Coupling(probe)


def _components(count: int, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    """Return the component of each of `count` nodes in the graph of these pairs: a number from 0, (count,)."""
    ends = np.array(pairs, dtype=int).reshape(-1, 2).T
    graph = coo_array((np.ones(ends.shape[1], dtype=bool), (ends[0], ends[1])), shape=(count, count))
    labels: np.ndarray = connected_components(graph, directed=False)[1]
    return labels
