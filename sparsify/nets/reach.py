"""Reach: the places that each single channel of a network reaches, in as few runs as possible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sparsify.nets.probing import Probe, Source

BLOCKS = 4
"""A place that is reached by each of so many blocks of a source's channels is tried for being reached by them all."""

MANY = 16
"""A source with no more channels than this is followed channel by channel."""

SAMPLES = 8
"""The number of single channels by which it is tried."""

SMALL = 64
"""So many channels whose halves reach the same places are marked one by one: a further half would tell nothing."""


@dataclass(frozen=True)
class Reach:
    """What each channel of each source reaches.

    `channel` and `place` are the ends of the edges, as numbers among the channels of all sources (`first[source]` is
    that of a source's first channel) and among the probe's places. Left out are edges to places that are reached by
    all channels of a source, which tell nothing: a sum, a mean or a norm across the channels. `output` are the sources
    that reach the network's outputs.
    """

    first: dict[Source, int]
    channel: np.ndarray
    place: np.ndarray
    output: frozenset[Source]


@dataclass(eq=False)
class _Block:
    """Channels of a source that are marked together, and the places that they can reach at most, then those they do."""

    source: Source
    channels: np.ndarray
    places: np.ndarray
    alike: bool = False  # both halves reach all that the whole reaches


def find_reach(probe: Probe) -> Reach:
    """Return what each channel reaches.

    First each source's channels are marked all together, then in all sources at once those whose index has a certain
    digit in base 2, for each digit: this is enough for places that are reached only by channels of one index, as most
    are. What is left is found source by source: channels are marked by halves, by quarters and so on to
    single ones, and blocks whose places have nothing in common in the same run of the network.
    """
    output, blocks = set(), []
    for source in probe.sources:
        places, out = probe.run({source: np.arange(source.count)})
        if out:
            output.add(source)
        blocks.append(_Block(source, np.arange(source.count), np.flatnonzero(places)))
    mixed: dict[Source, np.ndarray] = {}
    done = _by_index(probe, blocks)
    while blocks:
        blocks = _without_mixed(probe, blocks, mixed)
        done += [block for block in blocks if len(block.channels) == 1 and len(block.places)]
        blocks = [block for block in blocks if len(block.channels) > 1 and len(block.places)]
        # single channels are marked last, so that those of all sources share their runs
        waiting = [block for block in blocks if block.alike and len(block.channels) <= SMALL]
        others = [block for block in blocks if not (block.alike and len(block.channels) <= SMALL)]
        blocks = waiting + _resolve(probe, others) if others else _resolve(probe, waiting)
    first, count = {}, 0
    for source in probe.sources:
        first[source] = count
        count += source.count
    edges: dict[Source, list[np.ndarray]] = {source: [] for source in probe.sources}
    for block in done:
        channels = np.broadcast_to(block.channels, block.places.shape)
        edges[block.source].append(np.stack([channels, block.places]))
    kept = []
    for source, parts in edges.items():
        channels, places = np.concatenate([np.empty((2, 0), dtype=int), *parts], axis=1)
        reached = np.bincount(places, minlength=probe.places)
        by_all = np.flatnonzero((reached == source.count) & (source.count > 1))
        tells = ~np.isin(places, np.union1d(mixed.get(source, by_all), by_all))
        kept.append(np.stack([first[source] + channels[tells], places[tells]]))
    channel, place = np.concatenate([np.empty((2, 0), dtype=int), *kept], axis=1)
    return Reach(first, channel, place, frozenset(output))


