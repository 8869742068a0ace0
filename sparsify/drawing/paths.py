"""Inclusion paths, in the manner of a lasso path."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize, to_rgba
from matplotlib.figure import Figure

from sparsify.drawing.style import COLOURS, GREY, RC, figure, heading
from sparsify.errors import SparsifyError
from sparsify.optim.inclusion import InclusionPath

_SHADES = 24
_PANEL = np.array([250.0, 190.0])  # width and height of a panel in points
_POINTS = 1500  # of all lines of a panel; more are not seen, and make a large file

_TITLES = {"Γ": "Γ: exactly 0 until the filter enters", "W": "W: what never entered is grey"}


def path_figure(path: InclusionPath, *, parameter: str, title: str) -> Figure:
    """‖Γ‖ and ‖W‖ against path time, in the manner of a lasso path. The colour of a grain says when it entered.

    Filters whose sparse copy is 0 again at the end have left the support and are dashed. Both panels have one scale;
    where W is its own sparse copy there is only that of ‖W‖. Where the path does not hold a norm of each grain, as for
    single weights and for scales of BatchNorm, the panels show the share of grains that have entered the support, and
    the norm of all together. Raises SparsifyError if the path has no such parameter.
    """
    if parameter not in path.entry:
        raise SparsifyError(f"no path of {parameter}; there is one of: {', '.join(path.entry)}")
    entry = path.of_filters(parameter)
    norms = {"Γ": path.gamma_norm[parameter], "W": path.weight_norm[parameter]}
    time = "path time T = Σ αₚ/μ"
    if np.array_equal(norms["Γ"], norms["W"]):
        del norms["Γ"]
        time = "path time T = Σ α"
    each = entry.ndim == 1 and norms["W"].shape[1] == len(entry)
    entered = np.isfinite(entry)
    left = entered & (path.gamma_norm[parameter][-1] == 0) if each else np.zeros_like(entered)
    with mpl.rc_context(RC):
        drawing = figure(9.2 if not each or len(norms) > 1 else 5.6, 3.7)
        axes = _filter_paths(drawing, path, entry, norms, left) if each else _shared_paths(drawing, path, entry, norms)
        for axis in axes:
            axis.set(xlabel=time, xlim=(0, path.time[-1] or 1), ylim=(0, None))
        grains = "filters" if entry.ndim == 1 else "weights"
        words = f"{title}: {entered.sum():,} of {entered.size:,} {grains} entered the support"
        if left.any():
            words += f", {left.sum():,} left it again"
        heading(drawing, words)
        return drawing


def _filter_paths(
    drawing: Figure, path: InclusionPath, entry: np.ndarray, norms: Mapping[str, np.ndarray], left: np.ndarray
) -> list[Axes]:
    axes = list(drawing.subplots(1, len(norms), sharex=True, sharey=True, squeeze=False)[0])
    entered = np.isfinite(entry)
    # coloured by rank: most enter within a short time
    times, rank = np.unique(np.interp(entry[entered], path.steps, path.time), return_inverse=True)
    scale = Normalize(0, max(len(times) - 1, 1))
    colours = mpl.colormaps["viridis"].resampled(_SHADES)
    top = max(float(values.max(initial=0)) for values in norms.values()) or 1.0
    for axis, (name, values) in zip(axes, norms.items(), strict=True):
        lines = _with_few_points(path.time, values, top)
        shades = np.empty((len(entry), 4))
        shades[entered] = colours(scale(rank))
        shades[~entered] = to_rgba(GREY)
        for which, width, dashes in ((~entered, 0.6, "-"), (entered & ~left, 0.9, "-"), (left, 0.9, (0, (2, 1.5)))):
            if which.any():
                order = sorted(
                    np.flatnonzero(which), key=lambda grain: tuple(shades[grain])
                )  # those of a shade together
                axis.add_collection(
                    LineCollection(
                        [lines[grain] for grain in order],
                        colors=shades[order],
                        linewidths=width,
                        linestyles=dashes,
                        alpha=0.9,
                    )
                )
        axis.autoscale()
        what_left = ", what left it is dashed" if left.any() else ""
        axis.set(ylabel=f"‖{name}ᵢ‖ of each filter", title=_TITLES[name] + what_left)
        axis.yaxis.set_tick_params(labelleft=True)
    if len(times) > 1:
        bar = drawing.colorbar(ScalarMappable(scale, colours), ax=axes, label="order of entry", pad=0.015)
        ends = {0: "first", len(times) - 1: "last"}
        bar.set_ticks(list(ends), labels=[f"{word}\nT = {times[place]:.3g}" for place, word in ends.items()])
    return axes


def _with_few_points(time: np.ndarray, values: np.ndarray, top: float) -> list[np.ndarray]:
    """Lines (points, 2) of norms (records, filters) over time, with as few points as look the same up to `top`.

    A line may be off by half a point of the page, or by as much more as it takes for all to have `_POINTS` points.
    """
    across, up = _PANEL / (time[-1] or 1, top)
    apart = 0.5
    while True:
        found = [_simplified(np.column_stack([time * across, norms * up]), apart) for norms in values.T]
        if sum(map(len, found)) <= max(_POINTS, 4 * len(found)):
            return [line / (across, up) for line in found]
        apart *= 1.5


def _simplified(line: np.ndarray, apart: float) -> np.ndarray:
    """A line (points, 2) over its first coordinate without the points that the rest is at most `apart` from, upwards.

    As Douglas and Peucker do (1973): the point that is farthest from the line between two kept ones is kept, too.
    Matplotlib's own way goes point by point, and of lines that are not smooth keeps several times as many.
    """
    x, y = line.T
    kept, pairs = {0, len(line) - 1}, [(0, len(line) - 1)]
    while pairs:
        first, last = pairs.pop()
        part = slice(first, last + 1)
        off = np.abs(y[part] - np.interp(x[part], x[[first, last]], y[[first, last]]))
        farthest = first + int(off.argmax())
        if off[farthest - first] > apart:
            kept.add(farthest)
            pairs += [(first, farthest), (farthest, last)]
    return line[sorted(kept)]


def _shared_paths(
    drawing: Figure, path: InclusionPath, entry: np.ndarray, norms: Mapping[str, np.ndarray]
) -> list[Axes]:
    axes = list(drawing.subplots(1, 2, sharex=True))
    share = [100 * (entry <= step).mean() for step in path.steps]
    axes[0].plot(path.time, share, color=COLOURS[0])
    grains = "filters" if entry.ndim == 1 else "weights"
    axes[0].set(ylabel=f"{grains} that have entered (%)", title="Support", ylim=(0, max(1, 1.05 * share[-1])))
    for index, (name, values) in enumerate(norms.items()):
        axes[1].plot(path.time, values[:, 0], color=COLOURS[index], label=f"‖{name}‖")
    axes[1].set(ylabel="norm of the layer", title="Norms")
    axes[1].legend()
    return axes
