"""Progress for people: bars with the time left in terminals and notebooks, and a line an epoch elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, ParamSpec

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn

from sparsify.progress import bars, has_bars

if TYPE_CHECKING:
    from sparsify.runs.records import Epoch
    from sparsify.training.trainer import Progress as TrainingProgress

News = ParamSpec("News")


@contextmanager
def shown(
    listener: Callable[News, None] | None, display: AbstractContextManager[Callable[News, None]] | None
) -> Iterator[Callable[News, None] | None]:
    """Give a listener that passes its news on to the display, which is shown meanwhile, and to `listener`, if any."""
    if display is None:
        yield listener
        return
    with display as show:

        def both(*args: News.args, **kwargs: News.kwargs) -> None:
            show(*args, **kwargs)
            if listener is not None:
                listener(*args, **kwargs)

        yield both


class TrainingDisplay:
    """A listener for `train` that shows the progress of trainings; `runs` is the number of trainings in all."""

    def __init__(self, runs: int = 1, console: Console | None = None) -> None:
        self._runs = runs
        self._console = console or Console(highlight=False)
        self._seen: list[str] = []
        columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=9))
        self._bars = bars(*columns, console=self._console)
        self._tasks: dict[str, TaskID] = {}  # the bar of each training that is in progress
        self._accuracy: dict[str, str] = {}  # after the last finished epoch of each run

    @property
    def trained(self) -> list[str]:
        """The names of the runs that were trained while this display was shown."""
        return self._seen

    def __enter__(self) -> TrainingDisplay:
        return self

    def __exit__(self, *_exc: object) -> None:
        if has_bars(self._console):
            self._bars.stop()

    def __call__(self, progress: TrainingProgress) -> None:
        if has_bars(self._console):
            self._bars.start()  # not before: the data may be decoded first, under a bar of its own
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
        if progress.row is not None and not has_bars(self._console):
            name, accuracy = _held_out(progress.row)
            line = f"{where} · loss {progress.row['train_loss']:.4f} · {name} {accuracy:.2%}"
            line += f" · {progress.row['seconds']:.1f} s"
            self._console.print(line, markup=False, emoji=False, soft_wrap=True)


def _held_out(row: Epoch) -> tuple[str, float]:
    if row["val_accuracy"] is not None:
        return "val", row["val_accuracy"]
    assert row["test_accuracy"] is not None  # a row has one of the two
    return "test", row["test_accuracy"]
