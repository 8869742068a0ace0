"""Small multiples: a panel for each label where one panel of all lines could not be read."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from sparsify.drawing.style import COLOURS, figure, per_row

MOST_LINES = len(COLOURS)
"""More in one panel cannot be told apart."""

BEHIND = "#C8C8C8"
_MOST_PANELS = 5  # side by side, on a page
_TITLE = 28  # characters that a panel has room for


class Block(NamedTuple):
    """A part of a figure with a panel for each label: its title and what stands at its axes."""

    title: str
    across: str
    up: str


def crowded(labels: Collection[str]) -> bool:
    """Whether there are more labels than lines that one panel can show."""
    return len(labels) > MOST_LINES


def small_multiples(
    blocks: Mapping[str, Block], titles: Mapping[str, str]
) -> tuple[Figure, dict[str, dict[str, Axes]]]:
    """An empty figure, and for each block a panel for each label; those of a block share their axes.

    `titles` gives what stands above the panel of each label.
    """
    labels = list(titles)
    columns = per_row(len(labels), _MOST_PANELS)
    rows = math.ceil(len(labels) / columns)
    drawing = figure(9.6, len(blocks) * (1.35 * rows + 0.5) + 0.5)
    parts: list[SubFigure] = drawing.subfigures(len(blocks), 1, squeeze=False)[:, 0].tolist()
    found = {}
    for part, (name, block) in zip(parts, blocks.items(), strict=True):
        axes = part.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        for axis in axes.flat[len(labels) :]:
            axis.set_axis_off()
        lowest = list(axes[-2, len(labels) - (rows - 1) * columns :]) if rows > 1 else []
        for axis in lowest:  # of its column, though not of all
            axis.xaxis.set_tick_params(labelbottom=True)
        for axis in axes[:, 1:].flat:
            axis.tick_params(which="both", left=False)
        for axis in axes[:-1].flat:
            axis.tick_params(bottom=axis in lowest)
        found[name] = dict(zip(labels, axes.flat, strict=False))
        for label, axis in found[name].items():
            panel_title(axis, titles[label])
            axis.tick_params(labelsize=8)
        part.suptitle(block.title, fontsize=10)
        part.supxlabel(block.across, fontsize=9)
        part.supylabel(block.up, fontsize=9)
    return drawing, found


def panel_title(axis: Axes, text: str) -> None:
    """Write what stands above a small panel, in as many lines as it needs."""
    axis.set_title(textwrap.fill(text.replace("(n = ", "(n\xa0=\xa0"), _TITLE), fontsize=8, pad=3)


def draw_behind(panels: Mapping[str, Axes]) -> None:
    """Draw the first line of every panel, in grey and as one, behind the line of each."""
    gap = np.full((1, 2), np.nan)
    lines = [part for axis in panels.values() for part in (axis.lines[0].get_xydata(), gap)]
    x, y = np.concatenate(lines).T
    for axis in panels.values():
        axis.plot(x, y, color=BEHIND, linewidth=0.7, zorder=1.5, label="_behind")
