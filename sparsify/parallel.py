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
from sparsify.starting import all_named, initial_model, named_data
from sparsify.trainer import Listener, Progress
from sparsify.training import train, train_side_by_side

SMALL = 10**6
"""Parameters up to which several networks train side by side on one GPU: larger ones fill it by themselves."""


TOGETHER = 32
"""Trainings that overlap on one GPU at a time."""


def processes_for(count: int, device: torch.device) -> tuple[int, int]:
    """How many processes train `count` Configs, and with how many of torch's threads each.

    On the CPU one thread a process: small networks gain little from a second one. On another device one process.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    processes = min(count, cores) if device.type == "cpu" else 1
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
    among: int = 1,
) -> list[Run]:
    """As `train` of each Config, several at a time; the runs are in the order of the Configs.

    On the CPU each is trained in a process of its own, with one thread where there are as many as cores. On a GPU small
    networks are trained side by side in one process, large ones one after another. Each run is resumed, returned or
    refused as by `train`; its warnings come through when it is done. The first error ends every training: the epochs
    that they have finished are kept. `among` is how many runs they belong to, those that are not asked for included:
    the number of threads, and so the last bits, do not depend on how many of them are missing. A script that calls this
    does so under `if __name__ == "__main__"`, as with any that starts processes.
    """
    configs = all_named(configs, data_dir)  # once: MNIST may come within reach while some of them are trained
    where = resolve_device(device)
    processes, threads = processes_for(max(len(configs), among), where)
    places = {"device": device, "runs_dir": runs_dir, "data_dir": data_dir}
    if processes == 1:
        return _in_one_process(configs, where, places, listener)
    processes = min(processes, len(configs))
    for config in {config.data: config for config in configs}.values():
        load_dataset(config.data, data_dir)  # what is to be downloaded is, and once
    before = set(multiprocessing.active_children())
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
            reason = "it was killed, or a script calls this outside of if __name__ == '__main__'"
            raise SparsifyError(f"a training process ended ({reason}); the same command goes on from here") from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in set(multiprocessing.active_children()) - before:
                process.terminate()
            raise
        return [job.result()[0] for job in jobs]


def _in_one_process(
    configs: Sequence[Config], device: torch.device, places: dict[str, Any], listener: Listener | None
) -> list[Run]:
    """One after another; on a GPU those of one network, data set and precision side by side, where they can be."""
    runs: dict[int, Run] = {}
    kinds = [(config.model, config.data, config.precision) for config in configs]
    for kind in dict.fromkeys(kinds):
        numbers = [number for number, other in enumerate(kinds) if other == kind]
        first = configs[numbers[0]]
        together = device.type == "cuda" and len(numbers) > 1 and overlap(first, places["data_dir"])
        size = TOGETHER if together else 1
        for chosen in (numbers[begin : begin + size] for begin in range(0, len(numbers), size)):
            trained = train_side_by_side([configs[number] for number in chosen], **places, listener=listener)
            runs.update(zip(chosen, trained, strict=True))
    return [runs[number] for number in range(len(configs))]


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
