"""Study: arms of Configs over seeds, and their sweeps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from sparsify.config import Config
from sparsify.errors import SparsifyError
from sparsify.evaluation import batch_norms
from sparsify.layers import find_sets
from sparsify.pruning import RATIOS, check_draws, prune
from sparsify.ratios import parse_ratios
from sparsify.runs import Run
from sparsify.starting import initial_model
from sparsify.sweep import Sweep, sweep_id
from sparsify.training import Listener, train


@dataclass(frozen=True)
class Arm:
    """One row of a study: Configs that differ in the seed only."""

    label: str
    configs: tuple[Config, ...]


@dataclass(frozen=True)
class SweepPlan:
    """One sweep that every run of a study gets: the keywords of `prune`.

    `recalibrate_bn` holds for the networks that have BatchNorm.
    """

    layers: tuple[str, ...] = ("conv3", "conv3,fc1")
    ratios: tuple[float, ...] = parse_ratios(RATIOS)
    criterion: str = "magnitude"
    grain: str = "auto"
    scope: str = "layer"
    reverse: bool = False
    controls: bool = False
    draws: int | None = None  # of "random"
    recalibrate_bn: bool = False
    finetune_epochs: int = 0

    @property
    def name(self) -> str:
        """What goes first, in words."""
        return self.criterion + "-reversed" * self.reverse + ", layers together" * (self.scope == "global")

    def keywords(self, model: nn.Module) -> dict[str, Any]:
        """What `prune`, and `sweep_id`, are given for this network."""
        asked = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        asked["draws"] = check_draws(self.draws, self.criterion, self.controls)
        return asked | {"recalibrate_bn": self.recalibrate_bn and bool(batch_norms(model))}


@dataclass(frozen=True)
class Study:
    """What to train and to sweep."""

    name: str
    title: str
    arms: tuple[Arm, ...]
    sweeps: tuple[SweepPlan, ...]


@dataclass(frozen=True)
class ArmResult:
    """One arm's runs, in the order of the seeds; `sweeps[i]` are those of the study's sweep i, one a finished run."""

    label: str
    runs: tuple[Run, ...]
    sweeps: tuple[tuple[Sweep, ...], ...]

    @property
    def finished(self) -> tuple[Run, ...]:
        """The runs that are results."""
        return tuple(run for run in self.runs if run.status == "finished")


@dataclass(frozen=True)
class StudyResult:
    """What a study measured, and the folder that its tables and figures go to."""

    study: Study
    arms: tuple[ArmResult, ...]
    folder: Path


def run_study(
    study: Study,
    *,
    device: str = "auto",
    runs_dir: Path | str = "runs",
    data_dir: Path | str | None = None,
    listener: Listener | None = None,
    note: Callable[[str], None] | None = None,
) -> StudyResult:
    """Train and sweep what is missing; what is there already is read. `note` is told of each sweep.

    Raises SparsifyError for an unknown layer, and for a glob that stands for other layers in another arm, before
    anything is trained.
    """
    models = {arm.label: (arm.configs[0].model, initial_model(arm.configs[0], data_dir)) for arm in study.arms}
    study = replace(study, sweeps=tuple(_named(plan, models) for plan in study.sweeps))
    results = []
    for arm in study.arms:
        runs = tuple(
            train(config, device=device, runs_dir=runs_dir, data_dir=data_dir, listener=listener)
            for config in arm.configs
        )
        finished = [run for run in runs if run.status == "finished"]
        sweeps = tuple(
            tuple(_sweep(run, plan, device=device, data_dir=data_dir, note=note) for run in finished)
            for plan in study.sweeps
        )
        results.append(ArmResult(arm.label, runs, sweeps))
    return StudyResult(study, tuple(results), Path(runs_dir) / "studies" / study.name)


def _named(plan: SweepPlan, models: Mapping[str, tuple[str, nn.Module]]) -> SweepPlan:
    """The same sweep, its layers by the names that they have in the models of all arms."""
    sets = {tuple(find_sets(model, plan.layers, name)): label for label, (name, model) in models.items()}
    if len(sets) > 1:
        meanings = "; ".join(f"{' and '.join(names)} in {label}" for names, label in sets.items())
        raise SparsifyError(f"layers '{' '.join(plan.layers)}' differ from arm to arm ({meanings}); name them singly")
    (layers,) = sets
    return replace(plan, layers=layers)


def _sweep(
    run: Run, plan: SweepPlan, *, device: str, data_dir: Path | str | None, note: Callable[[str], None] | None
) -> Sweep:
    """One run's sweep: read, or measured and kept beside the run."""
    asked = plan.keywords(run.model())
    path = run.path / f"sweep-{sweep_id(**asked)}.csv"
    if not path.exists():
        if note is not None:
            note(f"{run.name}: sweeping {' and '.join(plan.layers)} by {plan.criterion}")
        prune(run, **asked, device=device, data_dir=data_dir).save(run.path)
    return Sweep.read(path)
