"""Trainer: one training in progress, its loop, its checkpoint and the files of its run."""

from __future__ import annotations

import datetime
import math
import time
import warnings
import weakref
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sparsify.config import Config
from sparsify.data.dataset import Dataset
from sparsify.data.registry import augmentation
from sparsify.devices import key, permutation, seed_dropout
from sparsify.errors import SparsifyWarning
from sparsify.files import write_tensors
from sparsify.nets.evaluation import Evaluation, evaluate
from sparsify.nets.mask import Mask, apply_mask, kept_norms
from sparsify.nets.outputs import loss_named
from sparsify.optim.base import SelectingOptimizer
from sparsify.optim.inclusion import PathRecorder, path_times, predict_entry
from sparsify.optim.registry import OPTIMIZERS
from sparsify.optim.release import RandomRelease, permuted
from sparsify.optim.schedules import decay_factors, learning_rates
from sparsify.optim.slbi import SplitOptimizer
from sparsify.optim.spec import Steps, taken
from sparsify.runs import Epoch, Run
from sparsify.runs.collapse import VANISHED, Guess, collapse, diverged
from sparsify.runs.images import remember, shared
from sparsify.training.checkpoint import Checkpoint, Saver, delete_checkpoint, load_checkpoint
from sparsify.training.distributed import ranks
from sparsify.training.environment import changed_bits, describe_environment
from sparsify.training.iteration import Iteration, stepper
from sparsify.training.recording import held, recorders
from sparsify.training.selected import sparse_accuracies, support_counts, write_selected

FAST_IS_FLOAT32 = (
    "precision 'fast' is float32 here, which is faster: this device has no units for bfloat16 and would emulate it"
)

TICK = 20  # iterations between two calls of the listener


@dataclass(frozen=True)
class Progress:
    """The progress of a training; `row` is the new row of metrics.csv if an epoch has just ended, else None."""

    run: str
    epoch: int
    epochs: int
    step: int
    steps: int
    row: Epoch | None = None

    @property
    def ended(self) -> bool:
        """Whether the training has just ended: its epochs are over, or it has diverged."""
        return self.row is not None and (self.step == self.steps or diverged(self.row))


Listener = Callable[[Progress], None]


