"""Contrasts, the differences between the arms of a study, and how much of each arm can go for a small loss."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sparsify.analysis.comparison import (
    difference_interval,
    differences,
    images_interval,
    signs_flipped,
    two_way_interval,
)
from sparsify.analysis.statistics import CONFIDENCE, holm, paired
from sparsify.config import Config
from sparsify.errors import unknown
from sparsify.optim.registry import OPTIMIZERS
from sparsify.pruning.plan import SweepPlan
from sparsify.pruning.ratios import Ratio
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

LARGEST = 0.6
"""The largest ratio at which arms are compared where a study does not say."""


@dataclass(frozen=True, kw_only=True)
class Contrast(Point):
    """The accuracy of `arm` minus that of `reference` at a point, in fractions, over the `seeds` that both have.

    With `compared` "change" it is the difference of their changes: each arm's accuracy at the point minus its accuracy
    with nothing removed. `p_seeds` is the p of the paired t-test: would other seeds differ, too, on these images?
    `p_images` is the p of the exact test that flips the signs of `images` (`signs_flipped`; for the accuracies of one
    seed it is McNemar's test): would these networks differ on other images? The interval from `low` to `high` and
    `p_adjusted` answer the first question where several seeds do, else the second; `over` says which: "seeds",
    "images", or "" for neither. From `both_low` to `both_high` is the bootstrap's interval over seeds and images.

    `family` is "primary" for what was planned before the study was run, else "exploratory"; `p_adjusted` is Holm's over
    the contrasts of the same family. What could not be computed is None. `images` is 0 where the answers to single
    images were not kept, or are not all of the same images.
    """

    arm: str
    reference: str
    compared: str
    family: str
    seeds: int
    images: int
    difference: float
    low: float | None
    high: float | None
    confidence: float
    over: str
    both_low: float | None
    both_high: float | None
    p_seeds: float | None
    p_images: float | None
    p_adjusted: float | None = None

    @property
    def p(self) -> float | None:
        """The p value of the question that the interval answers."""
        return self.p_seeds if self.over == "seeds" else self.p_images


@dataclass(frozen=True)
class _Asked:
    """What is compared, before it is."""

    point: Point
    arm: ArmResult
    reference: ArmResult
    compared: str
    primary: bool

    @property
    def what(self) -> tuple[object, ...]:
        """All but the family, and which of the two is the reference: the other way round it is the same difference."""
        return (*vars(self.point).values(), frozenset((self.arm.label, self.reference.label)), self.compared)


def contrasts(
    result: StudyResult,
    *,
    reference: str | None = None,
    ratios: Sequence[float] | None = None,
) -> list[Contrast]:
    """The contrasts that the study planned, and every arm against its reference, accuracies and changes.

    The primary ones are those that the study names as such. If it names none at all, they are the changes from 0% of
    every arm at `usual_ratio`, against its reference, for each set of layers in the first sweep that has it: fixed by
    the study's file alone, before anything is seen. (A sweep without ratio 0 has accuracies in their place.) All others
    are exploratory: the accuracies beside them, other sweeps and measures.

    The reference is the arm's own control (`control_of`) if the study has it, else "sgd-pull", else the first arm. An
    arm without a seed in common with its reference has no contrast. With a `reference`, the label of an arm, or with
    `ratios`, which are chosen afterwards, all contrasts are those, and exploratory. Raises SparsifyError for an unknown
    arm and a ratio that was not swept.

    >>> [one.difference for one in sparsify.contrasts(result, ratios=[0])]  # of its one arm there is nothing to compare
    []
    """
    chosen = reference is not None or ratios is not None
    planned = [] if chosen else _planned(result)
    asked = [*planned, *_every_arm(result, reference, ratios, primary=not (chosen or planned))]
    found = {one.what: one for one in reversed(asked)}  # of two that are the same, the first
    kept = [one for one in asked if found[one.what] is one]
    made = [one for one in map(functools.partial(_contrast, result), kept) if one is not None]
    adjusted: dict[int, float | None] = {}
    for family in ("primary", "exploratory"):
        places = [place for place, one in enumerate(made) if one.family == family]
        adjusted |= zip(places, holm([made[place].p for place in places]), strict=True)
    return [replace(one, p_adjusted=adjusted[place]) for place, one in enumerate(made)]


def usual_ratio(plan: SweepPlan) -> float:
    """The largest ratio of a sweep up to 60%; the smallest above 0 if all are larger, 0 if there is none.

    Where nearly all is removed every network has collapsed, and what is compared is chance.
    """
    above = [ratio for ratio in plan.ratios if ratio > 0]
    return max((ratio for ratio in above if ratio <= LARGEST), default=min(above, default=0.0))


def _planned(result: StudyResult) -> list[_Asked]:
    """What the study names, and behind it the accuracies beside the changes."""
    arms = {arm.label: arm for arm in result.arms}
    found = []
    for one in result.study.contrasts:
        by = result.study.sweeps[one.sweep].name
        point = Point(sweep=one.sweep, by=by, layers=one.layers, ratio=one.ratio, measure=one.measure)
        found.append(_Asked(point, arms[one.arm], arms[one.reference], one.compared, one.primary))
    return [*found, *(replace(one, compared="accuracy", primary=False) for one in found if one.compared == "change")]


def _every_arm(
    result: StudyResult, reference: str | None, ratios: Sequence[float] | None, *, primary: bool
) -> Iterator[_Asked]:
    """Every arm against its reference; with `primary` its changes in the first sweep of each set of layers are."""
    pairs = [(arm, _reference(result, arm, reference)) for arm in result.arms]
    seen: set[str] = set()
    for number, plan in enumerate(result.study.sweeps):
        for point in points_of(plan, number, ratios or [usual_ratio(plan)], measured_in(result, number)):
            kinds = ("change", "accuracy") if 0 in plan.ratios and point.ratio != 0 else ("accuracy",)
            first = primary and point.measure == "accuracy" and point.layers not in seen
            for compared in kinds:
                for arm, other in pairs:
                    if arm is not other:
                        yield _Asked(point, arm, other, compared, first and compared == kinds[0])
        seen.update(plan.layers)


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
    named = (OPTIMIZERS[run.config.opt].control for run in arm.finished)
    own = next((arms[control] for control in named if control in arms), None)
    return control_of(result, arm) or own or arms.get(CONTROL, result.arms[0])


def _contrast(result: StudyResult, asked: _Asked) -> Contrast | None:
    """The contrast that is asked for; None without a seed that both arms have."""
    arm, other, point = asked.arm, asked.reference, asked.point
    theirs, own = accuracies(result, other, point), accuracies(result, arm, point)
    seeds = [seed for seed in own if seed in theirs]
    if not seeds:
        return None
    change = asked.compared == "change"
    if change:
        # own − own whole − (theirs − their whole), as a difference of two sums: rounding is judged by their size
        their_whole, whole = (accuracies(result, one, replace(point, ratio=0.0)) for one in (other, arm))
        theirs, own = (
            {seed: theirs[seed] + whole[seed] for seed in seeds},
            {seed: own[seed] + their_whole[seed] for seed in seeds},
        )
    found = paired([theirs[seed] for seed in seeds], [own[seed] for seed in seeds], CONFIDENCE)
    sides: list[tuple[ArmResult, Ratio]] = [(other, point.ratio), (arm, point.ratio)]
    sides += [(arm, 0.0), (other, 0.0)] if change else []
    right = right_answers(sides, point, seeds)
    low, high, over = found.low, found.high, "seeds" if found.low is not None else ""
    both_low, both_high, p_images = None, None, None
    if right is not None:
        by_image = np.sum(list(map(differences, right[::2], right[1::2])), axis=0)
        p_images = signs_flipped(by_image)
        if not over:
            models = len(right[0])
            low, high = images_interval(by_image, models, most=models * len(right) // 2, confidence=CONFIDENCE)
            over = "images"
        if len(seeds) > 1:
            summed, draws = _by_seed_and_image(right, len(seeds)), len(right[0]) // len(seeds)
            both_low, both_high = two_way_interval(summed, draws=draws, confidence=CONFIDENCE)
    return Contrast(
        **vars(point),
        arm=arm.label,
        reference=other.label,
        compared=asked.compared,
        family="primary" if asked.primary else "exploratory",
        seeds=found.n,
        images=0 if right is None else right[0].shape[1],
        difference=found.mean,
        low=low,
        high=high,
        confidence=CONFIDENCE,
        over=over,
        both_low=both_low,
        both_high=both_high,
        p_seeds=found.p,
        p_images=p_images,
    )


def _by_seed_and_image(right: Sequence[np.ndarray], seeds: int) -> np.ndarray:
    """The differences of each seed and image, (seeds, images), each a sum over the seed's draws."""
    of_seeds = [one.reshape(seeds, -1, one.shape[1]).sum(1, dtype=np.int64) for one in right]
    found: np.ndarray = np.sum([b - a for a, b in zip(of_seeds[::2], of_seeds[1::2], strict=True)], axis=0)
    return found


@dataclass(frozen=True)
class Loss:
    """What an arm loses at a `ratio`: its accuracy with nothing removed minus that at the ratio, in fractions.

    `bound` is the one-sided upper bound of the loss over `seeds` or over `images`, as `over` says; None without either.
    `least` is the bound over images if not one of them were answered otherwise; None where the bound is over seeds.
    """

    ratio: float
    loss: float
    bound: float | None
    over: str
    seeds: int
    images: int
    least: float | None = None


@dataclass(frozen=True, kw_only=True)
class Affordable(Point):
    """The largest `ratio` whose loss is below `tolerance`, a fraction, with this confidence.

    `loss` is the accuracy with nothing removed minus that at the ratio, and `bound` its one-sided upper bound, `over`
    "seeds" or "images" as in `Contrast`. The ratio is 0 where the smallest one that was swept has a bound that is not
    below the tolerance. `least` is the smallest bound that could be shown at the ratio that was tested last: that of a
    loss of no image at all; None where the bound is over seeds.
    """

    ratio: float
    arm: str
    tolerance: float
    confidence: float
    seeds: int
    images: int
    loss: float
    bound: float
    over: str
    least: float | None

    @property
    def too_few_images(self) -> bool:
        """Whether these images could not have shown so small a loss, whatever the network."""
        return self.ratio == 0 and self.least is not None and self.least >= self.tolerance


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
    bound, over, least = found.high, "seeds" if found.high is not None else "", None
    if not over and right is not None:
        bound, over = difference_interval(*right, confidence=both)[1], "images"
        least = difference_interval(right[0], right[0], confidence=both)[1]
    return Loss(ratio, found.mean, bound, over, found.n, 0 if right is None else right[0].shape[1], least)


def _largest_affordable(arm: ArmResult, whole: Point, losses: Sequence[Loss], tolerance: float) -> Affordable:
    best = replace(losses[0], ratio=0.0, loss=0.0, bound=0.0, over="")
    for loss in losses:
        best = replace(best, least=loss.least)
        if loss.bound is None or loss.bound >= tolerance:
            break
        best = loss
    values = vars(whole) | vars(best)
    return Affordable(**values, arm=arm.label, tolerance=tolerance, confidence=CONFIDENCE)
