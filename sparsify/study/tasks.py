"""What a study consists of as it is planned: its runs, the trials of its choices, and what is missing of each."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from msgspec import UNSET, UnsetType

from sparsify.config import Config
from sparsify.pruning.plan import SweepPlan
from sparsify.runs import Run
from sparsify.study.design import MaskOf


@dataclass(frozen=True)
class Task:
    """One run of a study: what exists of it, and what is missing.

    If it must wait for other runs, `run` is None and `waits` says for which. If it cannot be trained, because a run
    that it starts from is lost, so is it, and `lost` says why.
    """

    arm: str
    config: Config
    candidate: str = ""  # whose trial this is, if the arm selects
    sweeps: Mapping[int, SweepPlan] = field(default_factory=dict)  # what is measured of it, by the sweeps' numbers
    run: Run | None = None
    waits: str = ""
    lost: str = ""
    status: str = "unfinished"
    epochs_done: int = 0
    missing: tuple[int, ...] = ()  # the numbers of the sweeps that are not there
    again: tuple[int, ...] = ()  # those of them whose files are there, from before coupled layers were one unit

    @property
    def done(self) -> bool:
        """Whether nothing is left to do for this run."""
        return bool(self.lost) or (self.status != "unfinished" and not self.missing)

    @property
    def known_run(self) -> Run:
        """Its run, of a task that waits for no other and is not lost."""
        assert self.run is not None
        return self.run

    @property
    def trainable(self) -> bool:
        """Whether the run must be trained, and can be trained now."""
        return self.run is not None and self.status == "unfinished"


@dataclass(frozen=True)
class Trial:
    """A tried candidate: the names of its runs and their accuracies on held-out images.

    These are () if one of the runs is lost; then `lost` says whether the first such run diverged or collapsed.
    Where supports are compared, `distances` has that of each run: the mean over the layers of the differences of the
    shares of the grains that are in the support.
    """

    label: str
    runs: tuple[str, ...]
    accuracies: tuple[float, ...]
    lost: str = "diverged"
    distances: tuple[float, ...] | UnsetType = UNSET


@dataclass(frozen=True)
class Chosen:
    """The result of an arm's choice: the trials, which were compared by `figure` on the held-out fraction `val`."""

    figure: str
    val: float
    seeds: tuple[int, ...]
    trials: tuple[Trial, ...]

    @property
    def chosen(self) -> str:
        """The label of the candidate with the best mean, the first of equal ones; "" if all are lost.

        The best is the smallest distance where supports are compared, else the highest accuracy.
        """
        means = {
            trial.label: statistics.mean(trial.accuracies)
            if trial.distances is UNSET
            else -statistics.mean(trial.distances)
            for trial in self.trials
            if trial.accuracies
        }
        return max(means, key=lambda label: means[label], default="")

    @property
    def of_supports(self) -> bool:
        """Whether supports are compared rather than accuracies."""
        return any(trial.distances is not UNSET for trial in self.trials)

    @property
    def lost(self) -> str:
        """Why no candidate is chosen, as in "every candidate diverged"; "" if one is."""
        ways = dict.fromkeys(trial.lost for trial in self.trials)
        return "" if self.chosen else f"every candidate {' or '.join(ways)}"


@dataclass(frozen=True)
class Plan:
    """The state of a study on the disk.

    `arms` holds the runs of each arm by its label, `trials` those of its candidates, `selected` the choices that are
    made. `masks` maps the file of each mask that has to be made next to the run and the point that it is made from.
    """

    arms: dict[str, tuple[Task, ...]]
    trials: dict[str, tuple[Task, ...]]
    selected: dict[str, Chosen]
    masks: dict[Path, tuple[Run, MaskOf]]

    @property
    def tasks(self) -> list[Task]:
        """Every run, arm by arm; the trials of an arm come before its own runs."""
        return [task for label, tasks in self.arms.items() for task in (*self.trials.get(label, ()), *tasks)]

    @property
    def trainings(self) -> int:
        """The number of runs that must be trained, including those that wait for others."""
        named = {task.known_run.path for task in self.tasks if task.trainable}
        return len(named) + sum(bool(task.waits) for task in self.tasks)

    @property
    def done(self) -> bool:
        """Whether nothing of the study is missing."""
        return all(task.done for task in self.tasks)
