"""The options that a network, an optimizer or a schedule has of its own: what each can be, and how all are written.

A registry's entry names them with their defaults. A Config holds those that differ as one text, as in
"dropout=0.3,norm=batch", which is what the command line takes; a study's file can also write a table.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sparsify.errors import SparsifyError, quoted, shown, unknown
from sparsify.limits import LONGEST_TEXT, MOST_DIGITS
from sparsify.text import shortest

Scalar = bool | int | float | str
Value = Scalar | tuple[int, ...] | tuple[float, ...]
"""What an option can be: a switch, a number, a name, or several numbers, which a text joins as in 5+3."""

Given = str | Mapping[str, object]
"""Options as a text, or by their names."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One option: its default, whose type is the option's, what it does, and the limits of each of its numbers.

    `above` and `below` are limits that it cannot reach. A tuple has as many numbers as the default; with `any_count`
    one or more.
    """

    default: Value
    help: str = ""
    choices: tuple[str, ...] = ()
    least: float = -math.inf
    most: float = math.inf
    above: float = -math.inf
    below: float = math.inf
    any_count: bool = False

    def read(self, name: str, value: object) -> Value:
        """Return the option's value from a text, or from a value of TOML or Python.

        Raises SparsifyError, which calls it by `name`, if it is not of the default's type or not within the limits.
        """
        default = self.default
        try:
            if isinstance(default, bool):
                return _switch(value)
            if isinstance(default, str):
                if not isinstance(value, str) or (self.choices and value not in self.choices):
                    raise ValueError
                return value
            if not isinstance(default, tuple):
                return self._within(_number(value, type(default)))
            parts = value.split("+") if isinstance(value, str) else value
            parts = list(parts) if isinstance(parts, (list, tuple)) else [parts]
            if not parts or not (self.any_count or len(parts) == len(default)):
                raise ValueError
            return tuple(self._within(_number(part, type(default[0]))) for part in parts)
        except (ValueError, OverflowError) as error:
            raise SparsifyError(f"{name} is {shown(value)}; it must be {self.wanted}") from error

    @property
    def wanted(self) -> str:
        """What the option can be, in words: "a number of at least 0 and below 1"."""
        default = self.default
        if isinstance(default, bool):
            return "true or false"
        if isinstance(default, str):
            return f"one of {', '.join(self.choices)}" if self.choices else "a text"
        several = isinstance(default, tuple)
        whole = isinstance(default[0] if isinstance(default, tuple) else default, int)
        noun = ("whole number" if whole else "number") + ("s" if several else "")
        if several:
            counts = "one or more" if self.any_count else str(len(default))  # type: ignore[arg-type]  # a tuple
            noun = f"{counts} {noun}, as in {_text(default)}"
        else:
            noun = f"a {noun}"
        limits = (
            ("of at least", self.least),
            ("above", self.above),
            ("below", self.below),
            ("at most", self.most),
        )
        held = [f"{words} {limit:g}" for words, limit in limits if math.isfinite(limit)]
        return f"{noun}{', each' if several and held else ''} {' and '.join(held)}".strip()

    def _within(self, number: float) -> float:
        if not (self.least <= number <= self.most and self.above < number < self.below):
            raise ValueError
        return number


MOST = 1e9
"""The largest number of an option whose limits nobody has written down: larger ones end in overflows."""


def settings_of(
    function: Callable[..., object], *, without: Sequence[str], least: float = -math.inf
) -> dict[str, Setting]:
    """Return a Setting of each number, switch and tuple of numbers that a function or class takes with such a default.

    A number is whole only if its annotation is int: torch often writes 0 for 0.0. Parameters in `without`, and those
    whose default is something else or missing, are left out.
    """
    found = {}
    for parameter in inspect.signature(function).parameters.values():
        default = parameter.default
        kind = int if parameter.annotation in (int, "int") else float
        value: Value
        if isinstance(default, bool):
            value = default
        elif isinstance(default, (int, float)):
            value = kind(default)
        elif isinstance(default, tuple) and all(isinstance(number, (int, float)) for number in default):
            value = tuple(kind(number) for number in default)
        else:
            continue
        if parameter.name not in without:
            found[parameter.name] = Setting(default=value, least=least, most=MOST)
    return found


def _switch(value: object) -> bool:
    if value in ("true", "false"):
        return value == "true"
    if not isinstance(value, bool):
        raise ValueError
    return value


def _number(value: object, kind: type) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError
    if isinstance(value, str) and len(value) > MOST_DIGITS:
        raise ValueError
    if kind is int:
        if isinstance(value, float):
            raise ValueError
        return int(value)
    number = float(value)
    if not math.isfinite(number):
        raise ValueError
    return number + 0.0  # -0.0 becomes 0.0


def _text(value: Value) -> str:
    if isinstance(value, tuple):
        return "+".join(map(_text, value))
    if isinstance(value, bool):
        return "true" if value else "false"
    return shortest(value) if isinstance(value, float) else str(value)


def _pairs(flag: str, given: Given) -> Iterator[tuple[str, object]]:
    """Each option that is given with its value, from a text or by name. Raises SparsifyError for a malformed text."""
    if isinstance(given, Mapping):
        yield from given.items()
        return
    if not isinstance(given, str) or len(given) > LONGEST_TEXT:
        raise SparsifyError(f"{flag} is {quoted(given)}; it must be options with values, as in NAME=VALUE,NAME=VALUE")
    seen = set()
    for part in given.split(",") if given.strip() else []:
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not name or not equals or not value:
            raise SparsifyError(f"{flag} has {quoted(part)}; write NAME=VALUE,NAME=VALUE")
        if name in seen:
            raise SparsifyError(f"{flag} sets {shown(name)} twice")
        seen.add(name)
        yield name, value


def named(flag: str, given: Given) -> dict[str, object]:
    """Return the value of each option that is given, unchecked. Raises SparsifyError for a malformed text."""
    return dict(_pairs(flag, given))


def joined(given: Given) -> str:
    """Return options as one text, unchecked: {"dropout": 0.3, "kernels": [5, 3]} is "dropout=0.3,kernels=5+3".

    Raises SparsifyError for a name or a value with a comma or an equals sign, which the text could not hold.
    """
    if isinstance(given, str):
        return given
    for name, value in given.items():
        if set(",=") & set(f"{name}{value if isinstance(value, str) else ''}"):
            raise SparsifyError(f"option {shown(name)} is {shown(value)}; names and texts have no comma and no =")
    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    return ",".join(f"{name}={_text(value)}" for name, value in plain.items())  # type: ignore[arg-type]


def values_of(flag: str, of: str, given: Given, settings: Mapping[str, Setting]) -> dict[str, Value]:
    """Return the value of every option of `of`, the defaults included, in the order of `settings`.

    Raises SparsifyError, which names `flag`, for an unknown option, and for a value that the option cannot have.
    """
    values = {name: setting.default for name, setting in settings.items()}
    for name, value in _pairs(flag, given):
        if name not in settings:
            if not settings:
                raise SparsifyError(f"{flag} {shown(name)}: {of} has no options")
            raise unknown(f"option of {of}", name, settings, where=flag)
        values[name] = settings[name].read(f"{flag} {name}", value)
    return values


def as_text(flag: str, of: str, given: Given, settings: Mapping[str, Setting]) -> str:
    """Return the one text of these options: those that are not at their defaults, in the order of `settings`.

    Raises SparsifyError as `values_of` does.
    """
    values = values_of(flag, of, given, settings)
    return ",".join(f"{name}={_text(value)}" for name, value in values.items() if value != settings[name].default)
