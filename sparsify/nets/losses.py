"""The losses of a training by their names, and that of each batch; torch is imported where a loss is computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def cross_entropy(logits: Tensor, labels: Tensor, *, reduction: str = "mean") -> Tensor:
    """Return the cross-entropy of logits (n, classes) and class numbers (n,); with one logit z, that of σ(z)."""
    import torch.nn.functional as F

    if logits.shape[1] > 1:
        return F.cross_entropy(logits, labels, reduction=reduction)
    return F.binary_cross_entropy_with_logits(logits[:, 0], labels.to(logits.dtype), reduction=reduction)


def nll(log_probabilities: Tensor, labels: Tensor, *, reduction: str = "mean") -> Tensor:
    """Return the negative log-likelihood of log-probabilities (n, classes) and class numbers (n,).

    Of the log-softmax of logits it is their cross-entropy, to the bit in float32: torch computes that in these two
    steps. With --precision fast on a CPU torch rounds the output of LogSoftmax, but not the step within its
    cross-entropy.
    """
    import torch.nn.functional as F

    return F.nll_loss(log_probabilities, labels, reduction=reduction)


CROSS_ENTROPY = "cross-entropy"
"""The loss of a Config that names none."""

LOSSES: dict[str, Callable[..., Tensor]] = {CROSS_ENTROPY: cross_entropy, "nll": nll}
"""What a Config can name: functions (outputs, labels, *, reduction)."""
