"""Training Configs into Runs, one or many at once: the same results, and each resumes bit-exactly."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
import warnings
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.managers import SyncManager
from pathlib import Path
from queue import Queue
from typing import Unpack

import numpy as np
import torch

from sparsify.config import HERE, Config, PlaceOptions, Places
from sparsify.data.dataset import Dataset
from sparsify.data.registry import FOLDER, load_dataset
from sparsify.devices import (
    enough_memory,
    exactly,
    generators_kept,
    has_streams,
    keep_freed_memory,
    resolve_device,
    wait_for,
)
from sparsify.errors import SparsifyError, SparsifyWarning
from sparsify.nets.evaluation import require_batches
from sparsify.nets.mask import check_fit
from sparsify.nets.structure import Structure
from sparsify.runs import Run
from sparsify.training.checkpoint import delete_checkpoint, has_checkpoint
from sparsify.training.display import TrainingDisplay, shown
from sparsify.training.distributed import draws_random, ranks, require_shares
from sparsify.training.iteration import WARM_UP
from sparsify.training.spawning import end_with_parent, set_up, starting_processes
from sparsify.training.starting import (
    MASK_BEFORE_UNITS,
    all_named,
    build,
    data_of,
    dataset_of,
    initial_mask,
    initial_weights,
    load_pretrained,
    load_weights,
    mask_before_units,
    named_data,
    path_to_follow,
    require_outputs,
)
from sparsify.training.trainer import Listener, Progress, Trainer

TIMED = 8  # iterations, at most, that say how long one takes


def train(
    config: Config,
    places: Places | None = None,
    *,
    listener: Listener | None = None,
    progress: bool = False,
    **where: Unpack[PlaceOptions],
) -> Run:
    """Train one Config, resume an interrupted training of it, or return its run if it is finished.

    `places`, or its keywords, say on which device, and where runs and data are: device="cpu", runs_dir="runs".
    `progress` shows a bar and the time left, in terminals and in notebooks (with ipywidgets), and a line an epoch
    elsewhere; `listener` is called with each `Progress`. A run whose loss becomes infinite or NaN stops and has the
    status "diverged". Warns (SparsifyWarning) when grains cannot enter the support in the run's path time, and when a
    run goes on in another environment. Raises SparsifyError for absent devices, data and runs, and while another
    process trains the same run.

    >>> config = sparsify.Config(data="digits", opt="adabreg", epochs=3)
    >>> run = sparsify.train(config, device="cpu")
    >>> run.status
    'finished'
    """
    with shown(listener, TrainingDisplay() if progress else None) as heard:
        return train_side_by_side([config], Places.of(places, **where), listener=heard)[0]


_Placed = dict[tuple[object, ...], Dataset]
"""The data sets on the device, by all that makes one another: name, size, normalisation, what is held out."""


def train_side_by_side(
    configs: Sequence[Config], places: Places = HERE, *, listener: Listener | None = None
) -> list[Run]:
    """Train Configs as `train` does, one iteration of each in turn; on CUDA they overlap, each in its own stream.

    The Configs share a precision, and their networks draw no random numbers (`overlap`). Each result is
    that of training it alone.
    """
    (precision,) = {config.precision for config in configs}
    where = resolve_device(places.device)
    if where.type == "cpu":
        keep_freed_memory()
    placed: _Placed = {}
    number = f"{len(configs)} trainings at once" if len(configs) > 1 else "the training"
    with enough_memory(number, "take a smaller --batch-size"):
        runs, prepared = zip(*(_prepare(config, where, places, listener, placed) for config in configs), strict=True)
        starts = [start for start in prepared if start is not None]
        with exactly(precision), generators_kept(where), contextlib.ExitStack() as stack:
            if has_streams(where):
                wait_for(where)  # the data is there before other streams read it
                stack.callback(wait_for, where)  # and stays until they have
            steps = [stack.enter_context(contextlib.closing(start(1 / len(starts)))) for start in starts]
            trainings = [(one, _stream(where)) for one in steps]
            while trainings:
                trainings = [one for one in trainings if _goes_on(*one)]
    return list(runs)


def _goes_on(steps: Generator[None], stream: torch.cuda.Stream | None) -> bool:
    """Do one iteration; return False at the end."""
    with torch.cuda.stream(stream):
        return next(steps, _END) is not _END


_END = object()


Start = Callable[[float], Generator[None]]
"""Begins a training, which yields after each iteration; the argument is its share of the time that passes."""


def _prepare(
    config: Config,
    where: torch.device,
    places: Places,
    listener: Listener | None,
    placed: _Placed,
) -> tuple[Run, Start | None]:
    """Return the run of a Config and the function that begins its training, None if it is finished.

    `placed` holds the data sets that are on the device.
    """
    config = named_data(config, places.data_dir)
    config, initial = initial_weights(config, places.runs_dir)
    given = config.mask
    config, mask = initial_mask(config, places.runs_dir)
    config, entry = path_to_follow(config, places.runs_dir)
    run = Run(places.runs_dir / config.name)
    if run.status != "unfinished":
        run.verify()
        images = run.summary.get("images_sha256")
        if images is not None:
            run.require_images(images, load_dataset(config.data, places.data_dir).sha256())
        run.touch()
        delete_checkpoint(run.path)  # there is one if the process was killed at the very end
        return run, None
    data = data_of(config, places.data_dir)
    model = build(config, data)
    first = data.normalise(data.train.images[:1])
    require_batches(model, first, len(data.train), config.batch_size, f"--batch-size {config.batch_size}")
    require_outputs(config, model, first)
    require_shares(config, model, data.normalise(data.train.images[:2]), len(data.train))
    if initial is not None:
        load_weights(model, initial, config)
    if mask is not None:
        check_fit(model, mask)
        if given is not None and mask_before_units(given, places.runs_dir, lambda: Structure(model, first)):
            lost = "these would have lost the union of what each should lose; `ticket` makes it again"
            warnings.warn(f"--mask {given} {MASK_BEFORE_UNITS}: {lost}", SparsifyWarning, stacklevel=3)
    pretrained = None if has_checkpoint(run.path) else load_pretrained(config, model)
    folder = config.data.startswith(FOLDER)
    images = load_dataset(config.data, places.data_dir).sha256() if folder else None  # as they are in the folder
    kind = (config.data, config.resize, config.normalise, config.val, config.seed if config.val else None)
    if kind not in placed:
        placed[kind] = data.to(where)

    def start(share: float) -> Generator[None]:
        with ranks().writing(run):
            if run.status == "unfinished":  # another process may have finished it while this one waited
                placed_model = model.to(where)
                began_with = pretrained
                if began_with is None and not has_checkpoint(run.path):  # it was there, and has been deleted since
                    began_with = load_pretrained(config, placed_model)
                training = Trainer(run, config, placed[kind], placed_model, where, images, mask, entry, began_with)
                yield from training.steps(listener, share)

    return run, start


def time_iteration(config: Config, dataset: Dataset, device: torch.device) -> float:
    """Return the seconds of an iteration in the middle of a Config's training, the median of a few. Nothing is kept.

    `init`, `mask` and `pretrained` are ignored.
    """
    if device.type == "cpu":
        keep_freed_memory()
    data = dataset.to(device)
    training = Trainer(Run(Path()), config, data, build(config, dataset).to(device), device)
    order = torch.arange(min(config.batch_size, len(data.train)))
    index, draws = order.to(device), training.augment.draw(order, config.seed, 1).to(device)
    seconds: list[float] = []
    stream = _stream(device)
    warm_up = WARM_UP + 1 if has_streams(device) else 1  # on CUDA until there is a graph
    together = 10 if has_streams(device) else 1  # there a wait takes as long as a step of a small network
    training.model.train()
    with exactly(config.precision), generators_kept(device):
        for number in range(warm_up + TIMED):
            began = time.perf_counter()
            with torch.cuda.stream(stream):
                for _ in range(together):
                    training.step(max(1, training.total // 2), index, draws)
                training.iteration.sums()  # waits for the device
            if number >= warm_up:
                seconds.append((time.perf_counter() - began) / together)
            if together * sum(seconds) > 0.5:
                break
    return float(np.median(seconds))


def _stream(device: torch.device) -> torch.cuda.Stream | None:
    """Return a new stream on CUDA, because a graph cannot be captured in the default one."""
    return torch.cuda.Stream(device) if has_streams(device) else None


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
