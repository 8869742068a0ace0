"""Affordable: how much of a network can go for a small loss, shown rather than seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sparsify.comparison import difference_interval
from sparsify.points import Point, accuracies, measures_of, right_answers
from sparsify.statistics import paired
from sparsify.study import ArmResult, StudyResult


@dataclass(frozen=True, kw_only=True)
class Affordable(Point):
    """The largest `ratio` up to which an arm loses less than `tolerance`, both in fractions, with this confidence.

    `loss` is the accuracy with nothing removed minus that at the ratio, and `bound` its one-sided upper bound, `over`
    "seeds" or "images" as in `Contrast`. Ratio 0 is where not even the smallest one can be shown to be affordable.
    """

    arm: str
    tolerance: float
    confidence: float
    seeds: int
    images: int
    loss: float
    bound: float
    over: str


def affordable(
    result: StudyResult, *, tolerances: Sequence[float] = (0.005, 0.01), confidence: float = 0.95
) -> list[Affordable]:
    """The largest affordable ratio of each arm, for each sweep, set of layers, measure and tolerance.

    The ratios are tested in ascending order, and the first that cannot be shown to be affordable ends it, so that the
    confidence holds for the answer without a correction (a fixed sequence of tests). The bound is Student's over the
    seeds, or, for one seed and where seeds show no spread, the bootstrap's over images. Sweeps without ratio 0 have no
    loss and are left out, and so is what neither bounds: one seed whose answers to single images were not kept.
    """
    found = []
    for number, plan in enumerate(result.study.sweeps):
        rising = [ratio for ratio in plan.ratios if ratio > 0] if 0.0 in plan.ratios else []
        for layers in plan.layers if rising else ():
            for arm in result.arms:
                for measure in measures_of(arm, number):
                    at = {"sweep": number, "by": plan.name, "layers": layers, "measure": measure}
                    losses = [_loss(arm, at, ratio, confidence) for ratio in rising]
                    if losses[0]["bound"] is None:
                        continue  # 0 would say that it was tested
                    found += [_largest(arm, at, losses, tolerance, confidence) for tolerance in tolerances]
    return found


def _loss(arm: ArmResult, at: Mapping[str, Any], ratio: float, confidence: float) -> dict[str, Any]:
    """What an arm loses at a ratio: the values of an `Affordable`; its bound is None where there is none."""
    whole, pruned = (accuracies(arm, {**at, "ratio": one}) for one in (0.0, ratio))
    both = 2 * confidence - 1  # the upper end of this interval is the one-sided bound
    found = paired(list(pruned.values()), list(whole.values()), both)
    right = right_answers([(arm, ratio), (arm, 0.0)], at, list(whole))
    bound, over = found.high, "seeds" if found.high is not None else ""
    if not over and right is not None:
        bound, over = difference_interval(*right, confidence=both)[1], "images"
    images = 0 if right is None else right[0].shape[1]
    return {"ratio": ratio, "loss": found.mean, "bound": bound, "over": over, "seeds": found.n, "images": images}


def _largest(
    arm: ArmResult, at: Mapping[str, Any], losses: Sequence[dict[str, Any]], tolerance: float, confidence: float
) -> Affordable:
    best = losses[0] | {"ratio": 0.0, "loss": 0.0, "bound": 0.0, "over": ""}
    for loss in losses:
        if loss["bound"] is None or loss["bound"] >= tolerance:
            break
        best = loss
    return Affordable(**at, **best, arm=arm.label, tolerance=tolerance, confidence=confidence)
