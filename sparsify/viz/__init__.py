"""Figures: functions of runs and sweeps that return a matplotlib Figure, what a study draws, and what needs no run."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # type checkers see what `__getattr__` imports
    from sparsify.drawing.style import save
    from sparsify.viz.figures import classes, curves, filters, path, sweep
    from sparsify.viz.networks import net, predictions
    from sparsify.viz.study import study_drawings
    from sparsify.viz.textbook import optimizers, schedule
    from sparsify.viz.trainings import decays, landscape, losses, rates

_EXPORTS = {
    "classes": "sparsify.viz.figures",
    "curves": "sparsify.viz.figures",
    "decays": "sparsify.viz.trainings",
    "filters": "sparsify.viz.figures",
    "landscape": "sparsify.viz.trainings",
    "losses": "sparsify.viz.trainings",
    "net": "sparsify.viz.networks",
    "optimizers": "sparsify.viz.textbook",
    "path": "sparsify.viz.figures",
    "predictions": "sparsify.viz.networks",
    "rates": "sparsify.viz.trainings",
    "save": "sparsify.drawing.style",
    "schedule": "sparsify.viz.textbook",
    "study_drawings": "sparsify.viz.study",
    "sweep": "sparsify.viz.figures",
}

__all__ = [
    "classes",
    "curves",
    "decays",
    "filters",
    "landscape",
    "losses",
    "net",
    "optimizers",
    "path",
    "predictions",
    "rates",
    "save",
    "schedule",
    "study_drawings",
    "sweep",
]


def __getattr__(name: str) -> Any:
    """Import on first use, so that `import sparsify.viz` does not wait for matplotlib and torch."""
    if name not in _EXPORTS:
        raise AttributeError(f"module 'sparsify.viz' has no attribute '{name}'")
    return getattr(importlib.import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_EXPORTS])
