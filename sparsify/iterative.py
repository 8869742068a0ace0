"""Iterative pruning: the grains of a point go in rounds, and after each of them what is left is scored anew."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sparsify.cost import Cut, Structure, removed_grains
from sparsify.evaluation import modes_kept
from sparsify.layers import Layer
from sparsify.mask import Mask, apply_mask
from sparsify.scoring import scorer
from sparsify.selection import Selection

if TYPE_CHECKING:
    from sparsify.pruning import Subject


def cuts_in_rounds(
    subject: Subject,
    structure: Structure,
    layers: Mapping[str, Layer],
    selection: Selection,
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
