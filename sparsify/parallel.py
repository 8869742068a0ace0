"""Training many Configs at once: the same results as training them one by one."""

from __future__ import annotations

import multiprocessing
import os
import signal
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from queue import Queue
from typing import Any

import torch

from sparsify.config import Config
from sparsify.data import load_dataset
from sparsify.devices import resolve_device
from sparsify.errors import SparsifyError, SparsifyWarning
from sparsify.runs import Run
from sparsify.starting import initial_model, named_data
from sparsify.training import Listener, Progress, train, train_side_by_side

SMALL = 10**6
"""Parameters up to which several networks train side by side on one GPU: larger ones fill it by themselves."""


def processes_for(count: int) -> tuple[int, int]:
    """How many processes train `count` Configs on the CPU, and with how many of torch's threads each.

    One thread a process: small networks gain little from a second one.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    processes = min(count, cores)
    return processes, max(1, cores // processes)


def overlap(config: Config, data_dir: Path | str | None = None) -> bool:
    """Whether trainings of this Config can overlap on one GPU: its network is small and draws no random numbers.

    A network with dropout draws from the one generator that the device has.
    """
    model = initial_model(config, data_dir)
    dataset = load_dataset(named_data(config, data_dir).data, data_dir)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        before = torch.get_rng_state()
        model.train()(dataset.normalise(dataset.train.images[:2]))
        drew = not torch.equal(before, torch.get_rng_state())
    return not drew and sum(p.numel() for p in model.parameters()) <= SMALL


def train_all(
    configs: Sequence[Config],
    *,
    device: str = "auto",
    runs_dir: Path | str = "runs",
    data_dir: Path | str | None = None,
    listener: Listener | None = None,
) -> list[Run]:
    """As `train` of each Config, several at a time; the runs are in the order of the Configs, which differ in the seed.

    On the CPU each is trained in a process of its own, with one thread where there are as many as cores. On a GPU small
    networks are trained side by side in one process, large ones one after another. Each run is resumed, returned or
    refused as by `train`; its warnings come through when it is done. The first error ends every training: the epochs
    that they have finished are kept.
    """
    places = {"device": device, "runs_dir": runs_dir, "data_dir": data_dir}
    processes, threads = processes_for(len(configs))
    if resolve_device(device).type != "cpu" and overlap(configs[0], data_dir):
        return train_side_by_side(configs, **places, listener=listener)
    if resolve_device(device).type != "cpu" or processes == 1:
        return [train(config, **places, listener=listener) for config in configs]
    context = multiprocessing.get_context("spawn")  # a forked process can use neither CUDA nor torch's threads
    with context.Manager() as manager, ProcessPoolExecutor(processes, context, _begin, (threads,)) as pool:
        messages = manager.Queue()
        jobs = [pool.submit(_train, config, places, messages) for config in configs]
        try:
            waiting = set(jobs)
            while waiting:
                done, waiting = wait(waiting, timeout=0.2)
                while listener is not None and not messages.empty():
                    listener(messages.get())
                for text in dict.fromkeys(text for job in done for text in job.result()[1]):
                    warnings.warn(text, SparsifyWarning, stacklevel=2)
        except BrokenProcessPool as error:
            raise SparsifyError("a training was ended from outside; the same command goes on from here") from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise
        return [job.result()[0] for job in jobs]


def _begin(threads: int) -> None:
    """In each process. Ctrl-C is for the one that started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)


def _train(config: Config, places: dict[str, Any], messages: Queue[Progress]) -> tuple[Run, list[str]]:
    """The run, and what there was to warn of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SparsifyWarning)
        run = train(config, **places, listener=messages.put)
    return run, [str(warning.message) for warning in caught if issubclass(warning.category, SparsifyWarning)]
