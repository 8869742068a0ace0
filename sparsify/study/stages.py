"""The stages of a study, each of which waits for nothing more: the training of a run, its sweeps, a mask of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sparsify.config import Config, Places
from sparsify.pruning.ledger import BEFORE_UNITS, sweep_file, sweep_is_there
from sparsify.pruning.measuring import prune
from sparsify.pruning.plan import PointPlan, SweepPlan
from sparsify.pruning.subject import subject_of
from sparsify.pruning.tickets import masks_of
from sparsify.runs import Run
from sparsify.study.planning import Planner, plan_for
from sparsify.study.tasks import Plan
from sparsify.sums import Record
from sparsify.training.many import train_all
from sparsify.training.starting import MASK_BEFORE_UNITS
from sparsify.training.trainer import Listener

Note = Callable[[str], None]
"""A function that is called with a line of text when a sweep begins, and when an old mask is made again."""


@dataclass(frozen=True)
class TrainingStage:
    """The training of a run, with as many threads as it has among the `among` runs of its study."""

    run: Run
    config: Config
    among: int

    @property
    def done(self) -> bool:
        """Whether the run has ended."""
        return self.run.status != "unfinished"

    def do(self, places: Places, listener: Listener | None = None, note: Note | None = None) -> None:
        """Train the run, or what is missing of it."""
        train_all([self.config], places, listener=listener, among=self.among)


@dataclass(frozen=True)
class SweepStage:
    """The sweeps of a trained run that are missing."""

    run: Run
    plans: tuple[SweepPlan, ...]

    @property
    def done(self) -> bool:
        """Whether all of the sweeps are there."""
        return all(sweep_is_there(self.run.path / sweep_file(plan.id)) for plan in self.plans)

    def do(self, places: Places, listener: Listener | None = None, note: Note | None = None) -> None:
        """Measure the sweeps that are missing, and save them in the run's folder."""
        for plan in self.plans:
            path = self.run.path / sweep_file(plan.id)
            if sweep_is_there(path):
                continue
            if note is not None:
                again = f" again: the sweep there {BEFORE_UNITS}" if path.exists() else ""
                note(f"{self.run.name}: sweeping {' and '.join(plan.layers)} by {plan.criterion}{again}")
            prune(subject_of(self.run, places), plan).save(self.run.output(places.runs_dir))


@dataclass(frozen=True)
class MaskStage:
    """The mask of what a point removes from a trained run, which another arm of the study trains under."""

    run: Run
    point: PointPlan
    path: Path

    @property
    def done(self) -> bool:
        """Whether the mask is there, and was made since masks have their sums in the record of their folder."""
        return self.path.exists() and self.path.name in Record.of(self.path.parent).sums

    def do(self, places: Places, listener: Listener | None = None, note: Note | None = None) -> None:
        """Write the mask."""
        if note is not None and self.path.exists():
            note(f"{self.run.name}: making {self.path.name} again: the one there {MASK_BEFORE_UNITS}")
        masks_of(self.run, self.point, places)


Stage = TrainingStage | SweepStage | MaskStage


def ready(plan: Plan, planner: Planner) -> list[Stage]:
    """Return the stages that can begin: masks first, for which others wait, then sweeps, then trainings.

    A run that two arms share is trained once, and its sweeps are one stage.
    """
    stages: list[Stage] = [MaskStage(run, mask.point, path) for path, (run, mask) in plan.masks.items()]
    missing: dict[Run, dict[SweepPlan, None]] = {}
    trainings: dict[Run, TrainingStage] = {}
    tasks = plan.tasks
    for task in tasks:
        if task.run is not None and task.status == "finished" and task.missing:
            network = planner.networks[task.arm]
            plans = (plan_for(task.sweeps[number], network) for number in task.missing)
            missing.setdefault(task.run, {}).update(dict.fromkeys(plans))
        elif task.trainable:
            trainings.setdefault(task.known_run, TrainingStage(task.known_run, task.config, len(tasks)))
    stages += [SweepStage(run, tuple(plans)) for run, plans in missing.items()]
    return [*stages, *trainings.values()]