def _by_index(probe: Probe, blocks: Sequence[_Block]) -> list[_Block]:
    """Return the edges to places that only channels of one index reach, and take them out of the blocks.

    The channels of one returned block reach one place each, in the same order.
    """
    odd = [_Block(b.source, b.channels[1::2], b.places) for b in blocks if len(b.channels) > 1]
    _measure(probe, odd)
    sources = [block.source for block in odd if (probe.index[block.places] % 2 == 1).all()]
    index = np.zeros(probe.places, dtype=int)
    several = np.zeros(probe.places, dtype=bool)  # places that channels of several indices reach
    for digit in range(max((source.count - 1 for source in sources), default=0).bit_length()):
        hits = []
        for value in (0, 1):
            marks = {source: np.flatnonzero(np.arange(source.count) >> digit & 1 == value) for source in sources}
            hit, _ = probe.run({source: channels for source, channels in marks.items() if len(channels)})
            hits.append(hit)
        several |= hits[0] & hits[1]
        index |= hits[1].astype(int) << digit
    found = []
    for block in blocks:
        if block.source in sources:
            known = block.places[~several[block.places]]
            found.append(_Block(block.source, index[known], known))
            block.places = block.places[several[block.places]]
    return found


def _resolve(probe: Probe, blocks: Sequence[_Block]) -> list[_Block]:
    """Return parts of these blocks, halves or single channels, with the places that they reach."""
    parts = []
    for block in blocks:
        count = _parts(block)
        parts += [_Block(block.source, part, block.places) for part in np.array_split(block.channels, count)]
    _measure(probe, parts)
    start = 0
    for block in blocks:
        count = _parts(block)
        mine = parts[start : start + count]
        start += count
        alike = all(len(part.places) == len(block.places) for part in mine)
        for part in mine:
            part.alike = alike
    return parts


def _parts(block: _Block) -> int:
    """Return in how many parts to split a block: single channels if that is time, else as its count is made.

    The queries, keys and values of an attention and its heads are 3, and then 3, 12 or so equal parts of the outputs:
    a count of 576 is split in 3, 3, and then in halves, so that no part holds pieces of two heads.
    """
    count = len(block.channels)
    if block.alike and count <= SMALL:
        return count
    return next((factor for factor in (7, 5, 3) if count % factor == 0), 2)


def _measure(probe: Probe, blocks: Sequence[_Block]) -> None:
    """Find what each block reaches; those that cannot reach a common place are marked together."""
    runs: list[list[_Block]] = []
    taken = np.zeros((0, probe.places), dtype=bool)
    for block in blocks:
        free = np.flatnonzero(~taken[:, block.places].any(1))
        if not len(free):
            runs.append([])
            taken = np.concatenate([taken, np.zeros((1, probe.places), dtype=bool)])
            free = np.array([len(runs) - 1])
        taken[free[0], block.places] = True
        runs[free[0]].append(block)
    for together in runs:
        marks: dict[Source, list[np.ndarray]] = {}
        for block in together:
            marks.setdefault(block.source, []).append(block.channels)
        hit, _ = probe.run({source: np.concatenate(channels) for source, channels in marks.items()})
        for block in together:
            block.places = block.places[hit[block.places]]


def _without_mixed(probe: Probe, blocks: list[_Block], mixed: dict[Source, np.ndarray]) -> list[_Block]:
    """Leave out the places that all channels of a source reach: they would cost a run for each channel.

    Places that each of BLOCKS blocks reaches, or each of the blocks that reach all that the whole does, are tried by
    SAMPLES single channels, and taken for such places if each of these reaches them, too.
    """
    by_source: dict[Source, list[_Block]] = {}
    for block in blocks:
        by_source.setdefault(block.source, []).append(block)
    tried: dict[Source, list[_Block]] = {}
    for source, mine in by_source.items():
        split = len(mine) >= BLOCKS or all(block.alike for block in mine)
        whole = sum(len(block.channels) for block in mine) == source.count > MANY
        candidates = _common(mine) if split and whole and source not in mixed else np.empty(0, dtype=int)
        if len(candidates):
            chosen = np.linspace(0, source.count - 1, SAMPLES).astype(int)
            tried[source] = [_Block(source, np.array([channel]), candidates) for channel in chosen]
    _measure(probe, [single for singles in tried.values() for single in singles])
    for source, singles in tried.items():
        mixed[source] = _common(singles)
        for block in by_source[source]:
            block.places = np.setdiff1d(block.places, mixed[source])
    return blocks


def _common(blocks: Sequence[_Block]) -> np.ndarray:
    places, counts = np.unique(np.concatenate([block.places for block in blocks]), return_counts=True)
    common: np.ndarray = places[counts == len(blocks)]
    return common
