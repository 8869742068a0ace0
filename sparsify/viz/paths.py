"""Inclusion paths, in the manner of a lasso path."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from sparsify.errors import SparsifyError
from sparsify.inclusion import InclusionPath
from sparsify.viz.style import COLOURS, GREY, RC, figure, heading

TIME = "path time T = Σ α/μ"


def path_figure(path: InclusionPath, *, parameter: str, title: str) -> Figure:
    """‖Γ‖ and ‖W‖ against path time, in the manner of a lasso path; grains that entered are coloured by when.

    Both panels have one scale. For a layer whose grains are single weights: the share of them in the support, and the
    norms of the whole layer. Raises SparsifyError if the path has no such parameter.
    """
    if parameter not in path.entry:
        raise SparsifyError(f"no path of {parameter}; there is one of: {', '.join(path.entry)}")
    with mpl.rc_context(RC):
        drawing = figure(9.2, 3.7)
        entry = path.entry[parameter]
        entered = np.isfinite(entry)
        if entry.ndim == 1:
            _filter_paths(drawing, path, parameter, entry, entered)
        else:
            _weight_paths(drawing, path, parameter, entry)
        grains = "filters" if entry.ndim == 1 else "weights"
        heading(drawing, f"{title}: {entered.sum():,} of {entered.size:,} {grains} entered the support")
        return drawing


def _filter_paths(drawing: Figure, path: InclusionPath, parameter: str, entry: np.ndarray, entered: np.ndarray) -> None:
    axes = drawing.subplots(1, 2, sharex=True, sharey=True)
    # coloured by rank: most enter within a short time
    times, rank = np.unique(np.interp(entry[entered], path.steps, path.time), return_inverse=True)
    scale = Normalize(0, max(len(times) - 1, 1))
    colours = mpl.colormaps["viridis"]
    for axis, norms, name in ((axes[0], path.gamma_norm, "‖Γᵢ‖"), (axes[1], path.weight_norm, "‖Wᵢ‖")):
        lines = [np.column_stack([path.time, norms[parameter][:, grain]]) for grain in range(len(entry))]
        for keep, shades, width in ((~entered, GREY, 0.6), (entered, colours(scale(rank)), 0.9)):
            chosen = [line for line, wanted in zip(lines, keep, strict=True) if wanted]
            axis.add_collection(LineCollection(chosen, colors=shades, linewidths=width, alpha=0.9))
        axis.autoscale()
        axis.set(xlabel=TIME, ylabel=f"{name} of each filter", xlim=(0, path.time[-1] or 1), ylim=(0, None))
        axis.yaxis.set_tick_params(labelleft=True)
    axes[0].set_title("Γ: exactly 0 until the filter enters")
    axes[1].set_title("W: what never entered is grey")
    bar = drawing.colorbar(ScalarMappable(scale, colours), ax=list(axes), label="order of entry", pad=0.015)
    ends = {0: "first", len(times) - 1: "last"} if len(times) > 1 else {}
    bar.set_ticks(list(ends), labels=[f"{word}\nT = {times[place]:.3g}" for place, word in ends.items()])


def _weight_paths(drawing: Figure, path: InclusionPath, parameter: str, entry: np.ndarray) -> None:
    axes = drawing.subplots(1, 2, sharex=True)
    share = [100 * (entry <= step).mean() for step in path.steps]
    axes[0].plot(path.time, share, color=COLOURS[0])
    axes[0].set(xlabel=TIME, ylabel="weights that have entered (%)", title="Support", xlim=(0, path.time[-1] or 1))
    for index, (norms, name) in enumerate(((path.gamma_norm, "‖Γ‖"), (path.weight_norm, "‖W‖"))):
        axes[1].plot(path.time, norms[parameter][:, 0], color=COLOURS[index], label=name)
    axes[1].set(xlabel=TIME, ylabel="norm of the layer", title="Norms")
    for axis in axes:
        axis.set_ylim(0, None)
    axes[1].legend()
