"""Lists, durations, sizes and p values as text, and consoles that show text as it stands."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.table import Table


def listed(names: Iterable[str]) -> str:
    """ "a, b and c"."""
    *first, last = list(names) or [""]
    return f"{', '.join(first)} and {last}" if first else last


def capitalised(text: str) -> str:
    """ "With BatchNorm" of "with BatchNorm": the rest stays as it is, where `str.capitalize` lowers it."""
    return text[:1].upper() + text[1:]


UNLIMITED = 1_000_000  # columns: wider than any table


def plain_console(**how: Any) -> Console:
    """A Console that shows text as it stands: a label such as "slbi [ours]" or ":zap:" is neither markup nor emoji."""
    return Console(highlight=False, markup=False, emoji=False, **how)


def width_of(table: Table) -> int:
    """How many columns of a terminal a table takes if no cell is cut or wrapped."""
    return plain_console(width=UNLIMITED).measure(table).maximum


def duration(seconds: float) -> str:
    """ "12 s", "3 min", "1.5 h": two digits are all that an estimate is worth."""
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"


def size(count: float) -> str:
    """Bytes as "340 kB", "12 MB", "1.5 GB"."""
    for unit in ("B", "kB", "MB"):
        if count < 999.5:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def layers_in_words(layers: str) -> str:
    """ "conv1, conv3 and fc1"; more than four are counted."""
    names = layers.split(",")
    return f"{len(names)} layers" if len(names) > 4 else listed(names)


def p_in_words(p: float) -> str:
    """ "p = 0.02", or "p < 0.001" for what is smaller."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"
