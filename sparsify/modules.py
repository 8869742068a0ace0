"""Modules that networks here are built from, beside torch's own."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class FullConv2d(nn.Conv2d):
    """A convolution whose kernel covers its whole input: (n, channels, kernel, kernel) → (n, filters, 1, 1).

    While it trains it is computed as one matrix product, the same sums in less time; in evaluation mode it is an
    ordinary convolution, which Torch-Pruning can follow.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """Padding, stride and dilation are not supported."""
        if not self.training:
            return super().forward(inputs)
        rows, filters = (tensor.permute(0, 2, 3, 1).flatten(1) for tensor in (inputs, self.weight))
        return F.linear(rows, filters, self.bias)[:, :, None, None]
