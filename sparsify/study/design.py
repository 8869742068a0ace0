"""The design of a study: arms of Configs over seeds, which arms they start from, and how settings are chosen."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from sparsify.config import Config
from sparsify.errors import MOST_NAMES, SparsifyError, some, unknown
from sparsify.limits import MOST_CONTRASTS, at_most, twice
from sparsify.pruning.criteria import CRITERIA, PATH, Need
from sparsify.pruning.plan import PointPlan, SweepPlan
from sparsify.training.starting import require_same_path

COMPARED = ("accuracy", "change")
"""What a contrast compares: accuracies at a ratio, or their changes from those with nothing removed."""

USUAL = ("curves", "losses", "landscape", "sweep", "filters", "path")
"""What a study draws that names nothing: what its folders of before hold."""

DRAWINGS = (*USUAL, "schedules", "predictions")
"""What a study can draw."""


@dataclass(frozen=True)
class MaskOf:
    """A mask that is made from a run of the arm `of`: it masks what the `point` removes."""

    of: str
    point: PointPlan


@dataclass(frozen=True)
class Published:
    """The test accuracy, a fraction, that a publication reports for the setting of an arm, and where it stands."""

    test_accuracy: float
    source: str


@dataclass(frozen=True)
class Candidate:
    """Settings that an arm may take, one Config per seed: `trials` hold images out, `configs` train on all images."""

    label: str
    trials: tuple[Config, ...]
    configs: tuple[Config, ...]


@dataclass(frozen=True)
class Choice:
    """A choice between candidates: the one with the best mean accuracy on held-out training images is taken.

    `on` is a sweep of one point by magnitude, at which the candidates are compared; if None, the whole networks are.
    """

    candidates: tuple[Candidate, ...]
    on: SweepPlan | None = None

    @property
    def figure(self) -> str:
        """The compared figure in words: "accuracy", or "accuracy with conv3,fc1 pruned by 60%"."""
        pruned = "" if self.on is None else f" with {self.on.layers[0]} pruned by {100 * self.on.ratios[0]:.10g}%"
        return f"accuracy{pruned}"


@dataclass(frozen=True)
class Arm:
    """One row of a study: Configs that differ only in the seed.

    A run may start from the run of the same seed in another arm: `init` is the arm whose trained weights it takes,
    `mask` names the arm from whose run its mask is made, and `release` the arm whose run's path it follows at random.
    Until these are trained, the Configs' `init`, `mask` and `release` hold the labels of the arms. With a `choice`,
    `configs` are those of the first candidate until one is chosen. A `stage` is an intermediate step for other arms: it
    is trained, but neither swept nor shown. `published` is shown beside it.
    """

    label: str
    configs: tuple[Config, ...]
    init: str | None = None
    mask: MaskOf | None = None
    choice: Choice | None = None
    stage: bool = False
    published: Published | None = None
    release: str | None = None

    @property
    def parents(self) -> tuple[str, ...]:
        """The labels of the arms that this one starts from."""
        masked = None if self.mask is None else self.mask.of
        return tuple(dict.fromkeys(name for name in (self.init, masked, self.release) if name is not None))


@dataclass(frozen=True)
class Planned:
    """A contrast that a study names before it is run: what it compares of `arm` and `reference` at one point.

    `layers` is a set of the study's sweep number `sweep` (from 0), and `ratio` one of its ratios. The primary contrasts
    are what the study is about, and are adjusted for one another alone; all others are exploratory.
    """

    arm: str
    reference: str
    layers: str
    ratio: float
    measure: str = "change"
    primary: bool = True
    sweep: int = 0

    @property
    def what(self) -> tuple[object, ...]:
        """All but whether it is primary: no other contrast of a study has the same."""
        return (self.sweep, self.arm, self.reference, self.layers, self.ratio, self.measure)


@dataclass(frozen=True)
class Study:
    """The arms to train, the sweeps to measure, the figures to draw, and the contrasts that were planned.

    Raises SparsifyError for an unknown arm, for arms that start from each other in a circle, for a choice in an arm
    that starts from another one, for a criterion that needs another optimizer, if every arm is a stage, for a contrast
    of what is not measured, and as `require_same_path` does.
    """

    name: str
    title: str
    arms: tuple[Arm, ...]
    sweeps: tuple[SweepPlan, ...]
    draw: tuple[str, ...] = USUAL
    contrasts: tuple[Planned, ...] = ()

    def __post_init__(self) -> None:
        arms = {arm.label: arm for arm in self.arms}
        for arm in self.arms:
            for parent in arm.parents:
                if parent not in arms:
                    raise unknown("arm", parent, arms, where=arm.label)
            if arm.choice is not None and arm.parents:
                reason = "the weights that it starts from have been trained on the images that would be held out"
                raise SparsifyError(f"'{arm.label}' starts from another arm and selects: {reason}; select in that arm")
            if arm.release is not None:
                for config, followed in zip(arm.configs, arms[arm.release].configs, strict=True):
                    require_same_path(config, followed)
            if arm.mask is not None:
                _require_path(arm.mask.point.criterion, [arms[arm.mask.of]], f"the mask of '{arm.label}'")
        for plan in self.sweeps:
            shown = [arm for arm in self.arms if not arm.stage]
            _require_path(plan.criterion, shown, "a sweep")
            if plan.support:
                _require(PATH, shown, "a ratio of a sweep is support")
        _ = self.in_order  # for its errors
        if all(arm.stage for arm in self.arms):
            raise SparsifyError("every arm is a stage, so that there is none to show")
        self._check_contrasts()

    def _check_contrasts(self) -> None:
        at_most(len(self.contrasts), MOST_CONTRASTS, "contrasts")
        shown = [arm.label for arm in self.arms if not arm.stage]
        stages = {arm.label for arm in self.arms if arm.stage}
        for number, one in enumerate(self.contrasts, start=1):
            where = f"contrast {number}"
            for label in (one.arm, one.reference):
                if label in stages:
                    raise SparsifyError(f"{where} names the stage '{label}', which is not swept; take {some(shown)}")
                if label not in shown:
                    raise unknown("arm", label, shown, where=where)
            if one.arm == one.reference:
                raise SparsifyError(f"{where} compares '{one.arm}' with itself; take another reference")
            if not 0 <= one.sweep < len(self.sweeps):
                raise SparsifyError(f"{where} is of sweep {one.sweep + 1}; there are {len(self.sweeps)}, from 1 on")
            plan = self.sweeps[one.sweep]
            if one.layers not in plan.layers:
                raise unknown("layers", one.layers, plan.layers, where=where)
            if one.ratio not in plan.ratios:
                raise unknown("ratio", f"{one.ratio:g}", [f"{ratio:g}" for ratio in plan.ratios], where=where)
            if one.measure not in COMPARED:
                raise unknown("measure", one.measure, COMPARED, where=where)
            if one.measure == "change" and (one.ratio == 0 or 0 not in plan.ratios):
                reason = "0 has none" if one.ratio == 0 else "the sweep has no ratio 0"
                raise SparsifyError(f"{where} is of a change from ratio 0, and {reason}; take measure = 'accuracy'")
        if twice(one.what for one in self.contrasts) is not None:
            raise SparsifyError("two contrasts are the same but for primary; leave one of them out")

    @functools.cached_property
    def in_order(self) -> tuple[str, ...]:
        """The labels of the arms, each after those that it starts from."""
        try:
            return tuple(TopologicalSorter({arm.label: arm.parents for arm in self.arms}).static_order())
        except CycleError as error:
            circle = error.args[1][::-1]  # each arm before the one that it starts from
            way = " → ".join(circle) if len(circle) <= MOST_NAMES else some(circle)
            raise SparsifyError(f"arms start from each other in a circle: {way}") from error


def _require_path(criterion: str, arms: Iterable[Arm], what: str) -> None:
    """Raise SparsifyError if the optimizer of an arm lacks what the criterion needs, such as a path."""
    needs = CRITERIA[criterion].needs if criterion in CRITERIA else None
    if needs is not None:
        _require(needs, arms, f"{what} is by {criterion}")


def _require(needs: Need, arms: Iterable[Arm], what: str) -> None:
    for arm in arms:
        if arm.configs and arm.configs[0].opt not in needs.optimizers:
            fitting = ", ".join(needs.optimizers)
            reason = f"the arm '{arm.label}' is trained with {arm.configs[0].opt}; it takes one of: {fitting}"
            raise SparsifyError(f"{what}, which needs {needs.name}, and {reason}")
