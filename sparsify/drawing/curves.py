"""Training curves, and what all curves share: means with bands."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sparsify.drawing.panels import Block, crowded, draw_behind, small_multiples
from sparsify.drawing.style import RC, Look, figure, heading, labelled, legend_below, log_scale, looks
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


def curves_figure(
    groups: Mapping[str, Sequence[pd.DataFrame]], *, title: str, styles: Mapping[str, Look] | None = None
) -> Figure:
    """Loss and accuracy against the epoch. `groups` maps a label to the metrics of its runs, as `Run.metrics`
    gives them.

    Training is dashed, the held-out split solid, and named behind each label where only some groups have `val`; a band
    is one sample standard deviation. The axis of the accuracies begins where the last ones can be told apart, and that
    of the losses ends at ten times what half of the runs stay below after their first epoch, and all in their last;
    each says so if values lie beyond. More groups than one panel can show have a panel each. `styles` gives the look of
    each label, else `looks`. Raises SparsifyError without groups.
    """
    if not groups:
        raise SparsifyError("no run to draw")
    styles = looks(groups) if styles is None else styles
    with mpl.rc_context(RC):
        splits = {label: _held_out(runs[0]) for label, runs in groups.items()}
        low = 100 * min(run[f"{splits[label]}_accuracy"].iloc[-1] for label, runs in groups.items() for run in runs)
        bottom = math.floor(max(0, low - max(1.0, 0.5 * (100 - low))))  # the end matters, not the first epochs
        below = any(_least(run) < bottom for runs in groups.values() for run in runs)
        # so high a loss in the first epoch, or of a few runs that diverge, would make lines of all others flat
        every = [run for runs in groups.values() for run in runs]
        usual = float(np.median([_largest(run.iloc[1:] if len(run) > 1 else run) for run in every]))
        top = float(f"{10 * max(usual, *(_largest(run.iloc[-1:]) for run in every)):.2g}")
        above = any(_largest(run) > top for run in every)
        loss = f"cross-entropy, axis ends at {top:g}" if above else "cross-entropy"
        accuracy = f"accuracy (%), axis begins at {bottom}%" if below else "accuracy (%)"
        differ = len(set(splits.values())) > 1
        names = {label: f"{label}, {split}" if differ else label for label, split in splits.items()}
        titles = {label: f"{name} (n = {len(groups[label])})" for label, name in names.items()}
        drawing, panels = _panels(titles, loss, accuracy)
        losses, accuracies = panels.values()
        for label, runs in groups.items():
            length = min(map(len, runs))
            epochs = runs[0]["epoch"].to_numpy()[:length]
            held_out = splits[label]
            for axis, what, factor in ((losses[label], "loss", 1), (accuracies[label], "accuracy", 100)):
                test = factor * _stacked(runs, f"{held_out}_{what}", length)
                training = factor * _stacked(runs, f"train_{what}", length)
                band(axis, epochs, test, names[label], styles[label], markevery=max(1, length // 10))
                axis.plot(epochs, training.mean(0), color=styles[label]["color"], linewidth=0.9, linestyle="--")
        for axis in dict.fromkeys(accuracies.values()):
            axis.set_ylim(bottom, 100.05)
        for axis in dict.fromkeys(losses.values()):
            log_scale(axis)
            axis.set_ylim(top=min(axis.get_ylim()[1], top))
        for axis in dict.fromkeys([*losses.values(), *accuracies.values()]):
            axis.xaxis.set_major_locator(MaxNLocator(4 if crowded(groups) else "auto", integer=True))
        if crowded(groups):
            draw_behind(losses)
            draw_behind(accuracies)
        else:
            legend_below(drawing, labelled(next(iter(losses.values()))))
        heading(drawing, f"{title}   (solid: {' or '.join(dict.fromkeys(splits.values()))}, dashed: training)")
        return drawing


def _panels(titles: Mapping[str, str], loss: str, accuracy: str) -> tuple[Figure, dict[str, dict[str, Axes]]]:
    """The figure, and the panels of the losses and of the accuracies, which all labels share where they are few.

    `titles` gives what stands above the panel of a label, `loss` and `accuracy` what stands at their axes.
    """
    blocks = (Block("Loss", "epoch", loss), Block("Accuracy", "epoch", accuracy))
    if crowded(titles):
        return small_multiples({block.title: block for block in blocks}, titles)
    drawing = figure(9.2, 3.8)
    axes = drawing.subplots(1, 2)
    for axis, block in zip(axes, blocks, strict=True):
        axis.set(xlabel=block.across, ylabel=block.up, title=block.title)
    return drawing, {block.title: dict.fromkeys(titles, axis) for axis, block in zip(axes, blocks, strict=True)}


def _stacked(runs: Sequence[pd.DataFrame], column: str, length: int) -> np.ndarray:
    """The first values of a column of each run: (runs, length)."""
    return np.stack([run[column].to_numpy(float)[:length] for run in runs])


def _largest(run: pd.DataFrame) -> float:
    """The largest loss of these epochs, training's and held out."""
    return float(run.filter(regex="_loss$").max().max())


def _least(run: pd.DataFrame) -> float:
    """The least accuracy in %, training's and held out."""
    return 100 * float(run.filter(regex="_accuracy$").min().min())


def _held_out(run: pd.DataFrame) -> str:
    return "val" if run["val_accuracy"].notna().any() else "test"
