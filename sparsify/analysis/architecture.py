"""What is left of each layer of a network under a mask."""

from __future__ import annotations

import torch

from sparsify.drawing.architecture import LayerLeft
from sparsify.nets.layers import Layer
from sparsify.nets.mask import Mask
from sparsify.nets.shrinking import plan_removal
from sparsify.nets.structure import Structure


def layers_left(structure: Structure, mask: Mask) -> list[LayerLeft]:
    """Return what is left of each layer, in the network's order. An empty mask leaves everything."""
    inputs = plan_removal(structure, mask).inputs if mask else {}
    found = []
    for name, layer in structure.layers.items():
        keep = mask.get(layer.parameter, torch.ones_like(layer.weight, dtype=torch.bool)).clone()
        outputs = int(layer.rows(keep).flatten(1).any(1).sum())
        gone = torch.zeros(layer.inputs, dtype=torch.bool, device=keep.device)
        gone[inputs.get(name, [])] = True
        keep &= ~layer.input_elements(gone)
        found.append(LayerLeft(name, _kind(layer), layer.outputs, outputs, keep.numel(), int(keep.sum())))
    return found


def _kind(layer: Layer) -> str:
    """ "5×5, 16 → 120" of a convolution, "120 → 84" of a fully connected layer."""
    ways = f"{layer.inputs} → {layer.outputs}"
    return f"{'×'.join(map(str, layer.weight.shape[2:]))}, {ways}" if layer.is_convolution else ways
