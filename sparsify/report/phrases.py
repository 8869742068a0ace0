"""Small words that several parts of the report need."""

from __future__ import annotations

from collections.abc import Iterable

from sparsify.study import StudyResult


def held_out(result: StudyResult) -> str:
    """The split that the study is measured on: "test" or "val"."""
    return next((run.summary["held_out"] for arm in result.arms for run in arm.finished), "test")


def listed(names: Iterable[str]) -> str:
    """ "a, b and c"."""
    *first, last = list(names) or [""]
    return f"{', '.join(first)} and {last}" if first else last
