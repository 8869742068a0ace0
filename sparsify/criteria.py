"""Criteria: pure functions that score every grain of a layer; the lowest go first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparsify.errors import SparsifyError

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class PathState:
    """What an SLBI run knows of one layer: entry steps (filters,) or (outputs, inputs); Γ and Z as the weight."""

    entry: Tensor
    gamma: Tensor
    z: Tensor


@dataclass(frozen=True)
class Scored:
    """What a criterion may look at: one layer's weight (outputs, inputs, …), the grain, the path if there is one."""

    name: str
    weight: Tensor
    grain: str
    generator: torch.Generator
    path: PathState | None = None
    scale: Callable[[], Tensor | None] = lambda: None  # of the normalisation behind the layer, (outputs,)

    def norms(self, tensor: Tensor, order: float = 2) -> Tensor:
        """The L`order` norm of each grain of `tensor`: (outputs,), or |tensor| where the grain is a single weight."""
        from sparsify.optim.structure import filter_norms

        if self.grain == "weight":
            return tensor.abs()
        return filter_norms(tensor) if order == 2 else tensor.flatten(1).norm(order, dim=1)

    def require_path(self, criterion: str) -> PathState:
        """The path. Raises SparsifyError if there is none."""
        if self.path is None:
            raise SparsifyError(
                f"criterion '{criterion}' needs the path of a run trained with slbi or slbi-adam, and this one has "
                f"none for {self.name}; choose from: {', '.join(c for c in CRITERIA if c not in ('entry', 'gamma'))}"
            )
        return self.path


def lexicographic(first: Tensor, second: Tensor) -> Tensor:
    """Ranks (0 is lowest) by `first`, then by `second`, then by index; of their shape."""
    import torch

    order = second.flatten().argsort(stable=True)
    order = order[first.flatten()[order].argsort(stable=True)]
    ranks = torch.empty_like(order)  # whole numbers: float32 ends at 2^24 grains
    ranks[order] = torch.arange(len(order), device=order.device)
    return ranks.view(first.shape)


def magnitude(layer: Scored) -> Tensor:
    """‖W_i‖₂ of a filter or neuron, |w| of a weight."""
    return layer.norms(layer.weight)


def l1(layer: Scored) -> Tensor:
    """‖W_i‖₁ of a filter or neuron (Li et al. 2017), |w| of a weight."""
    return layer.norms(layer.weight, 1)


def entry(layer: Scored) -> Tensor:
    """DessiLBI's order: what entered supp(Γ) earlier stays longer; among equals, the norm.

    A neuron enters with its first weight; a single weight of a convolution enters with its filter.
    """
    steps = layer.require_path("entry").entry
    if layer.grain == "neuron":
        steps = steps.flatten(1).amin(1)
    elif layer.grain == "weight" and steps.shape != layer.weight.shape:
        steps = steps.view(-1, *[1] * (layer.weight.ndim - 1)).expand(layer.weight.shape)
    return lexicographic(-steps, layer.norms(layer.weight))


def gamma(layer: Scored) -> Tensor:
    """‖Γ_i‖, then ‖Z_i‖: most of Γ ties at 0."""
    path = layer.require_path("gamma")
    return lexicographic(layer.norms(path.gamma), layer.norms(path.z))


def bn_scale(layer: Scored) -> Tensor:
    """|γ_i| of the BatchNorm behind a filter or neuron (Liu et al. 2017); |w| of a weight, which has none of its own.

    Raises SparsifyError where there is no normalisation with a scale behind the layer.
    """
    if layer.grain == "weight":
        return layer.weight.abs()
    scale = layer.scale()
    if scale is None:
        others = ", ".join(name for name in CRITERIA if name != "bn-scale")
        raise SparsifyError(
            f"criterion 'bn-scale' needs a normalisation with a scale behind {layer.name}, and there is none; "
            f"choose from: {others}"
        )
    return scale.abs()


def random(layer: Scored) -> Tensor:
    """A random order, keyed by (seed, draw, layer)."""
    import torch

    shape = layer.weight.shape if layer.grain == "weight" else layer.weight.shape[:1]
    return torch.rand(shape, generator=layer.generator).to(layer.weight.device)


CRITERIA: dict[str, Callable[[Scored], Tensor]] = {
    "magnitude": magnitude,
    "l1": l1,
    "entry": entry,
    "gamma": gamma,
    "random": random,
    "bn-scale": bn_scale,
}
