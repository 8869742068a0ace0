"""The figures of a study inside the page, as data URIs, within a limit of bytes."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import quote

from PIL import Image

from sparsify.drawing.style import DPI
from sparsify.viz.study import Drawn

SVG = "data:image/svg+xml,"


@dataclass(frozen=True)
class Picture:
    """One figure to show: its data URI, or None where there is no room for it, and its width and height in inches."""

    drawn: Drawn
    uri: str | None
    width: float
    height: float

    @property
    def follows(self) -> bool:
        """Whether it follows the reader's light or dark scheme, as SVGs do; pixels are on white."""
        return self.uri is not None and self.uri.startswith(SVG)


def pictures(drawn: Sequence[Drawn]) -> list[Picture]:
    """Every figure as SVG, or as PNG of 256 colours where that is smaller."""
    found = []
    for one in drawn:
        with Image.open(one.png) as image:
            width, height = (side / DPI for side in image.size)
            drawing = f"{SVG}{_quoted(one.svg.read_text(encoding='utf-8'))}"
            pixels = f"data:image/png;base64,{base64.b64encode(_palette(image)).decode()}"
        found.append(Picture(one, min(drawing, pixels, key=len), width, height))
    return found


def within(found: Sequence[Picture], most: int, around: int = 0) -> list[Picture]:
    """The pictures, without the URI of each for which, in their order, there is no room left in `most` bytes.

    The page names the files of these instead. Each that is shown takes `around` bytes beside its URI.
    """
    kept = []
    for one in found:
        size = len(one.uri or "") + around
        kept.append(one if size <= most else replace(one, uri=None))
        most -= size if size <= most else 0
    return kept


def _quoted(svg: str) -> str:
    """The text as part of a URL, which takes a quarter less than base64.

    In its tags are the quotes that a URL may hold, and "href" is without "xlink:", which no browser needs.
    """
    shorter = re.sub(r"<[^>']*>", lambda tag: tag[0].replace('"', "'").replace(" xlink:href=", " href="), svg)
    return quote(" ".join(shorter.split("\n")), safe=" /:;=,*!@?~$+'(){}")


def _palette(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
