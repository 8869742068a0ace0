"""The design of a study: arms of Configs over seeds, which arms they start from, and how settings are chosen."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from typing import Any

from sparsify.config import Config
from sparsify.errors import MOST_NAMES, SparsifyError, some, unknown
from sparsify.limits import MOST_CONTRASTS, at_most, twice
from sparsify.pruning.criteria import CRITERIA, PATH, Need
from sparsify.pruning.measures import measured_by
from sparsify.pruning.plan import PointPlan, SweepPlan
from sparsify.pruning.ratios import SUPPORT, Ratio
from sparsify.text import percentage, written

COMPARED = ("accuracy", "change")
"""What a contrast compares: accuracies at a ratio, or their changes from those with nothing removed."""

USUAL = ("curves", "losses", "landscape", "sweep", "filters", "path")
"""What a study draws that names nothing: what its folders of before hold."""

DRAWINGS = (*USUAL, "schedules", "predictions")
"""What a study can draw."""


class ContrastError(SparsifyError):
    """A contrast is of what the study does not measure."""


@dataclass(frozen=True)
class MaskOf:
    """A mask that is made from a run of the arm `of`: it masks what the `point` removes.

    With `chosen`, its criterion is the one that `of` chooses, and the point's does not count.
    """

    of: str
    point: PointPlan
    chosen: bool = False


@dataclass(frozen=True)
class Published:
    """The test accuracy, a fraction, that a publication reports for the setting of an arm, and where it stands."""

    test_accuracy: float
    source: str


@dataclass(frozen=True)
class Candidate:
    """Settings that an arm may take, one Config per seed: `trials` hold images out, `configs` train on all images.

    Where pruned networks are compared, its own are pruned by `criterion`.
    """

    label: str
    trials: tuple[Config, ...]
    configs: tuple[Config, ...]
    criterion: str = "magnitude"


@dataclass(frozen=True)
class SupportOf:
    """The support that a choice comes near to: that of `arm`, in `layers`."""

    arm: str
    layers: str


@dataclass(frozen=True)
class Choice:
    """A choice between candidates: the one with the best mean accuracy on held-out training images is taken.

    `on` is a sweep of one point, at which the candidates are compared; if None, the whole networks are. With `near`, it
    is the candidate instead whose support is nearest to that of another arm, in that arm's own trials.
    """

    candidates: tuple[Candidate, ...]
    on: SweepPlan | None = None
    near: SupportOf | None = None

    @property
    def figure(self) -> str:
        """What is compared in words: "accuracy", or "accuracy with conv3,fc1 pruned by 60%"."""
        if self.near is not None:
            return f"how near its support in {self.near.layers} is to that of '{self.near.arm}'"
        pruned = "" if self.on is None else f" with {self.on.layers[0]} pruned by {percentage(self.on.ratios[0])}"
        return f"accuracy{pruned}"

    def sweeps(self, candidate: Candidate) -> dict[int, SweepPlan]:
        """The sweeps of the candidate's trials: one of a single point where pruned networks are compared, or none."""
        return {} if self.on is None else {0: replace(self.on, criterion=candidate.criterion)}

    def settings(self, config: Config) -> dict[str, Any]:
        """Those settings of a Config, by name, in which the candidates differ."""
        first, *others = (candidate.configs[0].to_dict() for candidate in self.candidates)
        differ = [name for name, value in first.items() if any(other[name] != value for other in others)]
        return {name: getattr(config, name) for name in differ}


