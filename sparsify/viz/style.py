"""What all figures share: colours that the colour-blind can tell apart, one for each optimizer, and how to save."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from sparsify.files import write_bytes

# Okabe & Ito 2008
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
REMOVED = "#D55E00"
GREY = "#B0B0B0"

RC = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E5E5E5",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.hashsalt": "sparsify",  # the same figure is the same file
    "figure.constrained_layout.use": True,
}


def figure(width: float, height: float) -> Figure:
    """An empty figure, in inches, that belongs to no window and no global state."""
    return Figure(figsize=(width, height), layout="constrained")


def save(drawing: Figure, folder: Path, name: str) -> list[Path]:
    """Write `<name>.png` (200 dpi) and `<name>.svg`; returns their paths."""
    paths = []
    for suffix, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
        buffer = io.BytesIO()
        with mpl.rc_context(RC):
            drawing.savefig(buffer, format=suffix, dpi=200, metadata=metadata)
        paths.append(folder / f"{name}.{suffix}")
        write_bytes(paths[-1], buffer.getvalue())
    return paths
