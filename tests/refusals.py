"""What a text that a person can type may come to: a value, or a refusal of one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sparsify.errors import SparsifyError

T = TypeVar("T")


def read_or_refused(read: Callable[[str], T], text: str) -> T | None:
    """What is read of a text; None where it is refused by a SparsifyError, which then is one line."""
    try:
        return read(text)
    except SparsifyError as error:
        lines = str(error).splitlines()
    assert len(lines) == 1
    return None
