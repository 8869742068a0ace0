"""How fast it trains: LeNet, VGG-A in both precisions, and many seeds of LeNet side by side."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.gpu.common import CUDA, DATA, DEVICE, PRECISIONS, TINY, TMP, batch_of, check, data_of, peak_memory
from benchmarks.gpu.trainings import TRAINER, trained
from benchmarks.gpu.verdicts import Found
from sparsify.config import Config
from sparsify.data.augmentation import Augmentation
from sparsify.data.registry import load_dataset
from sparsify.training import checkpoint
from sparsify.training.many import train_all

VGG = "vgg-a-light" if TINY else "vgg-a"


def speed() -> None:
    """One training after the other, its data read before."""
    mnist, images = data_of("mnist"), data_of("cifar10")
    load_dataset(mnist, DATA)
    for opt in ("slbi",) if TINY else ("slbi", "sgd"):
        config = Config(data=mnist, opt=opt, epochs=2 if TINY else 20, batch_size=batch_of(128))
        check(f"LeNet {opt}, {config.epochs} epochs", timed, config, f"lenet-{opt}")
    load_dataset(images, DATA)
    epochs = 1 if TINY else 3
    vgg = Config(model=VGG, data=images, opt="slbi", lr=0.01, epochs=epochs, batch_size=batch_of(128))
    for precision in reversed(PRECISIONS):  # the fast one first, while there is time
        one = dataclasses.replace(vgg, precision=precision)
        check(f"VGG-A slbi {precision}, batch {vgg.batch_size}", timed, one, f"vgg-{precision}")
    if not TINY:
        tuned = dataclasses.replace(
            vgg,
            model="vgg-a-bn",
            precision="fast",
            structure="bn-scale",
            lr=0.01456,
            kappa=2.75,
            mu=4.5,
            weight_decay=0.0005,
            augment="crop-flip",
            schedule="one-cycle",
        )
        check("VGG-A-BN slbi fast, the study's", timed, tuned, "vgg-bn")


def seeds() -> None:
    """Many seeds of LeNet side by side."""
    count, epochs = (2, 1) if TINY else (32, int(os.environ.get("EPOCHS", "3")))
    config = Config(data=data_of("mnist"), opt="slbi", epochs=epochs, batch_size=batch_of(128))
    check("LeNet slbi, seeds side by side", side_by_side, [dataclasses.replace(config, seed=n) for n in range(count)])


def timed(config: Config, name: str) -> Found:
    """The seconds of a training: in all, of each epoch, and of what is done beside its iterations."""
    if CUDA:
        torch.cuda.reset_peak_memory_stats()
    with clocked() as beside:
        began = time.perf_counter()
        run = trained(config, f"timed-{name}")
        wall = time.perf_counter() - began
    rows = run.metrics["seconds"].tolist()
    found = {"wall": wall, "epochs": len(rows), "seconds_of_epochs": rows, "median_epoch": float(np.median(rows))}
    return found | {"beside": _described(beside), **peak_memory(), "accuracy": run.summary["accuracy"]}


def side_by_side(configs: list[Config]) -> Found:
    """The seconds of trainings that overlap; `epoch_all_seeds` has the sum over them, epoch by epoch."""
    if CUDA:
        torch.cuda.reset_peak_memory_stats()
    with clocked() as beside:
        began = time.perf_counter()
        runs = train_all(configs, device=DEVICE, runs_dir=TMP / "seeds", data_dir=DATA)
        wall = time.perf_counter() - began
    rows = [run.metrics["seconds"].tolist() for run in runs]
    return {
        "wall": wall,
        "epochs": configs[0].epochs,
        "seeds": len(configs),
        "epoch_all_seeds": np.sum(rows, axis=0).round(3).tolist(),
        "beside": _described(beside),
        "connections": os.environ.get("CUDA_DEVICE_MAX_CONNECTIONS", "default"),
        "accuracy": float(np.mean([run.summary["accuracy"] for run in runs])),
        **peak_memory(),
    }


@contextlib.contextmanager
def clocked() -> Iterator[dict[str, list[float]]]:
    """Within it, the seconds of each call of what a training does beside its iterations, by the function's name."""
    seconds: dict[str, list[float]] = defaultdict(list)
    with contextlib.ExitStack() as stack:
        parts = [(TRAINER, "evaluate"), (TRAINER, "permutation"), (checkpoint, "save_checkpoint")]  # that in a thread
        for place, name in [*parts, (Augmentation, "draw")]:
            stack.enter_context(patch.object(place, name, _with_clock(getattr(place, name), seconds[name])))
        yield seconds


def _with_clock(function: Callable[..., Any], seconds: list[float]) -> Callable[..., Any]:
    def run(*arguments: Any, **keywords: Any) -> Any:
        began = time.perf_counter()
        try:
            return function(*arguments, **keywords)
        finally:
            seconds.append(time.perf_counter() - began)

    return run


def _described(seconds: dict[str, list[float]]) -> Found:
    return {
        name: {"n": len(calls), "median": round(float(np.median(calls)), 5), "sum": round(sum(calls), 3)}
        for name, calls in seconds.items()
        if calls
    }
