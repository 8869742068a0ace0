"""Output for people: tables, messages and progress, as bars on a terminal and as plain lines elsewhere."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table as RichTable

from sparsify.errors import SparsifyWarning
from sparsify.text import plain_console, width_of

if TYPE_CHECKING:
    from sparsify.report.table import Table
    from sparsify.runs import Epoch
    from sparsify.training.trainer import Progress as TrainingProgress


out = Console(highlight=False, soft_wrap=False)
err = Console(stderr=True, highlight=False, emoji=False)


def _line(kind: str, message: str) -> None:
    """Print one line on stderr; on a terminal it is wrapped between words."""
    err.print(f"{kind} {escape(' '.join(message.split()))}", soft_wrap=not err.is_terminal)


def fail(message: str) -> None:
    """Print an error as one line on stderr."""
    _line("[bold red]error:[/]", message)


def show(table: Table) -> None:
    """Print a table without cutting any cell.

    If the terminal is too narrow, the table is printed in parts, each of which has the first column. If the output is
    not a terminal, each row is one line, however long.
    """
    from sparsify.report.table import to_rich  # slow to import: only when there is a table

    rich = to_rich(table)
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
    out.print(text, markup=False, emoji=False, soft_wrap=True)


def tell(text: str) -> None:
    """Print one sentence on stdout; on a terminal it is wrapped between words."""
    out.print(text, markup=False, emoji=False, soft_wrap=not out.is_terminal)


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
                _line("[bold yellow]warning:[/]", str(message))
            else:
                show(message, category, filename, lineno, file, line)

        warnings.showwarning = show_line
        yield


def _held_out(row: Epoch) -> tuple[str, float]:
    if row["val_accuracy"] is not None:
        return "val", row["val_accuracy"]
    assert row["test_accuracy"] is not None  # a row has one of the two
    return "test", row["test_accuracy"]


class TrainingDisplay:
    """A listener for `train` that shows the progress of trainings; `runs` is the number of trainings in all."""

    def __init__(self, runs: int = 1) -> None:
        self._runs = runs
        self._seen: list[str] = []
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=9),
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
            console=out,
        )
        self._tasks: dict[str, TaskID] = {}  # the bar of each training that is in progress
        self._accuracy: dict[str, str] = {}  # after the last finished epoch of each run

    @property
    def trained(self) -> list[str]:
        """The names of the runs that were trained while this display was shown."""
        return self._seen

    def __enter__(self) -> TrainingDisplay:
        if out.is_terminal:
            self._bars.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        if out.is_terminal:
            self._bars.stop()

    def __call__(self, progress: TrainingProgress) -> None:
        run = progress.run
        if run not in self._seen:
            self._seen.append(run)
        if run not in self._tasks:
            self._tasks[run] = self._bars.add_task(run, total=progress.steps)
            if progress.row is None:  # resumed: earlier steps must not enter the estimate of the time left
                self._bars.reset(self._tasks[run], total=progress.steps, completed=progress.step)
        number = f"{self._seen.index(run) + 1}/{self._runs} " if self._runs > 1 else ""
        where = f"{number}{run} epoch {progress.epoch}/{progress.epochs}"
        if progress.row is not None:
            self._accuracy[run] = f" {_held_out(progress.row)[1]:.1%}"
        text = where + self._accuracy.get(run, "")
        self._bars.update(self._tasks[run], completed=progress.step, description=text)
        if progress.ended:
            self._bars.remove_task(self._tasks.pop(run))
        if progress.row is not None and not out.is_terminal:
            name, accuracy = _held_out(progress.row)
            say(
                f"{where} · loss {progress.row['train_loss']:.4f} · {name} {accuracy:.2%} · "
                f"{progress.row['seconds']:.1f} s"
            )


@contextmanager
def counting(text: str, begin: Callable[[], None]) -> Iterator[Callable[[int, int], None]]:
    """Give a listener for `prune` that shows a bar on a terminal; `begin` is called before the first point."""
    columns = (TextColumn(text), BarColumn(bar_width=30), MofNCompleteColumn(), TimeRemainingColumn(compact=True))
    bars = Progress(*columns, TextColumn("left"), console=out, transient=True)
    task = bars.add_task(text, total=None)

    begun = False

    def listener(done: int, total: int) -> None:
        nonlocal begun
        if not begun:
            begun = True
            begin()
            if out.is_terminal:
                bars.start()
        bars.update(task, completed=done, total=total)

    try:
        yield listener
    finally:
        if out.is_terminal:
            bars.stop()
