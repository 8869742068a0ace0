"""The limits of what can be asked for, above what anybody would: they stop typing errors and damaged files at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sparsify.errors import SparsifyError, quoted, shown, unknown


@dataclass(frozen=True)
class Limit:
    """The smallest and the largest value that a whole number can have."""

    least: int
    most: int

    def check(self, name: str, value: object) -> None:
        """Raise SparsifyError, which calls the value by `name`, unless it is a whole number within the limits."""
        if isinstance(value, bool) or not isinstance(value, int) or value < self.least:
            raise SparsifyError(f"{name} is {shown(value)}; it must be a whole number of at least {self.least}")
        if value > self.most:
            raise SparsifyError(f"{name} is {shown(value)}; it must be at most {self.most}")


EPOCHS = Limit(1, 10**6)
BATCH_SIZE = Limit(1, 2**31 - 1)
SEED = Limit(0, 2**63 - 1)
DRAWS = Limit(1, 10_000)
ROUNDS = Limit(1, 10_000)
EPOCHS_AFTER = Limit(0, 10**6)
"""Epochs that can also be 0: of fine-tuning, and before a mask applies."""

PIXELS = Limit(1, 4096)
"""The height and width to which images are resized."""

MOST_SEEDS = 10_000
"""The seeds of a study or of `train --seeds`."""

MOST_RATIOS = 10_000
"""The ratios of a sweep."""

MOST_SETS = 1_000
"""The sets of layers of a sweep."""

MOST_NAMES = 10_000
"""The names in a set of layers."""

MOST_NETWORKS = 1_000_000
"""The pruned networks that one sweep measures of one run."""

MOST_ARMS = 20_000
"""The arms of a study, those of its grids included; and the candidates of an arm's choice."""

MOST_SWEEPS = 100
"""The sweeps of a study."""

MOST_CONTRASTS = 1_000
"""The contrasts that a study names."""

MOST_RUNS = 100_000
"""The runs of a study: its arms and candidates, each with its seeds."""

LONGEST_TEXT = 4096
"""The characters of a path, a name or a label: no path is longer."""

MOST_BYTES = 1_000_000
"""The bytes of a study's TOML file."""

MOST_DEPTH = 50
"""How deep the lists and tables of a file are nested."""

MOST_DIGITS = 400
"""The digits of a whole number in a file: the largest float has 309."""


def at_most(count: int, most: int, what: str) -> None:
    """Raise SparsifyError if `count` is more than `most`; `what` is counted."""
    if count > most:
        raise SparsifyError(f"{shown(count) if count > 10**18 else f'{count:,}'} {what} are too many; at most {most:,}")


def check_keywords(whole: object, named: Iterable[str], choices: Iterable[str], kind: str = "a plan") -> None:
    """Raise SparsifyError if there are keywords beside the whole that they stand for, or one that none has."""
    if whole is not None and named:
        raise SparsifyError(f"{', '.join(named)} and {kind} exclude each other; name one or the other")
    for name in named:
        if name not in choices:
            raise unknown("keyword", name, choices)


def checked_text(name: str, value: str) -> str:
    """Return a text that can be written to files as it is.

    Raises SparsifyError if it is too long, and as `checked_characters`.
    """
    if len(value) > LONGEST_TEXT:
        raise SparsifyError(f"{name} is {quoted(value)}; it has {len(value):,} characters, at most {LONGEST_TEXT:,}")
    return checked_characters(name, value)


def checked_characters(name: str, value: str) -> str:
    """Return a text of any length.

    Raises SparsifyError for what no file and no file's name can hold: NUL and lone surrogates, as bytes that are no
    UTF-8 are read.
    """
    if "\0" in value or any("\ud800" <= one <= "\udfff" for one in value):
        raise SparsifyError(f"{name} is {quoted(value)}; it must be text without NUL, and in UTF-8")
    return value


def checked_sets(layers: object) -> tuple[str, ...]:
    """Return sets of layers, of which a text is one, as a tuple.

    Raises SparsifyError for anything that is no text, and for too many sets or names.
    """
    if not isinstance(layers, (str, list, tuple)):
        raise SparsifyError(f"layers are {shown(layers)}; they must be a text or several, as in conv3,fc1")
    sets = (layers,) if isinstance(layers, str) else tuple(layers)
    at_most(len(sets), MOST_SETS, "sets of layers")
    for names in sets:
        if not isinstance(names, str):
            raise SparsifyError(f"layers are {shown(names)}; they must be a text, as in conv3,fc1")
        at_most(names.count(",") + 1, MOST_NAMES, "layers in a set")
        for name in names.split(","):
            checked_text("a layer", name)
    return sets


def checked_values(values: object) -> None:
    """Raise SparsifyError if what was read from TOML or JSON is nested too deep, or has too long a whole number.

    The limits are `MOST_DEPTH` and `MOST_DIGITS`. What passes can be converted, compared and shown.
    """
    level, too_large = [values], 10**MOST_DIGITS
    for _ in range(MOST_DEPTH):
        inside: list[object] = []
        for value in level:
            if isinstance(value, dict):
                inside += value.values()
            elif isinstance(value, (list, tuple)):
                inside += value
            elif isinstance(value, int) and abs(value) >= too_large:
                raise SparsifyError(f"it holds a whole number of more than {MOST_DIGITS} digits")
        level = inside
        if not level:
            return
    raise SparsifyError(f"its lists and tables are nested more than {MOST_DEPTH} deep")


def twice(values: Iterable[object]) -> object | None:
    """Return the first value that stands there twice, None if there is none."""
    seen = set()
    for value in values:
        if value in seen:
            return value
        seen.add(value)
    return None