class Trainer:
    """One training in progress: the state that a checkpoint holds, and the loop."""

    def __init__(
        self,
        run: Run,
        config: Config,
        data: Dataset,
        model: nn.Module,
        device: torch.device,
        images_sha256: str | None = None,
        mask: Mask | None = None,
        entry: Mapping[str, Tensor] | None = None,
        pretrained: str | None = None,
    ) -> None:
        self.pretrained = pretrained  # which trained weights the network has at the start
        self.images_sha256 = images_sha256  # of a folder's images, which can change under the same name
        self.run, self.config, self.data, self.device = run, config, data, device
        self.model = model.to(memory_format=torch.channels_last)
        self.optimizer: Optimizer = OPTIMIZERS[config.opt].build(self.model, config)
        if isinstance(self.optimizer, RandomRelease) and entry is not None:
            self.optimizer.follow(permuted(entry, config.seed))
        self.mask: Mask = {name: keep.to(device) for name, keep in (mask or {}).items()}
        if self.mask:
            me = weakref.proxy(self)  # no cycle: captured graphs must go with the last reference, not amid a capture
            self.optimizer.register_step_post_hook(lambda *_: me._keep_masked())
        self.steps_per_epoch = math.ceil(len(data.train) / config.batch_size)
        self.total = config.epochs * self.steps_per_epoch
        steps = Steps(config.epochs, self.steps_per_epoch)
        self.rates = learning_rates(config.schedule, taken(config.lr), steps, config.schedule_options)
        self.decays = [group.get("weight_decay", 0.0) for group in self.optimizer.param_groups]
        self.factors = decay_factors(config.decay_schedule, steps, config.decay_schedule_options)
        if config.mask_from == 0:
            apply_mask(self.model, self.mask)  # before the path begins
        # of what is trained, at the start, also where it goes on from a checkpoint
        self._norms = kept_norms(self.model, self.mask)
        self.recorder: PathRecorder | None = None
        self.times: np.ndarray | None = None
        path = OPTIMIZERS[config.opt].path
        if path is not None:
            self.times = path_times(path(self.rates, config))
            assert isinstance(self.optimizer, SelectingOptimizer)  # one with a path
            self.recorder = PathRecorder(self.model, self.optimizer, self.total)
        self.augment = augmentation(config.augment)
        self.recorders = recorders(config.record, self.model, self.optimizer, self.total)
        self.iteration = Iteration(
            self.model,
            self.optimizer,
            data,
            self.augment,
            loss_named(config.loss, config.label_smoothing),
            config.precision,
            self.recorder,
            list(self.recorders.values()),
        )
        self._advance = stepper(self.iteration)
        self.rows: list[Epoch] = []

    def steps(self, listener: Listener | None, share: float = 1.0) -> Generator[None]:
        """Train from the checkpoint to the end; yield after each iteration.

        torch's own generators are seeded at each epoch. If other trainings go on in between, `share` is the part of
        the time that is counted as this training's.
        """
        if not self._restore():
            environment = describe_environment(self.device, self.config.precision)
            if self.config.precision == "fast" and environment["arithmetic"] == "float32":
                warnings.warn(FAST_IS_FLOAT32, SparsifyWarning, stacklevel=3)
            environment["images_sha256"] = self.images_sha256
            if self.pretrained is not None:
                environment["pretrained"] = self.pretrained
            if ranks().writes:
                remember(self.config, self.images_sha256)
                self.run.write_begun(shared(self.config), environment)
            self._predict()
        with Saver(self.run, share) as saver:
            while len(self.rows) < self.config.epochs:
                row = yield from self._epoch(len(self.rows) + 1, listener, share)
                self.rows.append(row)
                if diverged(row):
                    break
                if len(self.rows) < self.config.epochs:
                    self._begin_mask()
                    saver.offer(Checkpoint.of(self.model, self.optimizer, self._recorded(), self.rows))
            saver.wait()  # what is still being written would stay
            if ranks().writes:
                self._finish("diverged" if diverged(self.rows[-1]) else "finished")
            ranks().wait()

    def _begin_mask(self) -> None:
        """Apply the mask after `mask_from` epochs, to the weights and to the optimizer's state.

        The state includes Z, so that removed grains are not in the support.
        """
        if len(self.rows) != self.config.mask_from:
            return
        apply_mask(self.model, self.mask)
        for name, parameter in self.model.named_parameters():
            for value in self.optimizer.state.get(parameter, {}).values() if name in self.mask else ():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    value.masked_fill_(~self.mask[name], 0)
        self._advance = stepper(self.iteration)  # a graph that was captured before would go on without the mask

    def _keep_masked(self) -> None:
        if len(self.rows) >= self.config.mask_from:
            apply_mask(self.model, self.mask)

    def _epoch(self, epoch: int, listener: Listener | None, share: float) -> Generator[None, None, Epoch]:
        """Train one epoch and return its row of metrics.csv. Nothing waits for the device before the epoch's end."""
        config, train = self.config, self.data.train
        began = time.perf_counter()
        self._scale_decay(float(self.factors[epoch - 1]))
        order = permutation(len(train), config.seed, epoch, "order")
        draws = self.augment.draw(order, config.seed, epoch).to(self.device)
        order = order.to(train.images.device)
        self.model.train()
        seed_dropout(self.device, key(config.seed, epoch, "dropout"))
        batches = zip(order.split(config.batch_size), draws.split(config.batch_size), strict=True)
        for step, (index, drawn) in enumerate(batches, (epoch - 1) * self.steps_per_epoch + 1):
            self.step(step, index, drawn)
            if listener is not None and step % TICK == 0:
                listener(Progress(self.run.name, epoch, config.epochs, step, self.total))
            yield
        loss_sum, correct = self.iteration.sums()
        row: Epoch = {
            "val_loss": None,
            "val_accuracy": None,
            "test_loss": None,
            "test_accuracy": None,
            "epoch": epoch,
            "step": step,
            "lr": float(self.rates[step - 1]),
            "train_loss": loss_sum / len(train),
            "train_accuracy": correct / len(train),
            "seconds": round(share * (time.perf_counter() - began), 3),
        }
        held_out = self._evaluate()
        if self.data.held_out == "val":
            row["val_loss"], row["val_accuracy"] = held_out.loss, held_out.accuracy
        else:
            row["test_loss"], row["test_accuracy"] = held_out.loss, held_out.accuracy
        if listener is not None:
            listener(Progress(self.run.name, epoch, config.epochs, step, self.total, row))
        return row

    def _scale_decay(self, factor: float) -> None:
        """Multiply the weight decay that each group began with: what has none, as biases, goes on without."""
        groups, decays = self.optimizer.param_groups, [decay * factor for decay in self.decays]
        if decays != [group.get("weight_decay", 0.0) for group in groups]:
            for group, decay in zip(groups, decays, strict=True):
                group["weight_decay"] = decay
            self._advance = stepper(self.iteration)  # a captured iteration keeps its decay

    def _evaluate(self) -> Evaluation:
        """Evaluate the network on the test images, or on those that are held out."""
        config, data = self.config, self.data
        return evaluate(self.model, data.test, data.normalise, precision=config.precision, loss=config.loss)

    def step(self, step: int, index: Tensor, draws: Tensor) -> None:
        """Do iteration `step`, counted from 1, on the training images `index`, augmented by `draws`."""
        rate = float(self.rates[step - 1])
        self.iteration.look(index, draws, rate, step)
        self._advance(index, draws, rate=rate, step=step)
        if self.recorder is not None:
            self.recorder.note(step)

    def _predict(self) -> None:
        # without a coupling to the weights, and where another path is followed, norms do not say when a grain enters
        if self.times is None or not isinstance(self.optimizer, SplitOptimizer) or OPTIMIZERS[self.config.opt].follows:
            return
        time_ = self.times[-1]
        late = [name for name, part in predict_entry(self.model, self.optimizer, time_).items() if part == 0]
        if late:
            warnings.warn(
                f"the path may be too short: by path time T = {time_:.3g} only grains whose norm reaches 1/T = "
                f"{1 / time_:.3g} enter the support, and at the start none does in {', '.join(late)}; a higher --lr, "
                "more --epochs or a lower --mu, which pulls harder as well, lengthen the path",
                SparsifyWarning,
                stacklevel=4,
            )

    def _recorded(self) -> dict[str, Tensor]:
        return ({} if self.recorder is None else self.recorder.tensors) | held(self.recorders)

    def _restore(self) -> bool:
        """Restore the checkpoint; return False if there is none. Raises SparsifyError if the images have changed."""
        checkpoint = load_checkpoint(self.run.path, self.model, self.optimizer)
        if checkpoint is None:
            return False
        self.run.require_images(self.run.environment.get("images_sha256"), self.images_sha256)
        recorded, self.rows = checkpoint
        if self.recorder is not None:
            self.recorder.load(recorded)
        for name, one in self.recorders.items():
            one.load({key: recorded[f"{name}/{key}"] for key in one.tensors})
        self._warn_elsewhere()
        return True

    def _warn_elsewhere(self) -> None:
        changed = changed_bits(self.run.environment, self.device)
        if changed:
            bits = "more than the last bits" if "arithmetic" in changed else "the last bits"
            warnings.warn(
                f"run {self.run.name} goes on elsewhere than it began ({changed}): "
                f"the result can differ in {bits} from an uninterrupted one",
                SparsifyWarning,
                stacklevel=5,
            )

    def _collapse(self) -> str | None:
        """Why the network is no result, if it is none."""
        labels = self.data.train.labels
        counts = torch.bincount(labels.cpu(), minlength=len(self.data.classes))
        guess = Guess.of((counts / len(labels)).tolist(), self.config.label_smoothing)
        vanished = [
            name for name, norm in kept_norms(self.model, self.mask).items() if norm < VANISHED * self._norms[name]
        ]
        return collapse(self.rows, guess, len(labels), vanished)

    def _finish(self, status: str) -> None:
        run, last = self.run, self.rows[-1]
        on_val = self.data.held_out == "val"
        files = ["config.json", "environment.json", "metrics.csv", "model.safetensors"]
        write_tensors(run.path / "model.safetensors", dict(self.model.state_dict()))
        support: dict[str, dict[str, int]] = {}
        sparse: dict[str, float] = {}
        steps = int(last["step"])
        if self.recorder is not None and self.times is not None:
            files += write_selected(run, self.model, self.recorder, self.times, steps)
            support = support_counts(self.model, self.recorder.optimizer)
            if status == "finished":
                sparse = sparse_accuracies(self.model, self.recorder.optimizer, lambda: self._evaluate().accuracy)
        if self.recorders:
            found = {f"{name}/{k}": v for name, one in self.recorders.items() for k, v in one.results(steps).items()}
            write_tensors(run.path / "records.safetensors", found)
            files.append("records.safetensors")
        run.write_metrics(self.rows)
        run.write_summary(
            {
                "status": status,
                "collapsed": self._collapse(),
                "held_out": self.data.held_out,
                "accuracy": last["val_accuracy"] if on_val else last["test_accuracy"],
                "loss": _finite(last["val_loss"] if on_val else last["test_loss"]),
                "count": len(self.data.test),
                "train_accuracy": last["train_accuracy"],
                "train_loss": _finite(last["train_loss"]),
                "epochs": len(self.rows),
                "steps": steps,
                "seconds_per_epoch": float(np.median([row["seconds"] for row in self.rows])),
                "path_time": None if self.times is None else float(self.times[steps]),
                "support": support,
                **sparse,
                "parameters": sum(p.numel() for p in self.model.parameters()),
                "shape": list(self.data.shape),
                "classes": list(self.data.classes),
                "pixels": {"mean": self.data.normalise.mean, "std": self.data.normalise.std},
                "images_sha256": self.images_sha256,
                "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            },
            files,
        )
        delete_checkpoint(run.path)


def _finite(value: float | None) -> float | None:
    """Return None for NaN and infinity, which JSON lacks."""
    return value if value is not None and math.isfinite(value) else None
