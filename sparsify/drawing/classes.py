"""The accuracy on each class before and after pruning."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sparsify.drawing.panels import panel_title
from sparsify.drawing.style import GREY, RC, Look, figure, heading, looks, per_row
from sparsify.errors import SparsifyError

MOST_CLASSES = 30  # more are too many to read
MOST_PANELS = 5  # side by side, on a page


class Dot(TypedDict):
    """A mark without a line, by matplotlib's own names."""

    marker: str
    linestyle: Literal[""]
    markersize: float


class Ring(Dot):
    """A mark whose inside and edge have colours of their own."""

    markerfacecolor: str
    markeredgecolor: str


RING: Ring = {
    "marker": "o",
    "linestyle": "",
    "markersize": 5.5,
    "markerfacecolor": "white",
    "markeredgecolor": "#555555",
}
DOT: Dot = {"marker": "o", "linestyle": "", "markersize": 4}


@dataclass(frozen=True)
class ClassDamage:
    """The accuracy on the images of each class, a fraction, whole and pruned: (runs, classes) each."""

    whole: np.ndarray
    pruned: np.ndarray


def classes_figure(
    groups: Mapping[str, ClassDamage],
    *,
    classes: Sequence[str],
    title: str,
    held_out: str = "test",
    styles: Mapping[str, Look] | None = None,
) -> Figure:
    """One panel a label, one line a class: the accuracy before (ring) and after pruning (dot), means over the runs.

    The class that loses most on average stands at the top, and all panels have one scale. Of more than 30 classes the
    30 that lose most are drawn. Classes without images are left out. `styles` gives the look of each label, else
    `looks`. Raises SparsifyError without groups.
    """
    if not groups:
        raise SparsifyError("no outcomes to draw")
    styles = looks(groups) if styles is None else styles
    means = {label: (100 * one.whole.mean(0), 100 * one.pruned.mean(0)) for label, one in groups.items()}
    losses = np.mean([whole - pruned for whole, pruned in means.values()], axis=0)
    order = [place for place in np.argsort(-losses, kind="stable") if np.isfinite(losses[place])][:MOST_CLASSES]
    rows = np.arange(len(order))
    with mpl.rc_context(RC):
        wide = per_row(len(groups), MOST_PANELS)
        stacked = math.ceil(len(groups) / wide)
        drawing = figure(max(2.15 * wide + 0.8, 4.8), stacked * (0.19 * len(order) + 0.6) + 1.0)
        grid = drawing.subplots(stacked, wide, squeeze=False, sharex=True, sharey=True)
        axes = grid.flatten()
        for axis in axes[len(groups) :]:
            axis.set_axis_off()
        for axis, label in zip(axes, groups, strict=False):
            whole, pruned = (values[order] for values in means[label])
            axis.hlines(rows, whole, pruned, color=styles[label]["color"], alpha=0.45, linewidth=2)
            axis.plot(whole, rows, **RING)
            axis.plot(pruned, rows, **DOT, color=styles[label]["color"])
            panel_title(axis, f"{label} (n = {len(groups[label].whole)})")
        for place in range(wide):  # below the lowest panel of each column
            lowest = axes[max(range(place, len(groups), wide))]
            lowest.set_xlabel(f"{held_out} accuracy (%)")
            lowest.xaxis.set_tick_params(labelbottom=True)
        low = min(values[order].min() for pair in means.values() for values in pair)
        axes[0].set(xlim=(low - 0.06 * (101 - low), 100 + 0.06 * (101 - low)), ylim=(len(order) - 0.5, -0.5))
        axes[0].set_yticks(rows, [str(classes[place]) for place in order])
        for axis in grid[:, 0]:
            axis.set_ylabel("class")
        dots = [Line2D([], [], **RING), Line2D([], [], **DOT, color=GREY)]
        drawing.legend(dots, ["whole", "pruned"], loc="outside lower center", ncols=2, fontsize=8)
        there = int(np.isfinite(losses).sum())
        heading(
            drawing, title + (f"; of {there} classes the {len(order)} that lose most" if there > len(order) else "")
        )
        return drawing
