"""What is left of each layer of a network under a mask."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sparsify.drawing.architecture import LayerLeft
from sparsify.nets.layers import Layer
from sparsify.nets.structure import Cut, Structure


def layers_left(structure: Structure, cuts: Sequence[Cut]) -> list[LayerLeft]:
    """Return what these cuts leave of each layer, in the network's order; without cuts that is everything."""
    mask, removed = structure.goes(cuts)
    unfed = structure.unfed(removed)
    found = []
    for name, layer in structure.layers.items():
        keep = mask.get(layer.parameter, torch.ones_like(layer.weight, dtype=torch.bool)).clone()
        outputs = int(layer.rows(keep).flatten(1).any(1).sum())
        if name in unfed:
            keep &= ~unfed[name]
        found.append(LayerLeft(name, _kind(layer), layer.outputs, outputs, keep.numel(), int(keep.sum())))
    return found


def _kind(layer: Layer) -> str:
    """ "5×5, 16 → 120" of a convolution, "120 → 84" of a fully connected layer."""
    ways = f"{layer.inputs} → {layer.outputs}"
    return f"{'×'.join(map(str, layer.weight.shape[2:]))}, {ways}" if layer.is_convolution else ways
