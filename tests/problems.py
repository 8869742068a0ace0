"""What the tests of several optimizers share: small curved losses, and states through a file."""

from __future__ import annotations

import io
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

PATH_RATE = 0.03  # α_p/μ of the comparisons: in 60 steps weights above 1/1.8 enter, and half of them are


class Problem:
    """Curved losses of a few parameters, with grains between 0 and 2 in size, so that some enter and some do not."""

    shapes = ((6, 3, 3, 3), (6,), (9, 8), (9,), (4, 5, 3))

    def __init__(self, *, channels_last: bool = False, dtype: torch.dtype = torch.float64) -> None:
        generator = torch.Generator().manual_seed(0)
        self.parameters: list[nn.Parameter] = []
        self.targets: list[Tensor] = []
        self.curvatures: list[Tensor] = []
        for shape in self.shapes:
            target = torch.randn(shape, generator=generator, dtype=torch.float64)
            if len(shape) >= 3:  # filters of norms from 0.1 to 2
                norms = torch.linspace(0.1, 2.0, shape[0], dtype=torch.float64)
                target *= (norms / target.flatten(1).norm(dim=1)).view(-1, *[1] * (len(shape) - 1))
            self.targets.append(target.to(dtype))
            self.curvatures.append((torch.rand(shape, generator=generator, dtype=torch.float64) + 0.5).to(dtype))
            start = (target + 0.01 * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype)
            if channels_last and len(shape) == 4:
                start = start.to(memory_format=torch.channels_last)
            self.parameters.append(nn.Parameter(start))

    def loss(self) -> Tensor:
        """Σ a(w − t)²/2 + (w − t)⁴/10"""
        terms = zip(self.parameters, self.targets, self.curvatures, strict=True)
        return sum((a * (p - t) ** 2 / 2 + (p - t) ** 4 / 10).sum() for p, t, a in terms)

    def run(self, optimizer: Optimizer, steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            self.loss().backward()
            optimizer.step()

    def groups(self) -> list[dict[str, Any]]:
        """Three groups with values of their own, the last one without structure."""
        conv, bias, fc, bias_fc, conv1d = self.parameters
        return [
            {"params": [conv, bias, conv1d], "lr": 0.04, "mu": 0.04 / PATH_RATE, "kappa": 3.0},
            {"params": [fc], "lr": 0.02, "mu": 0.08 / PATH_RATE, "penalty": "filter"},
            {"params": [bias_fc], "lr": 0.01, "penalty": None},
        ]


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)
