"""The sparse start: few grains of a network's weights are not 0, and the signal keeps its size."""

from __future__ import annotations

import torch
from torch import nn

from sparsify.errors import SparsifyError
from sparsify.optim.groups import parameter_groups
from sparsify.optim.structure import penalty_of
from sparsify.seeds import permutation


def kept_count(density: float, count: int) -> int:
    """round(density·n), ties to even, but at least 1: a layer of zeros would pass no gradient on."""
    return max(1, round(density * count))


@torch.no_grad()
def make_sparse(model: nn.Module, density: float, seed: int) -> None:
    """Set all but k = `kept_count` of the n grains of every structured weight to 0, in place.

    Grains are filters of convolutions and single weights of fully connected layers. Which ones stay is keyed by the
    seed and the weight's name. They are scaled by √(n/k), which leaves the variance over all of the weights, and so
    that of the next layer's inputs, what it was. Biases beside such weights become their absolute values: behind a ReLU
    a filter of zeros with a negative bias would have no gradient and never enter. Density 1 changes nothing.

    Source: Bungert et al., "A Bregman Learning Framework for Sparse Neural Networks", JMLR 23 (2022), the section on
    initialisation; the biases as in the authors' code. Raises SparsifyError for a density that is not in (0, 1].
    """
    if not 0 < density <= 1:
        raise SparsifyError(f"density is {density}; it must be above 0 and at most 1")
    if density == 1:
        return
    structured = {
        id(p): penalty
        for group in parameter_groups(model)
        for p in group["params"]
        if (penalty := penalty_of(p, group.get("penalty", "auto")))
    }
    names = {id(p): name for name, p in model.named_parameters()}
    for module in model.modules():
        for p in list(module.parameters(recurse=False)):
            penalty = structured.pop(id(p), None)  # a tied weight is made sparse once
            if penalty is None:
                continue
            count = len(p) if penalty == "filter" else p.numel()
            kept = kept_count(density, count)
            factors = torch.zeros(count, device=p.device, dtype=p.dtype)
            factors[permutation(count, seed, "density", names[id(p)])[:kept]] = (count / kept) ** 0.5
            p.mul_(factors.view(len(p), *[1] * (p.ndim - 1)) if penalty == "filter" else factors.view(p.shape))
            bias = getattr(module, "bias", None)
            if isinstance(bias, nn.Parameter):
                bias.abs_()
