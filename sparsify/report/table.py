"""The one kind of table: a frame of typed values with a format for each column, shown on a terminal, in Markdown, CSV
and HTML."""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

from rich import box
from rich.table import Table as RichTable

from sparsify.analysis.statistics import Estimate, estimate, estimate_fraction
from sparsify.files import frame_as_csv
from sparsify.text import (
    MISSING,
    capitalised,
    factor,
    in_markdown,
    minus,
    percentage,
    plain_console,
    points,
    printable,
    thousands,
    width_of,
)

if TYPE_CHECKING:
    import pandas as pd

Side = Literal["left", "right"]


def number_of(value: Any) -> float | None:
    """The number that a value sorts by: itself, or the mean of an Estimate; None of what is neither."""
    if isinstance(value, Estimate):
        return value.mean
    if isinstance(value, Real) and not isinstance(value, bool) and not math.isnan(value):
        return float(value)
    return None


@dataclass(frozen=True)
class Format:
    """How the values of a column are shown: their text, their side, and the number that they sort by.

    None and NaN are shown as a dash, the sign of a number as "−". A text among numbers, such as "diverged", stands for
    itself.
    """

    write: Callable[[Any], str] = str
    side: Side = "right"
    key: Callable[[Any], float | None] = number_of

    def text(self, value: Any) -> str:
        """What a cell shows."""
        if _is_missing(value):
            return MISSING
        return value if isinstance(value, str) else minus(self.write(value))

    def sort_key(self, value: Any) -> float | None:
        """The number that a cell sorts by; None sorts last."""
        return None if _is_missing(value) or isinstance(value, str) else self.key(value)


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


TEXT = Format(side="left")
NUMBER = Format()
COUNT = Format(thousands)  # "10,080"
RATIO = Format(percentage)  # fractions as "60%"
FACTOR = Format(factor)  # "2.51×"
POINTS = Format(points)  # differences of fractions as "+0.31"
PERCENT = Format(lambda fraction: f"{100 * fraction:.2f}")  # fractions as "98.76", below a heading that says (%)


def plus_minus(digits: int = 2) -> Format:
    """Estimates as "98.76 ± 0.05": the mean and, from two values on, the sample standard deviation."""

    def write(value: Estimate) -> str:
        mean = f"{value.mean:.{digits}f}"
        return mean if value.deviation is None else f"{mean} ± {value.deviation:.{digits}f}"

    return Format(write)


MEAN = plus_minus()


def interval(one: Estimate) -> str:
    """The interval of an estimate in %: "[98.81, 99.51]"; a dash where there is none."""
    return MISSING if one.low is None or one.high is None else f"[{one.low:.2f}, {one.high:.2f}]"


INTERVAL = Format(interval, key=lambda one: None if one.low is None else one.mean)


def estimated(values: Sequence[float]) -> Estimate | None:
    """`estimate`, or None of no values."""
    return estimate(values) if values else None


def in_percent(fractions: Sequence[float], within: Estimate | None = None) -> Estimate | None:
    """The Estimate of fractions in percent, with the interval of `within` or of `estimate_fraction`; None of none."""
    if not fractions:
        return None
    within = within or estimate_fraction(fractions)
    low, high = (None if end is None else 100 * end for end in (within.low, within.high))
    return dataclasses.replace(estimate([100 * fraction for fraction in fractions]), low=low, high=high)


def percent(fractions: Sequence[float]) -> str:
    """Fractions as "98.76", or "98.76 ± 0.05" of several; of none a dash."""
    return MEAN.text(in_percent(fractions))


@dataclass(frozen=True)
class Column:
    """A column's heading and its format."""

    heading: str
    format: Format = NUMBER


@dataclass(frozen=True)
class Turned:
    """On the terminal and in Markdown the table is turned, each row a column, below a first column of its headings."""

    corner: str
    side: Side = "left"


class TableOptions(TypedDict, total=False):
    """The fields of a `Table` that have defaults."""

    subject: str
    group: int | None
    turned: Turned | None
    spacing: Literal["wide", "edgeless", "narrow"]


@dataclass(frozen=True, eq=False)
class Table:
    """A frame of typed values, one row an arm, a run or a point, and a format for each of its columns.

    Where there is a `subject`, the title reads "subject: title", but for the page, which is about that subject. `group`
    is the number of a column whose values head groups of rows on the terminal and in Markdown; in CSV and HTML it is a
    column as any other. `spacing` is that between the terminal's columns.
    """

    title: str
    columns: tuple[Column, ...]
    frame: pd.DataFrame
    subject: str = ""
    group: int | None = None
    turned: Turned | None = None
    spacing: Literal["wide", "edgeless", "narrow"] = "wide"

    @classmethod
    def of(
        cls, title: str, columns: Sequence[Column], rows: Iterable[Sequence[Any]], **more: Unpack[TableOptions]
    ) -> Table:
        """A table of these rows; headings may repeat, as an arm can have any label."""
        import pandas as pd  # slow to import: only when it is needed

        kept = list(rows)
        series = [_column([row[place] for row in kept]) for place in range(len(columns))]
        frame = pd.concat(series, axis=1) if series else pd.DataFrame()
        frame.columns = [column.heading for column in columns]
        return cls(title, tuple(columns), frame, **more)

    @property
    def full_title(self) -> str:
        """The title behind its subject."""
        return f"{self.subject}: {self.title}" if self.subject else self.title

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """The values, row by row."""
        return self.frame.itertuples(index=False, name=None)

    def without_empty(self) -> Table:
        """The table without the columns in which no row has a value."""
        kept = [place for place in range(len(self.columns)) if not all(map(_is_missing, self.frame.iloc[:, place]))]
        columns = tuple(self.columns[place] for place in kept)
        return dataclasses.replace(self, columns=columns, frame=self.frame.iloc[:, kept])

    def texts(self) -> list[list[str]]:
        """What the cells show, row by row."""
        return [[c.format.text(value) for c, value in zip(self.columns, row, strict=True)] for row in self.rows()]


