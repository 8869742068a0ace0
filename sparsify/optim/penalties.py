"""The penalties on filters, kernels and single weights: proximal maps, param groups, and the sparse start."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsify.devices import permutation
from sparsify.errors import SparsifyError, unknown
from sparsify.optim.spec import STRUCTURES

Penalty = Literal["filter", "kernel", "weight"]
"""What a grain is: a filter (or row, or neuron), the kernel of one input channel of a filter, or a single weight."""


def penalty_seen(grains: tuple[int, ...], weight: tuple[int, ...]) -> Penalty:
    """Return the penalty of a parameter of the shape `weight` whose grains have the shape `grains`."""
    if len(grains) == len(weight):
        return "weight"
    return "filter" if len(grains) == 1 else "kernel"


PenaltyChoice = Penalty | Literal["auto"] | None
"""A param group's `penalty`: "auto" goes by dimension, and None is for parameters without structure."""

THRESHOLD = 1.0
"""λ of every run of the SLBI family, so that Γ and the support follow from the Z that a run has saved."""


def penalty_of(parameter: Tensor, penalty: PenaltyChoice) -> Penalty | None:
    """Resolve a param group's `penalty` for one parameter.

    "auto" goes by dimension: 3-D and more (convolutions) "filter", 2-D (fully connected) "weight", else None.
    """
    if penalty != "auto":
        return penalty
    return "filter" if parameter.ndim >= 3 else "weight" if parameter.ndim == 2 else None


def filter_norms(weight: Tensor, *, keepdim: bool = False) -> Tensor:
    """Return the L2 norm of each output filter: (n, …) → (n,), or (n, 1, …); the same bits in every memory format."""
    if weight.ndim == 1:
        return weight.abs()
    # always summed in channels-last order, that of training, where this needs no copy
    order = torch.channels_last if weight.ndim == 4 else torch.contiguous_format
    filters = weight.contiguous(memory_format=order)
    norms: Tensor = torch.linalg.vector_norm(filters, dim=tuple(range(1, weight.ndim)), keepdim=keepdim)
    return norms


def grain_norms(weight: Tensor, penalty: Penalty, *, keepdim: bool = False) -> Tensor:
    """Return the L2 norm of each grain: (n,) for "filter", (n, inputs) for "kernel", the weight's shape for "weight".

    With `keepdim` the dimensions of a grain stay, with length 1. A weight of two dimensions has kernels of one number.

    >>> import torch
    >>> from sparsify.optim.penalties import grain_norms
    >>> grain_norms(torch.ones(2, 3, 2, 2), "kernel")
    tensor([[2., 2., 2.],
            [2., 2., 2.]])
    """
    if penalty == "filter":
        return filter_norms(weight, keepdim=keepdim)
    if penalty == "weight" or weight.ndim <= 2:
        return weight.abs()
    norms: Tensor = torch.linalg.vector_norm(weight, dim=tuple(range(2, weight.ndim)), keepdim=keepdim)
    return norms


def over_grains(values: Tensor, weight: Tensor) -> Tensor:
    """Return one value for each grain so that it can be multiplied with the weight: (…) → (…, 1, …)."""
    return values.view(*values.shape, *[1] * (weight.ndim - values.ndim))


def prox_factor(z: Tensor, threshold: float | Tensor, penalty: Penalty = "filter") -> Tensor:
    """Return max(0, 1 − λ/‖Z_i‖₂) for each filter or kernel, 0 if ‖Z_i‖ is 0, as (n, 1, …) to multiply Z by."""
    norms = grain_norms(z, penalty, keepdim=True)
    # as max(0, ‖Z_i‖ − λ) / max(‖Z_i‖, λ): nothing is divided by 0, and the factor is 0 exactly outside the support
    tiny = torch.finfo(z.dtype).tiny
    least = threshold.clamp(min=tiny) if isinstance(threshold, Tensor) else max(threshold, tiny)
    return prox(norms, threshold) / norms.clamp(min=least)


def prox(z: Tensor, threshold: float | Tensor, penalty: Penalty = "weight") -> Tensor:
    """Return the prox of λ times the penalty at Z. A λ that is a tensor (of no dimension) stays on its device.

    "weight": sign(z)·max(0, |z| − λ) (soft threshold). "filter": Z_i·max(0, 1 − λ/‖Z_i‖₂) per output filter, "kernel"
    per kernel.
    """
    if penalty != "weight":
        return z * prox_factor(z, threshold, penalty)
    if isinstance(threshold, Tensor):
        return torch.copysign((z.abs() - threshold).clamp_(min=0), z)
    return F.softshrink(z, threshold) if threshold < math.inf else torch.zeros_like(z)


