"""Study: arms of Configs over seeds, their sweeps, tables and figures."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

from sparsify.analysis import smallest_filters
from sparsify.config import Config, sanitise
from sparsify.criteria import CRITERIA
from sparsify.errors import SparsifyError, unknown
from sparsify.evaluation import batch_norms
from sparsify.layers import find_layers, find_sets
from sparsify.pruning import RATIOS, prune
from sparsify.ratios import parse_ratios
from sparsify.runs import Run
from sparsify.starting import initial_model
from sparsify.sweep import Sweep, sweep_id
from sparsify.training import Listener, train
from sparsify.viz.curves import curves_figure, path_figure, sweep_figure
from sparsify.viz.filters import FilterPanel, filters_figure
from sparsify.viz.style import save


@dataclass(frozen=True)
class Arm:
    """One row of a study: Configs that differ in the seed only."""

    label: str
    configs: tuple[Config, ...]


@dataclass(frozen=True)
class Study:
    """What to train, to sweep and to draw."""

    name: str
    title: str
    arms: tuple[Arm, ...]
    layers: tuple[str, ...]
    ratios: tuple[float, ...]
    criterion: str = "magnitude"
    recalibrate_bn: bool = False  # for networks that have BatchNorm


@dataclass(frozen=True)
class ArmResult:
    """One arm's runs, in the order of the seeds, and the sweeps of those that did not diverge."""

    label: str
    runs: tuple[Run, ...]
    sweeps: tuple[Sweep, ...]

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


def built_in_studies() -> list[str]:
    """The names of the studies that ship with the package."""
    folder = resources.files("sparsify") / "studies"
    return sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml"))


def load_study(name: str, settings: Sequence[str] = ()) -> Study:
    """A built-in study, or the one in a TOML file. Raises SparsifyError for an unknown name and a malformed file.

    `settings` such as "epochs=5" change one field of every arm's Config, or "seeds=[0,1]" the study's seeds.
    """
    if name in built_in_studies():
        text = (resources.files("sparsify") / "studies" / f"{name}.toml").read_text(encoding="utf-8")
    elif name.endswith(".toml"):
        try:
            text = Path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SparsifyError(f"{name} cannot be read: {error}") from error
    else:
        raise unknown("study", name, [*built_in_studies(), "FILE.toml"])
    changed = _settings(settings)
    try:
        return _parse(sanitise(Path(name).name.removesuffix(".toml")), tomllib.loads(text), changed)
    except tomllib.TOMLDecodeError as error:
        raise SparsifyError(f"study {name} is no TOML: {error}") from error
    except SparsifyError as error:
        raise SparsifyError(f"study {name}: {error}") from error


def _settings(settings: Sequence[str]) -> dict[str, Any]:
    """ "epochs=5" as {"epochs": 5}: the value is TOML's, or else a string that needs no quotes."""
    changed = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not (key and equals):
            raise SparsifyError(f"--set {setting} is no setting; write KEY=VALUE, as in epochs=5")
        try:
            changed[key.strip().replace("-", "_")] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            changed[key.strip().replace("-", "_")] = value
    return changed


