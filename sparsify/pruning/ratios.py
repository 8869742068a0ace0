"""Ratios: the fractions that a sweep removes, read from text or numbers, exactly."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Final, Literal

from cyclopts import Token

from sparsify.errors import SparsifyError, quoted, shown
from sparsify.limits import MOST_RATIOS, at_most

RATIOS = "0:0.6:0.1"

_FORM = "write start:stop:step as in 0:0.6:0.1 (0.6 is included), or a list as in 0,0.3,0.6, with values from 0 to 1"

_LONGEST_STEP = 100


SUPPORT: Final = "support"
"""In the place of a ratio: what a run has not selected goes. In a sweep's rows it is the criterion of that point."""

Ratio = float | Literal["support"]
"""A fraction, or `SUPPORT`."""


def without_support(ratios: str | float | Iterable[float | str]) -> tuple[str | float | Iterable[float | str], bool]:
    """Return the ratios without `SUPPORT`, and whether it was among them; 0 where there is no other.

    A text is a list with commas, whose first part may be start:stop:step: "0:0.6:0.1,support".
    """
    if isinstance(ratios, str):
        parts = ratios.split(",")
        numbers = [part for part in parts if part.strip() != SUPPORT]
        return (",".join(numbers) or "0", True) if len(numbers) < len(parts) else (ratios, False)
    if not isinstance(ratios, (list, tuple)) or SUPPORT not in ratios:
        return ratios, False
    return [ratio for ratio in ratios if ratio != SUPPORT] or [0.0], True


def parse_ratios(ratios: str | float | Iterable[float | str]) -> tuple[float, ...]:
    """Return the ratios that are given, in ascending order and without repetition.

    "start:stop:step" is parsed in decimal arithmetic, so that 0:0.6:0.1 has exactly the seven values 0, 0.1, …, 0.6.
    Raises SparsifyError for a text that is malformed or reversed, and for a ratio outside 0 to 1.
    """
    if isinstance(ratios, (int, float)):
        ratios = [ratios]
    text = ratios if isinstance(ratios, str) else ",".join(_texts(ratios))
    named = f"ratios '{shown(text)}'"
    if ":" in text:
        parts = [_decimal(part, text) for part in text.split(":")]
        if len(parts) != 3:
            raise SparsifyError(f"{named} are malformed; {_FORM}")
        start, stop, step = parts
        if step <= 0:
            raise SparsifyError(f"{named} have the step {shown(str(step))}, which must be above 0; {_FORM}")
        if stop < start:
            raise SparsifyError(f"{named} are reversed: {shown(str(start))} is above {shown(str(stop))}; {_FORM}")
        _check_range(start, stop)
        if step > _LONGEST_STEP:
            raise SparsifyError(
                f"{named} have the step {shown(str(step))}, which must be at most {_LONGEST_STEP}; {_FORM}"
            )
        if stop - start > MOST_RATIOS * step:
            raise SparsifyError(f"{named} are more than {MOST_RATIOS:,} values; use a larger step")
        values = [start + index * step for index in range(int((stop - start) / step) + 1)]
    else:
        at_most(text.count(",") + 1, MOST_RATIOS, "ratios")
        values = [_decimal(part, text) for part in text.split(",")]
    _check_range(*values)
    return tuple(sorted({abs(float(value)) for value in values}))  # abs: -0.0 is 0


def _texts(ratios: Iterable[float | str]) -> list[str]:
    try:
        values = list(itertools.islice(ratios, MOST_RATIOS + 1))  # it may have no end
    except TypeError as error:
        raise SparsifyError(f"ratios are {shown(ratios)}; {_FORM}") from error
    at_most(len(values), MOST_RATIOS, "ratios")
    texts = []
    for value in values:
        try:
            texts.append(str(float(value)))
        except (TypeError, ValueError, OverflowError) as error:
            raise SparsifyError(f"ratio {quoted(value)} is no number; {_FORM}") from error
    return texts


def _check_range(*values: Decimal) -> None:
    for value in values:
        if not 0 <= value <= 1:
            raise SparsifyError(f"ratio {shown(str(value))} is outside 0 to 1; {_FORM}")


def _decimal(part: str, text: str) -> Decimal:
    try:
        value = Decimal(part.strip())
    except InvalidOperation as error:
        reason = f"'{shown(part)}' is no number"
        raise SparsifyError(f"ratios '{shown(text)}' are malformed: {reason}; {_FORM}") from error
    if not value.is_finite():
        raise SparsifyError(f"ratios '{shown(text)}' are malformed: '{shown(part)}' is not finite; {_FORM}")
    return value


def as_text(_type: type, tokens: Sequence[Token]) -> str:
    """Return the text of the ratios, because the plan itself parses and checks it."""
    return tokens[0].value


def usual_ratios(_ratios: tuple[float, ...]) -> str:
    """Return the default as the help shows it."""
    return RATIOS
