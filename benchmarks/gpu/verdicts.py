"""What of a check's results says that something is not as it should be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Found = dict[str, Any]
"""What a check has found, as it is written to the results: names and values that JSON knows."""


def unequal(found: Found, inside: str = "") -> Iterator[str]:
    """Where it says that bits are not equal, that what is masked is not 0, or that something "DIFFERS"."""
    for key, value in found.items():
        if isinstance(value, dict):
            yield from unequal(value, f"{inside}{key}: ")
        elif (key in ("bits_equal", "zeros") and not value) or str(value).startswith("DIFFERS"):
            yield f"{inside}{key}"
