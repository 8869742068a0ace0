"""Training many Configs: in processes on the CPU, side by side on a GPU. The results are those of each alone."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.managers import SyncManager
from pathlib import Path
from queue import Queue
from typing import Unpack

import torch

from sparsify.config import Config, PlaceOptions, Places
from sparsify.data.registry import load_dataset
from sparsify.devices import has_streams, resolve_device
from sparsify.errors import SparsifyError, SparsifyWarning
from sparsify.runs import Run
from sparsify.training.display import TrainingDisplay, shown
from sparsify.training.distributed import draws_random
from sparsify.training.launch import train, train_side_by_side
from sparsify.training.spawning import end_with_parent, set_up, starting_processes
from sparsify.training.starting import all_named, build, dataset_of, named_data
from sparsify.training.trainer import Listener, Progress

SMALL = 10**6
"""The most parameters of networks that train side by side on one GPU; a larger network fills it alone."""


TOGETHER = 32
"""The most trainings that overlap on one GPU."""


def processes_for(count: int, device: torch.device) -> tuple[int, int]:
    """Return how many processes train `count` Configs, and the number of torch's threads in each.

    On the CPU each process has one thread, because small networks gain little from a second one. Other devices have one
    process.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    processes = min(count, cores) if device.type == "cpu" else 1
    return processes, max(1, cores // processes)


def overlap(config: Config, data_dir: Path | str | None = None) -> bool:
    """Whether trainings of this Config can overlap on one GPU: its network is small and draws no random numbers.

    A network with dropout draws from the one generator that the device has.
    """
    config = named_data(config, data_dir)
    dataset = dataset_of(config, data_dir)
    model = build(config, dataset)
    drew = draws_random(model, dataset.normalise(dataset.train.images[:2]))
    return not drew and sum(p.numel() for p in model.parameters()) <= SMALL


def train_all(
    configs: Sequence[Config],
    places: Places | None = None,
    *,
    listener: Listener | None = None,
    progress: bool = False,
    among: int = 1,
    **where: Unpack[PlaceOptions],
) -> list[Run]:
    """Train each Config as `train` does, several at a time; the runs are in the order of the Configs.

    On the CPU each is trained in a process of its own, with one thread where there are as many as cores. On a GPU small
    networks are trained side by side in one process, large ones one after another. Each run is resumed, returned or
    refused as by `train`, and shows its `progress`; its warnings come through when it is done. The first error ends
    every training: their last checkpoints are kept. `among` is how many runs they belong to, those that are
    not asked for included: the number of threads, and so the last bits, do not depend on how many of them are missing.
    It can be called from notebooks, from modules that run by `python -m`, and from scripts without
    `if __name__ == "__main__"`. Only scripts with it are imported by the processes, so that networks that they add to
    NETS are known there.

    >>> configs = [sparsify.Config(data="digits", opt="adabreg", epochs=3, seed=seed) for seed in range(1)]
    >>> [run.status for run in sparsify.train_all(configs, device="cpu")]
    ['finished']
    """
    places = Places.of(places, **where)
    configs = all_named(configs, places.data_dir)  # once: MNIST may come within reach while some of them are trained
    device = resolve_device(places.device)
    processes, threads = processes_for(max(len(configs), among), device)
    with shown(listener, TrainingDisplay(len(configs)) if progress else None) as heard:
        if processes == 1:
            return _in_one_process(configs, device, places, heard)
        return _in_processes(configs, min(processes, len(configs)), threads, places, heard)


def _in_processes(
    configs: Sequence[Config], processes: int, threads: int, places: Places, listener: Listener | None
) -> list[Run]:
    """Train in so many processes, each with so many threads."""
    for config in {config.data: config for config in configs}.values():
        load_dataset(config.data, places.data_dir)  # what is to be downloaded is, and once
    before = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")  # a forked process can use neither CUDA nor torch's threads
    with contextlib.ExitStack() as stack:
        try:
            with starting_processes():
                manager = SyncManager(ctx=context)
                manager.start(end_with_parent)
                stack.enter_context(manager)
                pool = stack.enter_context(ProcessPoolExecutor(processes, context, set_up, (threads,)))
                messages = manager.Queue()
                jobs = [pool.submit(_train_in_process, config, places, messages) for config in configs]
            waiting = set(jobs)
            while waiting:
                done, waiting = wait(waiting, timeout=0.2)
                while listener is not None and not messages.empty():
                    listener(messages.get())
                for text in dict.fromkeys(text for job in done for text in job.result()[1]):
                    warnings.warn(text, SparsifyWarning, stacklevel=3)
        except BrokenProcessPool as error:
            raise SparsifyError("a training process was killed; the same command goes on from here") from error
        except BaseException:  # the ways out of the stack wait for them
            for process in set(multiprocessing.active_children()) - before:
                process.terminate()
            raise
        return [job.result()[0] for job in jobs]


def _in_one_process(
    configs: Sequence[Config], device: torch.device, places: Places, listener: Listener | None
) -> list[Run]:
    """Train one after another; on a GPU, those of one network, data set and precision side by side if possible.

    The network is that with its options, and the data set that with its size.
    """
    runs: dict[int, Run] = {}
    kinds = [(config.model, config.net, config.data, config.resize, config.precision) for config in configs]
    for kind in dict.fromkeys(kinds):
        numbers = [number for number, other in enumerate(kinds) if other == kind]
        first = configs[numbers[0]]
        together = has_streams(device) and len(numbers) > 1 and overlap(first, places.data_dir)
        size = TOGETHER if together else 1
        for chosen in (numbers[begin : begin + size] for begin in range(0, len(numbers), size)):
            trained = train_side_by_side([configs[number] for number in chosen], places, listener=listener)
            runs.update(zip(chosen, trained, strict=True))
    return [runs[number] for number in range(len(configs))]


def _train_in_process(config: Config, places: Places, messages: Queue[Progress]) -> tuple[Run, list[str]]:
    """Train a Config; return its run and the texts of the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SparsifyWarning)
        run = train(config, places, listener=messages.put)
    return run, [str(warning.message) for warning in caught if issubclass(warning.category, SparsifyWarning)]
