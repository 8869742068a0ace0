"""What a training that selects has selected: its files, its support, and the sparse networks that it leads to."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from sparsify.files import write_tensors
from sparsify.nets.mask import replaced
from sparsify.optim.base import SelectingOptimizer
from sparsify.optim.inclusion import PathRecorder
from sparsify.optim.penalties import over_grains
from sparsify.optim.slbi import SplitOptimizer
from sparsify.runs import Run


def write_selected(run: Run, model: nn.Module, recorder: PathRecorder, times: np.ndarray, steps: int) -> list[str]:
    """Write a run's path and, of a split optimizer, Z; return the names of the files.

    `times` is the path time after each step, of which `steps` are done.
    """
    recorder.path(times, steps).save(run.path / "path.npz")
    states = {name: recorder.optimizer.state[p] for name, p in _structured(model, recorder.optimizer).items()}
    zs = {name: state["z"] for name, state in states.items() if "z" in state}
    if not zs:
        return ["path.npz"]
    write_tensors(run.path / "z.safetensors", zs)
    return ["path.npz", "z.safetensors"]


def support_counts(model: nn.Module, optimizer: SelectingOptimizer) -> dict[str, dict[str, int]]:
    """Return of each structured parameter how many of its grains are in the support, and of how many."""
    inside = {name: optimizer.support(p) for name, p in _structured(model, optimizer).items()}
    return {name: {"in": int(grains.sum()), "of": grains.numel()} for name, grains in inside.items()}


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
