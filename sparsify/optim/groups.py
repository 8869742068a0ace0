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
    """Two param groups: weights (two or more dimensions, not a normalisation layer's), and all the rest.

    The second has `penalty=None` and no weight decay. A tied parameter is listed once.
    """
    norms = {id(p) for m in model.modules() if isinstance(m, NORMS) for p in m.parameters(recurse=False)}
    weights, rest = [], []
    for parameter in model.parameters():
        (weights if parameter.ndim >= 2 and id(parameter) not in norms else rest).append(parameter)
    groups = [
        {"params": weights, "penalty": "auto", "weight_decay": weight_decay},
        {"params": rest, "penalty": None, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
