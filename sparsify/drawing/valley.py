"""Paths of optimizers on a valley of two dimensions, Beale's function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from sparsify.drawing.style import GREY, RC, figure, heading, looks
from sparsify.errors import SparsifyError

Numbers = TypeVar("Numbers", np.ndarray, Tensor)

START = (0.5, -1.0)
MINIMUM = (3.0, 0.5)
_WINDOW = ((-0.4, 3.9), (-1.5, 1.3))
_MARKED = (2, 5, 10, 20, 50, 100, 200, 500)  # steps, as most of each path is soon done


def beale(x: Numbers, y: Numbers) -> Numbers:
    """(1.5 − x + xy)² + (2.25 − x + xy²)² + (2.625 − x + xy³)², which is 0 at (3, 0.5) alone (Beale 1958)."""
    value: Numbers = (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2
    return value


@dataclass(frozen=True)
class Walk:
    """A learning rate, the weights before each step and at the end, (steps + 1, 2), and Γ of the same times or None."""

    rate: float
    weights: np.ndarray
    gamma: np.ndarray | None = None


def valley_figure(panels: Mapping[str, Mapping[str, Walk]], *, title: str) -> Figure:
    """Where optimizers go on Beale's function, one panel a group: `panels` maps a title to the walks of its labels.

    Each label has one colour and one marker, after 2, 5, 10, 20, 50 … steps; W is solid and Γ dashed. Contours are
    those of log(1 + f). Raises SparsifyError without walks.
    """
    walks = {label: walk for panel in panels.values() for label, walk in panel.items()}
    if not walks:
        raise SparsifyError("no optimizer to draw")
    styles = looks(walks)
    x, y = np.meshgrid(*(np.linspace(low, high, 300) for low, high in _WINDOW))
    height = np.log1p(beale(x, y))
    with mpl.rc_context(RC):
        drawing = figure(4.8 * len(panels) + 0.3, 5.2)
        axes = drawing.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        for axis, (name, panel) in zip(axes, panels.items(), strict=True):
            axis.grid(visible=False)
            axis.contourf(x, y, height, levels=24, cmap="Greys", alpha=0.35)
            axis.contour(x, y, height, levels=24, colors=GREY, linewidths=0.4)
            handles: list[Line2D] = []
            for label, walk in panel.items():
                lines = axis.plot(*walk.weights.T, label=f"{label} {walk.rate:g}", **styles[label])
                if walk.gamma is not None:
                    lines += axis.plot(*walk.gamma.T, label=f"{label}: Γ", **styles[label])
                    lines[-1].set(linestyle=(0, (3, 1.5)), markerfacecolor="white")
                for line in lines:
                    line.set(linewidth=1.3, alpha=0.85, markevery=[n for n in _MARKED if n < len(walk.weights)])
                handles += lines
            ends = {"start": (START, "o", 8), "minimum": (MINIMUM, "*", 13)}
            for what, (place, marker, size) in ends.items():
                handles += axis.plot(
                    *place, marker, markersize=size, color="white", markeredgecolor="black", label=what, zorder=5
                )
            axis.set(title=name, xlabel="w₁", xlim=_WINDOW[0], ylim=_WINDOW[1])
            _legend_under(axis, handles)
        axes[0].set_ylabel("w₂")
        heading(drawing, title)
        return drawing


def _legend_under(axis: mpl.axes.Axes, handles: list[Line2D]) -> None:
    axis.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2, fontsize=8)
