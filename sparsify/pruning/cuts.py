"""Cuts: the grains that one point removes, in one round or several, and the mask that removes them."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sparsify.data.dataset import Split
from sparsify.nets.evaluation import modes_kept
from sparsify.nets.layers import Layer, find_layers
from sparsify.nets.mask import Mask, apply_mask
from sparsify.nets.structure import Cut, Structure, removed_grains
from sparsify.pruning.plan import check_rounds, check_scope, parse_ratios
from sparsify.pruning.ranking import Ranking, scorer
from sparsify.pruning.subject import Subject

if TYPE_CHECKING:
    from sparsify.pruning.subject import Subject


def cuts_in_rounds(
    subject: Subject,
    structure: Structure,
    layers: Mapping[str, Layer],
    selection: Ranking,
    ratio: float,
    *,
    grain: str = "auto",
    rounds: int = 1,
    train: Callable[[Mask], None] = lambda mask: None,
) -> list[Cut]:
    """What is gone from each layer after all rounds: round i removes up to round(ratio·i/rounds·n) grains in all.

    The first round goes by the scores of `selection`, the others by those of the same criterion on what is left then;
    what has gone stays gone. Between two rounds `train` may train the network on in place, under the mask that it is
    given. The network is left as the last round found it, masked: keep it with `restored`. One round changes nothing.
    """
    drops = selection.drops(ratio * (1 / rounds))
    for number in range(2, rounds + 1):
        mask, _ = structure.remove(_cuts(layers, drops, grain))
        apply_mask(subject.model, mask)
        train(mask)
        gone = {name: removed_grains(mask, layer, grain) for name, layer in layers.items()}
        scores = scorer(subject, structure, grain)(layers, selection.criterion, selection.draw, gone)
        # a layer's own first, so that they stay gone; then those that went with layers that are coupled with it
        first = {name: drops[name].int() + gone[name].int() for name in layers}
        selection = dataclasses.replace(selection, scores=scores, first=first)
        drops = selection.drops(ratio * (number / rounds))
    return _cuts(layers, drops, grain)


def _cuts(layers: Mapping[str, Layer], drops: Mapping[str, Tensor], grain: str) -> list[Cut]:
    return [Cut(layer, layer.grain(grain), drops[name]) for name, layer in layers.items()]


@contextlib.contextmanager
def restored(model: nn.Module) -> Iterator[nn.Module]:
    """The network, to be masked or trained in place; afterwards weights, buffers, gradients and modes are as before."""
    values = {tensor: tensor.detach().clone() for tensor in (*model.parameters(), *model.buffers())}
    gradients = {p: p.grad for p in model.parameters()}
    for p in gradients:
        p.grad = None
    try:
        with modes_kept(model):
            yield model
    finally:
        with torch.no_grad():
            for tensor, value in values.items():
                tensor.copy_(value)
        for p, gradient in gradients.items():
            p.grad = gradient


def make_mask(
    model: nn.Module,
    example: Tensor,
    *,
    layers: str | Sequence[str],
    ratio: float,
    criterion: str = "magnitude",
    grain: str = "auto",
    scope: str = "layer",
    reverse: bool = False,
    rounds: int = 1,
) -> Mask:
    """The mask of one point: round(ratio·n) grains go in each of `layers`, the lowest scores first, ties by index.

    `example` is one normalised input with a batch dimension. Ratio 0 keeps everything. `scope` and `reverse` are those
    of `Selection`, `rounds` is that of `prune`.
    """
    subject = Subject(model, Split(example, torch.zeros(len(example), dtype=torch.long)))
    how = {"criterion": criterion, "grain": grain, "scope": scope, "reverse": reverse, "rounds": rounds}
    return Structure(model, example).remove(cuts_of(subject, example, layers=layers, ratio=ratio, **how))[0]


def cuts_of(
    subject: Subject,
    example: Tensor,
    *,
    layers: str | Sequence[str],
    ratio: float,
    criterion: str = "magnitude",
    grain: str = "auto",
    scope: str = "layer",
    reverse: bool = False,
    rounds: int = 1,
) -> list[Cut]:
    """What one point removes from each of `layers`; as for `make_mask`, with the subject's path and seed."""
    (ratio,) = parse_ratios(ratio)
    found = find_layers(subject.model, layers, subject.name)
    check_scope(scope, [found], grain)
    check_rounds(rounds)
    structure = Structure(subject.model, example)
    selection = Ranking(criterion, scorer(subject, structure, grain)(found, criterion), scope, reverse)
    with restored(subject.model):
        return cuts_in_rounds(subject, structure, found, selection, ratio, grain=grain, rounds=rounds)
