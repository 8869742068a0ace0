"""Training curves, and what all curves share: means with bands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sparsify.drawing.style import RC, Look, figure, heading, legend_below, log_scale, looks
from sparsify.errors import SparsifyError

if TYPE_CHECKING:
    import pandas as pd


def band(axis: Axes, x: np.ndarray, values: np.ndarray, label: str, look: Look, markevery: int | None = None) -> None:
    """The mean of the rows of `values` and, from two rows on, a band of one sample standard deviation."""
    mean = values.mean(0)
    axis.plot(x, mean, label=f"{label} (n = {len(values)})", linewidth=1.4, markevery=markevery, **look)
    if len(values) > 1:
        deviation = values.std(0, ddof=1)
        axis.fill_between(x, mean - deviation, mean + deviation, color=look["color"], alpha=0.18, linewidth=0)


def curves_figure(groups: Mapping[str, Sequence[pd.DataFrame]], *, title: str) -> Figure:
    """Loss and accuracy against the epoch. `groups` maps a label to the metrics of its runs, as `Run.metrics`
    gives them.

    Training is dashed, the held-out split solid and named behind each label, since it is not that of all groups where
    only some have `val`; a band is one sample standard deviation. Raises SparsifyError without groups.
    """
    if not groups:
        raise SparsifyError("no run to draw")
    with mpl.rc_context(RC):
        drawing = figure(9.2, 3.8)
        left, right = drawing.subplots(1, 2)
        splits = {label: _held_out(runs[0]) for label, runs in groups.items()}
        for (label, runs), look in zip(groups.items(), looks(groups).values(), strict=True):
            length = min(map(len, runs))
            epochs = runs[0]["epoch"].to_numpy()[:length]
            held_out = splits[label]
            for axis, what, factor in ((left, "loss", 1), (right, "accuracy", 100)):
                test = factor * _stacked(runs, f"{held_out}_{what}", length)
                training = factor * _stacked(runs, f"train_{what}", length)
                band(axis, epochs, test, f"{label}, {held_out}", look, markevery=max(1, length // 10))
                axis.plot(epochs, training.mean(0), color=look["color"], linewidth=0.9, linestyle="--")
        left.set(xlabel="epoch", ylabel="cross-entropy", title="Loss")
        log_scale(left)
        right.set(xlabel="epoch", ylabel="accuracy (%)", title="Accuracy")
        low = 100 * min(run[f"{splits[label]}_accuracy"].iloc[-1] for label, runs in groups.items() for run in runs)
        right.set_ylim(max(0, low - max(1.0, 0.5 * (100 - low))), 100.05)  # the end matters, not the first epochs
        for axis in (left, right):
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        legend_below(drawing, left.get_legend_handles_labels()[0])
        heading(drawing, f"{title}   (solid: {' or '.join(dict.fromkeys(splits.values()))}, dashed: training)")
        return drawing


def _stacked(runs: Sequence[pd.DataFrame], column: str, length: int) -> np.ndarray:
    """The first values of a column of each run: (runs, length)."""
    return np.stack([run[column].to_numpy(float)[:length] for run in runs])


def _held_out(run: pd.DataFrame) -> str:
    return "val" if run["val_accuracy"].notna().any() else "test"
