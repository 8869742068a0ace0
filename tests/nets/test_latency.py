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


def test_images_are_channels_last_and_products_float32() -> None:
    class Seen(nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            layouts.append(inputs.is_contiguous(memory_format=torch.channels_last))
            rounded.append(torch.backends.cudnn.conv.fp32_precision)
            return inputs

    layouts: list[bool] = []
    rounded: list[str] = []
    before = torch.backends.cudnn.conv.fp32_precision
    latencies([Seen()], torch.zeros(1, 3, 4, 4), batch=2, repetitions=1)
    assert set(layouts) == {True}
    assert set(rounded) == {"ieee"}
    assert torch.backends.cudnn.conv.fp32_precision == before


def test_networks_take_turns_in_evaluation_mode() -> None:
    calls: list[tuple[str, int, bool, bool]] = []
    slow, quick = Slow("slow", 0.004, calls), Slow("quick", 0.0, calls)
    first, second = latencies([slow, quick], torch.zeros(1, 2), batch=3, repetitions=5)
    assert calls == [("slow", 3, False, True), ("quick", 3, False, True)] * (5 + WARM_UP)
    assert slow.training
    assert (first.batch, first.n) == (3, 5)
    assert 0.012 <= first.low <= first.median <= first.high
    assert second.median < first.median
