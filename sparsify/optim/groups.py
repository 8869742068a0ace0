"""Which parameters of a module belong to the structure, and which decay."""

from __future__ import annotations

from typing import Any

from torch import nn

from sparsify.errors import SparsifyError

NORMS = (
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
)


def parameter_groups(model: nn.Module, *, weight_decay: float = 0.0, structure: str = "grains") -> list[dict[str, Any]]:
    """Param groups for SLBI, without empty ones; tied parameters are listed once.

    "grains": filters and single weights are the structure. SLBI itself leaves parameters of one dimension out of it
    and of weight decay; weights of normalisation layers that have two or more (a LayerNorm's can) form a group with
    `penalty=None` and no weight decay. "bn-scale": the scales γ of BatchNorm are, in the place of the convolutions'
    filters, whose own scale does not matter before it (Liu et al. 2017); the function of a filter goes with its γ.
    Raises SparsifyError for a network that has none.
    """
    norms = {id(p) for m in model.modules() if isinstance(m, NORMS) for p in m.parameters(recurse=False) if p.ndim > 1}
    scales: set[int] = set()
    filters: set[int] = set()
    if structure == "bn-scale":
        batch_norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.affine]
        if not batch_norms:
            raise SparsifyError("--structure bn-scale: the network has no BatchNorm with scales; take grains")
        scales = {id(m.weight) for m in batch_norms}
        filters = {id(p) for p in model.parameters() if p.ndim > 2} - norms
    inside = [p for p in model.parameters() if id(p) not in norms | scales | filters]
    groups = [
        {"params": inside, "weight_decay": weight_decay},
        {"params": [p for p in model.parameters() if id(p) in filters], "weight_decay": weight_decay, "penalty": None},
        {"params": [p for p in model.parameters() if id(p) in scales], "weight_decay": 0.0, "penalty": "weight"},
        {"params": [p for p in model.parameters() if id(p) in norms], "weight_decay": 0.0, "penalty": None},
    ]
    return [group for group in groups if group["params"]]


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Param groups for torch's optimizers that decay what SLBI decays: weights of two or more dimensions, no norms'."""
    groups = []
    for group in parameter_groups(model, weight_decay=weight_decay):
        for decay, chosen in (
            (group["weight_decay"], [p for p in group["params"] if p.ndim > 1]),
            (0.0, [p for p in group["params"] if p.ndim <= 1]),
        ):
            if chosen:
                groups.append({"params": chosen, "weight_decay": decay})
    return groups
