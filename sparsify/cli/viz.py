"""The commands of `sparsify viz`, which draw figures of existing runs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from sparsify.cli import console
from sparsify.cli.options import RunsDir, Where, compared_runs, finished_run, point_of
from sparsify.config import HERE, Whole
from sparsify.config.fields import OwnOptions, choices
from sparsify.errors import SparsifyError
from sparsify.files import sanitise, shortened
from sparsify.optim.registry import OPTIMIZERS
from sparsify.optim.schedules import SCHEDULES
from sparsify.text import layers_in_words, percentage

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from sparsify.pruning.sweep import Sweep
    from sparsify.runs import Run


MOST_PICTURES = 400
"""The pictures of one figure; of more, none can be seen."""

app = App(
    name="viz",
    help="Draw what runs hold: filters, curves, sweeps, paths, networks, answers; and schedules and optimizers.",
    help_format="plaintext",
)


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
    from sparsify.viz import figures

    chosen = compared_runs(names, runs_dir)
    figure = figures.filters(chosen, layer=layer, show=show, ratio=ratio, fold_bn=fold_bn)
    stem = f"filters-{layer}"
    stem += f"-{show}" if show != "auto" else ""
    stem += f"-{ratio:g}" if ratio is not None else ""
    stem += "-folded" if fold_bn else ""
    return _save(figure, chosen, runs_dir, stem)


@app.command
def curves(*names: str, runs_dir: RunsDir = Path("runs")) -> int:
    """Loss and accuracy over the epochs: of the runs that are named, or of the newest one of each optimizer."""
    from sparsify.viz import figures

    chosen = compared_runs(names, runs_dir)
    return _save(figures.curves(chosen), chosen, runs_dir, "curves")


@app.command
def sweep(*names: str, runs_dir: RunsDir = Path("runs")) -> int:
    """Accuracy against sparsity: the newest sweep of the first run over several ratios, and the same of the others."""
    from sparsify.pruning.sweep import list_sweeps
    from sparsify.viz import figures

    chosen = compared_runs(names, runs_dir)
    sweeps = {run: list_sweeps(*run.measured(runs_dir)) for run in chosen}
    every = [one for found in sweeps.values() for one in found]
    if not every:
        raise SparsifyError(f"no sweep of {', '.join(run.name for run in chosen)}; make one with: sparsify prune")
    # what --shrink, or a look at one ratio, measured last is no curve
    first = next((one for one in every if len({row.ratio for row in one}) > 1), every[0])
    console.say(f"sweep: {first}")
    for one in itertools.takewhile(lambda one: one is not first, every):
        console.say(f"not drawn, of a single ratio: {one}")
    groups: dict[str, Sweep] = {}
    splits: list[str] = []
    for run, found in sweeps.items():
        same = [one for one in found if one.id == first.id]
        if same:
            groups[figures.label(run, chosen)] = same[0]
            splits.append(run.summary["held_out"])
        else:
            console.say(f"left out: {run.name} has no sweep {first.id}")
    rounds = f" in {first.plan.rounds} rounds" if first.plan.rounds > 1 else ""
    heading = f"{figures.networks(chosen)}: pruned by {first.plan.order}{rounds}"
    figure = figures.sweep(groups, title=heading, held_out=" or ".join(dict.fromkeys(splits)))
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
    from sparsify.runs import finished_runs
    from sparsify.viz import figures

    if run is None:
        chosen = next((one for one in finished_runs(runs_dir) if OPTIMIZERS[one.config.opt].selects), None)
        if chosen is None:
            raise SparsifyError(f"no run with a path in {runs_dir}; train one with: sparsify train --opt slbi")
        console.say(f"run: {chosen.name} (the newest)")
    else:
        chosen = finished_run(run, runs_dir)
    return _save(figures.path(chosen, layer=layer), [chosen], runs_dir, f"path-{layer}")


@app.command
def landscape(*names: str, runs_dir: RunsDir = Path("runs")) -> int:
    """The loss landscape that trainings recorded; of the runs that are named, those that differ only in --lr as one."""
    from sparsify.viz import trainings
    from sparsify.viz.figures import networks

    chosen = compared_runs(names, runs_dir)
    groups = trainings.by_rate(chosen)
    return _save(trainings.landscape(groups, title=networks(chosen)), chosen, runs_dir, "landscape")


@app.command
def net(
    run: str | None = None,
    /,
    *,
    layers: Annotated[str | None, Parameter(help="with --ratio: what is pruned, as in conv3,fc1 or all")] = None,
    ratio: Annotated[float | None, Parameter(help="draw what magnitude leaves; else what the run has selected")] = None,
    runs_dir: RunsDir = Path("runs"),
) -> int:
    """The layers of a network (of the newest run unless one is named), and what is left of each."""
    from sparsify.viz import networks

    point = point_of(layers, ratio)
    chosen = finished_run(run, runs_dir)
    stem = "net" if point is None else f"net-{point.layers}-{point.ratio:g}"
    return _save(networks.net(chosen, point), [chosen], runs_dir, stem)


@app.command
def predictions(
    run: str | None = None,
    /,
    *,
    layers: Annotated[str | None, Parameter(help="with --ratio: what is pruned, as in conv3,fc1 or all")] = None,
    ratio: Annotated[float | None, Parameter(help="the answers when magnitude has removed so much")] = None,
    images: Annotated[Whole, Parameter(help="how many pictures are drawn")] = 32,
    where: Where = HERE,
) -> int:
    """Test pictures with the answers of a run (the newest unless one is named), its most confident errors first."""
    from sparsify.pruning.cuts import cuts_of
    from sparsify.pruning.subject import subject_of
    from sparsify.viz import networks
    from sparsify.viz.figures import networks as called

    point = point_of(layers, ratio)
    if not 1 <= images <= MOST_PICTURES:
        raise SparsifyError(f"--images is {images}; it must be from 1 to {MOST_PICTURES}")
    chosen = finished_run(run, where.runs_dir)
    subject = subject_of(chosen, where)
    mask, gone, stem = None, "", "predictions"
    if point is not None:
        mask = subject.structure.remove(cuts_of(subject, point))[0]
        gone = f", {percentage(point.ratio)} of {layers_in_words(point.layers)} removed"
        stem = f"predictions-{point.layers}-{point.ratio:g}"
    title = f"{called([chosen])}, {chosen.config.opt}{gone}"
    classes = chosen.summary["classes"]
    figure = networks.predictions(subject, classes=classes, most=images, mask=mask, title=title)
    return _save(figure, [chosen], where.runs_dir, stem)


Output = Annotated[Path, Parameter(help="the figure's files without their suffix: a PNG and an SVG are written")]


@app.command
def schedule(
    *,
    schedule: Annotated[
        OwnOptions, Parameter(help=f"names, as in cosine,step-lr; else all: {choices(SCHEDULES)}")
    ] = "",
    schedule_options: Annotated[
        OwnOptions, Parameter(help="NAME=VALUE,NAME=VALUE; each goes to the schedules that have such an option")
    ] = "",
    lr: Annotated[float, Parameter(help="the base rate α")] = 1.0,
    epochs: Annotated[Whole, Parameter(help="passes over the training images")] = 20,
    steps_per_epoch: Annotated[Whole, Parameter(help="steps an epoch; 469 is MNIST in batches of 128")] = 469,
    output: Output = Path("schedule"),
) -> int:
    """The learning rate over the epochs, one panel a schedule, before anything trains."""
    from sparsify.viz import textbook

    drawn = textbook.schedule(schedule, options=schedule_options, lr=lr, epochs=epochs, steps_per_epoch=steps_per_epoch)
    return _write(drawn, output)


@app.command
def optimizers(
    *,
    opt: Annotated[OwnOptions, Parameter(help="names, as in sgd,adam,slbi; else all")] = "",
    lr: Annotated[float | None, Parameter(help="the rate of all of them [default: one that suits each]")] = None,
    steps: Annotated[Whole, Parameter(help="steps of each")] = 250,
    output: Output = Path("optimizers"),
) -> int:
    """The paths of optimizers on a valley of two weights, DessiLBI's W and Γ included."""
    from sparsify.viz import textbook

    return _write(textbook.optimizers(opt, lr=lr, steps=steps), output)


def _write(figure: Figure, output: Path) -> int:
    """Save a figure where it was asked for, and print the files' paths."""
    from sparsify.drawing.style import save

    name = output.stem if output.suffix in (".png", ".svg") else output.name
    for path in save(figure, output.parent, name):
        console.say(f"written: {path}")
    return 0


def _save(figure: Figure, chosen: Sequence[Run], runs_dir: Path, name: str) -> int:
    """Save a figure in the run's folder or, if it shows several runs, in runs/studies/; print the files' paths."""
    from sparsify.drawing.style import save

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
