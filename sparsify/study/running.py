"""Running a study: what is missing is trained and swept, and what there is becomes its result."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from torch import nn

from sparsify.config import Config, Places
from sparsify.errors import SparsifyWarning
from sparsify.pruning.measuring import prune
from sparsify.pruning.plan import SweepPlan
from sparsify.pruning.sweep import Sweep
from sparsify.pruning.tickets import masks_of
from sparsify.runs import Run
from sparsify.study.design import Arm, MaskOf, Study
from sparsify.study.planning import Plan, Planner, sweep_path
from sparsify.study.results import ArmResult, StudyResult
from sparsify.training.launch import train, train_all
from sparsify.training.trainer import Listener

Note = Callable[[str], None]
"""Is told what begins."""


def run_study(
    study: Study,
    *,
    device: str = "auto",
    runs_dir: Path | str = "runs",
    data_dir: Path | str | None = None,
    listener: Listener | None = None,
    note: Note | None = None,
) -> StudyResult:
    """Train and sweep what is missing, several runs at a time; what is there already is read, and checked.

    `note` is told of each sweep. Raises SparsifyError as `Planner` does, before anything is trained; warns of what
    cannot be trained because a run that it starts from diverged.
    """
    planner = Planner(study, runs_dir=runs_dir, data_dir=data_dir)
    places = Places(device=device, runs_dir=Path(runs_dir), data_dir=None if data_dir is None else Path(data_dir))
    return run_planned(planner, planner.plan(), places, listener=listener, note=note)


def run_planned(
    planner: Planner, plan: Plan, places: Places, *, listener: Listener | None = None, note: Note | None = None
) -> StudyResult:
    """`run_study` where the planner has looked already, and this is its plan; `places` are those it looked in."""
    for task in plan.tasks:
        if task.status != "unfinished":
            train(task.config, device=places.device, runs_dir=places.runs_dir, data_dir=places.data_dir)
    while not plan.done:
        if plan.masks:
            for run, mask in plan.masks.values():
                _make_mask(run, mask, places)
            plan = planner.plan()
        trainable = [(task.run, task.config) for task in plan.tasks if task.trainable]
        configs = {run.path: config for run, config in trainable if run is not None}  # two arms may share a run
        if configs:
            _train(list(configs.values()), places, listener, among=len(plan.tasks))
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
    arms = [
        replace(arm, configs=tuple(t.run.config if t.run else t.config for t in plan.arms[arm.label]))
        for arm in planner.study.arms
    ]
    results = tuple(_result(arm, plan, planner) for arm in arms if not arm.stage)
    folder = places.runs_dir / "studies" / planner.study.name
    return StudyResult(replace(planner.study, arms=tuple(arms)), results, folder)


def _train(configs: list[Config], places: Places, listener: Listener | None, *, among: int) -> None:
    train_all(
        configs,
        device=places.device,
        runs_dir=places.runs_dir,
        data_dir=places.data_dir,
        listener=listener,
        among=among,
    )


def _make_mask(run: Run, mask: MaskOf, places: Places) -> None:
    """Make the mask of a run and keep it beside the run."""
    masks_of(
        run,
        layers=mask.layers,
        ratio=mask.ratio,
        criterion=mask.criterion,
        grain=mask.grain,
        device=places.device,
        runs_dir=places.runs_dir,
        data_dir=places.data_dir,
    )


def _measure_sweep(run: Run, asked: SweepPlan, network: nn.Module, places: Places, note: Note | None) -> None:
    """Measure one sweep of a run and keep it beside the run."""
    path = sweep_path(run, asked, network)
    if path.exists():
        return  # two arms share this run
    if note is not None:
        note(f"{run.name}: sweeping {' and '.join(asked.layers)} by {asked.criterion}")
    prune(run, **asked.keywords(network), device=places.device, data_dir=places.data_dir).save(run.path)


def _result(arm: Arm, plan: Plan, planner: Planner) -> ArmResult:
    runs = tuple(task.run for task in plan.arms[arm.label] if task.run is not None)
    finished = [run for run in runs if run.status == "finished"]
    network = planner.networks[arm.label]
    sweeps = tuple(
        tuple(Sweep.read(sweep_path(run, asked, network)) for run in finished) for asked in planner.study.sweeps
    )
    return ArmResult(arm.label, runs, sweeps, plan.selected.get(arm.label))
