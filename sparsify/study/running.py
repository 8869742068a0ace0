"""Running a study: train and sweep what is missing, and collect everything into its result."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Unpack

from sparsify.config import PlaceOptions, Places
from sparsify.errors import SparsifyWarning
from sparsify.pruning.sweep import Sweep
from sparsify.study.design import Arm, Study
from sparsify.study.planning import Planner, made_by, sweep_path
from sparsify.study.results import ArmResult, StudyResult
from sparsify.study.stages import Note, TrainingStage, ready
from sparsify.study.tasks import Plan
from sparsify.training.launch import train
from sparsify.training.many import train_all
from sparsify.training.trainer import Listener


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
    trained. Warns (SparsifyWarning) about runs that cannot be trained, because one that they start from is lost.

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
        stages = ready(plan, planner)
        for stage in stages:
            if not isinstance(stage, TrainingStage):
                stage.do(places, listener, note)
        configs = [stage.config for stage in stages if isinstance(stage, TrainingStage)]
        if configs:  # several at a time
            train_all(configs, places, listener=listener, among=len(plan.tasks))
        plan = planner.plan()
    for task in plan.tasks:
        if task.lost:
            what = f"'{task.arm}', seed {task.config.seed}"
            warnings.warn(f"{what} is not trained: {task.lost}", SparsifyWarning, stacklevel=3)
    choices = {arm.label: arm.choice for arm in planner.study.arms}
    arms = []
    for arm in planner.study.arms:
        made = arm.mask and made_by(arm.mask, choices[arm.mask.of], plan.selected.get(arm.mask.of))
        trained = tuple(task.run.config if task.run else task.config for task in plan.arms[arm.label])
        arms.append(replace(arm, configs=trained, mask=made))
    results = tuple(_result(arm, plan, planner) for arm in arms if not arm.stage)
    choices_of_stages = {a.label: plan.selected[a.label] for a in arms if a.stage and a.label in plan.selected}
    folder = places.runs_dir / "studies" / planner.study.name
    return StudyResult(replace(planner.study, arms=tuple(arms)), results, folder, choices_of_stages)


def _result(arm: Arm, plan: Plan, planner: Planner) -> ArmResult:
    runs = tuple(task.run for task in plan.arms[arm.label] if task.run is not None)
    finished = [run for run in runs if run.status == "finished"]
    network, own = planner.networks[arm.label], planner.study.sweeps_of(arm.label)
    sweeps = tuple(
        tuple(Sweep.read(sweep_path(run, asked, network)) for run in finished) if number in own else ()
        for number, asked in enumerate(planner.study.sweeps)
    )
    return ArmResult(arm.label, runs, sweeps, plan.selected.get(arm.label))
