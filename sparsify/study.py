"""Study: arms of Configs over seeds, their sweeps, tables and figures."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from sparsify.analysis import smallest_filters
from sparsify.config import Config, sanitise
from sparsify.errors import SparsifyError
from sparsify.evaluation import batch_norms
from sparsify.layers import find_layers, find_sets
from sparsify.longform import long_form
from sparsify.optim.structure import support
from sparsify.pruning import RATIOS, check_draws, prune
from sparsify.ratios import parse_ratios
from sparsify.runs import Run
from sparsify.starting import initial_model
from sparsify.sweep import Sweep, sweep_id
from sparsify.training import Listener, train
from sparsify.viz.curves import curves_figure, path_figure, sweep_figure
from sparsify.viz.filters import FilterPanel, filters_figure
from sparsify.viz.style import save

if TYPE_CHECKING:
    import pandas as pd


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
    """What to train, to sweep and to draw."""

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

    def table(self) -> pd.DataFrame:
        """Every point of every sweep as a pandas DataFrame, in long form: the columns are those of `long_form`."""
        return long_form(
            (arm.label, run, number, sweep)
            for arm in self.arms
            for number, sweeps in enumerate(arm.sweeps)
            for run, sweep in zip(arm.finished, sweeps, strict=True)
        )


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


def draw_study(result: StudyResult) -> list[Path]:
    """Curves, sweeps, filter heatmaps of every swept convolution and paths, as PNG and SVG; returns the files."""
    study = result.study
    arms = [arm for arm in result.arms if arm.finished]
    if not arms:
        return []
    files = save(
        curves_figure({arm.label: [run.metrics for run in arm.finished] for arm in arms}, title=study.title),
        result.folder,
        "curves",
    )
    held_out = arms[0].finished[0].summary["held_out"]
    for number, plan in enumerate(study.sweeps):
        title = f"{study.title}: pruned by {plan.name}"
        groups = {arm.label: arm.sweeps[number] for arm in arms}
        name = "sweep" if number == 0 else f"sweep-{number + 1}"
        files += save(sweep_figure(groups, title=title, held_out=held_out), result.folder, name)
    model = arms[0].finished[0].model()
    layers = find_layers(model, ",".join(dict.fromkeys(",".join(plan.layers) for plan in study.sweeps)))
    for name, layer in layers.items():
        if layer.is_convolution:
            panels = [filter_panel(arm.finished[0], layer.name, label=arm.label) for arm in arms]
            files += save(filters_figure(panels, layer=name), result.folder, f"filters-{sanitise(name)}")
        for arm in arms:
            path = arm.finished[0].inclusion_path
            if path is not None and layer.parameter in path.entry:
                drawing = path_figure(path, parameter=layer.parameter, title=f"{arm.label}, {name}")
                files += save(drawing, result.folder, f"path-{sanitise(arm.label)}-{sanitise(name)}")
    return files


def filter_panel(run: Run, layer: str, *, label: str | None = None, ratio: float | None = None) -> FilterPanel:
    """One run's filters of the layer of that module name.

    Marked are the filters that magnitude removes at `ratio`; without one, those of an SLBI run that are not selected.
    """
    weight = run.model().get_submodule(layer).weight
    title = f"{label or run.config.opt} · {run.summary['accuracy']:.2%}"
    if ratio is not None and weight.ndim > 2:
        return FilterPanel(title, weight, smallest_filters(weight, ratio), f"pruned at {ratio:.0%}")
    z = run.z
    if z is None or weight.ndim < 3:
        return FilterPanel(title, weight)
    return FilterPanel(title, weight, ~support(z[f"{layer}.weight"], 1.0, "filter"), "not selected")
