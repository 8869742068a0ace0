"""Selection: how many grains of each layer of a set go at a ratio, and which ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from sparsify.mask import lowest, removed_count

SCOPES = ("layer", "global")


@dataclass(frozen=True)
class Selection:
    """The order in which the grains of a set of layers go: by the scores of a criterion, the lowest first.

    `scope` "layer": round(ratio·n) of each layer's n grains. "global": round(ratio·N) of the N grains of all layers of
    the set together, their scores compared as they are; ties go by the layers' order, then by index. Nothing keeps a
    layer from losing all of its grains: that is measured, as a ratio of 1 is. `reverse`: the highest go first, a
    control. `like`: this one is a control of another, whose number of grains in each layer it takes. `first`: what goes
    before any score counts, the highest number first: what has gone already, in an earlier round.
    """

    criterion: str
    scores: Mapping[str, Tensor]
    scope: str = "layer"
    reverse: bool = False
    draw: int = 0
    like: Selection | None = None
    first: Mapping[str, Tensor] | None = None

    @property
    def name(self) -> str:
        """The criterion, and whether it is reversed: "magnitude-reversed"."""
        return f"{self.criterion}-reversed" if self.reverse else self.criterion

    def counts(self, ratio: float) -> dict[str, int]:
        """How many grains of each layer go."""
        if self.like is not None:
            return self.like.counts(ratio)
        sizes = {name: scores.numel() for name, scores in self.scores.items()}
        if self.scope == "layer":
            return {name: removed_count(ratio, size) for name, size in sizes.items()}
        together = torch.cat([scores.flatten() for scores in self.scores.values()])
        first = None if self.first is None else torch.cat([self.first[name].flatten() for name in sizes])
        drop = lowest(together, removed_count(ratio, len(together)), reverse=self.reverse, first=first)
        parts = drop.split(list(sizes.values()))
        return {name: int(part.sum()) for name, part in zip(sizes, parts, strict=True)}

    def drops(self, ratio: float) -> dict[str, Tensor]:
        """Which grains of each layer go: bool, of the shape of its scores, True goes."""
        counts, first = self.counts(ratio), self.first or {}
        return {
            name: lowest(scores, counts[name], reverse=self.reverse, first=first.get(name))
            for name, scores in self.scores.items()
        }
