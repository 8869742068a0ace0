"""The commands of `sparsify viz`, which draw figures of existing runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from sparsify.cli import console
from sparsify.cli.options import RunsDir, compared_runs, finished_run, label, title
from sparsify.errors import SparsifyError
from sparsify.files import sanitise, shortened
from sparsify.optim.registry import OPTIMIZERS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from sparsify.runs import Run


app = App(name="viz", help="Draw filters, training curves, sweeps and inclusion paths.", help_format="plaintext")


@app.command
def filters(
    *names: str,
    layer: Annotated[str, Parameter(help="a convolution")] = "conv3",
    show: Annotated[str, Parameter(help="auto, slices (every weight) or norms (one per input channel)")] = "auto",
    ratio: Annotated[float | None, Parameter(help="mark what magnitude removes at this ratio")] = None,
    fold_bn: Annotated[
        bool, Parameter(help="multiply by what the BatchNorm behind them does: the filters as they are applied")
    ] = False,
    runs_dir: RunsDir = Path("runs"),
) -> int:
    """Filter heatmaps, side by side: of the runs that are named, or of the newest one of each optimizer."""
    from sparsify.analysis.weights import TrainedNetwork
    from sparsify.nets.layers import find_layer
    from sparsify.pruning.plan import parse_ratios
    from sparsify.viz.filters import filters_figure
    from sparsify.viz.study import filter_panel, folded_panels

    chosen = compared_runs(names, runs_dir)
    if ratio is not None:
        (ratio,) = parse_ratios(ratio)
    networks = [TrainedNetwork(run) for run in chosen]
    found = [(network, find_layer(network.model, layer, network.run.name).name) for network in networks]
    panels = [filter_panel(one, name, label=label(one.run, chosen), ratio=ratio) for one, name in found]
    stem = f"filters-{layer}"
    stem += f"-{show}" if show != "auto" else ""
    stem += f"-{ratio:g}" if ratio is not None else ""
    if fold_bn:
        folded = folded_panels(panels, found)
        if folded is None:
            raise SparsifyError(f"--fold-bn: no BatchNorm is behind {layer} of {', '.join(run.name for run in chosen)}")
        panels, stem = folded, f"{stem}-folded"
    return _save(filters_figure(panels, layer=layer, show=show, folded=fold_bn), chosen, runs_dir, stem)


@app.command
def curves(*names: str, runs_dir: RunsDir = Path("runs")) -> int:
    """Loss and accuracy over the epochs: of the runs that are named, or of the newest one of each optimizer."""
    from sparsify.viz.curves import curves_figure

    chosen = compared_runs(names, runs_dir)
    figure = curves_figure({label(run, chosen): [run.metrics] for run in chosen}, title=title(chosen))
    return _save(figure, chosen, runs_dir, "curves")


@app.command
def sweep(*names: str, runs_dir: RunsDir = Path("runs")) -> int:
    """Accuracy against sparsity: the newest sweep of the first run, beside the same sweep of the others."""
    from sparsify.pruning.sweep import list_sweeps
    from sparsify.viz.sweeps import sweep_figure

    chosen = compared_runs(names, runs_dir)
    sweeps = {run: list_sweeps(run.path, run.output(runs_dir)) for run in chosen}
    first = next((found[0] for found in sweeps.values() if found), None)
    if first is None:
        raise SparsifyError(f"no sweep of {', '.join(run.name for run in chosen)}; make one with: sparsify prune")
    groups = {}
    for run, found in sweeps.items():
        same = [one for one in found if one.id == first.id]
        if same:
            groups[label(run, chosen)] = same[:1]
        else:
            console.say(f"left out: {run.name} has no sweep {first.id}")
    rounds = f" in {first.plan.rounds} rounds" if first.plan.rounds > 1 else ""
    heading = f"{title(chosen)}: pruned by {first.plan.order}{rounds}"
    splits = dict.fromkeys(run.summary["held_out"] for run in chosen if label(run, chosen) in groups)
    figure = sweep_figure(groups, title=heading, held_out=" or ".join(splits))
    return _save(figure, chosen, runs_dir, f"sweep-{first.id}")


@app.command(name="path")
def inclusion_path(
    run: str | None = None,
    /,
    *,
    layer: Annotated[str, Parameter(help="a convolution, or a fully connected layer, whose path is drawn")] = "conv3",
    runs_dir: RunsDir = Path("runs"),
) -> int:
    """‖Γ‖ and ‖W‖ of a layer's grains over the path of a run (the newest that has one)."""
    from sparsify.analysis.weights import TrainedNetwork
    from sparsify.nets.layers import find_layer
    from sparsify.runs import finished_runs
    from sparsify.viz.paths import path_figure
    from sparsify.viz.study import selected_through

    if run is None:
        chosen = next((one for one in finished_runs(runs_dir) if OPTIMIZERS[one.config.opt].selects), None)
        if chosen is None:
            raise SparsifyError(f"no run with a path in {runs_dir}; train one with: sparsify train --opt slbi")
        console.say(f"run: {chosen.name} (the newest)")
    else:
        chosen = finished_run(run, runs_dir)
    if not OPTIMIZERS[chosen.config.opt].selects:
        selecting = ", ".join(name for name, spec in OPTIMIZERS.items() if spec.selects)
        reason = f"{chosen.config.opt} selects nothing; take a run of one of: {selecting}"
        raise SparsifyError(f"{chosen.name} has no path: {reason}")
    network = TrainedNetwork(chosen)
    found = find_layer(network.model, layer, chosen.name)
    path = network.path(found.name)
    if path is None:
        whole = chosen.inclusion_path
        there = "" if whole is None else ", ".join(whole.entry)
        reason = "it selects neither by its weight nor by the scales of a BatchNorm behind it"
        raise SparsifyError(f"{chosen.name} has no path of {layer}: {reason}; it selects by: {there}")
    (parameter,) = path.entry
    heading = f"{title([chosen])}, {chosen.config.opt}, {layer}{selected_through(found, parameter)}"
    figure = path_figure(path, parameter=parameter, title=heading)
    return _save(figure, [chosen], runs_dir, f"path-{layer}")


def _save(figure: Figure, chosen: Sequence[Run], runs_dir: Path, name: str) -> int:
    """Save a figure in the run's folder or, if it shows several runs, in runs/studies/; print the files' paths."""
    from sparsify.viz.style import save

    if len(chosen) == 1:
        folder = chosen[0].output(runs_dir) / "figures"
    else:
        folder = (
            runs_dir
            / "studies"
            / sanitise("viz-" + "-".join(dict.fromkeys(f"{r.config.model}-{r.config.data_name}" for r in chosen)))
        )
    for path in save(figure, folder, shortened(name)):
        console.say(f"written: {path}")
    return 0
