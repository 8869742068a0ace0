"""The table of a picture: the probability of each class, as a bar."""

from __future__ import annotations

from collections.abc import Sequence

from sparsify.report.table import TEXT, Column, Format, Table

WIDTH = 20  # characters of the bar of 100%
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def bar(fraction: float) -> str:
    """A fraction as a bar of at most `WIDTH` characters and a percentage: "█████      25.0%"."""
    eighths = round(fraction * WIDTH * 8)
    drawn = "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")
    return f"{drawn:<{WIDTH}} {fraction:6.1%}"


def prediction_table(
    name: str, classes: Sequence[str], whole: Sequence[float], pruned: Sequence[float] | None, *, gone: str, top: int
) -> Table:
    """The `top` classes of a picture called `name` by the whole network's probability, and the pruned network's."""
    order = sorted(range(len(classes)), key=lambda place: -whole[place])[:top]
    if pruned is not None:  # what the pruned network takes it for is shown in any case
        best = max(range(len(classes)), key=lambda place: pruned[place])
        order += [best] if best not in order else []
    columns = [Column("class", TEXT), Column("probability", Format(bar))]
    columns += [Column(gone, Format(bar))] if pruned is not None else []
    rows = [(classes[place], whole[place], *([] if pruned is None else [pruned[place]])) for place in order]
    return Table.of(name, columns, rows)
