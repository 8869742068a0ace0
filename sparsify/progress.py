"""Bars with the time left, for what a person waits for: in terminals and in notebooks, and nowhere else."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.file_proxy import FileProxy
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn


def has_bars(console: Console) -> bool:
    """Whether bars are drawn: on a terminal, and in a notebook that has ipywidgets, without which rich cannot."""
    return console.is_terminal or (console.is_jupyter and importlib.util.find_spec("ipywidgets") is not None)


def bars(*columns: ProgressColumn, console: Console, transient: bool = False) -> Progress:
    """A bar for each task, with these columns and the time left. `transient` ones vanish at the end."""
    return Progress(
        *columns, TimeRemainingColumn(compact=True), TextColumn("left"), console=console, transient=transient
    )


@contextmanager
def counting(
    text: str, begin: Callable[[], None] = lambda: None, console: Console | None = None
) -> Iterator[Callable[[int, int], None]]:
    """Give a listener `(done, total)` that shows a bar, where there are bars, unless others are shown already.

    `begin` is called before the first news.
    """
    console = console or Console(highlight=False)
    shown = bars(TextColumn(text), BarColumn(bar_width=30), MofNCompleteColumn(), console=console, transient=True)
    task = shown.add_task(text, total=None)
    begun, visible = False, has_bars(console) and not isinstance(sys.stdout, FileProxy)  # which others print through

    def listener(done: int, total: int) -> None:
        nonlocal begun
        if not begun:
            begun = True
            begin()
            if visible:
                shown.start()
        shown.update(task, completed=done, total=total)

    try:
        yield listener
    finally:
        if visible:
            shown.stop()
