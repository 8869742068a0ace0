"""The training loss of every hundred steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from sparsify.drawing.curves import band
from sparsify.drawing.panels import Block, crowded, draw_behind, small_multiples
from sparsify.drawing.style import RC, Look, figure, heading, legend_below, log_scale, looks
from sparsify.errors import SparsifyError

EVERY = 100
"""A point is the mean loss of so many steps, if a training has ten points or more then."""


def averaged(steps: int) -> int:
    """Of how many steps a point is the mean, where the longest training has so many steps."""
    return EVERY if steps >= 10 * EVERY else EVERY // 10


def losses_figure(
    groups: Mapping[str, Sequence[np.ndarray]], *, title: str, styles: Mapping[str, Look] | None = None
) -> Figure:
    """Training loss against the step. `groups` maps a label to the losses of every step of each of its runs.

    Each point is the mean of `EVERY` steps, or of a tenth of so many where a training is shorter than a thousand; of
    what is left at the end, too. A band is one sample standard deviation over the runs. More groups than one panel can
    show have a panel each. `styles` gives the look of each label, else `looks`. Raises SparsifyError without groups.
    """
    if not groups:
        raise SparsifyError("no training recorded its losses; train with --record loss")
    styles = looks(groups) if styles is None else styles
    every = averaged(max(len(run) for runs in groups.values() for run in runs))
    with mpl.rc_context(RC):
        across, up = "step", f"cross-entropy, mean of {every} steps"
        if crowded(groups):
            titles = {label: f"{label} (n = {len(runs)})" for label, runs in groups.items()}
            drawing, blocks = small_multiples({"": Block("", across, up)}, titles)
            panels = blocks[""]
        else:
            drawing = figure(7.6, 4.2)
            axis = drawing.subplots()
            axis.set(xlabel=across, ylabel=up)
            panels = dict.fromkeys(groups, axis)
        for label, runs in groups.items():
            length = min(map(len, runs))
            starts = np.arange(0, length, every)
            means = np.stack([np.add.reduceat(run[:length], starts) for run in runs])
            sizes = np.diff([*starts, length])
            marked = max(1, len(starts) // 10)
            band(panels[label], starts + sizes, means / sizes, label, styles[label], markevery=marked)
        for axis in dict.fromkeys(panels.values()):
            log_scale(axis)
        if crowded(groups):
            draw_behind(panels)
        else:
            legend_below(drawing, list(axis.lines))
        heading(drawing, f"{title}: training loss")
        return drawing
