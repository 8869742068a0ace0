"""The figures of trainings and of what they recorded; each returns a matplotlib Figure and saves nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from sparsify.analysis.landscapes import along_gradient, has_records, over_runs
from sparsify.config import OPTIONS, Config
from sparsify.drawing.landscape import landscape_figure
from sparsify.drawing.losses import losses_figure
from sparsify.drawing.schedules import schedules_figure
from sparsify.drawing.style import Look
from sparsify.errors import SparsifyError
from sparsify.optim.schedules import decay_factors, learning_rates
from sparsify.optim.spec import Steps, taken
from sparsify.runs import Run
from sparsify.study.grids import describe_settings
from sparsify.viz.figures import runs_by_label


def by_rate(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Return runs in groups of those that differ in the learning rate, the seed and the records only.

    With the rate DessiLBI's `path_scale` may differ too, if their product, by which the path advances in a step, is one
    for all. A group is called by the settings in which groups differ; by options that only some optimizers take only
    where nothing else tells it from another.
    """
    alike: dict[Config, list[Run]] = {}
    for run in runs:
        alike.setdefault(_without_rate(run.config, path_scale=None), []).append(run)
    groups: dict[Config, list[Run]] = {}
    for config, several in alike.items():
        if len({_advance(run.config) for run in several}) == 1:
            groups[config] = several
            continue
        for run in several:
            groups.setdefault(_without_rate(run.config, path_scale=run.config.path_scale), []).append(run)
    values = [{name: value for name, value in config.to_dict().items() if name != "lr"} for config in groups]
    first = [name for name in _differing(values) if name not in OPTIONS] or ["model", "opt"]
    labels = []
    for one in values:
        beside = [other for other in values if all(other[name] == one[name] for name in first)]
        labels.append(describe_settings({name: one[name] for name in (*first, *_differing(beside))}))
    return dict(zip(labels, groups.values(), strict=True))


def _differing(values: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names whose values are not the same in all."""
    return [name for name in values[0] if any(one[name] != values[0][name] for one in values)]


def _without_rate(config: Config, path_scale: float | None) -> Config:
    return dataclasses.replace(config, lr=None, path_scale=path_scale, record="", seed=0)


def _advance(config: Config) -> float | None:
    """α_p = α·`path_scale`, without what floating-point numbers are apart by; None without a path."""
    return None if config.path_scale is None else float(f"{taken(config.lr) * config.path_scale:.9g}")


def losses(groups: Mapping[str, Sequence[Run]], *, title: str, styles: Mapping[str, Look] | None = None) -> Figure:
    """Draw the training loss of every hundred steps. `groups` maps a label to runs, drawn as their mean.

    `styles` gives the look of each label, where several figures are to have the same. Raises SparsifyError without
    groups, and for a run that did not record its losses.

    >>> recorded = sparsify.train(sparsify.Config(data="digits", opt="sgd", epochs=1, record="loss"), device="cpu")
    >>> sparsify.viz.losses({"sgd": [recorded]}, title="LeNet on digits").savefig("losses.png")
    """
    for run in (run for runs in runs_by_label(groups).values() for run in runs):
        if not has_records(run, "loss"):
            raise SparsifyError(f"{run.name} has no record of its losses; train it with --record loss")
    found = {label: [run.records["loss/loss"].numpy() for run in runs] for label, runs in groups.items()}
    return losses_figure(found, title=title, styles=styles)


def landscape(groups: Mapping[str, Sequence[Run]], *, title: str, styles: Mapping[str, Look] | None = None) -> Figure:
    """Draw how far losses and gradients spread, one band a group: runs that differ in the learning rate only.

    The first row is over the runs of a group of several, of those that recorded their losses and gradients; the second
    along the gradient of the first run that recorded its landscape. Where there is neither, what single runs recorded
    from step to step is drawn. `styles` gives the look of each group, as in `losses`. Raises SparsifyError if there is
    nothing.

    >>> recorded = sparsify.train(sparsify.Config(data="digits", opt="sgd", epochs=1, record="landscape"), device="cpu")
    >>> sparsify.viz.landscape({"sgd": [recorded]}, title="LeNet on digits").savefig("landscape.png")
    """
    recorded = {label: [run for run in runs if has_records(run, "loss", "gradients")] for label, runs in groups.items()}
    landscapes = {label: [run for run in runs if has_records(run, "landscape")] for label, runs in groups.items()}
    along = {label: along_gradient(runs[0]) for label, runs in landscapes.items() if runs}
    across = {label: over_runs(runs) for label, runs in recorded.items() if len(runs) > 1}
    rows = {"over the learning rates": across, "along the gradient": along}
    if not (across or along):
        rows = {"from step to step": {label: over_runs(runs) for label, runs in recorded.items() if runs}}
    return landscape_figure(rows, title=title, styles=styles)


def rates(runs: Mapping[str, Run], *, title: str) -> Figure:
    """Draw the learning rate of every step of runs, one panel a run, by its label. Raises SparsifyError without runs.

    >>> sparsify.viz.rates({"adabreg": run}, title="LeNet on digits").savefig("rates.png")
    """
    steps = {label: _steps(run) for label, run in runs.items()}
    found = {
        label: learning_rates(run.config.schedule, taken(run.config.lr), steps[label], run.config.schedule_options)
        for label, run in runs.items()
    }
    return schedules_figure(found, per_epoch={label: one.per_epoch for label, one in steps.items()}, title=title)


def decays(runs: Mapping[str, Run], *, title: str) -> Figure:
    """Draw the weight decay of every epoch of runs, one panel a run, by its label. Raises SparsifyError without runs.

    >>> sparsify.viz.decays({"adabreg": run}, title="LeNet on digits").savefig("decays.png")
    """
    found = {}
    for label, run in runs.items():
        config = run.config
        factors = decay_factors(config.decay_schedule, _steps(run), config.decay_schedule_options)
        found[label] = (config.weight_decay or 0.0) * factors
    return schedules_figure(found, per_epoch=dict.fromkeys(runs, 1), title=title, what="weight decay")


def _steps(run: Run) -> Steps:
    """The steps of a run that has ended: of all its epochs, those after a divergence included."""
    return Steps(run.config.epochs, run.summary["steps"] // run.summary["epochs"])
