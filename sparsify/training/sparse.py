"""The sparse networks of a training that selects: the weights on the support alone, and Γ as the weights."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from sparsify.nets.mask import replaced
from sparsify.optim.base import SelectingOptimizer
from sparsify.optim.penalties import over_grains
from sparsify.optim.slbi import SplitOptimizer


@torch.no_grad()
def support_weights(model: nn.Module, optimizer: SelectingOptimizer) -> dict[str, Tensor]:
    """Return W·1[Γ ≠ 0] of each structured parameter, by name: what is outside the support is 0.

    So DessiLBI's published code evaluates the sparse network (`use_w_star` of github.com/corwinliu9669/dS2LBI). Biases
    and other parameters without structure are not in it: they stay as they are.
    """
    found = {}
    for name, p in _structured(model, optimizer).items():
        found[name] = p * over_grains(optimizer.support(p), p)
    return found


@torch.no_grad()
def gamma_weights(model: nn.Module, optimizer: SplitOptimizer) -> dict[str, Tensor]:
    """Return Γ of each structured parameter, by name."""
    return {name: optimizer.gamma(p).to(p.dtype) for name, p in _structured(model, optimizer).items()}


def _structured(model: nn.Module, optimizer: SelectingOptimizer) -> dict[str, nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if optimizer.penalty(p)}


def sparse_accuracies(
    model: nn.Module, optimizer: SelectingOptimizer, accuracy: Callable[[], float]
) -> dict[str, float]:
    """Return the accuracies of the sparse networks, as a summary has them; `accuracy` is that of the network now."""
    networks = {"support_accuracy": support_weights(model, optimizer)}
    if isinstance(optimizer, SplitOptimizer):
        networks["gamma_accuracy"] = gamma_weights(model, optimizer)
    found = {}
    for name, weights in networks.items():
        with replaced(model, weights):
            found[name] = accuracy()
    return found
