"""How long a network takes for a batch, measured side by side."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from sparsify.evaluation import evaluating

WARM_UP = 3


@dataclass(frozen=True)
class Latency:
    """Seconds for one batch: the median of n forward passes, and its quartiles."""

    batch: int
    median: float
    low: float
    high: float
    n: int


@torch.inference_mode()
def latencies(models: Sequence[nn.Module], example: Tensor, *, batch: int, repetitions: int = 30) -> list[Latency]:
    """Forward passes of each network on `batch` copies of the one input `example`, (1, …), in evaluation mode.

    The networks take turns, so that what slows the machine for a while slows them all; three turns go before and are
    not counted. On a GPU a pass is waited for.
    """
    inputs = example.expand(batch, *example.shape[1:]).contiguous()
    seconds = np.zeros((repetitions + WARM_UP, len(models)))
    with contextlib.ExitStack() as modes:
        for model in models:
            modes.enter_context(evaluating(model))
        for turn in range(len(seconds)):
            for index, model in enumerate(models):
                _wait(inputs.device)
                began = time.perf_counter()
                model(inputs)
                _wait(inputs.device)
                seconds[turn, index] = time.perf_counter() - began
    quartiles = np.quantile(seconds[WARM_UP:], [0.5, 0.25, 0.75], axis=0).T
    return [Latency(batch, *map(float, row), repetitions) for row in quartiles]


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
