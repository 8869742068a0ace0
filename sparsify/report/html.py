"""The report's tables and pictures as the template takes them."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image
from rich.table import Table

from sparsify.text import capitalised
from sparsify.viz.study import Drawn
from sparsify.viz.style import DPI

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


HEAVY = 200_000  # bytes of an SVG, from which on a PNG is shown in its place
MOST = 4_500_000  # bytes of all pictures together


@dataclass(frozen=True)
class Picture:
    """One figure to show: its data URI, or None where there is no room for it, and its width and height in inches."""

    drawn: Drawn
    uri: str | None
    width: float
    height: float


def pictures(drawn: Sequence[Drawn], *, most: int = MOST) -> list[Picture]:
    """Every figure as SVG, or as PNG of 256 colours where that is heavy, until all together are `most` bytes.

    What comes after is left out of the page and lies beside it.
    """
    found, spent = [], 0
    for one in drawn:
        with Image.open(one.png) as image:
            width, height = (pixels / DPI for pixels in image.size)
            content, kind = one.svg.read_bytes(), "svg+xml"
            if len(content) > HEAVY:
                content, kind = _palette(image), "png"
        uri = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
        spent += len(uri)
        found.append(Picture(one, uri if spent <= most else None, width, height))
    return found


def _palette(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
