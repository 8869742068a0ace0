"""Training many Configs at once, each in a process of its own: the same results as training them one by one."""

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
from sparsify.devices import resolve_device
from sparsify.errors import SparsifyError, SparsifyWarning
from sparsify.runs import Run
from sparsify.training import Listener, Progress, train

ON_A_DEVICE = 4
"""Processes that share one GPU: a small network leaves most of it idle."""


def processes_for(count: int, device: torch.device) -> tuple[int, int]:
    """How many processes train `count` Configs, and with how many of torch's threads each.

    One thread a process on a CPU: small networks gain little from a second one.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    processes = min(count, cores if device.type == "cpu" else ON_A_DEVICE)
    return processes, max(1, cores // processes)


def train_all(
    configs: Sequence[Config],
    *,
    device: str = "auto",
    runs_dir: Path | str = "runs",
    data_dir: Path | str | None = None,
    listener: Listener | None = None,
) -> list[Run]:
    """As `train` of each Config, several at a time; the runs are in the order of the Configs.

    Each run is resumed, returned or refused as by `train`; its warnings come through when it is done. The first error
    ends every training: the epochs that they have finished are kept.
    """
    processes, threads = processes_for(len(configs), resolve_device(device))
    places = {"device": device, "runs_dir": runs_dir, "data_dir": data_dir}
    if processes == 1:
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
