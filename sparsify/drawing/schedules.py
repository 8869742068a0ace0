"""Learning rates, or weight decays, over a training."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sparsify.drawing.style import COLOURS, RC, figure, heading, per_row
from sparsify.errors import SparsifyError

_TITLE = 26  # characters that a panel has room for

MOST_DRAWN = 2_000
"""Steps that a panel shows: of more, only every so many, because a panel has no more pixels."""


def schedules_figure(
    rates: Mapping[str, np.ndarray], *, per_epoch: Mapping[str, int], title: str, what: str = "learning rate"
) -> Figure:
    """The learning rate of every step against the epoch, one panel a schedule, each with its own scale from 0.

    `rates` maps a label to the rates of its steps, (steps,), of which `per_epoch` are an epoch; `what` says what they
    are. Raises SparsifyError without schedules.
    """
    if not rates:
        raise SparsifyError("no schedule to draw")
    columns = per_row(len(rates), 4)
    rows = -(-len(rates) // columns)
    with mpl.rc_context(RC):
        drawing = figure(max(2.6 * columns, 5.0), 2.1 * rows + 0.5)
        axes = drawing.subplots(rows, columns, squeeze=False).ravel()
        for axis, (label, values) in zip(axes, rates.items(), strict=False):
            # a rate lasts from the beginning of its step to that of the next one
            begins = np.arange(0, len(values), -(-len(values) // MOST_DRAWN))
            edges = np.append(begins, len(values)) / per_epoch[label]
            axis.stairs(values[begins], edges, baseline=None, color=COLOURS[0], linewidth=1.4)
            axis.set(title=textwrap.fill(label, _TITLE), xlim=(0, edges[-1]), ylim=(0, 1.05 * values.max() or 1))
            axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            axis.yaxis.set_major_locator(MaxNLocator(4))
        for axis in axes[len(rates) :]:
            axis.remove()
        for number, axis in enumerate(axes[: len(rates)]):
            axis.set_xlabel("epoch" if number + columns >= len(rates) else "")
            axis.set_ylabel(what if number % columns == 0 else "")
        heading(drawing, title)
        return drawing
