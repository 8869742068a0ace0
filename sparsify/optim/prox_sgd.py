"""Proximal SGD: a gradient step and a proximal step, for the lasso on single weights and the group lasso on filters."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from sparsify.optim.base import PenalizedOptimizer, check_momentum, threshold_of
from sparsify.optim.penalties import PenaltyChoice, prox
from sparsify.optim.updates import Part, Rate, add_scaled, decay, momentum_buffers


class ProxSGD(PenalizedOptimizer):
    r"""Proximal stochastic gradient descent with momentum. With g the gradient, α = `lr`, λ = `strength`::

        V  ← m·V + g + weight_decay·W         m = momentum; V = 0 at the start
        W⁺ ← prox_{aJ}(W − αV)                a = α/(1 − m), the length of a step over time

    J(W) = λ·Σ_i √n_i·‖W_i‖₂ over the grains (filters, rows or single weights) of n_i weights, so that the prox is
    "filter": W_i·max(0, 1 − aλ√n_i/‖W_i‖₂); "weight": soft threshold at aλ. Its fixed points are the
    stationary points of the loss plus J, whatever the momentum. With λ = 0 it is torch's SGD, and with m = 0 proximal
    gradient descent. Parameters outside the structure take W ← W − αV. Weight decay is for weights of two or more
    dimensions only. `penalty` is a key of the param group: "auto" (by dimension: 3-D and more filter, 2-D weight, else
    None), "filter", "kernel" (as "filter", for the kernel of each input channel by itself), "weight" or None.

    State: `momentum_buffer` (V) with a momentum above 0; for half precision and the options of torch's own optimizers
    see `SelectingOptimizer`.

    Source: Duchi & Singer, "Efficient Online and Batch Learning Using Forward Backward Splitting", JMLR 10 (2009), with
    the group lasso of Yuan & Lin (2006). Raises SparsifyError for values out of range.

    >>> import torch
    >>> from sparsify import ProxSGD
    >>> weight = torch.nn.Parameter(torch.tensor([[1.0, 0.1]]))
    >>> optimizer = ProxSGD([("weight", weight)], lr=0.5, momentum=0.0, strength=0.5)
    >>> weight.grad = torch.zeros_like(weight)
    >>> optimizer.step()
    >>> weight.data, optimizer.support("weight")
    (tensor([[0.7500, 0.0000]]), tensor([[ True, False]]))
    """

    STATE: ClassVar[frozenset[str]] = PenalizedOptimizer.STATE | {"momentum_buffer"}

    def __init__(
        self,
        params: Any,
        lr: Rate = 0.02,
        *,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        strength: float = 3e-4,
        penalty: PenaltyChoice = "auto",
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        defaults = {
            "momentum": momentum,
            "weight_decay": weight_decay,
            "strength": strength,
            "penalty": penalty,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, lr, defaults)

    def _check(self, options: dict[str, Any]) -> None:
        super()._check(options)
        check_momentum(options["momentum"])

    def _move(self, group: dict[str, Any], parts: list[Part]) -> None:
        rate, momentum = group["lr"], group["momentum"]
        weights, velocities = [part.weight for part in parts], [part.grad for part in parts]
        if momentum:
            buffers = momentum_buffers(parts)
            torch._foreach_mul_(buffers, momentum)
            torch._foreach_add_(buffers, velocities)
            decay(group, parts, buffers, 1.0)
            velocities = buffers
        else:
            decay(group, parts, weights, -rate)
        add_scaled(weights, velocities, -rate)
        strength = rate / (1 - momentum) * group["strength"]
        for part in parts:
            if part.penalty:
                threshold = threshold_of(part.weight, strength, part.penalty)
                part.weight.copy_(prox(part.weight, threshold, part.penalty))
