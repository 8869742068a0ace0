"""Output for people: tables and messages."""

from __future__ import annotations

import copy
import io
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from rich import box
from rich.console import Console, JustifyMethod
from rich.markup import escape
from rich.table import Table as RichTable

from sparsify.errors import SparsifyWarning, one_line
from sparsify.text import plain_console, printable, simple_table, width_of

if TYPE_CHECKING:
    from sparsify.report.table import Table


out = Console(highlight=False, soft_wrap=False)
err = Console(stderr=True, highlight=False, emoji=False)


def _line(kind: str, message: str) -> None:
    """Print one line on stderr; on a terminal it is wrapped between words."""
    err.print(f"{kind} {escape(one_line(' '.join(message.split())))}", soft_wrap=not err.is_terminal)


def show_anything() -> None:
    """Replace what the terminal's encoding cannot show, such as "α" in ASCII, by "?"; for the rest of the process."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def fail(message: str) -> None:
    """Print an error as one line on stderr."""
    _line("[bold red]error:[/]", message)


def warn(message: str) -> None:
    """Print a warning as one line on stderr."""
    _line("[bold yellow]warning:[/]", message)


def show(table: Table) -> None:
    """Print a table without cutting any cell.

    If the terminal is too narrow, the table is printed in parts, each of which has the first column. If the output is
    not a terminal, each row is one line, however long.
    """
    from sparsify.report.table import to_rich  # slow to import: only when there is a table

    _show(to_rich(table))


def _show(rich: RichTable) -> None:
    widths = [width_of(_part(rich, [column])) for column in range(len(rich.columns))]
    whole = width_of(rich)
    parts, room = [[0]], out.width - widths[0]
    for column, width in enumerate(widths[1:], start=1):
        if out.is_terminal and whole > out.width and width > room and parts[-1] != [0]:
            parts.append([0])
            room = out.width - widths[0]
        parts[-1].append(column)
        room -= width
    for number, columns in enumerate(parts):
        part = _part(rich, columns)
        part.title = rich.title if number == 0 else None
        plain_console(width=max(out.width, width_of(part))).print(part)


MANY = 500
"""Rows from which on a list is too long to be cut into parts that are as wide as the terminal."""


def show_list(heads: Sequence[tuple[str, JustifyMethod]], rows: Sequence[Sequence[str]]) -> None:
    """Print headings, each with its side, and rows of texts as `show` prints a table, but thousands of them at once."""
    shown = [[printable(text) for text in row] for row in rows]
    if not out.is_terminal or len(rows) >= MANY:
        out.file.write(simple_table(heads, shown))
        return
    table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading, side in heads:
        table.add_column(heading, justify=side)
    for row in shown:
        table.add_row(*row)
    _show(table)


def _part(table: RichTable, columns: list[int]) -> RichTable:
    """Return a table of some of the columns, without the title."""
    part = copy.copy(table)
    part.title, part.columns, part.rows = None, [], []
    for column in (table.columns[index] for index in columns):
        part.add_column(column.header, justify=column.justify)
    for row in zip(*(table.columns[index].cells for index in columns), strict=True):
        part.add_row(*row)
    return part


def say(text: str) -> None:
    """Print one line on stdout without wrapping it, so that it can be copied."""
    out.print(printable(text, keep="\n"), markup=False, emoji=False, soft_wrap=True)


def tell(text: str) -> None:
    """Print one sentence on stdout; on a terminal it is wrapped between words."""
    out.print(printable(text, keep="\n"), markup=False, emoji=False, soft_wrap=not out.is_terminal)


@contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Show each SparsifyWarning as one line on stderr, and the same warning only once."""
    with warnings.catch_warnings():
        warnings.simplefilter("default", SparsifyWarning)
        show = warnings.showwarning

        def show_line(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if issubclass(category, SparsifyWarning):
                warn(str(message))
            else:
                show(message, category, filename, lineno, file, line)

        warnings.showwarning = show_line
        yield
