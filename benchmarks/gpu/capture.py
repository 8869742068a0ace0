"""What still works after an iteration that cannot be captured, in a network with dropout."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.gpu.common import CUDA, DEVICE, check
from benchmarks.gpu.verdicts import Found
from sparsify.training.iteration import cuda_graph


def capture() -> None:
    """The check, where there are graphs."""
    if CUDA:
        check("after a failed capture", after_a_failed_capture)


def after_a_failed_capture() -> Found:
    """The package says that it goes on kernel by kernel: does it, and does what others do in the same process?"""
    drop, ones = torch.nn.Dropout(0.5), torch.ones(1000, device=DEVICE)
    total = torch.zeros((), device=DEVICE)

    def iteration() -> None:
        dropped = drop(ones)
        dropped.mul_(dropped.sum().item())  # asks for a value, which a capture does not have

    def add() -> None:
        total.add_(1)

    def random() -> Tensor:
        return torch.randn(10, device=DEVICE)

    def capture_again() -> None:
        add()  # loads the kernel
        cuda_graph(add)()
        if total.item() != 2:
            raise RuntimeError(f"1 was added {total.item():g} times, not twice")

    with torch.cuda.stream(torch.cuda.Stream()):
        again = cuda_graph(iteration)
        return {
            "eager again": _outcome(again),
            "randn": _outcome(random),
            "manual_seed": _outcome(lambda: torch.cuda.manual_seed(1)),
            "a capture afterwards": _outcome(capture_again),
            "eager after a good capture": _outcome(again),
            "randn after a good capture": _outcome(random),
        }


def _outcome(function: Callable[[], object]) -> str:
    """Whether a call works."""
    try:
        function()
        torch.cuda.synchronize()
    except RuntimeError as error:
        return f"FAILS: {error}"[:300]
    return "works"
