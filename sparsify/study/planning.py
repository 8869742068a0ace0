"""Planning a study: which of its runs and sweeps are on the disk, and which are missing. Nothing is written."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn

from sparsify.config import HERE, Config, Places
from sparsify.errors import SparsifyError, unknown
from sparsify.nets.evaluation import batch_norms
from sparsify.nets.layers import find_layers, find_sets
from sparsify.pruning.ledger import sweep_file, sweep_is_there
from sparsify.pruning.plan import PointPlan, SweepPlan
from sparsify.pruning.sweep import Sweep
from sparsify.pruning.tickets import mask_is_there, mask_path
from sparsify.runs import LOST, Run, find_run, list_runs
from sparsify.study.design import Arm, Choice, MaskOf, Study, SupportOf
from sparsify.study.structures import DataOf, Structures, structures_of
from sparsify.study.tasks import Chosen, Plan, Task, Trial
from sparsify.training.starting import (
    dataset_of,
    initial_mask,
    initial_weights,
    name_and_sum,
    named_data,
    path_to_follow,
)


def with_data(study: Study, data_dir: Path | str | None = None) -> Study:
    """Return the study with "auto" replaced by the data set that it stands for, which is looked for once."""
    every = [config for arm in study.arms for config in arm.configs]
    auto = next((config for config in every if config.data == "auto"), None)
    return study if auto is None else with_auto(study, named_data(auto, data_dir).data)


def with_auto(study: Study, data: str) -> Study:
    """Return the study with "auto" replaced by this data set."""

    def named(configs: tuple[Config, ...]) -> tuple[Config, ...]:
        return tuple(replace(config, data=data) if config.data == "auto" else config for config in configs)

    arms = []
    for arm in study.arms:
        choice = arm.choice
        if choice is not None:
            candidates = (replace(c, trials=named(c.trials), configs=named(c.configs)) for c in choice.candidates)
            choice = replace(choice, candidates=tuple(candidates))
        arms.append(replace(arm, configs=named(arm.configs), choice=choice))
    return replace(study, arms=tuple(arms))


def with_layers(study: Study, structures: Structures) -> Study:
    """Return the study with the layers of its sweeps, choices and contrasts by their names in the networks.

    Raises SparsifyError for an unknown layer, for a pattern that matches other layers in another arm, for a sweep by
    bn-scale of a network without BatchNorm, and for an arm that starts from one with other layers.
    """
    arms = {arm.label: arm for arm in study.arms}
    named = []
    for arm in study.arms:
        for parent in arm.parents:
            _check_same(arm, arms[parent], structures)
        mask, choice = arm.mask, arm.choice
        if mask is not None:
            mask_point(mask, arms[mask.of], structures)  # for its errors
        if choice is not None:
            choice = _choice_with_layers(choice, [arm, *(arms[label] for label in arm.awaited)], structures)
        named.append(replace(arm, choice=choice))
    swept = [[arms[label] for label in study.arms_of(number)] for number in range(len(study.sweeps))]
    sweeps = tuple(_plan_with_layers(plan, of, structures) for plan, of in zip(study.sweeps, swept, strict=True))
    planned = []
    for one in study.contrasts:
        asked = replace(study.sweeps[one.sweep], layers=(one.layers,))
        planned.append(replace(one, layers=_plan_with_layers(asked, swept[one.sweep], structures).layers[0]))
    # the old contrasts are of the old names of layers: both change at once
    return replace(study, arms=tuple(named), sweeps=sweeps, contrasts=tuple(planned))


def _choice_with_layers(choice: Choice, arms: list[Arm], structures: Structures) -> Choice:
    """Return the choice of the first of these arms; if it is by the support, the second is the one it comes near to."""
    if choice.on is not None:
        return replace(choice, on=_plan_with_layers(choice.on, arms[:1], structures))
    if choice.near is None:
        return choice
    (layers,) = _plan_with_layers(SweepPlan(layers=(choice.near.layers,)), arms, structures).layers
    return replace(choice, near=replace(choice.near, layers=layers))


def mask_point(mask: MaskOf, parent: Arm, structures: Structures) -> PointPlan:
    """Return the point of a mask with its layers by their names in the network of the arm that it is of."""
    of = structures[mask.of]
    left_out = functools.partial(of.left_out, mask.point.grain)
    names = find_layers(of.model, mask.point.layers, parent.configs[0].model, left_out)
    return replace(mask.point, layers=",".join(names))


def made_by(mask: MaskOf, choice: Choice | None, chosen: Chosen | None) -> MaskOf:
    """Return the mask with the criterion that the arm it is made from has chosen, where it goes by that."""
    if not mask.chosen or choice is None or chosen is None:
        return mask
    criteria = [one.criterion for one in choice.candidates if one.label == chosen.chosen]
    return MaskOf(mask.of, replace(mask.point, criterion=criteria[0])) if criteria else mask


def _plan_with_layers(plan: SweepPlan, arms: list[Arm], structures: Structures) -> SweepPlan:
    """Return the sweep with its layers by the names that they have in all of these arms."""
    sets: dict[tuple[str, ...], str] = {}
    for arm in arms:
        of = structures[arm.label]
        found = find_sets(of.model, plan.layers, arm.configs[0].model, functools.partial(of.left_out, plan.grain))
        sets[tuple(found)] = arm.label
    if len(sets) > 1:
        meanings = "; ".join(f"{' and '.join(names)} in {label}" for names, label in sets.items())
        raise SparsifyError(f"layers '{' '.join(plan.layers)}' differ from arm to arm ({meanings}); name them singly")
    (layers,) = sets
    for arm in arms if plan.criterion == "bn-scale" and plan.grain != "weight" else ():
        if not batch_norms(structures[arm.label].model):
            raise SparsifyError(f"a sweep is by bn-scale, and {arm.configs[0].model} of '{arm.label}' has no BatchNorm")
    return replace(plan, layers=layers)


def _check_same(arm: Arm, parent: Arm, structures: Structures) -> None:
    own, theirs = ({n: t.shape for n, t in structures[one.label].model.state_dict().items()} for one in (arm, parent))
    if own != theirs:
        kinds = [f"'{one.label}' ({one.configs[0].model} on {one.configs[0].data_name})" for one in (arm, parent)]
        raise SparsifyError(f"the arm {kinds[0]} cannot start from {kinds[1]}: their layers differ")


class Planner:
    """Finds out which runs and sweeps of a study exist in a folder of runs.

    `data` gives a Config's data set, for the shapes of its network, and for estimates. Raises SparsifyError as
    `with_layers` does, for an `init` that is neither an arm nor a run, and if the file of a mask is missing.
    """

    def __init__(self, study: Study, places: Places = HERE, data: DataOf = dataset_of) -> None:
        self.places, self.data = places, data
        study = with_data(study, places.data_dir)
        structures = structures_of(study, places.data_dir, data)
        self._structures = structures
        self.networks = {label: structure.model for label, structure in structures.items()}
        self.study = with_layers(study, structures)
        arms = {arm.label: arm for arm in study.arms}
        self._points = {a.label: mask_point(a.mask, arms[a.mask.of], structures) for a in study.arms if a.mask}
        self._known = _Known()
        for arm in study.arms:
            if arm.init is None and arm.configs[0].init is not None:
                self._check_init(arm, arm.configs[0].init)
            if arm.release is None:
                path_to_follow(arm.configs[0], self.places.runs_dir)
            if arm.mask is None:
                initial_mask(arm.configs[0], self.places.runs_dir)

    def plan(self) -> Plan:
        """Read the disk and return the current plan. What a look has found done, later ones do not look at again."""
        look = _Look(self.study, self._structures, self._points, self.places.runs_dir, self._known)
        read = {label: look.tasks(label) for label in self.study.in_order}  # a chain of any length without recursion
        return Plan({arm.label: read[arm.label] for arm in self.study.arms}, look.trials, look.selected, look.masks)

    def _check_init(self, arm: Arm, init: str) -> None:
        name, _ = name_and_sum(init)
        runs = [run.name for run in list_runs(self.places.runs_dir)]
        try:
            find_run(name, self.places.runs_dir)
        except SparsifyError as error:
            if any(run.startswith(name) for run in runs):
                raise  # it begins the names of several
            known = [*(one.label for one in self.study.arms), *runs]
            raise unknown("arm or run", name, known, where=f"the init of '{arm.label}'") from error


class _Known:
    """What looks at the disk need not find out again: where runs and sweeps are, and all of those that are done."""

    def __init__(self) -> None:
        self.places: dict[tuple[str, str, Config], tuple[Run, dict[int, Path]]] = {}
        self.done: dict[tuple[str, str, Config], Task] = {}
        self.masks: set[Path] = set()
        self.selected: dict[str, Chosen] = {}


class _Look:
    """Reads the state of a study from the disk, each arm once; `points` are those of the arms' masks, by label."""

    def __init__(
        self, study: Study, structures: Structures, points: Mapping[str, PointPlan], runs_dir: Path, known: _Known
    ) -> None:
        self.known = known
        self.study, self.structures, self.points, self.runs_dir = study, structures, points, runs_dir
        self.arms = {arm.label: arm for arm in study.arms}
        self.seen: dict[str, tuple[Task, ...]] = {}
        self.trials: dict[str, tuple[Task, ...]] = {}
        self.selected: dict[str, Chosen] = {}
        self.masks: dict[Path, tuple[Run, MaskOf]] = {}

    def tasks(self, label: str) -> tuple[Task, ...]:
        """Return the runs of an arm, one for each seed. The arms that it starts from are read first."""
        if label not in self.seen:
            arm = self.arms[label]
            waits = lost = ""
            if arm.choice is not None:
                selected = self._select(arm, arm.choice)
                waits = "" if selected else "the selection"
                lost = selected.lost if selected else ""
                chosen = [c.configs for c in arm.choice.candidates if selected and c.label == selected.chosen]
                arm = replace(arm, configs=chosen[0] if chosen else arm.configs)
            sweeps = {} if arm.stage else self.study.sweeps_of(label)
            tasks = [Task(label, config, sweeps=sweeps, waits=waits, lost=lost) for config in arm.configs]
            self.seen[label] = tuple(self._start(arm, index, task) for index, task in enumerate(tasks))
        return self.seen[label]

    def _start(self, arm: Arm, index: int, task: Task) -> Task:
        """Return the task with the weights and mask that it starts from, or what it waits for, or why it is lost."""
        config = task.config
        for label in arm.parents:
            parent = self.tasks(label)[index]
            if parent.lost or parent.status in LOST:
                return replace(task, lost=parent.lost or f"'{label}' {parent.status}")
            if parent.status != "finished":
                return replace(task, waits=f"'{label}'")
        if arm.init is not None:
            config = replace(config, init=str(self.tasks(arm.init)[index].known_run.path))
        if arm.release is not None:
            parent, choice = self.tasks(arm.release)[index], self.arms[arm.release].choice
            chosen = {} if choice is None else choice.settings(parent.config)
            config = replace(config, release=str(parent.known_run.path), **chosen)
        if arm.mask is not None:
            of = arm.mask.of
            run, mask = self.tasks(of)[index].known_run, made_by(arm.mask, self.arms[of].choice, self.selected.get(of))
            point = replace(self.points[arm.label], criterion=mask.point.criterion)
            path = mask_path(run, point, self.runs_dir)
            if path not in self.known.masks and not mask_is_there(path, self.structures[of], point):
                self.masks[path] = (run, mask)
                return replace(task, waits=f"the mask of '{mask.of}'")
            self.known.masks.add(path)
            config = replace(config, mask=str(path))
        return task if task.waits or task.lost else self._read(replace(task, config=config))

    def _read(self, task: Task) -> Task:
        """Return the task with the state of its run on the disk."""
        key, known = (task.arm, task.candidate, task.config), self.known
        if key in known.done:
            return known.done[key]
        if key not in known.places:
            config, _ = initial_weights(task.config, self.runs_dir)
            config, _ = initial_mask(config, self.runs_dir)
            config, _ = path_to_follow(config, self.runs_dir)
            own, network = Run(self.runs_dir / config.name), self.structures[task.arm].model
            known.places[key] = own, {number: sweep_path(own, plan, network) for number, plan in task.sweeps.items()}
        run, paths = known.places[key]
        status = run.status
        asked = {} if status in LOST else paths
        missing = tuple(number for number, path in asked.items() if not sweep_is_there(path))
        again = tuple(number for number in missing if paths[number].exists())
        found = replace(task, run=run, status=status, epochs_done=run.epochs_done, missing=missing, again=again)
        if found.done:
            known.done[key] = found
        return found

    def _select(self, arm: Arm, choice: Choice) -> Chosen | None:
        """Return the choice of an arm, by its trials on held-out images; None while something for it is missing."""
        found = [
            (one, [self._read(Task(arm.label, config, one.label, choice.sweeps(one))) for config in one.trials])
            for one in choice.candidates
        ]
        self.trials[arm.label] = tuple(task for _, tasks in found for task in tasks)
        other = None if choice.near is None else self.selected.get(choice.near.arm)
        if not all(task.done for task in self.trials[arm.label]) or (choice.near is not None and other is None):
            return None
        if arm.label in self.known.selected:
            self.selected[arm.label] = self.known.selected[arm.label]
            return self.selected[arm.label]
        trials = []
        for one, tasks in found:
            lost = next((task.status for task in tasks if task.status in LOST), "")
            accuracies = () if lost else tuple(self._accuracy(task) for task in tasks)
            trial = Trial(one.label, tuple(task.known_run.name for task in tasks), accuracies, lost)
            if choice.near is not None and other is not None and not lost:
                trial = self._away(trial, tasks, choice.near, other)
            trials.append(trial)
        held_out = choice.candidates[0].trials
        seeds = tuple(config.seed for config in held_out)
        self.selected[arm.label] = Chosen(choice.figure, held_out[0].val, seeds, tuple(trials))
        self.known.selected[arm.label] = self.selected[arm.label]
        return self.selected[arm.label]

    def _accuracy(self, task: Task) -> float:
        """Return the accuracy of a trial on the held-out images."""
        if not task.sweeps:
            accuracy: float = task.known_run.summary["accuracy"]
            return accuracy
        (plan,) = task.sweeps.values()
        (layers,), (ratio,) = plan.layers, plan.ratios
        sweep = Sweep.read(sweep_path(task.known_run, plan, self.structures[task.arm].model))
        return sweep.accuracy(layers, ratio)

    def _away(self, trial: Trial, tasks: Sequence[Task], near: SupportOf, other: Chosen) -> Trial:
        """Return the trial with how far its supports are from those of the candidate that the other arm has chosen."""
        theirs = [task for task in self.trials[near.arm] if task.candidate == other.chosen]
        if not theirs:
            return replace(trial, accuracies=(), lost=f"has no '{near.arm}' to come near to")
        pairs = zip(tasks, theirs, strict=True)
        return replace(trial, distances=tuple(self._distance(near, one, them) for one, them in pairs))

    def _distance(self, near: SupportOf, one: Task, other: Task) -> float:
        shares = [self._shares(task, near.layers) for task in (one, other)]
        away = [abs(ours - theirs) for ours, theirs in zip(*shares, strict=True)]
        return statistics.fmean(away)

    def _shares(self, task: Task, layers: str) -> list[float]:
        """Return the share of each layer's grains that is in the support at the end of a run."""
        support = task.known_run.summary["support"]
        structure, found = self.structures[task.arm], []
        for name in layers.split(","):
            selected = structure.selected_by(structure.layers[name], support)
            if selected is None:
                raise SparsifyError(f"'{task.arm}' has no support in {name}; name layers that it selects")
            counts = support[selected[0]]
            found.append(counts["in"] / counts["of"])
        return found


def sweep_path(run: Run, plan: SweepPlan, network: nn.Module) -> Path:
    """Return the file of a sweep of a run; `network` is any network with the same layers as the run's."""
    return run.path / sweep_file(plan_for(plan, network).id)


def plan_for(plan: SweepPlan, network: nn.Module) -> SweepPlan:
    """Return a study's sweep for one of its networks: recalibrated only if the network has BatchNorm."""
    return plan.on(plan.layers, batch_norm=bool(batch_norms(network)))