def residual(weight: Tensor, z: Tensor, kappa: float, threshold: float, penalty: Penalty) -> Tensor:
    """Return W − Γ with Γ = κ·prox(Z), the difference that couples W and Γ."""
    if penalty != "weight":
        return torch.addcmul(weight, z, prox_factor(z, threshold, penalty), value=-kappa)  # without a tensor for Γ
    return torch.sub(weight, prox(z, threshold), alpha=kappa)


def grain_size(weight: Tensor, penalty: Penalty) -> int:
    """Return the number of weights of one grain: that of a filter or a kernel, or 1."""
    if penalty == "kernel":
        return math.prod(weight.shape[2:])
    return weight.numel() // len(weight) if penalty == "filter" else 1


def subgradient(weight: Tensor, threshold: float | Tensor, penalty: Penalty) -> Tensor:
    """Return λ·W_i/‖W_i‖₂ for each grain i, 0 for a grain that is 0: a subgradient of Σ λ‖W_i‖₂ at W.

    The prox of W plus this subgradient is W.
    """
    if penalty == "weight":
        return threshold * weight.sign()
    norms = grain_norms(weight, penalty, keepdim=True)
    return weight * torch.where(norms > 0, threshold / norms, 0)


def support(z: Tensor, threshold: float, penalty: Penalty) -> Tensor:
    """Return which grains have Γ ≠ 0, in the shape of `grain_norms`."""
    return grain_norms(z, penalty) > threshold


NORMS = (
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
)


EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)


def parameter_groups(
    model: nn.Module, *, weight_decay: float = 0.0, structure: str = "grains", leave_out: str | Iterable[str] = ()
) -> list[dict[str, Any]]:
    """Return param groups with names for the optimizers that select, without empty ones. Tied parameters are one.

    With the structure "grains", filters and single weights are structured. The optimizers themselves leave parameters
    of one dimension out of the structure and of weight decay; weights of normalisation layers that have two or more
    dimensions (as a LayerNorm's can) form a group with `penalty=None` and no weight decay. With "bn-scale",
    BatchNorm's scales γ are structured in place of the convolutions' filters (Liu et al. 2017): the scale of a filter
    before BatchNorm does not matter, and a filter whose γ is 0 has no effect. With "kernels", the kernels of
    convolutions are structured in place of their filters, one grain for each input channel of each filter (the groups
    of Bungert et al. 2022), and single weights as with "grains". Where whole filters are then pruned, a filter counts
    as entered with its first kernel.

    `leave_out` names modules whose parameters are to have no structure, with all that they contain; their weights decay
    as others do. Two words stand for several, unless a module bears such a name: "embeddings" for every Embedding and
    EmbeddingBag, and "output" for the output layer, the last module in the network's order that has a weight of two or
    more dimensions. An output layer that is tied to an embedding leaves together with it.

    Raises SparsifyError for another structure, for a network without scales if these are asked for, and for a module
    that it does not have.

    >>> from torch import nn
    >>> from sparsify import SLBI, parameter_groups
    >>> model = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> optimizer = SLBI(parameter_groups(model, leave_out=("embeddings", "output")))
    >>> [optimizer.penalty(name) for name in ("0", "1", "3")]
    [None, 'weight', None]
    """
    if structure not in STRUCTURES:
        raise unknown("structure", structure, STRUCTURES)
    norms = {id(p) for m in model.modules() if isinstance(m, NORMS) for p in m.parameters(recurse=False) if p.ndim > 1}
    names = [leave_out] if isinstance(leave_out, str) else leave_out
    left = {id(p) for name in names for module in _modules(model, name) for p in module.parameters()}
    scales: set[int] = set()
    if structure == "bn-scale":
        batch_norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.affine]
        if not batch_norms:
            raise SparsifyError("--structure bn-scale: the network has no BatchNorm with scales; take grains")
        scales = {id(m.weight) for m in batch_norms} - left
        left |= {id(p) for p in model.parameters() if p.ndim > 2}
    plain = {id(p) for p in model.parameters() if p.ndim > 1 and id(p) in left} - norms
    kernels = {id(p) for p in model.parameters() if p.ndim > 2 and structure == "kernels"} - norms - plain
    named = list(model.named_parameters())
    rest = norms | scales | plain | kernels
    groups = [
        _group([(name, p) for name, p in named if id(p) not in rest], weight_decay=weight_decay),
        _group([(name, p) for name, p in named if id(p) in kernels], weight_decay=weight_decay, penalty="kernel"),
        _group([(name, p) for name, p in named if id(p) in plain], weight_decay=weight_decay, penalty=None),
        _group([(name, p) for name, p in named if id(p) in scales], weight_decay=0.0, penalty="weight"),
        _group([(name, p) for name, p in named if id(p) in norms], weight_decay=0.0, penalty=None),
    ]
    return [group for group in groups if group["params"]]


