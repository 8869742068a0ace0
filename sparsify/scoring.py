"""Scoring: what a criterion says of the grains of a subject's layers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sparsify.cost import Structure
from sparsify.criteria import CRITERIA, PathState, Scored
from sparsify.devices import enough_memory
from sparsify.errors import unknown
from sparsify.gradients import loss_gradients
from sparsify.layers import Layer
from sparsify.seeds import generator
from sparsify.selection import Selection

if TYPE_CHECKING:
    from sparsify.pruning import Subject


@torch.no_grad()
def score(
    subject: Subject,
    layer: Layer,
    structure: Structure,
    *,
    criterion: str,
    grain: str = "auto",
    draw: int = 0,
    gradients: Callable[[], Mapping[str, Tensor]] = dict,
    gone: Tensor | None = None,
) -> Tensor:
    """The score of every grain of one layer: (outputs,), or the weight's shape where the grain is a weight.

    `gradients` gives those of the training loss by parameter name; it is called only by a criterion that needs them.
    `gone` are grains that are 0 already, whose own scores mean nothing.
    """
    if criterion not in CRITERIA:
        raise unknown("criterion", criterion, CRITERIA)
    state = path_of(subject, layer, structure)
    keyed = generator(subject.seed, "random", draw, layer.name)
    weight, scale = layer.weight.detach(), functools.partial(structure.scale, layer)
    left = ... if gone is None else ~gone
    known = (layer.name, weight, layer.grain(grain), keyed, state, scale)
    return CRITERIA[criterion](Scored(*known, lambda: gradients().get(layer.parameter), left))


def path_of(subject: Subject, layer: Layer, structure: Structure) -> PathState | None:
    """What a subject's path knows of a layer, or, where it selects by them, of the BatchNorm scales of its filters."""
    found = None if subject.path is None else structure.selected_by(layer, subject.path)
    if found is None:
        return None
    parameter, grains = found
    state = subject.path[parameter]
    tensors = (state.entry, state.gamma, state.z)
    return PathState(*(None if tensor is None else tensor[grains] for tensor in tensors))


Scorer = Callable[..., dict[str, Tensor]]
"""(layers, criterion, draw=0, gone=None) → the scores of each layer; `gone` by layer, as for `score`."""


def scorer(subject: Subject, structure: Structure, grain: str = "auto") -> Scorer:
    """Scores sets of layers by any criterion; the gradients are computed once, when one first needs them."""

    @functools.cache
    def gradients() -> dict[str, Tensor]:
        if subject.sample is None:
            return {}
        with enough_memory("the gradients", "take --device cpu"):
            return loss_gradients(subject.model, subject.sample, subject.normalise)

    def scores(
        layers: Mapping[str, Layer], criterion: str, draw: int = 0, gone: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        how, gone = {"criterion": criterion, "grain": grain, "draw": draw, "gradients": gradients}, gone or {}
        return {name: score(subject, layer, structure, gone=gone.get(name), **how) for name, layer in layers.items()}

    return scores


def selections(
    scores: Scorer,
    layers: Mapping[str, Layer],
    criterion: str,
    *,
    scope: str = "layer",
    reverse: bool = False,
    controls: bool = False,
    draws: int = 1,
) -> list[Selection]:
    """What a sweep tries on one set: the criterion, one selection a draw if it is "random", and then its controls.

    The controls, "random" in `draws` draws and the criterion's opposite order, take as many grains of each layer as it.
    """
    if criterion == "random":
        return [Selection(criterion, scores(layers, criterion, draw), scope, reverse, draw) for draw in range(draws)]
    base = Selection(criterion, scores(layers, criterion), scope, reverse)
    if not controls:
        return [base]
    randoms = [Selection("random", scores(layers, "random", k), scope, draw=k, like=base) for k in range(draws)]
    return [base, *randoms, Selection(criterion, base.scores, scope, not reverse, like=base)]
