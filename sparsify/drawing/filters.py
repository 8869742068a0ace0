"""Heatmaps of convolution filters, one panel a run, on one colour scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize, to_rgba
from matplotlib.figure import Figure
from torch import Tensor

from sparsify.drawing.style import RC, REMOVED, figure, heading
from sparsify.errors import SparsifyError, unknown
from sparsify.optim.penalties import filter_norms

SHOW = ("auto", "slices", "norms")
FOLDED = "\ntimes γ/√(variance + ε) of the BatchNorm behind it"
MOST_SLICES = 4096  # in one panel, and three times as many in a figure: more are too small to be seen
NEAR_ZERO = 0.01
_STEPS = 11  # of the colour scale of weights: an image of few colours is a small file
_FRAME = "#B0B0B0"


@dataclass(frozen=True)
class FilterPanel:
    """The filters of one layer of one run; `marked` (filters,) are struck out, and `mark` says why."""

    title: str
    weight: Tensor
    marked: Tensor | None = None
    mark: str = ""


def filters_figure(panels: Sequence[FilterPanel], *, layer: str, show: str = "auto", folded: bool = False) -> Figure:
    """Filters (outputs, inputs, height, width) side by side, sorted by their L2 norm, the largest first.

    "slices": every filter's weights, signed, one tile per input channel. "norms": the L2 norm of each filter's
    slice, one row a filter, one column an input channel. "auto" takes slices where they are large enough to be seen.
    The colour scale is the same for all panels, and symmetric about 0 for slices. `folded` says that the weights have
    BatchNorm folded in (`folded_filters`). Raises SparsifyError without panels, or for weights that are no filters.
    """
    if show not in SHOW:
        raise unknown("way to show filters", show, SHOW)
    if not panels:
        raise SparsifyError("no run to draw")
    for panel in panels:
        if panel.weight.ndim < 3:
            raise SparsifyError(
                f"{layer} has no filters: its weight is {tuple(panel.weight.shape)}; take a convolution"
            )
    if show == "auto":
        slices = [panel.weight.shape[0] * panel.weight.shape[1] for panel in panels]
        show = "slices" if max(slices) <= MOST_SLICES and sum(slices) <= 3 * MOST_SLICES else "norms"
    arrays = [_sorted(panel) for panel in panels]
    with mpl.rc_context(RC):
        draw = _mosaics if show == "slices" else _matrices
        what = f"{layer} with BatchNorm folded in" if folded else layer
        return draw(panels, arrays, what, FOLDED if folded else "")


def near_zero(weight: Tensor, relative: float = NEAR_ZERO) -> tuple[int, int]:
    """How many filters have a norm below `relative` times the layer's largest, and how many there are.

    A layer whose filters are all exactly 0 counts as near zero as a whole.
    """
    norms = filter_norms(weight.detach())
    small = norms < relative * norms.max() if norms.max() > 0 else torch.ones_like(norms, dtype=torch.bool)
    return int(small.sum()), len(norms)


def _sorted(panel: FilterPanel) -> tuple[np.ndarray, np.ndarray]:
    """Filters as (outputs, inputs, height, width), the largest norm first, and which of them are marked."""
    weight = panel.weight.detach().float().cpu()
    if weight.ndim != 4:  # 1-D and 3-D convolutions are drawn as images, too
        weight = weight[:, :, None] if weight.ndim == 3 else weight.flatten(3)
    order = filter_norms(weight).argsort(descending=True, stable=True)
    marked = torch.zeros(len(order), dtype=torch.bool) if panel.marked is None else panel.marked.cpu()
    return weight[order].numpy(), marked[order].numpy()


def _title(panel: FilterPanel, marked: np.ndarray) -> str:
    small, count = near_zero(panel.weight)
    lines = [panel.title, f"near zero: {small} of {count} filters ({small / count:.0%})"]
    if panel.mark:
        lines.append(f"{panel.mark}: {int(marked.sum())} of {count}")
    return "\n".join(lines)


def _scale(values: Sequence[np.ndarray]) -> float:
    """The end of the colour scale: the 99.8% quantile of all magnitudes. An outlier would leave the rest white."""
    scale = float(np.quantile(np.abs(np.concatenate([v.ravel() for v in values])), 0.998))
    return scale if scale > 0 else 1.0


def _mosaics(
    panels: Sequence[FilterPanel], arrays: list[tuple[np.ndarray, np.ndarray]], layer: str, times: str
) -> Figure:
    limit = _scale([filters for filters, _ in arrays])
    tiles = [_tile(filters) for filters, _ in arrays]
    height, width = tiles[0][0].shape
    inches = 2.9
    drawing, axes = _grid(len(panels), inches, max(0.94 * inches * height / width, 1.0) + 0.8)
    scale = ScalarMappable(
        Normalize(-limit, limit), mpl.colormaps["RdBu_r"].resampled(_STEPS).with_extremes(bad="white")
    )
    for axis, panel, (_, marked), (image, corners, cell) in zip(axes, panels, arrays, tiles, strict=True):
        axis.imshow(_framed(scale.to_rgba(image, bytes=True), corners, cell), interpolation="none")
        axis.set_title(_title(panel, marked), fontsize=8.5)
        axis.set(xticks=[], yticks=[])
        axis.grid(False)
        for spine in axis.spines.values():
            spine.set_visible(False)
        height, width = cell
        strokes = [
            [(x - 0.5, y + height - 0.5), (x + width - 0.5, y - 0.5)]
            for (x, y), strike in zip(corners, marked, strict=True)
            if strike
        ]
        axis.add_collection(LineCollection(strokes, colors=REMOVED, linewidths=1.1))
    label = "weight" + (", one tile per input channel" if arrays[0][0].shape[1] > 1 else "") + times
    _finish(drawing, scale, axes, panels, layer, label, "both")
    return drawing


def _framed(image: np.ndarray, corners: Sequence[tuple[int, int]], cell: tuple[int, int]) -> np.ndarray:
    """The image with a line of one pixel around the cell at each corner; lines of their own are a large drawing."""
    colour = [round(255 * part) for part in to_rgba(_FRAME)]
    height, width = cell
    for x, y in corners:
        image[[y - 1, y + height], x - 1 : x + width + 1] = colour
        image[y - 1 : y + height + 1, [x - 1, x + width]] = colour
    return image


def _tile(filters: np.ndarray) -> tuple[np.ndarray, list[tuple[int, int]], tuple[int, int]]:
    """One image of all filters, the upper left corner (x, y) of each, and their (height, width) in pixels."""
    count, channels, height, width = filters.shape
    across = math.ceil(math.sqrt(channels))
    down = math.ceil(channels / across)
    cell = (down * (height + 1) - 1, across * (width + 1) - 1)
    columns = math.ceil(math.sqrt(count * cell[0] / cell[1]))
    rows = math.ceil(count / columns)
    gap = 1  # the line around a filter
    image = np.full((rows * (cell[0] + gap) + gap, columns * (cell[1] + gap) + gap), np.nan, np.float32)
    corners = []
    for index in range(count):
        y, x = gap + index // columns * (cell[0] + gap), gap + index % columns * (cell[1] + gap)
        corners.append((x, y))
        for channel in range(channels):
            top, left = y + channel // across * (height + 1), x + channel % across * (width + 1)
            image[top : top + height, left : left + width] = filters[index, channel]
    return image, corners, cell


def _grid(count: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Axes for `count` panels of a size in inches: up to four side by side, more in rows of three."""
    columns = count if count <= 4 else 3
    rows = math.ceil(count / columns)
    drawing = figure(max(width * columns + 0.9, 5.2), height * rows + 0.5)  # the title needs some width
    axes = list(drawing.subplots(rows, columns, squeeze=False).flat)
    for unused in axes[count:]:
        unused.set_axis_off()
    return drawing, axes[:count]


