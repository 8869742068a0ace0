"""Small words that tables, figures and reports need."""

from __future__ import annotations

from collections.abc import Iterable


def listed(names: Iterable[str]) -> str:
    """ "a, b and c"."""
    *first, last = list(names) or [""]
    return f"{', '.join(first)} and {last}" if first else last


def capitalised(text: str) -> str:
    """ "With BatchNorm" of "with BatchNorm": the rest stays as it is, where `str.capitalize` lowers it."""
    return text[:1].upper() + text[1:]
