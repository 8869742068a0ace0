"""Training one Config into a Run that resumes bit-exactly."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import numpy as np
import torch

from sparsify.config import Config
from sparsify.data import FOLDER, load_dataset
from sparsify.data.augmentation import draw
from sparsify.data.dataset import Dataset
from sparsify.devices import enough_memory, exactly, keep_freed_memory, resolve_device
from sparsify.evaluation import require_batches
from sparsify.iteration import WARM_UP
from sparsify.mask import check_fit
from sparsify.runs import Run
from sparsify.starting import build, data_of, initial_weights, load_weights, mask_of, named_data
from sparsify.trainer import Listener, Trainer

TIMED = 8  # iterations, at most, that say how long one takes


def train(
    config: Config,
    *,
    device: str = "auto",
    runs_dir: Path | str = "runs",
    data_dir: Path | str | None = None,
    listener: Listener | None = None,
) -> Run:
    """Train one Config, or go on where an interrupted training of it stopped, or return it if it is finished.

    A run whose loss becomes infinite or NaN stops and has the status "diverged". Warns (SparsifyWarning) when grains
    cannot enter the support in the run's path time, and when a run goes on elsewhere than it began. Raises
    SparsifyError for absent devices, data and runs, and while another process trains the same run.
    """
    return train_side_by_side([config], device=device, runs_dir=runs_dir, data_dir=data_dir, listener=listener)[0]


def train_side_by_side(
    configs: Sequence[Config],
    *,
    device: str = "auto",
    runs_dir: Path | str = "runs",
    data_dir: Path | str | None = None,
    listener: Listener | None = None,
) -> list[Run]:
    """As `train` of each, an iteration of each in turn; on CUDA each has a stream of its own, and they overlap.

    The Configs share a precision, and their networks draw no random numbers (`parallel.overlap`). Each result is
    that of training it alone.
    """
    (precision,) = {config.precision for config in configs}
    where = resolve_device(device)
    if where.type == "cpu":
        keep_freed_memory()
    placed: dict[tuple, Dataset] = {}
    number = f"{len(configs)} trainings at once" if len(configs) > 1 else "the training"
    with enough_memory(number, "take a smaller --batch-size"):
        runs, starts = zip(
            *(_prepare(config, where, Path(runs_dir), data_dir, listener, placed) for config in configs), strict=True
        )
        starts = [start for start in starts if start is not None]
        with exactly(precision), _fork_rng(where), contextlib.ExitStack() as stack:
            if where.type == "cuda":
                torch.cuda.synchronize(where)  # the data is there before other streams read it
                stack.callback(torch.cuda.synchronize, where)  # and stays until they have
            steps = [stack.enter_context(contextlib.closing(start(1 / len(starts)))) for start in starts]
            trainings = [(one, _stream(where)) for one in steps]
            while trainings:
                trainings = [one for one in trainings if _goes_on(*one)]
    return list(runs)


def _goes_on(steps: Generator[None], stream: torch.cuda.Stream | None) -> bool:
    """Go on by one iteration; False at the end."""
    with torch.cuda.stream(stream):
        return next(steps, _END) is not _END


_END = object()


Start = Callable[[float], Generator[None]]
"""Begins a training, which goes on by one iteration at a time; takes its share of the time that passes meanwhile."""


def _prepare(
    config: Config,
    where: torch.device,
    runs_dir: Path,
    data_dir: Path | str | None,
    listener: Listener | None,
    placed: dict[tuple, Dataset],
) -> tuple[Run, Start | None]:
    """The run of a Config, and what begins its training, None if it is finished; `placed` is data on the device."""
    config = named_data(config, data_dir)
    config, initial = initial_weights(config, runs_dir)
    config, mask = mask_of(config, runs_dir)
    run = Run(runs_dir / config.name)
    if run.status != "unfinished":
        run.verify()
        images = run.summary.get("images_sha256")
        if images is not None:
            run.require_images(images, load_dataset(config.data).sha256())
        run.touch()
        return run, None
    dataset = load_dataset(config.data, data_dir)
    data = data_of(config, data_dir)
    model = build(config, dataset)
    first = data.normalise(data.train.images[:1])
    require_batches(model, first, len(data.train), config.batch_size, f"--batch-size {config.batch_size}")
    if initial is not None:
        load_weights(model, initial, config)
    if mask is not None:
        check_fit(model, mask)
    images = dataset.sha256() if config.data.startswith(FOLDER) else None
    kind = (config.data, config.val, config.seed if config.val else None)
    if kind not in placed:
        placed[kind] = data.to(where)

    def start(share: float) -> Generator[None]:
        with run.lock():
            if run.status == "unfinished":  # another process may have finished it while this one waited
                training = Trainer(run, config, placed[kind], model.to(where), where, images, mask)
                yield from training.steps(listener, share)

    return run, start


def time_iteration(config: Config, dataset: Dataset, device: torch.device) -> float:
    """The seconds that an iteration in the middle of a Config's training takes: the median of a few, nothing is kept.

    `init` and `mask` are left aside.
    """
    if device.type == "cpu":
        keep_freed_memory()
    data = dataset.to(device)
    training = Trainer(Run(Path()), config, data, build(config, dataset).to(device), device)
    index = torch.arange(min(config.batch_size, len(data.train)), device=device)
    draws = draw(len(index), config.seed, 1).to(device)
    seconds: list[float] = []
    stream = _stream(device)
    warm_up = WARM_UP + 1 if device.type == "cuda" else 1  # on CUDA until there is a graph
    together = 10 if device.type == "cuda" else 1  # there a wait takes as long as a step of a small network
    training.model.train()
    with exactly(config.precision), _fork_rng(device):
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


def _fork_rng(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """torch's generators are afterwards what they were."""
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])


def _stream(device: torch.device) -> torch.cuda.Stream | None:
    """One of its own on CUDA: a graph is not captured in the default one."""
    return torch.cuda.Stream(device) if device.type == "cuda" else None