@dataclass(frozen=True)
class Arm:
    """One row of a study: Configs that differ only in the seed.

    A run may start from the run of the same seed in another arm: `init` is the arm whose trained weights it takes,
    `mask` names the arm from whose run its mask is made, and `release` the arm whose run's path it follows at random.
    What that last one chooses, this one takes as well, so that both are on one path.
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

    @property
    def awaited(self) -> tuple[str, ...]:
        """The labels of the arms that must be known before this one: `parents`, and whose support it comes near to."""
        near = None if self.choice is None else self.choice.near
        return self.parents if near is None else (*self.parents, near.arm)


@dataclass(frozen=True)
class Planned:
    """A contrast that a study names before it is run: what it compares of `arm` and `reference` at one point.

    `layers` is a set of the study's sweep number `sweep` (from 0), `ratio` one of its ratios, or "support", and
    `measure` one of the accuracies that it measures: "accuracy", "recalibrated_accuracy", "finetuned_accuracy". The
    primary contrasts are what the study is about, and are adjusted for one another alone; all others are exploratory.
    """

    arm: str
    reference: str
    layers: str
    ratio: Ratio
    compared: str = "change"
    primary: bool = True
    sweep: int = 0
    measure: str = "accuracy"

    @property
    def what(self) -> tuple[object, ...]:
        """All but whether it is primary, and which is the reference: no other contrast of a study has the same."""
        pair = frozenset((self.arm, self.reference))
        return (self.sweep, pair, self.layers, self.ratio, self.compared, self.measure)


@dataclass(frozen=True)
class Study:
    """The arms to train, the sweeps to measure, the figures to draw, and the contrasts that were planned.

    `swept` names, for each sweep, the arms that it is of; () are all that are shown, and so for all sweeps if it is ().
    Raises SparsifyError for an unknown arm, for arms that start from each other in a circle, for a choice in an arm
    that starts from another one, for a criterion that needs another optimizer, if every arm is a stage, for a contrast
    of what is not measured (ContrastError), and as `require_same_path` does.
    """

    name: str
    title: str
    arms: tuple[Arm, ...]
    sweeps: tuple[SweepPlan, ...]
    draw: tuple[str, ...] = USUAL
    contrasts: tuple[Planned, ...] = ()
    swept: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        arms = {arm.label: arm for arm in self.arms}
        for arm in self.arms:
            for parent in arm.awaited:
                if parent not in arms:
                    raise unknown("arm", parent, arms, where=arm.label)
            if arm.choice is not None and arm.parents:
                reason = "the weights that it starts from have been trained on the images that would be held out"
                raise SparsifyError(f"'{arm.label}' starts from another arm and selects: {reason}; select in that arm")
            if arm.release is not None:
                _check_release(arm, arms[arm.release])
            if arm.mask is not None:
                _require_path(arm.mask.point.criterion, [_first(arms[arm.mask.of])], f"the mask of '{arm.label}'")
            if arm.choice is not None:
                _check_choice(arm, arm.choice, arms)
        if self.swept and len(self.swept) != len(self.sweeps):
            raise SparsifyError(f"the arms of {len(self.swept)} sweeps are named; there are {len(self.sweeps)}")
        for number, plan in enumerate(self.sweeps):
            self._check_swept(number)
            swept = [_first(arms[label]) for label in self.arms_of(number) if arms[label].configs]
            _require_path(plan.criterion, swept, "a sweep")
            if plan.support:
                _require(PATH, swept, "a ratio of a sweep is support")
        _ = self.in_order  # for its errors
        if all(arm.stage for arm in self.arms):
            raise SparsifyError("every arm is a stage, so that there is none to show")
        self._check_contrasts()

    def arms_of(self, sweep: int) -> tuple[str, ...]:
        """The labels of the arms that a sweep, by its number from 0, is of."""
        named = self.swept[sweep] if self.swept else ()
        return named or tuple(arm.label for arm in self.arms if not arm.stage)

    def sweeps_of(self, label: str) -> dict[int, SweepPlan]:
        """The sweeps of an arm, by their numbers."""
        return {number: plan for number, plan in enumerate(self.sweeps) if label in self.arms_of(number)}

    def _check_swept(self, sweep: int) -> None:
        labels, where = self.arms_of(sweep), f"the arms of sweep {sweep + 1}"
        shown = {arm.label: not arm.stage for arm in self.arms}
        for label in labels:
            if label not in shown:
                raise unknown("arm", label, shown, where=where)
            if not shown[label]:
                raise SparsifyError(f"{where} name '{label}', which is a stage: stages are not swept")
        if twice(labels) is not None:
            raise SparsifyError(f"{where} name '{twice(labels)}' twice")

    def _check_contrasts(self) -> None:
        at_most(len(self.contrasts), MOST_CONTRASTS, "contrasts")
        shown = [arm.label for arm in self.arms if not arm.stage]
        stages = {arm.label for arm in self.arms if arm.stage}
        for number, one in enumerate(self.contrasts, start=1):
            where = f"contrast {number}"
            for label in (one.arm, one.reference):
                if label in stages:
                    raise ContrastError(f"{where} names the stage '{label}', which is not swept; take {some(shown)}")
                if label not in shown:
                    raise ContrastError(unknown("arm", label, shown, where=where))
            if one.arm == one.reference:
                raise ContrastError(f"{where} compares '{one.arm}' with itself; take another reference")
            if not 0 <= one.sweep < len(self.sweeps):
                raise ContrastError(f"{where} is of sweep {one.sweep + 1}; there are {len(self.sweeps)}, from 1 on")
            plan = self.sweeps[one.sweep]
            if one.layers not in plan.layers:
                raise ContrastError(unknown("layers", one.layers, plan.layers, where=where))
            swept: list[Ratio] = [*plan.ratios, *((SUPPORT,) if plan.support else ())]
            if one.ratio not in swept:
                raise ContrastError(unknown("ratio", written(one.ratio), map(written, swept), where=where))
            for label in (one.arm, one.reference):
                if label not in self.arms_of(one.sweep):
                    raise ContrastError(
                        unknown("arm", label, self.arms_of(one.sweep), where=f"sweep {one.sweep + 1} of {where}")
                    )
            if one.measure not in measured_by(plan):
                measured = unknown("measure", one.measure, measured_by(plan), where=f"sweep {one.sweep + 1} of {where}")
                raise ContrastError(f"{measured}; recalibrate_bn and finetune_epochs of a sweep measure the others")
            if one.compared not in COMPARED:
                raise ContrastError(unknown("comparison", one.compared, COMPARED, where=where))
            if one.compared == "change" and (one.ratio == 0 or 0 not in plan.ratios):
                reason = "0 has none" if one.ratio == 0 else "the sweep has no ratio 0"
                raise ContrastError(f"{where} is of a change from ratio 0, and {reason}; take compared = 'accuracy'")
        if twice(one.what for one in self.contrasts) is not None:
            raise ContrastError("two contrasts are the same but for primary or the way round; leave one out")

    @functools.cached_property
    def in_order(self) -> tuple[str, ...]:
        """The labels of the arms, each after those that it starts from or comes near to."""
        try:
            return tuple(TopologicalSorter({arm.label: arm.awaited for arm in self.arms}).static_order())
        except CycleError as error:
            circle = error.args[1][::-1]  # each arm before the one that it starts from
            way = " → ".join(circle) if len(circle) <= MOST_NAMES else some(circle)
            raise SparsifyError(f"arms start from each other in a circle: {way}") from error


def _check_choice(arm: Arm, choice: Choice, arms: dict[str, Arm]) -> None:
    """Raise SparsifyError for a candidate without what is compared, and for a support that cannot be compared."""
    tried = [(arm.label, candidate.configs[0].opt) for candidate in choice.candidates]
    for candidate, one in zip(choice.candidates, tried, strict=True):
        _require_path(candidate.criterion, [one], f"the selection of '{arm.label}'")
    if choice.near is None:
        return
    other = arms[choice.near.arm]
    what = f"'{arm.label}' selects what is near to the support of '{other.label}'"
    if other.choice is None:
        raise SparsifyError(f"{what}, which has no trials: give it an [arms.select] of its own")
    theirs = [(other.label, candidate.configs[0].opt) for candidate in other.choice.candidates]
    _require(PATH, [*tried, *theirs], what)
    ours, others = ([(c.seed, c.val) for c in one.candidates[0].trials] for one in (choice, other.choice))
    if ours != others:
        raise SparsifyError(f"{what}, whose trials hold other images out; give both the same seeds and val in select")


def _check_release(arm: Arm, followed: Arm) -> None:
    """Raise SparsifyError unless both are on one path, but for what the followed arm chooses."""
    from sparsify.training.starting import require_same_path  # it imports torch

    for config, parent in zip(arm.configs, followed.configs, strict=True):
        chosen = {} if followed.choice is None else followed.choice.settings(parent)
        if "opt" in chosen:
            reason = "which chooses its optimizer; give each optimizer an arm of its own"
            raise SparsifyError(f"'{arm.label}' follows '{followed.label}', {reason}")
        for name in chosen:
            value = getattr(config, name)
            if value not in (getattr(Config(opt=config.opt), name), chosen[name]):
                reason = f"'{followed.label}' chooses it, and both are on one path; leave it out"
                raise SparsifyError(f"{name} of '{arm.label}' is {value}, but {reason}")
        require_same_path(replace(config, **chosen), parent)


def _first(arm: Arm) -> tuple[str, str]:
    """The label of an arm and its optimizer."""
    return arm.label, arm.configs[0].opt


def _require_path(criterion: str, arms: Iterable[tuple[str, str]], what: str) -> None:
    """Raise SparsifyError if the optimizer of an arm lacks what the criterion needs, such as a path."""
    needs = CRITERIA[criterion].needs if criterion in CRITERIA else None
    if needs is not None:
        _require(needs, arms, f"{what} is by {criterion}")


def _require(needs: Need, arms: Iterable[tuple[str, str]], what: str) -> None:
    for label, opt in arms:
        if opt not in needs.optimizers:
            fitting = ", ".join(needs.optimizers)
            reason = f"the arm '{label}' is trained with {opt}; it takes one of: {fitting}"
            raise SparsifyError(f"{what}, which needs {needs.name}, and {reason}")
