"""Combinations of settings: those of a grid, and what they are called."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

from sparsify.config import OWN_OPTIONS, Config, without_place
from sparsify.errors import SparsifyError, quoted
from sparsify.limits import MOST_ARMS, at_most, twice
from sparsify.text import written

_OWN_NAMES = ("opt", "model", *OWN_OPTIONS)
"""Fields whose values are clear without the name of the field."""

Grid = Mapping[str, list[Any]]
"""The values to try of each field of Config, by the field's name."""


def as_grid(settings: Mapping[str, Any], where: str) -> dict[str, list[Any]]:
    """Return the settings of a table, each of which is a value or a list of values, as a grid.

    Raises SparsifyError for an empty list, and for a value that is named twice.
    """
    grid: dict[str, list[Any]] = {}
    for key, value in settings.items():
        grid[key] = value if isinstance(value, list) else [value]
        if not grid[key]:
            raise SparsifyError(f"{key} is empty in {where}; write a list of values, as in [0.05, 0.1]")
        one = twice(grid[key])
        if one is not None:
            raise SparsifyError(f"{key} names {quoted(one)} twice in {where}")
    return grid


def combinations(grid: Grid) -> list[dict[str, Any]]:
    """Return every combination of a grid's values; the last key changes fastest. An empty grid has one: {}.

    Raises SparsifyError if there are more than a study can have arms.
    """
    at_most(math.prod(map(len, grid.values())), MOST_ARMS, "combinations of settings")
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def describe_settings(point: Mapping[str, Any]) -> str:
    """Return a combination of settings in words: "slbi, lr 0.05"; paths in it are `without_place`."""
    words = {key: written(without_place(key, value)) for key, value in point.items()}
    return ", ".join(text if key in _OWN_NAMES else f"{key.replace('_', ' ')} {text}" for key, text in words.items())


def arm_label(first: str | None, settings: Mapping[str, Any], point: Mapping[str, Any], grid: Grid) -> str:
    """Return `first`, or else the optimizer's name, and then the settings that differ within the grid."""
    differs = {key: value for key, value in point.items() if len(grid[key]) > 1 and (first or key != "opt")}
    return ", ".join(filter(None, (first or str(settings.get("opt", Config.opt)), describe_settings(differs))))
