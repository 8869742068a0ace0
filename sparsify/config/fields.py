"""What the fields of a Config share: their help, the command line's reading of them, and checks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Annotated

from cyclopts import Parameter, Token

from sparsify.data.registry import FOLDER
from sparsify.errors import SparsifyError, shown, unknown
from sparsify.files import last_parts
from sparsify.nets.losses import CROSS_ENTROPY
from sparsify.nets.papers import SANTURKAR_2018
from sparsify.nets.registry import NETS, TORCHVISION, NetworkSpec
from sparsify.optim.registry import OPTIMIZERS
from sparsify.publications import Publication
from sparsify.text import shortest


def _whole(_type: type, tokens: Sequence[Token]) -> int:
    text = tokens[0].value
    try:
        return int(text)
    except ValueError as error:  # Python reads no whole number of thousands of digits, either
        reason = "has too many digits" if text.strip().lstrip("+-").isdecimal() else "is no whole number"
        raise ValueError(f"{shown(text)} {reason}") from error


def _several(_type: type, tokens: Sequence[Token]) -> str:
    return ",".join(token.value for token in tokens)


Whole = Annotated[int, Parameter(converter=_whole)]
"""An int that the command line does not round: it refuses 1.5 epochs."""

WholeOrNone = Annotated[int | None, Parameter(converter=_whole)]
"""A `Whole` that can also be left out."""

Switch = Annotated[bool, Parameter(negative=())]
"""A bool that is off by default; the command line only switches it on."""

OwnOptions = Annotated[str, Parameter(converter=_several, n_tokens=-1)]
"""A list as one text, as of options with their values; on the command line the flag can stand several times."""


PRECISIONS = ("exact", "fast")
ADDED = (
    "augment",
    "mask",
    "mask_from",
    "strength",
    "delta",
    "density",
    "structure",
    "net",
    "opt_options",
    "schedule_options",
    "decay_schedule",
    "decay_schedule_options",
    "resize",
    "normalise",
    "loss",
    "label_smoothing",
    "pretrained",
    "record",
    "release",
)
"""Fields that config.json lacks in older runs, which were trained with the default of each."""

RECORDS: dict[str, tuple[Publication, ...]] = {
    "loss": (),
    "gradients": (SANTURKAR_2018,),
    "landscape": (SANTURKAR_2018,),
}
"""What a training can record of itself, beside its metrics and its path, and the papers it is from.

See `training.recording`.
"""


def option(name: str, text: str) -> dict[str, str]:
    """Return the metadata of an option: its help, with each default and the optimizers that have it.

    What more than half of all optimizers have comes last and names none of them.
    """
    groups: dict[float, list[str]] = {}
    for opt, spec in OPTIMIZERS.items():
        if name in spec.defaults:
            groups.setdefault(spec.defaults[name], []).append(opt)
    usual = [default for default, opts in groups.items() if len(opts) > len(OPTIMIZERS) / 2]
    said = [f"{default:g} of {choices(opts)}" for default, opts in groups.items() if default not in usual]
    said += [f"{default:g} of the others" for default in usual]
    return {"help": f"{text} [default: {'; '.join(said)}]"}


def own_options(of: str) -> dict[str, str]:
    """Return the metadata of a field with the options that `of`, as in "the network", has of its own."""
    return {"help": f"{of}'s own options, NAME=VALUE,NAME=VALUE; `sparsify options` lists them"}


def choices(names: Iterable[str]) -> str:
    """ "a, b, c"."""
    return ", ".join(names)


def flag(name: str) -> str:
    """ "--batch-size"."""
    return "--" + name.replace("_", "-")


def finite(name: str, value: object) -> float:
    """Return a field's value as a float. Raises SparsifyError if it is no finite number."""
    try:
        number = float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise SparsifyError(f"{flag(name)} is {shown(value)}; it must be a finite number")
    return number + 0.0  # -0.0 becomes 0.0


def fraction(name: str, value: object) -> float:
    """Return a field's value as a float. Raises SparsifyError unless it is at least 0 and below 1."""
    number = finite(name, value)
    if not 0 <= number < 1:
        raise SparsifyError(f"{flag(name)} is {shown(value)}; it must be a fraction of at least 0 and below 1")
    return number


def check_switch(name: str, value: object) -> None:
    """Raise SparsifyError unless a field's value is true or false."""
    if not isinstance(value, bool):
        raise SparsifyError(f"{flag(name)} is {shown(value)}; it must be true or false")


def check_smoothing(label_smoothing: float, loss: str) -> None:
    """Raise SparsifyError for label smoothing of another loss than the cross-entropy."""
    if label_smoothing and loss != CROSS_ENTROPY:
        given = f"--label-smoothing {shortest(label_smoothing)}"
        raise SparsifyError(f"{given} has no effect with --loss {loss}; it is of {CROSS_ENTROPY}")


def check_pretrained(model: str, spec: NetworkSpec, init: str | None) -> None:
    """Raise SparsifyError if a network has no trained weights, or if the weights are those of a run, `init`."""
    if spec.weights is None:
        has = choices([name for name, other in NETS.items() if other.weights is not None] + [f"{TORCHVISION}NAME"])
        raise SparsifyError(f"--pretrained: {model} has no trained weights; these networks have: {has}")
    if init is not None:
        raise SparsifyError(f"--pretrained has no effect with --init {init}: the run's weights are taken as they are")


def records(asked: object) -> str:
    """Return the names of records, a text with commas or a list, as one text in their order, each once.

    Raises SparsifyError for an unknown name.
    """
    names = asked.split(",") if isinstance(asked, str) else asked
    if not isinstance(names, (list, tuple)):
        raise SparsifyError(f"--record is {shown(names)}; it must be names with commas between them")
    wanted = [name.strip() if isinstance(name, str) else name for name in names if name != ""]
    for name in wanted:
        if not isinstance(name, str) or name not in RECORDS:
            raise unknown("record", name, RECORDS)
    return ",".join(name for name in RECORDS if name in wanted)


def without_place(name: str, value: object) -> object:
    """Return the value of a setting as files and reports show it: of a path its end, and the sum after an "@".

    That is the name of a folder of images, the run's folder in `init` and `release`, and in `mask` the file with its
    folder.
    """
    if name == "data" and isinstance(value, str) and value.startswith(FOLDER):
        return FOLDER + last_parts(value.removeprefix(FOLDER))
    if name in ("init", "mask", "release") and isinstance(value, str):
        return last_parts(value, 2 if name == "mask" else 1)
    return value
