"""Which parameters of a module belong to the structure, and which decay."""

from __future__ import annotations

from typing import Any

from torch import nn

NORMS = (
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
)


def parameter_groups(model: nn.Module, *, weight_decay: float = 0.0) -> list[dict[str, Any]]:
    """Param groups for SLBI: all parameters but those weights of normalisation layers that have two or more dimensions.

    The latter (a LayerNorm's can), where there are any, form a group with `penalty=None` and no weight decay.

    SLBI itself leaves parameters of one dimension out of the structure and of weight decay. Tied ones are listed once.
    """
    norms = {id(p) for m in model.modules() if isinstance(m, NORMS) for p in m.parameters(recurse=False) if p.ndim > 1}
    groups = [
        {"params": [p for p in model.parameters() if id(p) not in norms], "weight_decay": weight_decay},
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
