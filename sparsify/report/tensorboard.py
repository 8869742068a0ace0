"""Trainings for TensorBoard: scalars while a run trains; at its end the support, the filters and the settings."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from torch import nn

from sparsify.drawing.filters import FilterPanel, filters_figure
from sparsify.errors import SparsifyError
from sparsify.files import no_link
from sparsify.runs import Epoch, Run
from sparsify.runs.images import shared
from sparsify.training.trainer import Listener, Progress

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


FOLDER = "tensorboard"
Scalar = Literal[
    "train_loss", "val_loss", "test_loss", "train_accuracy", "val_accuracy", "test_accuracy", "lr", "seconds"
]

SCALARS: dict[Scalar, str] = {
    "train_loss": "loss/train",
    "val_loss": "loss/val",
    "test_loss": "loss/test",
    "train_accuracy": "accuracy/train",
    "val_accuracy": "accuracy/val",
    "test_accuracy": "accuracy/test",
    "lr": "learning rate",
    "seconds": "seconds an epoch",
}
"""The columns of metrics.csv and their names in TensorBoard; the step is the epoch."""


class Events:
    """A listener that writes the events of each run into its folder, and passes each on to the listener `then`.

    Raises SparsifyError where the optional package is missing.
    """

    def __init__(self, runs_dir: Path, then: Listener) -> None:
        if importlib.util.find_spec("tensorboard") is None:
            way = "pip install 'sparsify-study[tensorboard]'"
            raise SparsifyError(f"--tensorboard needs an optional package: {way}", about="extra")
        self._runs_dir, self._then = runs_dir, then
        self._writers: dict[str, SummaryWriter] = {}

    def __call__(self, progress: Progress) -> None:
        if progress.row is not None:
            self._scalars(self._writer(progress.run), progress.row)
        self._then(progress)

    def finish(self, run: Run) -> None:
        """Write the events of a run anew when it has ended.

        They have every epoch, also those before the training was resumed, the share of each layer in the support, the
        filters and the hyperparameters.
        """
        if run.name in self._writers:
            self._writers.pop(run.name).close()
        for file in (self._runs_dir / run.name / FOLDER).glob("events.*"):
            file.unlink()
        writer = self._writer(run.name)
        measured = run.metrics.dropna(axis="columns", how="all")  # the other split has no value
        for column in (column for column in SCALARS if column in measured):
            for epoch, value in zip(measured["epoch"], measured[column], strict=True):
                writer.add_scalar(SCALARS[column], value, epoch)
        if run.status == "finished":
            _selection(writer, run)
            _filters(writer, run)
        options = {name: value for name, value in shared(run.config).items() if value is not None}
        writer.add_hparams(options, {"accuracy": run.summary["accuracy"]}, run_name=".")
        self._writers.pop(run.name).close()
        for number, file in enumerate(sorted((self._runs_dir / run.name / FOLDER).glob("events.*"))):
            file.rename(file.with_name(f"events.out.tfevents.{number}"))  # the writer's name has the machine's

    def _writer(self, run: str) -> SummaryWriter:
        from torch.utils.tensorboard import SummaryWriter

        if run not in self._writers:
            for folder in (self._runs_dir / run, self._runs_dir / run / FOLDER):
                no_link(folder)
            self._writers[run] = SummaryWriter(str(folder))
        return self._writers[run]

    @staticmethod
    def _scalars(writer: SummaryWriter, row: Epoch) -> None:
        for column, tag in SCALARS.items():
            if row[column] is not None:
                writer.add_scalar(tag, row[column], int(row["epoch"]))


def _selection(writer: SummaryWriter, run: Run) -> None:
    """The fraction of each layer's grains that have entered the support, against the step."""
    path = run.inclusion_path
    if path is None:
        return
    for name, entry in path.entry.items():
        for step in path.steps:
            writer.add_scalar(f"entered/{name.removesuffix('.weight')}", (entry <= step).mean(), int(step))


def _filters(writer: SummaryWriter, run: Run) -> None:
    """A heatmap of each convolution, as `sparsify viz filters`."""
    for name, module in run.model().named_modules():
        if isinstance(module, nn.Conv2d):
            panel = FilterPanel(f"{run.config.opt} · {run.summary['accuracy']:.2%}", module.weight)
            writer.add_figure(f"filters/{name}", filters_figure([panel], layer=name))