def _parse(name: str, values: dict[str, Any], changed: dict[str, Any]) -> Study:
    _only(values, ("title", "seeds", "base", "arms", "sweep"))
    seeds = changed.get("seeds", values.get("seeds", [0]))
    base, sweep = values.get("base", {}), values.get("sweep", {})
    for key, table in (("base", base), ("sweep", sweep)):
        if not isinstance(table, dict):
            raise SparsifyError(f"{key} is {table}; it must be a table, as in [{key}]")
    if not all(isinstance(arm, dict) for arm in _list(values.get("arms", []))):
        raise SparsifyError("arms must be tables, as in [[arms]]")
    _only(sweep, ("criterion", "layers", "ratios", "recalibrate_bn"))
    if not isinstance(seeds, list) or not seeds:
        raise SparsifyError(f"seeds is {seeds}; it must be a list of whole numbers, as in [0, 1, 2]")
    arms = []
    for arm in _list(values.get("arms", [])):
        settings = {**base, **arm, **{key: value for key, value in changed.items() if key != "seeds"}}
        label = settings.pop("label", settings.get("opt"))
        arms.append(Arm(str(label), tuple(Config.from_dict({**settings, "seed": seed}) for seed in seeds)))
    if not arms:
        raise SparsifyError("it has no [[arms]]")
    if sweep.get("criterion", "magnitude") not in CRITERIA:
        raise unknown("criterion", sweep["criterion"], CRITERIA)
    labels = [arm.label for arm in arms]
    for label in labels:
        if labels.count(label) > 1:
            raise SparsifyError(f"two arms are called '{label}'; give one of them a label")
    title = str(values.get("title", name))
    if changed:  # a study of its own, so that it does not overwrite the one it comes from
        shown = {**changed, **({"data": arms[0].configs[0].data_name} if "data" in changed else {})}
        title += f" ({', '.join(f'{key} {value}' for key, value in shown.items())})"
        name += "".join(f"-{sanitise(f'{key}-{value}')}" for key, value in shown.items())
    return Study(
        name,
        title,
        tuple(arms),
        tuple(str(layers) for layers in _list(sweep.get("layers", ["conv3", "conv3,fc1"]))),
        parse_ratios(sweep.get("ratios", RATIOS)),
        sweep.get("criterion", "magnitude"),
        bool(sweep.get("recalibrate_bn", False)),
    )


def _list(value: Any) -> list[Any]:
    """A list as it is, and one thing as a list of one."""
    return value if isinstance(value, list) else [value]


def _only(values: dict[str, Any], allowed: Sequence[str]) -> None:
    for key in values:
        if key not in allowed:
            raise unknown("key", key, allowed)


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
    sets: dict[tuple[str, ...], str] = {}
    for arm in study.arms:
        model = initial_model(arm.configs[0], data_dir)
        sets[tuple(find_sets(model, study.layers, arm.configs[0].model))] = arm.label
    if len(sets) > 1:
        meanings = "; ".join(f"{' and '.join(names)} in {label}" for names, label in sets.items())
        raise SparsifyError(f"layers '{' '.join(study.layers)}' differ from arm to arm ({meanings}); name them singly")
    (layers,) = sets
    study = replace(study, layers=layers)  # by the names that the sweeps have
    results = []
    for arm in study.arms:
        runs = [
            train(config, device=device, runs_dir=runs_dir, data_dir=data_dir, listener=listener)
            for config in arm.configs
        ]
        sweeps = []
        for run in runs:
            if run.status != "finished":
                continue
            recalibrate_bn = study.recalibrate_bn and bool(batch_norms(run.model()))
            asked = (study.criterion, "auto", "layer", study.layers, study.ratios)
            identity = sweep_id(*asked, 1, recalibrate_bn=recalibrate_bn)
            path = run.path / f"sweep-{identity}.csv"
            if not path.exists():
                if note is not None:
                    note(f"{run.name}: sweeping {' and '.join(study.layers)}")
                prune(
                    run,
                    layers=study.layers,
                    ratios=study.ratios,
                    criterion=study.criterion,
                    recalibrate_bn=recalibrate_bn,
                    device=device,
                    data_dir=data_dir,
                ).save(run.path)
            sweeps.append(Sweep.read(path))
        results.append(ArmResult(arm.label, tuple(runs), tuple(sweeps)))
    return StudyResult(study, tuple(results), Path(runs_dir) / "studies" / study.name)


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
    title = f"{study.title}: pruned by {study.criterion}"
    groups = {arm.label: arm.sweeps for arm in arms}
    files += save(sweep_figure(groups, title=title, held_out=held_out), result.folder, "sweep")
    model = arms[0].finished[0].model()
    layers = find_layers(model, ",".join(study.layers))
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

    Marked are the filters that magnitude removes at `ratio`; without one, those that the run has not selected.
    """
    weight = run.model().get_submodule(layer).weight
    title = f"{label or run.config.opt} · {run.summary['accuracy']:.2%}"
    if ratio is not None and weight.ndim > 2:
        return FilterPanel(title, weight, smallest_filters(weight, ratio), f"pruned at {ratio:.0%}")
    inside = run.support(f"{layer}.weight")
    if inside is None or weight.ndim < 3:
        return FilterPanel(title, weight)
    return FilterPanel(title, weight, ~inside, "not selected")