def _group(named: list[tuple[str, nn.Parameter]], **options: Any) -> dict[str, Any]:
    return {"params": [p for _, p in named], "param_names": [name for name, _ in named], **options}


def _modules(model: nn.Module, name: str) -> list[nn.Module]:
    """Return the modules that a name in `leave_out` stands for."""
    modules = dict(model.named_modules())
    if name in modules:
        return [modules[name]]
    if name == "embeddings":
        return [module for module in modules.values() if isinstance(module, EMBEDDINGS)]
    if name == "output":
        own = [m for m in modules.values() if not isinstance(m, (*NORMS, *EMBEDDINGS))]
        return [m for m in own if any(p.ndim > 1 for p in m.parameters(recurse=False))][-1:]
    raise unknown("module", name, ["embeddings", "output", *(module for module in modules if module)])


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return param groups for torch's optimizers, with weight decay for the same weights as in SLBI.

    These are the weights of two or more dimensions, except those of normalisation layers.
    """
    groups = []
    for group in parameter_groups(model, weight_decay=weight_decay):
        named = list(zip(group["param_names"], group["params"], strict=True))
        groups += [
            _group([(name, p) for name, p in named if p.ndim > 1], weight_decay=group["weight_decay"]),
            _group([(name, p) for name, p in named if p.ndim <= 1], weight_decay=0.0),
        ]
    return [group for group in groups if group["params"]]


def kept_count(density: float, count: int) -> int:
    """Return round(density·n), ties to even, but at least 1: a layer of zeros would pass on no gradient."""
    return max(1, round(density * count))


@torch.no_grad()
def make_sparse(model: nn.Module, density: float, seed: int, structure: str = "grains") -> None:
    """Set all but k = `kept_count` of the n grains of every structured weight to 0, in place.

    Grains are those of `parameter_groups` with this structure. The seed and the weight's name
    decide which ones stay. These are scaled by √(n/k), so that the variance over all of the weights, and with it that
    of the next layer's inputs, does not change. The biases of these layers become their absolute values: a filter of
    zeros with a negative bias has no gradient before a ReLU, and would never enter. Density 1 changes nothing.

    Source: Bungert et al., "A Bregman Learning Framework for Sparse Neural Networks", JMLR 23 (2022), the section on
    initialisation; the biases as in the authors' code. Raises SparsifyError for a density that is not in (0, 1].
    """
    if not 0 < density <= 1:
        raise SparsifyError(f"density is {density}; it must be above 0 and at most 1")
    if density == 1:
        return
    structured = {
        id(p): penalty
        for group in parameter_groups(model, structure=structure)
        for p in group["params"]
        if (penalty := penalty_of(p, group.get("penalty", "auto")))
    }
    names = {id(p): name for name, p in model.named_parameters()}
    for module in model.modules():
        for p in list(module.parameters(recurse=False)):
            penalty = structured.pop(id(p), None)  # a tied weight is made sparse once
            if penalty is None:
                continue
            shape = grain_norms(p, penalty).shape
            count = shape.numel()
            kept = kept_count(density, count)
            factors = torch.zeros(count, device=p.device, dtype=p.dtype)
            factors[permutation(count, seed, "density", names[id(p)])[:kept]] = (count / kept) ** 0.5
            p.mul_(over_grains(factors.view(shape), p))
            bias = getattr(module, "bias", None)
            if isinstance(bias, nn.Parameter):
                bias.abs_()
