"""Tables as text: every cell whole, and as it was written."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

UNLIMITED = 1_000_000  # columns: wider than any table


def plain_console(**how: Any) -> Console:
    """A Console that shows text as it stands: a label such as "slbi [ours]" or ":zap:" is neither markup nor emoji."""
    return Console(highlight=False, markup=False, emoji=False, **how)


def width_of(table: Table) -> int:
    """How many columns of a terminal a table takes if no cell is cut or wrapped."""
    return plain_console(width=UNLIMITED).measure(table).maximum
