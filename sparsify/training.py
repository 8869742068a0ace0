"""Training one Config into a Run that resumes bit-exactly."""

from __future__ import annotations

import contextlib
import datetime
import math
import time
import warnings
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sparsify.checkpoint import FILE as CHECKPOINT
from sparsify.checkpoint import load_checkpoint, save_checkpoint
from sparsify.config import Config
from sparsify.data import AUGMENTATIONS, FOLDER, load_dataset
from sparsify.data.augmentation import draw
from sparsify.data.dataset import Dataset
from sparsify.devices import exactly, keep_freed_memory, resolve_device
from sparsify.environment import describe_environment
from sparsify.errors import SparsifyError, SparsifyWarning
from sparsify.evaluation import evaluate
from sparsify.files import write_tensors
from sparsify.inclusion import PathRecorder, path_times, predict_entry
from sparsify.iteration import Iteration, stepper
from sparsify.mask import Mask, apply_mask
from sparsify.optim import OPTIMIZERS
from sparsify.optim.split import SplitOptimizer
from sparsify.runs import Run
from sparsify.schedules import SCHEDULES
from sparsify.seeds import key, permutation
from sparsify.starting import build, initial_weights, load_weights, mask_of, named_data

TICK = 20  # iterations between two calls of the listener


@dataclass(frozen=True)
class Progress:
    """How far a training is; `row` is the row of metrics.csv when an epoch has just ended."""

    run: str
    epoch: int
    epochs: int
    step: int
    steps: int
    row: dict[str, Any] | None = None


