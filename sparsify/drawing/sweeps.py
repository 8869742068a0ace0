"""Accuracy against sparsity, and against what the sparsity saves."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from sparsify.drawing.panels import Block, crowded, draw_behind, small_multiples
from sparsify.drawing.style import GREY, RC, Look, figure, heading, labelled, legend_below, looks
from sparsify.errors import SparsifyError, unknown
from sparsify.text import listed

if TYPE_CHECKING:
    import pandas as pd

AGAINST = {
    "ratio": "removed from {layers} (%)",
    "compression": "compression: parameters before ÷ after (×)",
    "speedup": "theoretical speed-up: multiply-accumulates before ÷ after (×)",
}
"""The columns of a sweep that accuracy can be drawn against, with the label of the axis."""

_CONTROL_STYLES: tuple[Literal["--", ":"], ...] = ("--", ":")  # of "random" and of the opposite order
_TICKS = (0, 20, 40, 60, 80, 90, 93, 95, 96, 97, 98, 98.5, 99, 99.3, 99.5, 99.7, 99.9, 100)  # of accuracies, in %
SUPPORT = "support"
"""The criterion of a point at which what is outside the support is gone; it is a star, not on a line."""

_WIDE = 8  # from this factor on between the ends of an axis it is logarithmic


def sweep_figure(
    groups: Mapping[str, Sequence[pd.DataFrame]],
    *,
    title: str,
    held_out: str = "test",
    against: str = "ratio",
    measure: str = "accuracy",
    styles: Mapping[str, Look] | None = None,
) -> Figure:
    """Accuracy against the pruned ratio, one panel a set of layers, one line a label (the mean over its sweeps).

    Behind a line of several sweeps stands a dot for each: a band of a standard deviation would reach above 100%, and on
    this axis, the logarithm of the error, it would not be where the sweeps are.

    `groups` maps a label to its sweeps, as `Sweep.table` gives them: the criterion that comes first is the one that was
    asked for, the others are its controls; what is left of the support alone is a star for each sweep. `held_out` is
    the split of the images, "" if it is not known. `against` is one of AGAINST; points where nothing is left, and the
    saving is infinite, are left out. `measure` is one of the columns of accuracies. Controls are thin and dashed or
    dotted, in the colour of what they control: the means over sweeps and draws. More labels than one panel can
    show have a panel each. `styles` gives the look of each label, else `looks`. Raises SparsifyError without sweeps,
    and if one lacks the measure.
    """
    if not groups:
        raise SparsifyError("no sweep to draw")
    if against not in AGAINST:
        raise unknown("axis", against, AGAINST)
    for label, sweeps in groups.items():
        for one in sweeps:
            measured = [name for name in map(str, one) if name.endswith("accuracy") and one[name].notna().all()]
            if measure not in measured:
                raise unknown("measure", measure, measured, where=label)
    first = next(iter(groups.values()))[0]
    order, *others = (name for name in first.criterion.unique() if name != SUPPORT)
    controls = others if measure == "accuracy" else []
    sets = first.layers.unique()
    styles = looks(groups) if styles is None else styles
    with mpl.rc_context(RC):
        names = {layers: _across(layers, first.scope.iloc[0], against) for layers in sets}
        drawing, panels = _panels(groups, names, f"{held_out} accuracy (%), log scale of the error".lstrip())
        for layers, axes in panels.items():
            for place, (label, sweeps) in enumerate(groups.items()):
                axis, look = axes[label], styles[label]
                x, values = _line(sweeps, layers, order, against, measure)
                aside = (place + 0.5) / len(groups) - 0.5 if against == "ratio" and not crowded(groups) else 0.0
                _seeds(axis, x, values.mean(1), label, look, aside)
                for style, control in zip(_CONTROL_STYLES, controls, strict=False):
                    x, values = _line(sweeps, layers, control, against, measure)
                    axis.plot(
                        x,
                        values.mean((0, 1)),
                        label=f"_{label}, {control}",
                        color=look["color"],
                        markersize=look["markersize"],
                        linestyle=style,
                        linewidth=0.9,
                        marker="",
                    )
                _mark_support(axis, sweeps, layers, against, measure, look["color"])
            if crowded(groups):
                draw_behind(axes)
            for axis in dict.fromkeys(axes.values() if against != "ratio" else ()):
                _factor_scale(axis)
        blocks = [list(dict.fromkeys(axes.values())) for axes in panels.values()]
        for shared in blocks if crowded(groups) else [list(itertools.chain(*blocks))]:
            _error_scale(shared, gap=0.11 if crowded(groups) else 0.045)
        styled = zip(_CONTROL_STYLES, controls, strict=False)
        greys = [Line2D([], [], color=GREY, linestyle=style, label=control) for style, control in styled]
        if any((one.criterion == SUPPORT).any() for sweeps in groups.values() for one in sweeps):
            greys.append(Line2D([], [], color=GREY, linestyle="", marker="*", label="support"))
        lines = [] if crowded(groups) else labelled(blocks[0][0])
        if lines or greys:
            legend_below(drawing, [*lines, *greys])
        heading(drawing, title)
        return drawing


def _panels(
    groups: Mapping[str, Sequence[pd.DataFrame]], sets: Mapping[str, str], up: str
) -> tuple[Figure, dict[str, dict[str, Axes]]]:
    """The figure, and for each set of layers the panel of each label, which all labels share where they are few.

    `sets` gives the label of the x axis for each set, `up` is that of the y axes.
    """
    titles = {layers: " + ".join(_names(layers)) for layers in sets}
    if crowded(groups):
        blocks = {layers: Block(titles[layers], across, up) for layers, across in sets.items()}
        return small_multiples(blocks, {label: f"{label} (n = {len(sweeps)})" for label, sweeps in groups.items()})
    drawing = figure(4.4 * len(sets) + 0.4, 3.9)
    axes = drawing.subplots(1, len(sets), squeeze=False, sharey=True)[0]
    axes[0].set_ylabel(up)
    for axis, (layers, across) in zip(axes, sets.items(), strict=True):
        axis.set(xlabel=across, title=titles[layers])
    return drawing, {layers: dict.fromkeys(groups, axis) for axis, layers in zip(axes, sets, strict=True)}


def _names(layers: str) -> list[str]:
    names = layers.split(",")
    return names if len(names) < 5 else [f"{len(names)} layers"]


def _across(layers: str, scope: str, against: str) -> str:
    """What stands at the axis of a set of layers: "removed from conv3 and fc1 each (%)"."""
    how = "" if "," not in layers else " together" if scope == "global" else " each"
    return AGAINST[against].format(layers=listed(_names(layers)) + how)


def _seeds(axis: Axes, x: np.ndarray, values: np.ndarray, label: str, look: Look, aside: float) -> None:
    """The mean of the rows of `values`, one a sweep, and from two rows on a dot for each value.

    The dots stand `aside`, from −½ to ½, of the line's point, so that those of other lines do not hide them: at most a
    quarter of the way to the next point.
    """
    axis.plot(x, values.mean(0), label=f"{label} (n = {len(values)})", linewidth=1.4, **look)
    gap = np.diff(x).min(initial=np.inf)
    beside = x + 0.5 * aside * (gap if np.isfinite(gap) else 1.0)
    for row in values if len(values) > 1 else ():
        axis.plot(
            beside, row, label="_", color=look["color"], linestyle="", marker="o", markersize=2.6, alpha=0.6, mew=0
        )


def _line(
    sweeps: Sequence[pd.DataFrame], layers: str, criterion: str, against: str, measure: str
) -> tuple[np.ndarray, np.ndarray]:
    """The positions of the points (points,), means over all sweeps and draws, and their accuracies in %.

    The accuracies are (sweeps, draws, points).
    """
    rows = [sweep[(sweep.layers == layers) & (sweep.criterion == criterion)] for sweep in sweeps]

    def values(column: str) -> np.ndarray:
        return np.stack(
            [one.assign(value=one[column]).pivot(index="ratio", columns="draw", values="value") for one in rows]
        )

    x = (100 if against == "ratio" else 1) * values(against).mean((0, 2))
    finite = np.isfinite(x)
    return x[finite], 100 * values(measure).swapaxes(1, 2)[..., finite]


def _mark_support(
    axis: Axes, sweeps: Sequence[pd.DataFrame], layers: str, against: str, measure: str, colour: Any
) -> None:
    """A star for each sweep that measured the support alone."""
    for sweep in sweeps:
        alone = sweep[(sweep.layers == layers) & (sweep.criterion == SUPPORT) & np.isfinite(sweep[against])]
        x = (100 if against == "ratio" else 1) * alone[against]
        if len(alone):
            axis.plot(x, 100 * alone[measure], linestyle="", marker="*", color=colour, label="_support")


def _factor_scale(axis: Axes) -> None:
    """Factors as 2×, on a logarithmic scale where they span much."""
    low, high = axis.dataLim.intervalx
    if high > _WIDE * low:
        axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:.4g}×")


def _error_scale(axes: Sequence[Axes], *, gap: float) -> None:
    """Accuracy on a logarithmic scale of the error, so that 99.1 and 98.7 differ to the eye as 91 and 87 do.

    The axes share it. Between two ticks is at least `gap` of its length. Where
    few of the usual ticks lie among the accuracies they are evenly spaced instead.
    """
    shift = 100.05  # 100% itself is finite

    def place(accuracy: np.ndarray | float) -> np.ndarray | float:
        return -np.log10(np.maximum(shift - accuracy, 0.01))

    def accuracy_at(where: np.ndarray | float) -> np.ndarray | float:
        return shift - 10**-where

    drawn = [axis.dataLim for axis in axes if np.isfinite(axis.dataLim.intervaly).all()]
    if not drawn:  # nothing is left at any point
        return
    ends = place(np.array([min(box.ymin for box in drawn), max(box.ymax for box in drawn)]))
    margin = max(0.06 * np.ptp(ends), 0.01)
    bottom, top = np.clip(accuracy_at(ends + np.array([-margin, margin])), 0, 100)

    def apart(ticks: Iterable[float]) -> list[float]:
        """The ticks between the ends of the axis, without those that would touch the one before."""
        shown: list[float] = []
        for tick in ticks:
            if bottom <= tick <= top and (not shown or place(tick) - place(shown[-1]) > gap * np.ptp(ends)):
                shown.append(tick)
        return shown

    shown = apart(_TICKS)
    for bins in (6, 12):
        if len(shown) < 4:
            shown = apart(MaxNLocator(bins, steps=(1, 2, 5, 10)).tick_values(bottom, top))
    axes[0].set_yscale("function", functions=(place, accuracy_at))
    axes[0].set_ylim(bottom, top)
    axes[0].set_yticks(shown, [f"{tick:.4g}" for tick in shown])
    axes[0].minorticks_off()
