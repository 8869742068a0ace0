"""Curves: training, accuracy against sparsity, and inclusion paths."""

from __future__ import annotations

import itertools
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


Looks = dict[str, object]


def _looks(labels: Sequence[str]) -> dict[str, Looks]:
    """Colour and marker of each label: an optimizer has the same ones in every figure, other labels what is left."""
    own = {name: index for index, name in enumerate(OPTIMIZERS)}
    taken = {own[label] for label in labels if label in own}
    free = (index for index in itertools.count() if index not in taken)
    looks = {}
    for label in labels:
        turn, index = divmod(own[label] if label in own else next(free), len(COLOURS))
        marker = MARKERS[(index + turn) % len(MARKERS)]  # a colour that comes twice has another marker
        looks[label] = {"color": COLOURS[index], "marker": marker, "markersize": 3.5}
    return looks


def _band(axis: Axes, x: np.ndarray, values: np.ndarray, label: str, looks: Looks) -> None:
    """The mean of the rows of `values` and, from two rows on, a band of one sample standard deviation."""
    mean = values.mean(0)
    looks = {"linewidth": 1.4, **looks}
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
        looks = _looks(list(groups))
        for label, runs in groups.items():
            length = min(len(rows) for rows in runs)
            epochs = np.array([row["epoch"] for row in runs[0][:length]])
            held_out = "val" if runs[0][0]["val_accuracy"] is not None else "test"
            for axis, what, factor in ((left, "loss", 1), (right, "accuracy", 100)):
                test = factor * np.array([[row[f"{held_out}_{what}"] for row in rows[:length]] for rows in runs])
                training = factor * np.array([[row[f"train_{what}"] for row in rows[:length]] for rows in runs])
                _band(axis, epochs, test, label, looks[label])
                axis.plot(epochs, training.mean(0), color=looks[label]["color"], linewidth=0.9, linestyle="--")
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
        looks = _looks(list(groups))
        for axis, layers in zip(axes, first.layer_sets, strict=True):
            percents = 100 * np.array(first.ratios)
            for label, sweeps in groups.items():
                values = 100 * np.array([[s.accuracy(layers, ratio) for ratio in first.ratios] for s in sweeps])
                _band(axis, percents, values, label, looks[label])
                for style, control in zip(_CONTROL_STYLES, first.controls, strict=False):
                    points = [[s.points(layers, ratio, control) for ratio in first.ratios] for s in sweeps]
                    drawn = [[row.accuracy for row in draw] for one in points for draw in zip(*one, strict=True)]
                    thin = {**looks[label], "linestyle": style, "linewidth": 0.9, "marker": ""}
                    _band(axis, percents, 100 * np.array(drawn), f"{label}, {control}", thin)
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

    ‖W‖ alone where W is its own sparse copy. For a layer whose grains are single weights: the share of them that have
    entered the support, and the norms of the whole layer.
    """
    if parameter not in path.entry:
        raise SparsifyError(f"no path of {parameter}; there is one of: {', '.join(path.entry)}")
    entry = path.entry[parameter]
    norms = {"Γ": path.gamma_norm[parameter], "W": path.weight_norm[parameter]}
    time = "path time T = Σ α/μ"
    if np.array_equal(norms["Γ"], norms["W"]):
        del norms["Γ"]
        time = "path time T = Σ α"
    with mpl.rc_context(RC):
        drawing = figure(9.2 if entry.ndim > 1 or len(norms) > 1 else 5.6, 3.7)
        if entry.ndim == 1:
            axes = _filter_paths(drawing, path, entry, norms)
        else:
            axes = _weight_paths(drawing, path, entry, norms)
        for axis in axes:
            axis.set(xlabel=time, ylim=(0, None))
        grains, entered = "filters" if entry.ndim == 1 else "weights", np.isfinite(entry)
        drawing.suptitle(f"{title}: {entered.sum()} of {entered.size} {grains} entered the support", fontsize=10.5)
        return drawing


_TITLES = {"Γ": "Γ: exactly 0 until the filter enters", "W": "W: what never entered is grey"}


def _filter_paths(
    drawing: Figure, path: InclusionPath, entry: np.ndarray, norms: Mapping[str, np.ndarray]
) -> list[Axes]:
    entered = np.isfinite(entry)
    when = np.interp(np.where(entered, entry, 0), path.steps, path.time)
    scale = Normalize(0, when[entered].max() if entered.any() else 1)
    colours = mpl.colormaps["viridis"]
    axes = list(drawing.subplots(1, len(norms), squeeze=False)[0])
    for axis, (name, values) in zip(axes, norms.items(), strict=True):
        lines = [np.column_stack([path.time, values[:, grain]]) for grain in range(len(entry))]
        for keep, colour, width in ((~entered, GREY, 0.6), (entered, None, 0.9)):
            chosen = [line for line, wanted in zip(lines, keep, strict=True) if wanted]
            shades = colour if colour else colours(scale(when[entered]))
            axis.add_collection(LineCollection(chosen, colors=shades, linewidths=width, alpha=0.9))
        axis.autoscale()
        axis.set(ylabel=f"‖{name}ᵢ‖ of each filter", title=_TITLES[name])
    drawing.colorbar(ScalarMappable(scale, colours), ax=axes, label="entered at path time", pad=0.015)
    return axes


def _weight_paths(
    drawing: Figure, path: InclusionPath, entry: np.ndarray, norms: Mapping[str, np.ndarray]
) -> list[Axes]:
    axes = list(drawing.subplots(1, 2))
    share = [100 * (entry <= step).mean() for step in path.steps]
    axes[0].plot(path.time, share, color=COLOURS[0])
    axes[0].set(ylabel="weights that have entered (%)", title="Support")
    for index, (name, values) in enumerate(norms.items()):
        axes[1].plot(path.time, values[:, 0], color=COLOURS[index], label=f"‖{name}‖")
    axes[1].set(ylabel="norm of the layer", title="Norms")
    axes[1].legend()
    return axes
