"""Tables as the template takes them: a caption, a head and rows of cells that know how they sort."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rich.table import Table

from sparsify.phrases import capitalised

_NUMBER = re.compile(r"(?:[<≥] )?([+−-]?[\d,]*\.?\d+(?:e[+-]?\d+)?)(?: ± [\d.]+)?(?:\s?[%×])?\*?")


@dataclass(frozen=True)
class HtmlCell:
    """What a cell shows."""

    text: str

    @property
    def key(self) -> float | None:
        """What it sorts by: 99.16 of "99.16 ± 0.14", None of what is no number, as of a dash."""
        match = _NUMBER.fullmatch(self.text.strip())
        return None if match is None else float(match[1].replace(",", "").replace("−", "-"))


@dataclass(frozen=True)
class HtmlTable:
    """A table; the first cell of each row is its head."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[HtmlCell, ...], ...]

    @classmethod
    def of(cls, table: Table, *, corner: str | None = None, drop: str = "") -> HtmlTable:
        """The same table, without what its title begins with (`drop`).

        With a `corner` it is turned: each column but the first is a row, under the cells of the first and the corner.
        """
        columns = [(str(column.header), *map(str, column.cells)) for column in table.columns]
        caption = capitalised(str(table.title or "").removeprefix(drop))
        if corner is None:
            head, *rows = zip(*columns, strict=True)
        else:
            (_, *names), *rows = columns
            head = (corner, *names)
        return cls(caption, tuple(head), tuple(tuple(map(HtmlCell, row)) for row in rows))

    @classmethod
    def grouped(cls, table: Table, name: str, *, drop: str = "") -> HtmlTable:
        """A table in which rows of nothing but a first cell head groups: that cell becomes a column called `name`."""
        plain = cls.of(table, drop=drop)
        rows, group = [], HtmlCell("")
        for first, *rest in plain.rows:
            if not any(cell.text for cell in rest):
                group = first
            else:
                rows.append((HtmlCell(first.text.strip()), group, *rest))
        return cls(plain.caption, (plain.head[0], name, *plain.head[1:]), tuple(rows))
