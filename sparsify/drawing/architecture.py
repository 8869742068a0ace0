"""A network's layers, and what is left of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sparsify.drawing.style import COLOURS, GREY, RC, figure, heading
from sparsify.text import thousands


@dataclass(frozen=True)
class LayerLeft:
    """A layer, its outputs and its weights, and how many of them are left.

    An output is left if a weight of it is; a weight is not left if it is masked, or if it only sees what is removed.
    """

    name: str
    kind: str
    outputs: int
    outputs_left: int
    weights: int
    weights_left: int


def architecture_figure(layers: Sequence[LayerLeft], *, title: str) -> Figure:
    """One row a layer, the input at the top: its outputs and its weights, what is left of them dark, what goes light.

    Widths are to a scale of their own in each half, and the numbers stand beside them.
    """
    with mpl.rc_context(RC):
        drawing = figure(9.2, 1.3 + 0.3 * len(layers))
        left, right = drawing.subplots(1, 2, sharey=True, width_ratios=(1, 1))
        _bars(left, [one.outputs for one in layers], [one.outputs_left for one in layers], "filters and neurons")
        _bars(right, [one.weights for one in layers], [one.weights_left for one in layers], "weights")
        left.set_yticks(range(len(layers)), [f"{one.name}   {one.kind}" for one in layers])
        left.invert_yaxis()
        heading(drawing, f"{title}   (dark: left, light: removed)")
        return drawing


def _bars(axis: Axes, wholes: Sequence[int], lefts: Sequence[int], what: str) -> None:
    rows = np.arange(len(wholes))
    axis.barh(rows, wholes, color=GREY, alpha=0.6, height=0.72)
    axis.barh(rows, lefts, color=COLOURS[0], height=0.72)
    for row, whole, left in zip(rows, wholes, lefts, strict=True):
        text = thousands(whole) if left == whole else f"{thousands(left)} of {thousands(whole)} ({left / whole:.0%})"
        axis.annotate(text, (whole, row), (4, 0), textcoords="offset points", va="center", fontsize=7.5)
    axis.set(title=what.capitalize(), xlim=(0, 1.55 * max(wholes)))
    axis.grid(False)
    axis.xaxis.set_visible(False)
    axis.tick_params(axis="y", length=0)
    for spine in axis.spines.values():
        spine.set_visible(False)