Listener = Callable[[Progress], None]


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

    The Configs share a precision, and their networks draw no random numbers (`draws_random_numbers`). Each result is
    that of training it alone.
    """
    (precision,) = {config.precision for config in configs}
    where = resolve_device(device)
    if where.type == "cpu":
        keep_freed_memory()
    runs, trainings = [], []
    for config in configs:
        run, steps = _begin(config, where, Path(runs_dir), data_dir, listener)
        runs.append(run)
        if steps is not None:
            trainings.append((steps, torch.cuda.Stream(where) if where.type == "cuda" else None))
    with exactly(precision), contextlib.ExitStack() as stack:
        for steps, _ in trainings:
            stack.enter_context(contextlib.closing(steps))
        while trainings:
            trainings = [one for one in trainings if _goes_on(*one)]
    return runs


def _goes_on(steps: Generator[None], stream: torch.cuda.Stream | None) -> bool:
    """Go on by one iteration; False at the end."""
    with torch.cuda.stream(stream):
        return next(steps, _END) is not _END


_END = object()


def _begin(
    config: Config, where: torch.device, runs_dir: Path, data_dir: Path | str | None, listener: Listener | None
) -> tuple[Run, Generator[None] | None]:
    """The run of a Config, and its training, which goes on by one iteration at a time; None if it is finished."""
    config = named_data(config, data_dir)
    config, initial = initial_weights(config, runs_dir)
    config, mask = mask_of(config, runs_dir)
    run = Run(runs_dir / config.name)
    if run.status != "unfinished":
        run.verify()
        images = run.summary.get("images_sha256")
        if images is not None and images != load_dataset(config.data).sha256():
            raise SparsifyError(
                f"the images of {config.data} are not those that {run.path} was trained on; delete it to train anew"
            )
        run.touch()
        return run, None
    dataset = load_dataset(config.data, data_dir)
    data = dataset.hold_out(config.val, permutation(len(dataset.train), config.seed, "val")) if config.val else dataset
    model = build(config, dataset)
    if initial is not None:
        load_weights(model, initial, config)
    if mask is not None:
        apply_mask(model, mask)
    images = dataset.sha256() if config.data.startswith(FOLDER) else None

    def steps() -> Generator[None]:
        with run.lock():
            if run.status == "unfinished":  # another process may have finished it while this one waited
                training = _Training(run, config, data.to(where), model.to(where), where, images, mask)
                yield from training.steps(listener)

    return run, steps()


class _Training:
    """One training in progress: what a checkpoint holds, and the loop."""

    def __init__(
        self,
        run: Run,
        config: Config,
        data: Dataset,
        model: nn.Module,
        device: torch.device,
        images_sha256: str | None = None,
        mask: Mask | None = None,
    ) -> None:
        self.images_sha256 = images_sha256  # of a folder's images, which can change under the same name
        self.run, self.config, self.data, self.device = run, config, data, device
        self.model = model.to(memory_format=torch.channels_last)
        self.optimizer: Optimizer = OPTIMIZERS[config.opt].build(self.model, config)
        if mask is not None:
            on_device = {name: keep.to(device) for name, keep in mask.items()}
            self.optimizer.register_step_post_hook(lambda *_: apply_mask(self.model, on_device))
        self.steps_per_epoch = math.ceil(len(data.train) / config.batch_size)
        self.total = config.epochs * self.steps_per_epoch
        factors = np.array([SCHEDULES[config.schedule](step / self.total) for step in range(self.total)])
        self.rates = config.lr * factors
        self.recorder: PathRecorder | None = None
        self.times: np.ndarray | None = None
        if OPTIMIZERS[config.opt].selects:
            assert isinstance(self.optimizer, SplitOptimizer)
            self.times = path_times(self.rates * config.path_scale / config.mu)
            self.recorder = PathRecorder(self.model, self.optimizer, self.total)
        self.iteration = Iteration(
            self.model, self.optimizer, data, AUGMENTATIONS[config.augment], config.precision, self.recorder
        )
        self._advance = stepper(self.iteration)
        self.rows: list[dict[str, Any]] = []

    def steps(self, listener: Listener | None) -> Generator[None]:
        """The rest of the training, from the checkpoint on; yields after each iteration."""
        if not self._restore():
            self.run.write_json("config.json", self.config.to_dict())
            self.run.write_json("environment.json", describe_environment(self.device, self.config.precision))
            self._predict()
        while len(self.rows) < self.config.epochs:
            row = yield from self._epoch(len(self.rows) + 1, listener)
            self.rows.append(row)
            if not (math.isfinite(row["train_loss"]) and math.isfinite(row[f"{self.data.held_out}_loss"])):
                self._finish("diverged")
                return
            if len(self.rows) < self.config.epochs:
                self._save()
        self._finish("finished")

    def _epoch(self, epoch: int, listener: Listener | None) -> Generator[None, None, dict[str, Any]]:
        """One epoch; its row of metrics.csv. Between the epochs' ends nothing waits for the device."""
        config, train = self.config, self.data.train
        began = time.perf_counter()
        order = permutation(len(train), config.seed, epoch, "order").to(self.device)
        draws = draw(len(train), config.seed, epoch).to(self.device)
        self.model.train()
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(key(config.seed, epoch, "dropout"))
            batches = zip(order.split(config.batch_size), draws.split(config.batch_size), strict=True)
            for step, (index, drawn) in enumerate(batches, (epoch - 1) * self.steps_per_epoch + 1):
                self.step(step, index, drawn)
                if listener is not None and step % TICK == 0:
                    listener(Progress(self.run.name, epoch, config.epochs, step, self.total))
                yield
        loss_sum, correct = self.iteration.sums()
        row: dict[str, Any] = dict.fromkeys(("val_loss", "val_accuracy", "test_loss", "test_accuracy"))
        row |= {"epoch": epoch, "step": step, "lr": float(self.rates[step - 1])}
        row |= {"train_loss": loss_sum / len(train), "train_accuracy": correct / len(train)}
        row["seconds"] = round(time.perf_counter() - began, 3)
        held_out = evaluate(self.model, self.data.test, self.data.normalise, precision=config.precision)
        row |= {
            f"{self.data.held_out}_loss": held_out.loss,
            f"{self.data.held_out}_accuracy": held_out.accuracy,
        }
        if listener is not None:
            listener(Progress(self.run.name, epoch, config.epochs, step, self.total, row))
        return row

    def step(self, step: int, index: Tensor, draws: Tensor) -> None:
        """Iteration `step`, counted from 1, on the training images of these numbers; `draws` as `augmentation.draw`."""
        self._advance(index, draws, rate=float(self.rates[step - 1]), step=step)
        if self.recorder is not None:
            self.recorder.note(step)

    def _predict(self) -> None:
        if self.times is None:
            return
        time_ = self.times[-1]
        late = [name for name, part in predict_entry(self.model, self.optimizer, time_).items() if part == 0]
        if late:
            warnings.warn(
                f"the path may be too short: by path time T = {time_:.3g} only grains whose norm reaches 1/T = "
                f"{1 / time_:.3g} enter the support, and at the start none does in {', '.join(late)}; a lower --mu, "
                "a higher --lr or more --epochs lengthen the path",
                SparsifyWarning,
                stacklevel=4,
            )

    def _save(self) -> None:
        path = {} if self.recorder is None else self.recorder.tensors
        save_checkpoint(self.run.path, self.model, self.optimizer, path, self.rows)
        self.run.write_metrics(self.rows)

    def _restore(self) -> bool:
        """Go on from the checkpoint; False if there is none."""
        checkpoint = load_checkpoint(self.run.path, self.model, self.optimizer)
        if checkpoint is None:
            return False
        path, self.rows = checkpoint
        if self.recorder is not None:
            self.recorder.load(path)
        self._warn_elsewhere()
        return True

    def _warn_elsewhere(self) -> None:
        before, now = self.run.environment, describe_environment(self.device, self.config.precision)
        changed = [f"{k} {before.get(k)} → {now[k]}" for k in ("device", "threads", "torch") if before.get(k) != now[k]]
        if changed:
            warnings.warn(
                f"run {self.run.name} goes on elsewhere than it began ({', '.join(changed)}): "
                "the result can differ in the last bits from an uninterrupted one",
                SparsifyWarning,
                stacklevel=5,
            )

    def _finish(self, status: str) -> None:
        run, last = self.run, self.rows[-1]
        held_out = self.data.held_out
        files = ["model.safetensors"]
        write_tensors(run.path / "model.safetensors", dict(self.model.state_dict()))
        support: dict[str, dict[str, int]] = {}
        if self.recorder is not None:
            path = self.recorder.path(self.times, last["step"])
            path.save(run.path / "path.npz")
            parameters = {name: p for name, p in self.model.named_parameters() if self.optimizer.penalty(p)}
            write_tensors(run.path / "z.safetensors", {n: self.optimizer.state[p]["z"] for n, p in parameters.items()})
            files += ["path.npz", "z.safetensors"]
            for name, p in parameters.items():
                inside = self.optimizer.support(p)
                support[name] = {"in": int(inside.sum()), "of": inside.numel()}
        run.write_metrics(self.rows)
        run.write_json(
            "summary.json",
            {
                "status": status,
                "held_out": held_out,
                "accuracy": last[f"{held_out}_accuracy"],
                "loss": _finite(last[f"{held_out}_loss"]),
                "count": len(self.data.test),
                "train_accuracy": last["train_accuracy"],
                "train_loss": _finite(last["train_loss"]),
                "epochs": len(self.rows),
                "steps": last["step"],
                "seconds_per_epoch": float(np.median([row["seconds"] for row in self.rows])),
                "path_time": None if self.times is None else float(self.times[last["step"]]),
                "support": support,
                "parameters": sum(p.numel() for p in self.model.parameters()),
                "shape": list(self.data.shape),
                "classes": list(self.data.classes),
                "images_sha256": self.images_sha256,
                "sha256": {file: run.sha256(file) for file in files},
                "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            },
        )
        (run.path / CHECKPOINT).unlink(missing_ok=True)


def _finite(value: float) -> float | None:
    """JSON knows neither NaN nor infinity."""
    return value if math.isfinite(value) else None
