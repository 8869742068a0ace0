"""The content of a run's files: a row of metrics.csv, and summary.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal, NotRequired, TypedDict

from msgspec import Meta

from sparsify.errors import SparsifyError

if TYPE_CHECKING:
    from torch import Tensor


class Epoch(TypedDict):
    """A row of metrics.csv. The test columns are empty if training images are held out, else the validation columns.

    `seconds` are those of the epoch's iterations. The evaluation and the copy for the checkpoint come after them; what
    writes the checkpoint runs beside the next epoch's. Of trainings that go on in turns each has its part.
    """

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


def require_epoch(row: Epoch, number: int) -> None:
    """Raise SparsifyError, with the line and the column, unless a row can be that of this epoch, counted from 1."""
    if row["epoch"] != number:
        raise SparsifyError(f"line {number + 1}: epoch is {row['epoch']:g}; it must be {number}")
    if not (row["step"].is_integer() and 0 <= row["step"] < 2**53):
        raise SparsifyError(f"line {number + 1}: step is {row['step']:g}; it must be a whole number")
    for name in ("train_accuracy", "val_accuracy", "test_accuracy"):
        value = row[name]
        if value is not None and not 0 <= value <= 1:  # NaN is none, either
            raise SparsifyError(f"line {number + 1}: {name} is {value:g}; it must be from 0 to 1")


CONFIG_SUM = "config_sha256"
"""The key in environment.json of the sum of config.json, where settings do not give the digest in the run's name."""

TRAINED = (
    "config.json",
    "environment.json",
    "metrics.csv",
    "model.safetensors",
    "path.npz",
    "z.safetensors",
    "records.safetensors",
)
"""The files that a training leaves, beside summary.json, where there is a path, a Z, and what `record` asks for."""

LOST = ("diverged", "collapsed")
"""The values of `Run.status` of a training that has ended, and whose network is no result."""

METRICS = tuple(Epoch.__annotations__)
"""The columns of metrics.csv."""

Count = TypedDict("Count", {"in": int, "of": int})
"""The number of grains in the support (`in`) and the number of all grains (`of`)."""


class Pixels(TypedDict):
    """What is subtracted from the pixel values of each channel, from 0 to 255, and what they are then divided by."""

    mean: Annotated[list[float], Meta(min_length=1)]
    std: Annotated[list[Annotated[float, Meta(gt=0)]], Meta(min_length=1)]


class Summary(TypedDict):
    """The content of summary.json: how a training ended. A file that lacks a required key is damaged.

    `status` says how its loop ended, and `collapsed` in words why its network is no result, None if it is one. Runs
    from before that was recorded lack it.
    `support_accuracy` is that of the same images with what is outside the support set to 0, `gamma_accuracy` that with
    Γ as the weights. Runs without a path have neither, and those without a Γ only the first; nor have older runs.
    """

    status: Literal["finished", "diverged"]
    held_out: Literal["test", "val"]
    accuracy: Annotated[float, Meta(ge=0, le=1)]
    count: Annotated[int, Meta(ge=1)]
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
    pixels: NotRequired[Pixels]
    images_sha256: NotRequired[str | None]
    support_accuracy: NotRequired[Annotated[float, Meta(ge=0, le=1)]]
    gamma_accuracy: NotRequired[Annotated[float, Meta(ge=0, le=1)]]
    finished: NotRequired[str]
    format: NotRequired[int]
    collapsed: NotRequired[str | None]


FACTORS = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0)
"""How far along the gradient a landscape is looked at, as factors of what the learning rate would move the weights."""

_PLACES = ("step", "rate", "gradient", "start")
RECORDED: dict[str, dict[str, tuple[str, ...]]] = {
    "loss": {"loss": ("steps",)},
    "gradients": {"change": ("steps",), "distance": ("steps",)},
    "landscape": dict.fromkeys(_PLACES, ("places",)) | dict.fromkeys(("loss", "change"), ("places", "factors")),
}
"""The shape of each tensor of records.safetensors, "<record>/<tensor>"; `training.recording` says what they are."""


def require_recorded(tensors: Mapping[str, Tensor], names: str, steps: int) -> None:
    """Raise SparsifyError unless these are the tensors of the records `names` of a training of so many steps."""
    sizes = {"steps": steps, "factors": len(FACTORS)}
    for name, shapes in ((name, RECORDED[name]) for name in names.split(",")):
        for key, dimensions in shapes.items():
            tensor = tensors.get(f"{name}/{key}")
            if tensor is None:
                raise SparsifyError(f"it has no {name}/{key}")
            kind, wanted = str(tensor.dtype).removeprefix("torch."), "int64" if key == "step" else "float32"
            if kind != wanted:
                raise SparsifyError(f"{name}/{key} holds {kind}, not {wanted}")
            if tensor.ndim and dimensions[0] == "places":
                sizes.setdefault("places", len(tensor))
            shape = tuple(sizes.get(one, 0) for one in dimensions)
            if not tensor.numel():
                raise SparsifyError(f"{name}/{key} is empty")
            if tuple(tensor.shape) != shape:
                raise SparsifyError(f"{name}/{key} has the shape {tuple(tensor.shape)}, not {shape}")
