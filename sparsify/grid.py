"""Grids: lists of settings whose product makes arms, or candidates for one."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any

from sparsify.config import Config
from sparsify.errors import SparsifyError, unknown

Grid = Mapping[str, list[Any]]
"""Fields of Config with the values that each takes."""

_OWN_NAMES = ("opt", "model")
"""Fields whose values say by themselves what they are."""


def check_grid(values: object, where: str) -> dict[str, list[Any]]:
    """A TOML table of lists as a grid. Raises SparsifyError for what is no list of values of a Config's field."""
    if not isinstance(values, dict):
        raise SparsifyError(f"{where} is {values!r}; it must be a table of lists, as in lr = [0.05, 0.1]")
    fields = [field.name for field in dataclasses.fields(Config) if field.name != "seed"]
    grid = {}
    for key, value in values.items():
        if key == "seed":
            raise SparsifyError(f"seed is in {where}; the seeds of all arms are the study's: seeds = [0, 1, 2]")
        if key not in fields:
            raise unknown("setting", key, fields, where=where)
        grid[key] = value if isinstance(value, list) else [value]
        if not grid[key]:
            raise SparsifyError(f"{key} is empty in {where}; write a list of values, as in [0.05, 0.1]")
        for one in grid[key]:
            if grid[key].count(one) > 1:
                raise SparsifyError(f"{key} names {one!r} twice in {where}")
    return grid


def points(grid: Grid) -> list[dict[str, Any]]:
    """Every combination, the last key's values next to each other; of an empty grid the empty one."""
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def describe(point: Mapping[str, Any]) -> str:
    """A point in words: "slbi, lr 0.05"."""
    return ", ".join(
        _written(value) if key in _OWN_NAMES else f"{key.replace('_', ' ')} {_written(value)}"
        for key, value in point.items()
    )


def arm_label(first: str | None, settings: Mapping[str, Any], point: Mapping[str, Any], grid: Grid) -> str:
    """`first`, or the optimizer, then what differs within the grid."""
    differs = {key: value for key, value in point.items() if len(grid[key]) > 1 and (first or key != "opt")}
    return ", ".join(filter(None, (first or str(settings.get("opt", Config.opt)), describe(differs))))


def _written(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
