"""Latency: what is timed, in which mode and order."""

import time

import torch
from torch import nn

from sparsify.nets.deployment import WARM_UP, latencies


class Slow(nn.Module):
    """Sleeps `seconds` an input and notes how it was called."""

    def __init__(self, name: str, seconds: float, calls: list[tuple[str, int, bool, bool]]) -> None:
        super().__init__()
        self.name, self.seconds, self.calls = name, seconds, calls

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.calls.append((self.name, len(inputs), self.training, torch.is_inference_mode_enabled()))
        time.sleep(self.seconds * len(inputs))
        return inputs


def test_networks_take_turns_in_evaluation_mode() -> None:
    calls: list[tuple[str, int, bool, bool]] = []
    slow, quick = Slow("slow", 0.004, calls), Slow("quick", 0.0, calls)
    first, second = latencies([slow, quick], torch.zeros(1, 2), batch=3, repetitions=5)
    assert calls == [("slow", 3, False, True), ("quick", 3, False, True)] * (5 + WARM_UP)
    assert slow.training
    assert (first.batch, first.n) == (3, 5)
    assert 0.012 <= first.low <= first.median <= first.high
    assert second.median < first.median
