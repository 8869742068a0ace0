"""Gradients of the training loss with respect to a trained network's parameters."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsify.data.dataset import Split
from sparsify.devices import exactly
from sparsify.evaluation import evaluating


def loss_gradients(
    model: nn.Module, split: Split, normalise: Callable[[Tensor], Tensor] = Tensor.float, *, batch_size: int = 500
) -> dict[str, Tensor]:
    """The gradient of the mean cross-entropy over all images, by parameter name; those without influence are left out.

    In evaluation mode: with a batch's own statistics g·w sums to 0 over every filter before a BatchNorm. The network
    is left as it was, its `grad` and `requires_grad` included.
    """
    named = dict(model.named_parameters())
    required = {name: p.requires_grad for name, p in named.items()}
    sums: dict[str, Tensor] = {}
    try:
        with evaluating(model), exactly("exact"), torch.enable_grad():
            for p in named.values():
                p.requires_grad_(True)
            for start in range(0, len(split), batch_size):
                batch = split[slice(start, start + batch_size)]
                loss = F.cross_entropy(model(normalise(batch.images)).float(), batch.labels, reduction="sum")
                gradients = torch.autograd.grad(loss / len(split), list(named.values()), allow_unused=True)
                for name, gradient in zip(named, gradients, strict=True):
                    if gradient is not None:
                        sums[name] = sums[name] + gradient if name in sums else gradient
    finally:
        for name, value in required.items():
            named[name].requires_grad_(value)
    return sums
