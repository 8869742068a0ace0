"""The landscape of trainings from what they recorded: over runs of several learning rates, and along the gradient."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sparsify.drawing.landscape import Spread
from sparsify.errors import SparsifyError
from sparsify.runs import Run
from sparsify.runs.records import FACTORS


def has_records(run: Run, *names: str) -> bool:
    """Whether the training of a run recorded all of these."""
    return set(names) <= set(run.config.record.split(","))


def over_runs(runs: Sequence[Run]) -> Spread:
    """How loss and gradient spread over runs with several learning rates, at each step that all of them took.

    The change is ‖g_k − g_{k−1}‖₂ of consecutive steps, each on its own batch, and the smoothness that over
    ‖W_k − W_{k−1}‖₂. Raises SparsifyError if a run did not record its losses and gradients.
    """
    for run in runs:
        if not has_records(run, "loss", "gradients"):
            raise SparsifyError(f"{run.name} has no record of its losses and gradients; train it with --record")
    found = [{name: tensor.numpy().astype(float) for name, tensor in run.records.items()} for run in runs]
    steps = min(len(one["loss/loss"]) for one in found)
    loss, change, distance = (
        np.stack([one[name][1:steps] for one in found])
        for name in ("loss/loss", "gradients/change", "gradients/distance")
    )
    return Spread(np.arange(2, steps + 1), loss, change, _over(change, distance))


def along_gradient(run: Run) -> Spread:
    """How loss and gradient spread along the gradient of one training, at η = f·α for each f of `FACTORS`.

    The smoothness is ‖∇L(W) − ∇L(W − ηg)‖₂ / (η‖g‖₂), all on one batch (Santurkar et al. 2018). Raises SparsifyError
    if the run did not record its landscape.
    """
    if not has_records(run, "landscape"):
        raise SparsifyError(f"{run.name} has no record of its landscape; train it with --record landscape")
    found = {name.removeprefix("landscape/"): tensor.numpy().astype(float) for name, tensor in run.records.items()}
    distance = np.array(FACTORS)[:, None] * (found["rate"] * found["gradient"])[None]
    change = found["change"].T
    return Spread(found["step"], found["loss"].T, change, _over(change, distance))


def _over(change: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """change / distance, NaN where nothing moved."""
    ratio: np.ndarray = np.divide(change, distance, out=np.full_like(change, np.nan), where=distance > 0)
    return ratio
