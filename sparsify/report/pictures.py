"""The figures of a study inside the page, as data URIs, within a limit of bytes."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from sparsify.drawing.style import DPI
from sparsify.viz.study import Drawn

HEAVY = 200_000  # bytes: a PNG is shown in the place of a larger SVG
MOST = 4_500_000  # bytes of all pictures together


@dataclass(frozen=True)
class Picture:
    """One figure to show: its data URI, or None where there is no room for it, and its width and height in inches."""

    drawn: Drawn
    uri: str | None
    width: float
    height: float


def pictures(drawn: Sequence[Drawn], *, most: int = MOST) -> list[Picture]:
    """Every figure as SVG, or as PNG of 256 colours where the SVG is heavy.

    Figures from which on all together are more than `most` bytes have no URI: the page names their files instead.
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
