"""The loss landscape along trainings: how far losses and gradients spread, as in Santurkar et al. 2018."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sparsify.drawing.style import RC, Look, figure, heading, legend_below, log_scale, looks
from sparsify.errors import SparsifyError

WINDOWS = 120
"""A curve has at most so many points: each is the mean over a window of steps."""


@dataclass(frozen=True)
class Spread:
    """Trainings that differ in the learning rate only, at `steps`: (n,), and values (ways, n).

    A way is a training, or a distance along the gradient of one training. `loss` is the loss, `change` ‖Δg‖₂, and
    `smoothness` ‖Δg‖₂ / ‖ΔW‖₂; where nothing moved it is not a number.
    """

    steps: np.ndarray
    loss: np.ndarray
    change: np.ndarray
    smoothness: np.ndarray


def landscape_figure(
    rows: Mapping[str, Mapping[str, Spread]], *, title: str, styles: Mapping[str, Look] | None = None
) -> Figure:
    """One row of three panels for each way to look: loss, change of the gradient, effective smoothness.

    `rows` maps the heading of a row to the spread of each group, a network or an optimizer. Bands reach from the least
    to the largest loss and change; the smoothness is the largest. `styles` gives the look of each group, else `looks`.
    Raises SparsifyError if there is nothing to draw.
    """
    rows = {name: groups for name, groups in rows.items() if groups}
    if not rows:
        raise SparsifyError("no training recorded its gradients or its landscape; train with --record gradients,loss")
    labels = list(dict.fromkeys(label for groups in rows.values() for label in groups))
    styles = looks(labels) if styles is None else styles
    with mpl.rc_context(RC):
        drawing = figure(10.5, 3.1 * len(rows) + 0.6)
        axes = drawing.subplots(len(rows), 3, squeeze=False)
        for (name, groups), (left, middle, right) in zip(rows.items(), axes, strict=True):
            for label, spread in groups.items():
                look = styles[label]
                _band(left, spread.steps, spread.loss, label, look)
                _band(middle, spread.steps, spread.change, label, look)
                steps, (largest,) = _windows(spread.steps, _largest(spread.smoothness)[None])
                right.plot(steps, largest, color=look["color"], label=label, linewidth=1.3)
            for axis, what, unit in (
                (left, "Loss", "cross-entropy of a batch"),
                (middle, "Change of the gradient", "‖Δg‖₂"),
                (right, "Effective smoothness", "largest ‖Δg‖₂ / ‖ΔW‖₂"),
            ):
                axis.set(title=f"{what}\n{name}", xlabel="step", ylabel=unit)
                axis.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
                log_scale(axis)
        legend_below(drawing, _handles(axes))
        heading(drawing, title)
        return drawing


def _handles(axes: np.ndarray) -> Sequence[mpl.lines.Line2D]:
    """A handle of each label, from whichever row has it."""
    found = {handle.get_label(): handle for row in axes for handle in row[2].get_legend_handles_labels()[0]}
    return list(found.values())


def _band(axis: Axes, steps: np.ndarray, values: np.ndarray, label: str, look: Look) -> None:
    ends = np.stack([np.nanmin(values, 0), np.nanmax(values, 0)])
    steps, (low, high) = _windows(steps, ends)
    axis.fill_between(steps, low, high, color=look["color"], alpha=0.35, linewidth=0, label=label)
    for end in (low, high):
        axis.plot(steps, end, color=look["color"], linewidth=0.7)


def _largest(values: np.ndarray) -> np.ndarray:
    """The largest number of each column; NaN where there is none."""
    found: np.ndarray = np.where(np.isnan(values).all(0), np.nan, np.fmax.reduce(values, 0))
    return found


def _windows(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The means of steps (n,) and values (k, n) over windows of steps of about one length, without what is NaN."""
    known = ~np.isnan(values).any(0)
    steps, values = steps[known], values[:, known]
    if not len(steps):  # of one step there is no change
        return steps, values
    parts = np.array_split(np.arange(len(steps)), max(1, min(WINDOWS, len(steps))))
    means = np.stack([values[:, part].mean(1) for part in parts], 1)
    return np.array([steps[part].mean() for part in parts]), means
