"""What a study asks for: arms of Configs over seeds, what each starts from, and how its settings are chosen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sparsify.config import Config
from sparsify.errors import SparsifyError, unknown
from sparsify.pruning.criteria import CRITERIA
from sparsify.pruning.plan import PointPlan, SweepPlan

DRAWINGS = ("curves", "sweep", "filters", "path")


@dataclass(frozen=True)
class MaskOf:
    """The mask without what a `point` removes from the run of the arm `of`."""

    of: str
    point: PointPlan


@dataclass(frozen=True)
class Candidate:
    """Settings that an arm may take: `trials` hold images out, `configs` train on all, one a seed each."""

    label: str
    trials: tuple[Config, ...]
    configs: tuple[Config, ...]


@dataclass(frozen=True)
class Choice:
    """The candidate with the best mean accuracy on held-out training images is taken.

    `on` is the one point, by magnitude, at which they are compared; None compares the whole networks.
    """

    candidates: tuple[Candidate, ...]
    on: SweepPlan | None = None

    @property
    def figure(self) -> str:
        """What is compared: "accuracy", or "accuracy with conv3,fc1 pruned by 60%"."""
        pruned = "" if self.on is None else f" with {self.on.layers[0]} pruned by {100 * self.on.ratios[0]:.10g}%"
        return f"accuracy{pruned}"


@dataclass(frozen=True)
class Arm:
    """One row of a study: Configs that differ in the seed only.

    Each run starts from what the runs of the same seed in other arms became: `init` is the arm whose weights it takes,
    `mask` the arm whose mask it is trained under. Until these are trained their labels stand in the Configs' `init` and
    `mask`. With a `choice`, `configs` are those of the first candidate until one is chosen. A `stage` is a step on the
    way of another arm: it is trained, but neither swept nor shown.
    """

    label: str
    configs: tuple[Config, ...]
    init: str | None = None
    mask: MaskOf | None = None
    choice: Choice | None = None
    stage: bool = False

    @property
    def parents(self) -> tuple[str, ...]:
        """The arms that are trained before this one."""
        masked = None if self.mask is None else self.mask.of
        return tuple(dict.fromkeys(name for name in (self.init, masked) if name is not None))


@dataclass(frozen=True)
class Study:
    """What to train, to sweep and to draw. Raises SparsifyError for arms that cannot be trained in any order."""

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
            _require_path(plan.criterion, (arm for arm in self.arms if not arm.stage), "a sweep")
        for arm in self.arms:
            _check_ends(arm, arms, ())
        if all(arm.stage for arm in self.arms):
            raise SparsifyError("every arm is a stage, so that there is none to show")


def _require_path(criterion: str, arms: Iterable[Arm], what: str) -> None:
    """Raise SparsifyError if an arm's optimizer lacks what the criterion needs."""
    needs = CRITERIA[criterion].needs if criterion in CRITERIA else None
    if needs is None:
        return
    for arm in arms:
        if arm.configs and arm.configs[0].opt not in needs.optimizers:
            fitting = ", ".join(needs.optimizers)
            reason = f"the arm '{arm.label}' is trained with {arm.configs[0].opt}; it takes one of: {fitting}"
            raise SparsifyError(f"{what} is by {criterion}, which needs {needs.name}, and {reason}")


def _check_ends(arm: Arm, arms: dict[str, Arm], trail: tuple[str, ...]) -> None:
    """Raise SparsifyError if an arm's parents lead back to it."""
    if arm.label in trail:
        cycle = " → ".join((*trail[trail.index(arm.label) :], arm.label))
        raise SparsifyError(f"arms start from each other in a circle: {cycle}")
    for parent in arm.parents:
        _check_ends(arms[parent], arms, (*trail, arm.label))
