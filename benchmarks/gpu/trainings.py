"""Trainings that are compared with each other to the bit."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import torch
from safetensors.torch import load_file
from torch import Tensor

from benchmarks.gpu.common import CUDA, DATA, DEVICE, TMP
from benchmarks.gpu.verdicts import Found
from sparsify.config import Config
from sparsify.runs import Run
from sparsify.training.iteration import Iteration, Replayed
from sparsify.training.launch import train
from sparsify.training.trainer import Listener, Progress, Trainer

TRAINER = sys.modules[Trainer.__module__]
"""The module of the loop, in which functions are replaced by others, or by the same with a clock."""


class Stopped(Exception):
    """A training was interrupted."""


def trained(config: Config, folder: str, listener: Listener | None = None) -> Run:
    """The finished run of a Config in a folder of its own."""
    return train(config, device=DEVICE, runs_dir=TMP / folder, data_dir=DATA, listener=listener)


def trained_eagerly(config: Config, folder: str) -> Run:
    """As `trained`, with the learning rate as a tensor as for a graph, but launched kernel by kernel.

    On a CPU there are no graphs, and this is the same training again.
    """
    if not CUDA:
        return trained(config, folder)

    def eager(iteration: Iteration) -> Replayed:
        return Replayed(iteration, _uncaptured)

    with patch.object(TRAINER, "stepper", eager):
        return trained(config, folder)


def trained_in_parts(config: Config, folder: str, *, until: int) -> Run:
    """As `trained`, interrupted after the epoch `until` and resumed."""

    def stop(progress: Progress) -> None:
        if progress.row is not None and progress.epoch == until:
            raise Stopped

    with contextlib.suppress(Stopped):
        trained(config, folder, stop)
    return trained(config, folder)


def same(one: Run, other: Run) -> Found:
    """Whether two runs have the same weights, Z and path to the bit, else by how much they differ."""
    wrong = differences(_tensors(one), _tensors(other))
    worst = max(wrong, key=lambda name: wrong[name], default="")
    return {
        "bits_equal": not wrong,
        "unequal_tensors": len(wrong),
        "worst": worst,
        "relative": wrong.get(worst, 0.0),
    }


def weights(run: Run) -> dict[str, Tensor]:
    """The tensors of the trained network."""
    return load_file(run.path / "model.safetensors")


def differences(one: dict[str, Tensor], other: dict[str, Tensor]) -> dict[str, float]:
    """max |a − b| / max |b| of each tensor that is not equal to the bit; NaN counts as 0, infinity as 10⁹."""
    wrong = {}
    for name, tensor in other.items():
        a, b = (_comparable(values) for values in (one[name], tensor))
        if not torch.equal(a, b):
            wrong[name] = float((a - b).abs().max() / b.abs().max().clamp(min=1e-12))
    return wrong


def _comparable(tensor: Tensor) -> Tensor:
    return tensor.double().nan_to_num(0, 1e9)


def _tensors(run: Run) -> dict[str, Tensor]:
    tensors = weights(run)
    z: Path = run.path / "z.safetensors"
    if z.exists():
        tensors |= {f"z/{name}": tensor for name, tensor in load_file(z).items()}
    if run.inclusion_path is not None:
        tensors |= {f"entry/{name}": torch.from_numpy(entry) for name, entry in run.inclusion_path.entry.items()}
    return tensors


def _uncaptured(run: Callable[[], None]) -> Callable[[], None]:
    """In the place of `cuda_graph`."""
    return run
