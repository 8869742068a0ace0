"""The content of a run's files: a row of metrics.csv, and summary.json."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired, TypedDict

from msgspec import Meta


class Epoch(TypedDict):
    """A row of metrics.csv. The test columns are empty if training images are held out, else the validation columns."""

    epoch: float
    step: float
    lr: float
    train_loss: float
    train_accuracy: float
    val_loss: float | None
    val_accuracy: float | None
    test_loss: float | None
    test_accuracy: float | None
    seconds: float


TRAINED = ("config.json", "environment.json", "metrics.csv", "model.safetensors", "path.npz", "z.safetensors")
"""The files that a training leaves, beside summary.json, where there is a path and a Z."""

METRICS = tuple(Epoch.__annotations__)
"""The columns of metrics.csv."""

Count = TypedDict("Count", {"in": int, "of": int})
"""The number of grains in the support (`in`) and the number of all grains (`of`)."""


class Summary(TypedDict):
    """The content of summary.json: how a training ended. A file that lacks a required key is damaged."""

    status: Literal["finished", "diverged"]
    held_out: Literal["test", "val"]
    accuracy: float
    count: int
    epochs: int
    steps: int
    seconds_per_epoch: float
    support: dict[str, Count]
    shape: tuple[int, int, int]
    classes: Annotated[list[str], Meta(min_length=1)]
    sha256: dict[str, str]
    loss: NotRequired[float | None]
    train_accuracy: NotRequired[float]
    train_loss: NotRequired[float | None]
    path_time: NotRequired[float | None]
    parameters: NotRequired[int]
    images_sha256: NotRequired[str | None]
    finished: NotRequired[str]
    format: NotRequired[int]