def _matrices(
    panels: Sequence[FilterPanel], arrays: list[tuple[np.ndarray, np.ndarray]], layer: str, times: str
) -> Figure:
    norms = [np.linalg.norm(filters.reshape(*filters.shape[:2], -1), axis=2) for filters, _ in arrays]
    limit = _scale(norms)
    drawing, axes = _grid(len(panels), 2.7, 4.1)
    for axis, panel, (_, marked), image in zip(axes, panels, arrays, norms, strict=True):
        drawn = axis.imshow(image, cmap="cividis", vmin=0, vmax=limit, aspect="auto", interpolation="none")
        axis.set_title(_title(panel, marked), fontsize=8.5)
        axis.set_xlabel("input channel")
        axis.set_ylabel("filter, by norm" if axis is axes[0] else "")
        axis.grid(False)
        for spine in axis.spines.values():
            spine.set_visible(False)
        rows = np.flatnonzero(marked)
        bars = [[(1.01, row - 0.5), (1.01, row + 0.5)] for row in rows]
        bar = LineCollection(
            bars, colors=REMOVED, linewidths=3, transform=axis.get_yaxis_transform(), clip_on=False, capstyle="butt"
        )
        axis.add_collection(bar, autolim=False)
    _finish(drawing, drawn, axes, panels, layer, f"L2 norm of the filter's slice for one input channel{times}", "max")
    return drawing


def _finish(
    drawing: Figure,
    drawn: ScalarMappable,
    axes: list[Axes],
    panels: Sequence[FilterPanel],
    layer: str,
    label: str,
    extend: str,
) -> None:
    drawing.colorbar(drawn, ax=axes, label=label, extend=extend, fraction=0.04, pad=0.015, aspect=30)
    marks = list(dict.fromkeys(panel.mark for panel in panels if panel.mark))
    note = f"   (orange: {' or '.join(marks)})" if marks else ""
    heading(drawing, f"Filters of {layer}, sorted by norm{note}")
