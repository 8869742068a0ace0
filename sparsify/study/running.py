"""Running a study: train and sweep what is missing, and collect everything into its result."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Unpack

from torch import nn

from sparsify.config import PlaceOptions, Places
from sparsify.errors import SparsifyWarning
from sparsify.pruning.ledger import BEFORE_UNITS, sweep_is_there
from sparsify.pruning.measuring import prune
from sparsify.pruning.plan import SweepPlan
from sparsify.pruning.subject import subject_of
from sparsify.pruning.sweep import Sweep
from sparsify.pruning.tickets import masks_of
from sparsify.runs import Run
from sparsify.study.design import Arm, Study
from sparsify.study.planning import Planner, made_by, plan_for, sweep_path
from sparsify.study.results import ArmResult, StudyResult
from sparsify.study.tasks import Plan
from sparsify.training.launch import train, train_all
from sparsify.training.starting import MASK_BEFORE_UNITS
from sparsify.training.trainer import Listener

Note = Callable[[str], None]
"""A function that is called with a line of text when a sweep begins, and when an old mask is made again."""


def run_study(
    study: Study,
    places: Places | None = None,
    *,
    listener: Listener | None = None,
    note: Note | None = None,
    **where: Unpack[PlaceOptions],
) -> StudyResult:
    """Train and sweep what is missing of a study, several runs at a time; check what exists; return the result.

    `places`, or its keywords, give the device and the folders of runs and data. `note` is called with a line of text
    before each sweep, and before an old mask is made again. Raises SparsifyError as `Planner` does, before anything is
    trained. Warns (SparsifyWarning) about runs that cannot be trained, because one that they start from has no result.

    >>> result = sparsify.run_study(study, device="cpu")
    >>> result.table()[["arm", "seed", "layers", "ratio"]]
       arm  seed layers  ratio
    0  sgd     0  conv3    0.0
    1  sgd     0  conv3    0.5
    """
    planner = Planner(study, Places.of(places, **where))
    return run_planned(planner, planner.plan(), listener=listener, note=note)


def run_planned(
    planner: Planner, plan: Plan, *, listener: Listener | None = None, note: Note | None = None
) -> StudyResult:
    """Run a study as `run_study` does; `plan` is what its planner has just returned."""
    places = planner.places
    for task in plan.tasks:
        if task.status != "unfinished":
            train(task.config, places)
    while not plan.done:
        if plan.masks:
            for path, (run, mask) in plan.masks.items():
                if note is not None and path.exists():
                    note(f"{run.name}: making {path.name} again: the one there {MASK_BEFORE_UNITS}")
                masks_of(run, mask.point, places)
            plan = planner.plan()
        trainable = [task for task in plan.tasks if task.trainable]
        configs = {task.known_run.path: task.config for task in trainable}  # two arms may share a run
        if configs:
            train_all(list(configs.values()), places, listener=listener, among=len(plan.tasks))
            plan = planner.plan()
        for task in plan.tasks:
            if task.run is None or task.status != "finished":
                continue
            for number in task.missing:
                _measure_sweep(task.run, task.sweeps[number], planner.networks[task.arm], places, note)
        plan = planner.plan()
    for task in plan.tasks:
        if task.lost:
            what = f"'{task.arm}', seed {task.config.seed}"
            warnings.warn(f"{what} is left out: {task.lost}", SparsifyWarning, stacklevel=3)
    choices = {arm.label: arm.choice for arm in planner.study.arms}
    arms = []
    for arm in planner.study.arms:
        made = arm.mask and made_by(arm.mask, choices[arm.mask.of], plan.selected.get(arm.mask.of))
        trained = tuple(task.run.config if task.run else task.config for task in plan.arms[arm.label])
        arms.append(replace(arm, configs=trained, mask=made))
    results = tuple(_result(arm, plan, planner) for arm in arms if not arm.stage)
    stages = {arm.label: plan.selected[arm.label] for arm in arms if arm.stage and arm.label in plan.selected}
    folder = places.runs_dir / "studies" / planner.study.name
    return StudyResult(replace(planner.study, arms=tuple(arms)), results, folder, stages)


def _measure_sweep(run: Run, asked: SweepPlan, network: nn.Module, places: Places, note: Note | None) -> None:
    """Measure one sweep of a run and save it in the run's folder, unless it is there."""
    path = sweep_path(run, asked, network)
    if sweep_is_there(path):
        return  # two arms share this run
    if note is not None:
        again = f" again: the sweep there {BEFORE_UNITS}" if path.exists() else ""
        note(f"{run.name}: sweeping {' and '.join(asked.layers)} by {asked.criterion}{again}")
    prune(subject_of(run, places), plan_for(asked, network)).save(run.output(places.runs_dir))


def _result(arm: Arm, plan: Plan, planner: Planner) -> ArmResult:
    runs = tuple(task.run for task in plan.arms[arm.label] if task.run is not None)
    finished = [run for run in runs if run.status == "finished"]
    network, own = planner.networks[arm.label], planner.study.sweeps_of(arm.label)
    sweeps = tuple(
        tuple(Sweep.read(sweep_path(run, asked, network)) for run in finished) if number in own else ()
        for number, asked in enumerate(planner.study.sweeps)
    )
    return ArmResult(arm.label, runs, sweeps, plan.selected.get(arm.label))
