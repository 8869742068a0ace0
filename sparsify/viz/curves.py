"""Curves: training, accuracy against sparsity, and inclusion paths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sparsify.errors import SparsifyError
from sparsify.inclusion import InclusionPath
from sparsify.optim import OPTIMIZERS
from sparsify.sweep import Sweep
from sparsify.viz.style import COLOURS, GREY, MARKERS, RC, figure

Rows = Sequence[Mapping[str, float | None]]


def _looks(label: str, index: int) -> dict[str, object]:
    """Colour and marker: an optimizer has the same ones in every figure, other labels one that comes after."""
    names = list(OPTIMIZERS)
    index = names.index(label) if label in names else max(index, len(names))
    return {"color": COLOURS[index % len(COLOURS)], "marker": MARKERS[index % len(MARKERS)], "markersize": 3.5}


def _band(axis: Axes, x: np.ndarray, values: np.ndarray, label: str, like: str, index: int, **looks: object) -> None:
    """The mean of the rows of `values` and, from two rows on, a band of one sample standard deviation.

    Colour and marker are those of the label `like`, unless `looks` says otherwise.
    """
    mean = values.mean(0)
    looks = {"linewidth": 1.4, **_looks(like, index), **looks}
    axis.plot(x, mean, label=f"{label} (n = {len(values)})", **looks)
    if len(values) > 1:
        deviation = values.std(0, ddof=1)
        axis.fill_between(x, mean - deviation, mean + deviation, color=looks["color"], alpha=0.18, linewidth=0)


def curves_figure(groups: Mapping[str, Sequence[Rows]], *, title: str) -> Figure:
    """Loss and accuracy against the epoch. `groups` maps a label to the metrics of its runs (one each seed).

    Training is dashed, the held-out split solid; a band is one sample standard deviation.
    """
    if not groups:
        raise SparsifyError("no run to draw")
    with mpl.rc_context(RC):
        drawing = figure(9.2, 3.6)
        left, right = drawing.subplots(1, 2)
        for index, (label, runs) in enumerate(groups.items()):
            length = min(len(rows) for rows in runs)
            epochs = np.array([row["epoch"] for row in runs[0][:length]])
            held_out = "val" if runs[0][0]["val_accuracy"] is not None else "test"
            for axis, what, factor in ((left, "loss", 1), (right, "accuracy", 100)):
                test = factor * np.array([[row[f"{held_out}_{what}"] for row in rows[:length]] for rows in runs])
                training = factor * np.array([[row[f"train_{what}"] for row in rows[:length]] for rows in runs])
                _band(axis, epochs, test, label, label, index)
                axis.plot(epochs, training.mean(0), color=_looks(label, index)["color"], linewidth=0.9, linestyle="--")
        left.set(xlabel="epoch", ylabel="cross-entropy", yscale="log", title="Loss")
        right.set(xlabel="epoch", ylabel="accuracy (%)", title="Accuracy")
        last = [100 * rows[-1][f"{held_out}_accuracy"] for runs in groups.values() for rows in runs]
        low = min(last)
        right.set_ylim(max(0, low - max(1.0, 0.5 * (100 - low))), 100.05)  # the end matters, not the first epochs
        for axis in (left, right):
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        left.legend(loc="upper right", fontsize=8)
        drawing.suptitle(f"{title}   (solid: {held_out}, dashed: training)", fontsize=10.5)
        return drawing


_CONTROL_STYLES = ("--", ":")  # of "random" and of the opposite order


def sweep_figure(groups: Mapping[str, Sequence[Sweep]], *, title: str, held_out: str = "test") -> Figure:
    """Accuracy against the pruned ratio, one panel a set of layers, one line a label (the mean over its sweeps).

    Controls are thin and dashed or dotted, in the colour of what they control; their n counts sweeps and draws.
    """
    if not groups:
        raise SparsifyError("no sweep to draw")
    first = next(iter(groups.values()))[0]
    with mpl.rc_context(RC):
        drawing = figure(4.4 * len(first.layer_sets) + 0.4, 3.6)
        axes = drawing.subplots(1, len(first.layer_sets), squeeze=False, sharey=True)[0]
        for axis, layers in zip(axes, first.layer_sets, strict=True):
            percents = 100 * np.array(first.ratios)
            for index, (label, sweeps) in enumerate(groups.items()):
                values = 100 * np.array([[s.accuracy(layers, ratio) for ratio in first.ratios] for s in sweeps])
                _band(axis, percents, values, label, label, index)
                for style, control in zip(_CONTROL_STYLES, first.controls, strict=False):
                    points = [[s.points(layers, ratio, control) for ratio in first.ratios] for s in sweeps]
                    drawn = [[row.accuracy for row in draw] for one in points for draw in zip(*one, strict=True)]
                    looks = {"linestyle": style, "linewidth": 0.9, "marker": ""}
                    _band(axis, percents, 100 * np.array(drawn), f"{label}, {control}", label, index, **looks)
            names = layers.split(",") if layers.count(",") < 4 else [f"{layers.count(',') + 1} layers"]
            how = "" if len(names) == 1 else " together" if first.rows[0].scope == "global" else " each"
            axis.set(xlabel=f"removed from {' and '.join(names)}{how} (%)", title=" + ".join(names))
            _error_scale(axis)
        axes[0].set_ylabel(f"{held_out} accuracy (%), log scale of the error")
        axes[0].legend(fontsize=8, loc="lower left")
        drawing.suptitle(title, fontsize=10.5)
        return drawing


def _error_scale(axis: Axes) -> None:
    """Accuracy on a logarithmic scale of the error, so that 99.1 and 98.7 differ to the eye as 91 and 87 do."""
    shift = 100.05  # 100% itself is finite
    low, high = axis.dataLim.intervaly
    axis.set_yscale("function", functions=(lambda a: -np.log10(np.maximum(shift - a, 0.01)), lambda v: shift - 10**-v))
    ticks = [0, 20, 40, 60, 80, 90, 95, 97, 98, 98.5, 99, 99.3, 99.5, 99.7, 99.9, 100]
    bottom = max((tick for tick in ticks if tick <= low), default=0)
    top = min((tick for tick in ticks if tick >= high), default=100)
    axis.set_ylim(bottom, top)
    axis.set_yticks([t for t in ticks if bottom <= t <= top], [f"{t:g}" for t in ticks if bottom <= t <= top])
    axis.minorticks_off()


def path_figure(path: InclusionPath, *, parameter: str, title: str) -> Figure:
    """‖Γ‖ and ‖W‖ against path time, in the manner of a lasso path; grains that entered are coloured by when.

    For a layer whose grains are single weights: the share of them in the support, and the norms of the whole layer.
    """
    if parameter not in path.entry:
        raise SparsifyError(f"no path of {parameter}; there is one of: {', '.join(path.entry)}")
    with mpl.rc_context(RC):
        drawing = figure(9.2, 3.7)
        axes = drawing.subplots(1, 2)
        entry = path.entry[parameter]
        entered = np.isfinite(entry)
        if entry.ndim == 1:
            _filter_paths(drawing, axes, path, parameter, entry, entered)
        else:
            _weight_paths(axes, path, parameter, entry)
        grains = "filters" if entry.ndim == 1 else "weights"
        drawing.suptitle(f"{title}: {entered.sum()} of {entered.size} {grains} entered the support", fontsize=10.5)
        return drawing


def _filter_paths(
    drawing: Figure, axes: np.ndarray, path: InclusionPath, parameter: str, entry: np.ndarray, entered: np.ndarray
) -> None:
    when = np.interp(np.where(entered, entry, 0), path.steps, path.time)
    scale = Normalize(0, when[entered].max() if entered.any() else 1)
    colours = mpl.colormaps["viridis"]
    for axis, norms, name in ((axes[0], path.gamma_norm, "‖Γᵢ‖"), (axes[1], path.weight_norm, "‖Wᵢ‖")):
        lines = [np.column_stack([path.time, norms[parameter][:, grain]]) for grain in range(len(entry))]
        for keep, colour, width in ((~entered, GREY, 0.6), (entered, None, 0.9)):
            chosen = [line for line, wanted in zip(lines, keep, strict=True) if wanted]
            shades = colour if colour else colours(scale(when[entered]))
            axis.add_collection(LineCollection(chosen, colors=shades, linewidths=width, alpha=0.9))
        axis.autoscale()
        axis.set(xlabel="path time T = Σ α/μ", ylabel=f"{name} of each filter", ylim=(0, None))
    axes[0].set_title("Γ: exactly 0 until the filter enters")
    axes[1].set_title("W: what never entered is grey")
    drawing.colorbar(ScalarMappable(scale, colours), ax=list(axes), label="entered at path time", pad=0.015)


def _weight_paths(axes: np.ndarray, path: InclusionPath, parameter: str, entry: np.ndarray) -> None:
    share = [100 * (entry <= step).mean() for step in path.steps]
    axes[0].plot(path.time, share, color=COLOURS[0])
    axes[0].set(xlabel="path time T = Σ α/μ", ylabel="weights that have entered (%)", title="Support", ylim=(0, None))
    for index, (norms, name) in enumerate(((path.gamma_norm, "‖Γ‖"), (path.weight_norm, "‖W‖"))):
        axes[1].plot(path.time, norms[parameter][:, 0], color=COLOURS[index], label=name)
    axes[1].set(xlabel="path time T = Σ α/μ", ylabel="norm of the layer", title="Norms", ylim=(0, None))
    axes[1].legend()
