"""The figures of runs and sweeps, one function a kind; each returns a matplotlib Figure and saves nothing."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from sparsify.analysis.comparison import class_accuracy
from sparsify.analysis.weights import TrainedNetwork
from sparsify.drawing.classes import ClassDamage, classes_figure
from sparsify.drawing.curves import curves_figure
from sparsify.drawing.filters import FilterPanel, filters_figure
from sparsify.drawing.paths import path_figure
from sparsify.drawing.style import Look
from sparsify.drawing.sweeps import sweep_figure
from sparsify.errors import SparsifyError, SparsifyWarning
from sparsify.nets.layers import Layer, find_layer
from sparsify.nets.structure import removed_grains
from sparsify.optim.registry import OPTIMIZERS
from sparsify.pruning.cuts import cuts_of
from sparsify.pruning.ledger import BEFORE_UNITS
from sparsify.pruning.plan import PointPlan
from sparsify.pruning.ratios import parse_ratios
from sparsify.pruning.subject import subject_without_data
from sparsify.pruning.sweep import Sweep
from sparsify.runs import Run
from sparsify.text import layers_in_words, percentage

Runs = Run | Sequence[Run] | Mapping[str, Run | Sequence[Run]]
"""Runs to draw: one, several, or those of each label; runs of one label are drawn as their mean."""

Sweeps = Sweep | Mapping[str, Sweep | Sequence[Sweep]]
"""Sweeps to draw: one, or those of each label; sweeps of one label are drawn as their mean."""


def curves(runs: Runs, *, title: str | None = None, styles: Mapping[str, Look] | None = None) -> Figure:
    """Draw loss and accuracy against the epoch; training is dashed, the held-out split solid.

    Several runs without labels are named by their optimizers. A band is one sample standard deviation over the runs of
    a label. `styles` gives the look of each label, where several figures are to have the same. Raises SparsifyError
    without runs, and if a file of one is missing or damaged.

    >>> sparsify.viz.curves(run).savefig("curves.png")
    """
    groups = runs_by_label(runs)
    if title is None:
        title = networks([run for found in groups.values() for run in found])
    metrics = {name: [run.metrics for run in found] for name, found in groups.items()}
    return curves_figure(metrics, title=title, styles=styles)


def sweep(
    sweeps: Sweeps,
    *,
    title: str = "",
    held_out: str = "",
    against: str = "ratio",
    measure: str = "accuracy",
    styles: Mapping[str, Look] | None = None,
) -> Figure:
    """Draw accuracy against the ratio, or against "compression" or "speedup", one panel a set of layers.

    Sweeps that are drawn together have one plan. `measure` is one of those in `Sweep.measures`, `held_out` names the
    split of the images, as in "test". Controls are dashed and dotted. `styles` are as in `curves`. Warns
    (SparsifyWarning) of sweeps that are `before_units`. Raises SparsifyError without sweeps, for an unknown axis, and
    if a sweep lacks the measure.

    >>> sparsify.viz.sweep({"adabreg": sweep}, title="LeNet on digits", held_out="test").savefig("sweep.png")
    """
    tables = {name: [one.table() for one in found] for name, found in _sweeps_by_label(sweeps).items()}
    return sweep_figure(tables, title=title, held_out=held_out, against=against, measure=measure, styles=styles)


def classes(
    sweeps: Sweeps,
    *,
    layers: str,
    ratio: float,
    names: Sequence[str],
    title: str | None = None,
    held_out: str = "test",
    measure: str = "accuracy",
    styles: Mapping[str, Look] | None = None,
) -> Figure:
    """Draw the accuracy on each class before (ring) and after pruning (dot), the class that loses most at the top.

    `layers` and `ratio` are a point of the sweeps, which have ratio 0 as well; `names` are those of the classes, as in
    `run.summary["classes"]`; `styles` are as in `curves`. Raises SparsifyError if a sweep lacks the points, or kept no
    outcomes of them.

    >>> names = run.summary["classes"]
    >>> sparsify.viz.classes(sweep, layers="conv3,fc1", ratio=0.8, names=names).savefig("classes.png")
    """
    groups = {
        label: class_damage(found, layers=layers, ratio=ratio, classes=len(names), measure=measure)
        for label, found in _sweeps_by_label(sweeps).items()
    }
    if title is None:
        title = f"Each class, with {percentage(ratio)} of {layers_in_words(layers)} removed"
    return classes_figure(groups, classes=names, title=title, held_out=held_out, styles=styles)


def filters(runs: Runs, *, layer: str, show: str = "auto", ratio: float | None = None, fold_bn: bool = False) -> Figure:
    """Draw the filters of a convolution as heatmaps, one panel a run, on one colour scale, the largest norm first.

    `show` is "slices" (every weight), "norms" (one value an input channel) or "auto". The filters that magnitude
    removes at `ratio` are struck out; without a ratio, those that the run has not selected. `fold_bn` multiplies each
    filter by what the BatchNorm behind it does. Raises SparsifyError for an unknown layer, one without filters, and
    with `fold_bn` if no BatchNorm is behind it.

    >>> sparsify.viz.filters(run, layer="conv3", ratio=0.5).savefig("filters.png")
    """
    if ratio is not None:
        (ratio,) = parse_ratios(ratio)
    found, panels = [], []
    for name, labelled in runs_by_label(runs).items():
        for run in labelled:
            network = TrainedNetwork(run)
            place = find_layer(network.model, layer, run.name).name
            found.append((network, place))
            panels.append(filter_panel(network, place, label=name, ratio=ratio))
    if fold_bn:
        folded = folded_panels(panels, found)
        if folded is None:
            names = ", ".join(network.run.name for network, _ in found)
            raise SparsifyError(f"--fold-bn: no BatchNorm is behind {layer} of {names}")
        panels = folded
    return filters_figure(panels, layer=layer, show=show, folded=fold_bn)


def path(run: Run, *, layer: str) -> Figure:
    """Draw ‖Γ‖ and ‖W‖ of the grains of a layer over the path of a run, in the manner of a lasso path.

    Raises SparsifyError for an unknown layer, and if the run has no path of it.

    >>> sparsify.viz.path(run, layer="conv3").savefig("path.png")
    """
    if not OPTIMIZERS[run.config.opt].selects:
        selecting = ", ".join(name for name, spec in OPTIMIZERS.items() if spec.selects)
        reason = f"{run.config.opt} selects nothing; take a run of one of: {selecting}"
        raise SparsifyError(f"{run.name} has no path: {reason}", about="path")
    network = TrainedNetwork(run)
    found = find_layer(network.model, layer, run.name)
    inclusion = network.path(found.name)
    if inclusion is None:
        whole = run.inclusion_path
        there = "" if whole is None else ", ".join(whole.entry)
        reason = "it selects neither by its weight nor by the scales of a BatchNorm behind it"
        raise SparsifyError(f"{run.name} has no path of {layer}: {reason}; it selects by: {there}")
    (parameter,) = inclusion.entry
    title = f"{networks([run])}, {run.config.opt}, {layer}{selected_through(found, parameter)}"
    return path_figure(inclusion, parameter=parameter, title=title)


def label(run: Run, chosen: Sequence[Run]) -> str:
    """Return the optimizer's name; or the run's name if runs share the optimizer; or its folder if they share that."""
    for names in ([one.config.opt for one in chosen], [one.name for one in chosen]):
        name = names[list(chosen).index(run)]
        if names.count(name) == 1:
            return name
    return str(run.path)


def networks(chosen: Sequence[Run]) -> str:
    """Return the networks and data sets of the runs, as in "lenet on mnist"."""
    kinds = dict.fromkeys(f"{run.config.model} on {run.config.data_name}" for run in chosen)
    return ", ".join(kinds)


def runs_by_label(runs: Runs) -> dict[str, list[Run]]:
    """Return the runs of each label; without labels each run has its own. Raises SparsifyError for one without runs."""
    if isinstance(runs, Mapping):
        groups = {name: [found] if isinstance(found, Run) else list(found) for name, found in runs.items()}
        for name, group in groups.items():
            if not group:
                raise SparsifyError(f"'{name}' has no run to draw")
        return groups
    chosen = [runs] if isinstance(runs, Run) else list(runs)
    return {label(run, chosen): [run] for run in chosen}


def _sweeps_by_label(sweeps: Sweeps) -> dict[str, list[Sweep]]:
    if isinstance(sweeps, Sweep):
        groups = {sweeps.plan.name: [sweeps]}
    elif not isinstance(sweeps, Mapping):
        raise SparsifyError(f"the sweeps are a {type(sweeps).__name__}; they must be one Sweep, or a dict by label")
    else:
        groups = {name: [found] if isinstance(found, Sweep) else list(found) for name, found in sweeps.items()}
    for name, found in groups.items():
        if not found:
            raise SparsifyError(f"'{name}' has no sweep to draw")
        for one in found:
            if one.before_units:
                warnings.warn(f"sweep-{one.id} of {name} {BEFORE_UNITS}", SparsifyWarning, stacklevel=3)
    return groups


def class_damage(
    sweeps: Sequence[Sweep], *, layers: str, ratio: float, classes: int, measure: str = "accuracy"
) -> ClassDamage:
    """Return the accuracy of each class in each sweep, at ratio 0 and at another one."""

    def at(ratio: float) -> np.ndarray:
        answers = [(one.predictions(layers, ratio, measure), one.classified(measure).labels) for one in sweeps]
        return np.array([class_accuracy(labels, predictions, classes) for predictions, labels in answers])

    return ClassDamage(at(0.0), at(ratio))


def selected_through(layer: Layer, parameter: str) -> str:
    """ " by its scales bn3.weight" where a layer is selected by another parameter than its own; otherwise ""."""
    return "" if parameter == layer.parameter else f" by its scales {parameter}"


def filter_panel(
    network: TrainedNetwork, layer: str, *, label: str | None = None, ratio: float | None = None
) -> FilterPanel:
    """The filters of one run in the layer of that module name.

    The filters that magnitude removes at `ratio` are marked; without a ratio, those that the run has not selected.
    """
    run, weight = network.run, network.model.get_parameter(f"{layer}.weight")
    title = f"{label or run.config.opt} · {run.summary['accuracy']:.2%}"
    if ratio is not None and weight.ndim > 2:
        subject = subject_without_data(run, network.model)
        mask = subject.structure.mask(cuts_of(subject, PointPlan(layers=layer, ratio=ratio)))
        gone = removed_grains(mask, subject.structure.layers[layer])
        return FilterPanel(title, weight, gone, f"pruned at {percentage(ratio)}")
    inside = network.support(layer) if weight.ndim > 2 else None
    if inside is None:
        return FilterPanel(title, weight)
    return FilterPanel(title, weight, ~inside, "not selected")


def folded_panels(
    panels: Sequence[FilterPanel], layers: Sequence[tuple[TrainedNetwork, str]]
) -> list[FilterPanel] | None:
    """The panels with the BatchNorm behind each layer folded into its filters; `layers` are by their module names.

    A panel whose layer has no BatchNorm behind it stays as it is. None if no layer has one.
    """
    weights = [network.folded_filters(layer) for network, layer in layers]
    if all(weight is None for weight in weights):
        return None
    pairs = zip(panels, weights, strict=True)
    return [panel if weight is None else dataclasses.replace(panel, weight=weight) for panel, weight in pairs]
