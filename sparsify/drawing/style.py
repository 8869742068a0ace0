"""What all figures share: colours that the colour-blind can tell apart, titles, legends, and saving."""

from __future__ import annotations

import io
import math
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import LogLocator, NullFormatter

from sparsify.drawing.svg import compact
from sparsify.files import write_bytes
from sparsify.optim.registry import OPTIMIZERS
from sparsify.text import printable

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

# Okabe & Ito 2008, the orange and the sky blue darker: those of theirs have a contrast of 2.3 to white
COLOURS = ("#0072B2", "#C08040", "#009E73", "#D55E00", "#CC79A7", "#0080FF", "#000000")
# of a contrast to white of 3 or more, and each as far from all others as it can be in CIELAB, on white and in the dark,
# for normal sight and for the three kinds of dichromats
FURTHER = ("#8000E0", "#804020", "#FF4080", "#8080E0", "#206040", "#E000FF", "#A080C0", "#404040", "#FF2060")
PALETTE = (*COLOURS, *FURTHER, "#602000", "#606080", "#C02080", "#402080", "#602060")
"""One for each optimizer, whose `colour` is a place in it."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
REMOVED = "#D55E00"
GREY = "#B0B0B0"
DPI = 200  # of a PNG

RC: dict[RcKeyType, object] = {
    "font.size": 9,
    "font.sans-serif": ("DejaVu Sans", "Verdana"),  # an SVG names them; Verdana is as wide
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E5E5E5",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "text.parse_math": False,  # a label with two dollar signs is no formula
    "svg.hashsalt": "sparsify",  # the same figure is the same file
    "path.simplify_threshold": 0.3,  # points of the page that a long line may be off
    "svg.fonttype": "none",  # text is text, not outlines: to be searched, read aloud and edited, in half the bytes
    "figure.constrained_layout.use": True,
}


class Look(TypedDict):
    """How a curve is drawn, by matplotlib's own names."""

    color: str
    marker: str
    markersize: float


def looks(labels: Iterable[str]) -> dict[str, Look]:
    """Colour and marker of each label. An optimizer has the same ones in every figure; other labels take what is free.

    No two labels share both colour and marker, and one that is no optimizer's shares its marker only if none is free.
    Where there are fewer colours than labels, a label whose colour is taken has a darker one, which the colour-blind
    can tell apart, too.
    """
    labels = list(labels)
    found = {label: _look(OPTIMIZERS[label].colour) for label in labels if label in OPTIMIZERS}  # they come first
    for label in labels:
        if label not in found:
            found[label] = _least_taken(list(found.values()))
    taken: set[str] = set()
    for look in found.values():
        if look["color"] in taken:
            red, green, blue = to_rgb(look["color"])
            look["color"] = to_hex((0.5 * red, 0.5 * green, 0.5 * blue))
        taken.add(look["color"])
    return {label: found[label] for label in labels}


def _look(place: int) -> Look:
    """That of an optimizer whose `colour` is this one."""
    round_, colour = divmod(place, len(PALETTE))
    marker = MARKERS[(colour + colour // len(MARKERS) + round_) % len(MARKERS)]
    return {"color": PALETTE[colour], "marker": marker, "markersize": 3.5}


def _least_taken(looks: Sequence[Look]) -> Look:
    """The first colour that the fewest of these have; and with it a marker that fewest have with it, then at all."""
    colours, markers = (Counter(look[part] for look in looks) for part in ("color", "marker"))
    pairs = Counter((look["color"], look["marker"]) for look in looks)
    color = min(PALETTE, key=lambda color: colours[color])
    marker = min(MARKERS, key=lambda marker: (pairs[color, marker], markers[marker]))
    return {"color": color, "marker": marker, "markersize": 3.5}


class ShownFigure(Figure):
    """A figure that notebooks show. Of matplotlib's own they show those only that belong to pyplot's global state."""

    def _repr_png_(self) -> bytes:
        return _content(self, "png", {"Software": None})


def figure(width: float, height: float) -> Figure:
    """An empty figure, in inches, that belongs to no window and no global state."""
    return ShownFigure(figsize=(width, height), layout="constrained")


def per_row(count: int, most: int) -> int:
    """How many of `count` panels stand in a row: at most `most`, in as few rows as possible of about one length."""
    return math.ceil(count / math.ceil(count / most))


def heading(drawing: Figure, text: str) -> None:
    """Set the figure's title, in as few lines as its width allows, all of about one length."""
    across = int(13 * drawing.get_figwidth())  # characters an inch at this size
    fewest = len(textwrap.wrap(text, across))
    whole = min(across, max(map(len, text.split()), default=1))  # no word is broken for the sake of looks
    narrowest = next(width for width in range(whole, across + 1) if len(textwrap.wrap(text, width)) == fewest)
    drawing.suptitle("\n".join(textwrap.wrap(text, narrowest)), fontsize=10.5)


def legend_below(drawing: Figure, handles: Sequence[Line2D]) -> None:
    """Draw the legend below the whole figure, where it hides no data. The figure grows from its third row on."""
    labels = [str(handle.get_label()) for handle in handles]
    inches = 0.5 + 0.065 * max(map(len, labels))
    columns = per_row(len(labels), max(1, int(drawing.get_figwidth() / inches)))
    drawing.set_figheight(drawing.get_figheight() + 0.17 * max(0, math.ceil(len(labels) / columns) - 2))
    drawing.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=8)


def labelled(axis: Axes) -> list[Line2D]:
    """The lines of a panel that a legend names."""
    return [line for line in axis.lines if not str(line.get_label()).startswith("_")]


def log_scale(axis: Axes) -> None:
    """Make the y axis logarithmic, with plain numbers at 1, 2 and 5 of each decade, or of 1 where there are many.

    Where nothing on it is above 0 it stays as it is.
    """
    if not math.isfinite(axis.yaxis.get_minpos()):
        return
    axis.set_yscale("log")
    low, high = axis.get_ylim()
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 200 * low else (1,)))
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter(NullFormatter())


def save(drawing: Figure, folder: Path, name: str) -> list[Path]:
    """Write `<name>.png` (`DPI`) and `<name>.svg`; returns their paths.

    >>> sparsify.viz.save(sweep.plot(), Path("figures"), "sweep")
    [PosixPath('figures/sweep.png'), PosixPath('figures/sweep.svg')]
    """
    paths = []
    layout = drawing.get_layout_engine()
    try:
        for suffix, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
            paths.append(folder / f"{name}.{suffix}")
            write_bytes(paths[-1], _content(drawing, suffix, metadata))
            drawing.set_layout_engine("none")  # all is in its place now, and finding it again takes half of the time
    finally:
        drawing.set_layout_engine(layout)
    return paths


def _content(drawing: Figure, kind: str, metadata: Mapping[str, None]) -> bytes:
    """The content of the figure's file of a kind. What cannot be printed is escaped: SVG cannot hold it."""
    for text in drawing.findobj(Text):
        assert isinstance(text, Text)
        words = printable(text.get_text(), keep="\n")
        if words != text.get_text():
            text.set_text(words)
    buffer = io.BytesIO()
    with mpl.rc_context(RC):
        drawing.savefig(buffer, format=kind, dpi=DPI, metadata=metadata)
    return compact(buffer.getvalue()) if kind == "svg" else buffer.getvalue()
