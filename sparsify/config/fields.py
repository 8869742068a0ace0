"""What the fields of a Config share: their help, the command line's reading of them, and checks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Annotated

from cyclopts import Parameter, Token

from sparsify.errors import SparsifyError, shown
from sparsify.optim.registry import OPTIMIZERS


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

OwnOptions = Annotated[str, Parameter(converter=_several, n_tokens=-1)]
"""A list as one text, as of options with their values; on the command line the flag can stand several times."""


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
