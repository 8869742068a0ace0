"""Pictures with what a network takes them for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from sparsify.drawing.style import RC, REMOVED, figure, heading, per_row
from sparsify.errors import SparsifyError


@dataclass(frozen=True)
class Answer:
    """A picture, uint8 (channels, height, width), its class, and the class and probability that a network gives it."""

    picture: np.ndarray
    label: str
    predicted: str
    probability: float

    @property
    def right(self) -> bool:
        """Whether the network is right."""
        return self.label == self.predicted


def predictions_figure(answers: Sequence[Answer], *, title: str) -> Figure:
    """A grid of pictures in their order, each with its class and what the network takes it for, wrong ones framed.

    Raises SparsifyError without pictures.
    """
    if not answers:
        raise SparsifyError("there is no picture to draw")
    with mpl.rc_context(RC):
        columns = per_row(len(answers), 8)
        rows = math.ceil(len(answers) / columns)
        drawing = figure(max(1.25 * columns, 5.2), 1.74 * rows + 0.5)
        axes = list(drawing.subplots(rows, columns, squeeze=False).flat)
        for axis in axes[len(answers) :]:
            axis.set_axis_off()
        for axis, one in zip(axes, answers, strict=False):
            channels = one.picture.shape[0]
            picture = one.picture[0] if channels == 1 else one.picture.transpose(1, 2, 0)
            axis.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="none")
            axis.set(xticks=[], yticks=[])
            axis.grid(False)
            said = one.label if one.right else f"{one.label},\nnot {one.predicted}"
            axis.set_title(f"{said}\n{one.probability:.1%}", fontsize=7.5, color="black" if one.right else REMOVED)
            for spine in axis.spines.values():
                spine.set(visible=not one.right, color=REMOVED, linewidth=2.2)
        heading(drawing, f"{title}   (orange: wrong, the class and what it is taken for)")
        return drawing
