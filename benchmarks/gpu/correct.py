"""Is it right: LeNet on MNIST on the device and on the CPU, and interrupted."""

from __future__ import annotations

import os

import torch
from torch import Tensor

from benchmarks.gpu.common import DATA, DEVICE, TINY, TMP, batch_of, check, data_of
from benchmarks.gpu.trainings import same, trained, trained_in_parts, weights
from benchmarks.gpu.verdicts import Found
from sparsify.config import Config
from sparsify.training.launch import train
from sparsify.training.starting import initial_model


def correct() -> None:
    """Every check of this part."""
    check("LeNet on MNIST, here and on the CPU", on_both)
    check("resumed, MNIST", resumed)


def on_both() -> Found:
    """Two epochs in exact arithmetic, here and on the CPU: accuracies, losses, and how far apart the weights end.

    `apart_of_the_way` is ‖W_here − W_cpu‖₂ / ‖W_cpu − W_start‖₂.
    """
    if not TINY:
        torch.set_num_threads(min(8, os.cpu_count() or 1))
    found: Found = {}
    for opt in ("slbi",) if TINY else ("slbi", "slbi-adam", "sgd"):
        config = Config(data=data_of("mnist"), opt=opt, epochs=2, batch_size=batch_of(128), precision="exact")
        here, there = (
            train(config, device=device, runs_dir=TMP / f"both-{number}", data_dir=DATA)
            for number, device in enumerate((DEVICE, "cpu"))
        )
        start = initial_model(config, DATA).state_dict()
        runs = (here, there)
        found[opt] = {
            "accuracy": [run.summary["accuracy"] for run in runs],
            "train_loss": [run.summary["train_loss"] for run in runs],
            "apart_of_the_way": _apart(weights(here), weights(there)) / _apart(weights(there), start),
            "seconds": [run.metrics["seconds"].tolist() for run in runs],
            "support": [run.summary["support"] for run in runs],
        }
    return found


def resumed() -> Found:
    """A training that is interrupted after the first of three epochs ends as one that is not."""
    config = Config(data=data_of("mnist"), opt="slbi", epochs=3, batch_size=batch_of(128))
    return same(trained_in_parts(config, "mnist-parts", until=1), trained(config, "mnist-whole"))


def _apart(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """‖one − other‖₂ over all tensors."""
    return float(sum((one[name].double() - other[name].double()).square().sum() for name in other) ** 0.5)
