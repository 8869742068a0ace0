"""The design of a study: arms of Configs over seeds, which arms they start from, and how settings are chosen."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from sparsify.config import Config
from sparsify.errors import MOST_NAMES, SparsifyError, some, unknown
from sparsify.pruning.criteria import CRITERIA, PATH, Need
from sparsify.pruning.plan import PointPlan, SweepPlan

DRAWINGS = ("curves", "losses", "landscape", "sweep", "filters", "path")


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
    `mask` names the arm from whose run its mask is made. Until these are trained, the Configs' `init` and `mask` hold
    the labels of the arms. With a `choice`, `configs` are those of the first candidate until one is chosen. A `stage`
    is an intermediate step for other arms: it is trained, but neither swept nor shown. `published` is shown beside it.
    """

    label: str
    configs: tuple[Config, ...]
    init: str | None = None
    mask: MaskOf | None = None
    choice: Choice | None = None
    stage: bool = False
    published: Published | None = None

    @property
    def parents(self) -> tuple[str, ...]:
        """The labels of the arms that this one starts from."""
        masked = None if self.mask is None else self.mask.of
        return tuple(dict.fromkeys(name for name in (self.init, masked) if name is not None))


@dataclass(frozen=True)
class Study:
    """The arms to train, the sweeps to measure and the figures to draw.

    Raises SparsifyError for an unknown arm, for arms that start from each other in a circle, for a choice in an arm
    that starts from another one, for a criterion that needs another optimizer, and if every arm is a stage.
    """

    name: str
    title: str
    arms: tuple[Arm, ...]
    sweeps: tuple[SweepPlan, ...]
    draw: tuple[str, ...] = DRAWINGS

    def __post_init__(self) -> None:
        arms = {arm.label: arm for arm in self.arms}
        for arm in self.arms:
            for parent in arm.parents:
                if parent not in arms:
                    raise unknown("arm", parent, arms, where=arm.label)
            if arm.choice is not None and arm.parents:
                reason = "the weights that it starts from have been trained on the images that would be held out"
                raise SparsifyError(f"'{arm.label}' starts from another arm and selects: {reason}; select in that arm")
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
