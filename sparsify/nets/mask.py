"""Masks: which elements of a network's parameters are kept, with exact counts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor, nn

from sparsify.errors import SparsifyError, reason_given
from sparsify.files import tensors_as_bytes
from sparsify.nets.layers import prunable_layers
from sparsify.sums import Record, write_recorded

Mask = dict[str, Tensor]
"""`{parameter name: bool tensor of its shape}`. True means kept; a parameter that is not named is kept as a whole."""


def removed_count(ratio: float, count: int) -> int:
    """Return round(ratio·n), ties to even, as in torch.nn.utils.prune."""
    return round(ratio * count)


def lowest(scores: Tensor, count: int, *, reverse: bool = False, first: Tensor | None = None) -> Tensor:
    """Return which `count` grains go: those with the lowest scores, or with `reverse` the highest; ties go by index.

    `first`, whole numbers, takes precedence over the scores: the grains with the highest numbers go first. The result
    is bool, in the shape of `scores`.
    """
    order = scores.flatten().argsort(stable=True, descending=reverse)
    if first is not None:
        order = order[first.flatten()[order].argsort(stable=True, descending=True)]
    drop = torch.zeros(scores.numel(), dtype=torch.bool, device=scores.device)
    drop[order[:count]] = True
    return drop.view(scores.shape)


def save_mask(path: Path, mask: Mask) -> Path:
    """Write a mask as safetensors, and its SHA-256 sum as that of a sweep; return the path."""
    write_recorded(path.parent, {path.name: tensors_as_bytes(dict(mask))})
    return path


def load_mask(path: Path) -> Mask:
    """Read what `save_mask` wrote. Raises SparsifyError if the file is missing or damaged, or is no mask."""
    record = Record.of(path.parent)
    try:
        mask = load_tensors(record.read(path))
    except (OSError, SafetensorError, SparsifyError) as error:
        raise SparsifyError(f"the mask {path} is missing or damaged: {reason_given(error)}") from error
    if not mask or any(keep.dtype != torch.bool for keep in mask.values()):
        raise SparsifyError(f"{path} is no mask: it must hold tensors of bool")
    return mask


def check_fit(model: nn.Module, mask: Mask) -> None:
    """Raise SparsifyError if the network lacks a parameter of the mask or has another shape, or if it is not bool."""
    parameters = dict(model.named_parameters())
    for name, keep in mask.items():
        if name not in parameters:
            raise SparsifyError(f"the mask names '{name}', which the network does not have")
        if keep.dtype != torch.bool:
            raise SparsifyError(f"the mask of '{name}' holds {str(keep.dtype).removeprefix('torch.')}, not bool")
        if keep.shape != parameters[name].shape:
            raise SparsifyError(f"the mask of '{name}' is {tuple(keep.shape)}, not {tuple(parameters[name].shape)}")


@torch.no_grad()
def apply_mask(model: nn.Module, mask: Mask) -> None:
    """Set what the mask removes to 0, permanently. Raises SparsifyError if the mask does not fit the network."""
    check_fit(model, mask)
    parameters = dict(model.named_parameters())
    for name, keep in mask.items():
        parameters[name].masked_fill_(~keep.to(parameters[name].device), 0)


@contextlib.contextmanager
def replaced(model: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[nn.Module]:
    """Give the network these weights, by the names of its parameters; afterwards each is restored, to the bit."""
    parameters = {name: p for name, p in model.named_parameters() if name in weights}
    before = {name: p.detach().clone() for name, p in parameters.items()}
    try:
        with torch.no_grad():
            for name, p in parameters.items():
                p.copy_(weights[name])
        yield model
    finally:
        with torch.no_grad():
            for name, p in parameters.items():
                p.copy_(before[name])


@contextlib.contextmanager
def masked(model: nn.Module, mask: Mask) -> Iterator[nn.Module]:
    """Apply the mask to the network; afterwards every parameter is restored, to the bit."""
    with replaced(model, {name: p for name, p in model.named_parameters() if name in mask}):
        apply_mask(model, mask)
        yield model


@torch.no_grad()
def kept_norms(model: nn.Module, mask: Mask) -> dict[str, float]:
    """Return the L2 norm of each layer's weights, without what the mask removes, by the module's name."""
    norms = {}
    for layer in prunable_layers(model):
        keep = mask.get(layer.parameter)
        weight = layer.weight if keep is None else layer.weight * keep
        norms[layer.name] = torch.linalg.vector_norm(weight.float()).item()
    return norms
