"""Contrasts, the differences between the arms of a study, and how much of each arm can go for a small loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sparsify.analysis.comparison import difference_interval, mcnemar
from sparsify.analysis.statistics import CONFIDENCE, holm, paired
from sparsify.config import Config
from sparsify.errors import unknown
from sparsify.optim.registry import OPTIMIZERS
from sparsify.study.results import (
    ArmResult,
    Point,
    StudyResult,
    accuracies,
    measured_in,
    measures_of,
    points_of,
    right_answers,
)

CONTROL = "sgd-pull"


@dataclass(frozen=True, kw_only=True)
class Contrast(Point):
    """The accuracy of `arm` minus that of `reference` at a point, in fractions, over the `seeds` that both have.

    `p_seeds` is the p of the paired t-test: would other seeds differ, too, on these images? `p_images` is the p of
    McNemar's test over `images`: would these networks differ on other images? The interval from `low` to `high` and
    `p_adjusted`, Holm's over all contrasts of the study, answer the first question where several seeds do, else the
    second; `over` says which: "seeds", "images", or "" for neither. What could not be computed is None. `images` is 0
    where the answers to single images were not kept, or are not all of the same images.
    """

    arm: str
    reference: str
    seeds: int
    images: int
    difference: float
    low: float | None
    high: float | None
    confidence: float
    over: str
    p_seeds: float | None
    p_images: float | None
    p_adjusted: float | None = None

    @property
    def p(self) -> float | None:
        """The p value of the question that the interval answers."""
        return self.p_seeds if self.over == "seeds" else self.p_images


def contrasts(
    result: StudyResult,
    *,
    reference: str | None = None,
    ratios: Sequence[float] | None = None,
) -> list[Contrast]:
    """Every arm against its reference, for each sweep, set of layers and measure.

    The reference is `reference`, the label of an arm; without one it is the arm's own control (`control_of`) if the
    study has it, else "sgd-pull", else the first arm. `ratios` are by default each sweep's largest below 1. An arm
    without a seed in common with its reference has no contrast. Raises SparsifyError for an unknown arm and a ratio
    that was not swept.
    """
    found = []
    for number, plan in enumerate(result.study.sweeps):
        chosen = ratios or [max((r for r in plan.ratios if r < 1), default=plan.ratios[-1])]
        pairs = [(arm, _reference(result, arm, reference)) for arm in result.arms]
        measured = measured_in(result, number)
        for point in points_of(plan, number, chosen, measured):
            found += [_contrast(result, arm, other, point) for arm, other in pairs if arm is not other]
    made = [one for one in found if one is not None]
    adjusted = holm([one.p for one in made])
    return [replace(one, p_adjusted=p) for one, p in zip(made, adjusted, strict=True)]


def control_of(result: StudyResult, arm: ArmResult) -> ArmResult | None:
    """The control of an arm whose optimizer selects: the arm whose optimizer does not, and nothing else differs."""
    for other in result.arms:
        pairs = [
            (run.config, theirs)
            for run in arm.finished
            if (theirs := _of_seed(other, run.config.seed)) is not None  # a seed may have diverged in one
        ]
        if pairs and all(_controls(theirs, own) for own, theirs in pairs):
            return other
    return None


def _of_seed(arm: ArmResult, seed: int) -> Config | None:
    return next((run.config for run in arm.finished if run.config.seed == seed), None)


def _controls(control: Config, own: Config) -> bool:
    same = control.to_dict() | {"opt": own.opt} == own.to_dict()
    return same and OPTIMIZERS[own.opt].control == control.opt


def _reference(result: StudyResult, arm: ArmResult, label: str | None) -> ArmResult:
    arms = {one.label: one for one in result.arms}
    if label is not None:
        if label not in arms:
            raise unknown("arm", label, arms)
        return arms[label]
    return control_of(result, arm) or arms.get(CONTROL, result.arms[0])


def _contrast(result: StudyResult, arm: ArmResult, other: ArmResult, point: Point) -> Contrast | None:
    """The contrast of an arm with another one at a point; None without a seed that both have."""
    theirs, own = accuracies(result, other, point), accuracies(result, arm, point)
    seeds = [seed for seed in own if seed in theirs]
    if not seeds:
        return None
    found = paired([theirs[seed] for seed in seeds], [own[seed] for seed in seeds], CONFIDENCE)
    right = right_answers([(other, point.ratio), (arm, point.ratio)], point, seeds)
    low, high, over = found.low, found.high, "seeds" if found.low is not None else ""
    if not over and right is not None:
        low, high = difference_interval(*right, confidence=CONFIDENCE)
        over = "images"
    return Contrast(
        **vars(point),
        arm=arm.label,
        reference=other.label,
        seeds=found.n,
        images=0 if right is None else right[0].shape[1],
        difference=found.mean,
        low=low,
        high=high,
        confidence=CONFIDENCE,
        over=over,
        p_seeds=found.p,
        p_images=None if right is None else mcnemar(*right),
    )


@dataclass(frozen=True)
class Loss:
    """What an arm loses at a `ratio`: its accuracy with nothing removed minus that at the ratio, in fractions.

    `bound` is the one-sided upper bound of the loss over `seeds` or over `images`, as `over` says; None without either.
    """

    ratio: float
    loss: float
    bound: float | None
    over: str
    seeds: int
    images: int


@dataclass(frozen=True, kw_only=True)
class Affordable(Point):
    """The largest `ratio` whose loss is below `tolerance`, a fraction, with this confidence.

    `loss` is the accuracy with nothing removed minus that at the ratio, and `bound` its one-sided upper bound, `over`
    "seeds" or "images" as in `Contrast`. The ratio is 0 where the smallest one that was swept has a bound that is not
    below the tolerance.
    """

    arm: str
    tolerance: float
    confidence: float
    seeds: int
    images: int
    loss: float
    bound: float
    over: str


def affordable(result: StudyResult, *, tolerances: Sequence[float] = (0.005, 0.01)) -> list[Affordable]:
    """The largest ratio whose loss is below ε with this confidence, for each arm, sweep, layers, measure and ε.

    The ratios are tested in ascending order until one fails, a fixed sequence of tests, so that the confidence holds
    for the answer without a correction. The bound is Student's over the seeds; for one seed, and where seeds show no
    spread, it is the bootstrap's over the images. Left out are sweeps without ratio 0, which have no loss, and arms
    without a bound: one seed whose answers to single images were not kept.
    """
    found = []
    for number, plan in enumerate(result.study.sweeps):
        rising = [ratio for ratio in plan.ratios if ratio > 0] if 0.0 in plan.ratios else []
        for layers in plan.layers if rising else ():
            for arm in result.arms:
                for measure in measures_of(arm, number):
                    whole = Point(sweep=number, by=plan.name, layers=layers, ratio=0.0, measure=measure)
                    losses = [_loss(result, arm, whole, ratio) for ratio in rising]
                    if losses[0].bound is None:
                        continue  # a ratio of 0 would say that it was tested
                    found += [_largest_affordable(arm, whole, losses, epsilon) for epsilon in tolerances]
    return found


def _loss(result: StudyResult, arm: ArmResult, whole: Point, ratio: float) -> Loss:
    """What an arm loses at a ratio of the layers of the point `whole`, at which nothing is removed."""
    before, after = accuracies(result, arm, whole), accuracies(result, arm, replace(whole, ratio=ratio))
    both = 2 * CONFIDENCE - 1  # the upper end of this interval is the one-sided bound
    found = paired(list(after.values()), list(before.values()), both)
    right = right_answers([(arm, ratio), (arm, whole.ratio)], whole, list(before))
    bound, over = found.high, "seeds" if found.high is not None else ""
    if not over and right is not None:
        bound, over = difference_interval(*right, confidence=both)[1], "images"
    return Loss(ratio, found.mean, bound, over, found.n, 0 if right is None else right[0].shape[1])


def _largest_affordable(arm: ArmResult, whole: Point, losses: Sequence[Loss], tolerance: float) -> Affordable:
    best = replace(losses[0], ratio=0.0, loss=0.0, bound=0.0, over="")
    for loss in losses:
        if loss.bound is None or loss.bound >= tolerance:
            break
        best = loss
    values = vars(whole) | vars(best)
    return Affordable(**values, arm=arm.label, tolerance=tolerance, confidence=CONFIDENCE)
