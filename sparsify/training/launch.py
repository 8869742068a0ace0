"""Training Configs into Runs in this process, one alone or several side by side; each resumes bit-exactly."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
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
from sparsify.errors import SparsifyWarning
from sparsify.nets.evaluation import require_batches
from sparsify.nets.mask import check_fit
from sparsify.nets.structure import Structure
from sparsify.runs import Run
from sparsify.training.checkpoint import delete_checkpoint, has_checkpoint
from sparsify.training.display import TrainingDisplay, shown
from sparsify.training.distributed import ranks, require_shares
from sparsify.training.iteration import WARM_UP
from sparsify.training.starting import (
    MASK_BEFORE_UNITS,
    build,
    data_of,
    initial_mask,
    initial_weights,
    load_pretrained,
    load_weights,
    mask_before_units,
    named_data,
    path_to_follow,
    require_outputs,
)
from sparsify.training.trainer import Listener, Trainer

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
    configs: Sequence[Config], places: Places = HERE, *, listener: Listener | None = None, after: Run | None = None
) -> list[Run]:
    """Train Configs as `train` does, one iteration of each in turn; on CUDA they overlap, each in its own stream.

    The Configs share a precision, and their networks draw no random numbers (`overlap`). Each result is that of
    training it alone. For the sake of another run, `after`, the newest run stays the newest: what is trained comes
    after that run in the order of age, and what was finished before keeps its place.
    """
    (precision,) = {config.precision for config in configs}
    where = resolve_device(places.device)
    if where.type == "cpu":
        keep_freed_memory()
    placed: _Placed = {}
    number = f"{len(configs)} trainings at once" if len(configs) > 1 else "the training"
    with enough_memory(number, "take a smaller --batch-size"):
        asked = (_prepare(config, where, places, listener, placed, after) for config in configs)
        runs, prepared = zip(*asked, strict=True)
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
    after: Run | None,
) -> tuple[Run, Start | None]:
    """Return the run of a Config and the function that begins its training, None if it is finished.

    `placed` holds the data sets that are on the device. `after` is as in `train_side_by_side`.
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
        if after is None:
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
                if after is not None:
                    run.come_after(after)

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