def _column(values: list[Any]) -> pd.Series:
    """Of a type of its own where all values are of one; with None among them each value stays as it is."""
    import pandas as pd

    plain = len({type(value) for value in values}) == 1 and isinstance(values[0], (bool, int, float))
    return pd.Series(values, dtype=None if plain else object)


def to_rich(table: Table) -> RichTable:
    """The table for a terminal."""
    shown = RichTable(
        title=printable(table.full_title) or None,
        box=box.SIMPLE_HEAD,
        title_justify="left",
        collapse_padding=table.spacing == "narrow",
        pad_edge=table.spacing == "wide",
    )
    heads, rows = _lines(table)
    for heading, side in heads:
        shown.add_column(printable(heading), justify=side)
    for row in rows:
        shown.add_row(*map(printable, row))
    return shown


def to_markdown(table: Table) -> str:
    """The table in Markdown, each row in one line, with its title as a bold line above."""
    plain = RichTable(box=box.MARKDOWN)
    heads, rows = _lines(table)
    for heading, side in heads:
        plain.add_column(in_markdown(heading), justify=side)
    for row in rows:
        plain.add_row(*map(in_markdown, row))
    buffer = io.StringIO()
    plain_console(file=buffer, width=width_of(plain), no_color=True).print(plain)
    text = "\n".join(line.rstrip() for line in buffer.getvalue().strip().splitlines())
    return f"**{in_markdown(table.full_title)}**\n\n{text}\n" if table.full_title else text + "\n"


def _lines(table: Table) -> tuple[list[tuple[str, Side]], list[list[str]]]:
    """The headings with their sides and the rows of text, as the terminal and Markdown show them."""
    heads = [(column.heading, column.format.side) for column in table.columns]
    texts = table.texts()
    if table.turned is not None:
        corner = (table.turned.corner, table.turned.side)
        turned = [[heading, *(row[place] for row in texts)] for place, (heading, _) in enumerate(heads)][1:]
        return [corner, *((row[0], "right") for row in texts)], turned
    if table.group is not None:
        return heads[: table.group] + heads[table.group + 1 :], _grouped(texts, table.group)
    return heads, texts


def _grouped(texts: list[list[str]], place: int) -> list[list[str]]:
    """Each run of rows of one group below a row that names it, their first cells indented."""
    rows, before = [], None
    for row in texts:
        group, (first, *rest) = row[place], row[:place] + row[place + 1 :]
        if group != before:
            rows.append([group, *("" for _ in rest)])
        rows.append([f"  {first}", *rest])
        before = group
    return rows


def to_csv(table: Table) -> str:
    """The values themselves, unrounded; of a value that has fields, such as an Estimate, one column a field."""
    import pandas as pd

    parts = []
    for place, column in enumerate(table.columns):
        values = table.frame.iloc[:, place]
        example = next((value for value in values if dataclasses.is_dataclass(value)), None)
        if example is None:
            parts.append(values)
            continue
        for name in (field.name for field in dataclasses.fields(example)):
            found = [getattr(value, name, None) for value in values]
            parts.append(pd.Series(found, dtype=object, name=f"{column.heading}: {name}"))
    return frame_as_csv(pd.concat(parts, axis=1))


@dataclass(frozen=True)
class HtmlCell:
    """What a cell shows, and the number that it sorts by."""

    text: str
    key: float | None


@dataclass(frozen=True)
class HtmlTable:
    """A table as the page's template takes it; the first cell of each row is its head."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[HtmlCell, ...], ...]


def to_html(table: Table) -> HtmlTable:
    """The captions, headings and cells of the table in HTML; the template writes the tags."""
    formats = [column.format for column in table.columns]
    cells = (
        tuple(_cell(one.text(value), one.sort_key(value)) for one, value in zip(formats, row, strict=True))
        for row in table.rows()
    )
    return HtmlTable(capitalised(table.title), tuple(column.heading for column in table.columns), tuple(cells))


def _cell(text: str, key: float | None) -> HtmlCell:
    """A cell that a narrow page breaks before its "±", if at all."""
    return HtmlCell(text.replace(" ± ", " ±\xa0"), key)
