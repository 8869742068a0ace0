"""Which figures a study has, what each one shows in words, and where they are saved."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from sparsify.analysis.landscapes import has_records
from sparsify.analysis.weights import TrainedNetwork
from sparsify.config import HERE, Places
from sparsify.drawing.classes import ClassDamage, classes_figure
from sparsify.drawing.filters import filters_figure
from sparsify.drawing.losses import averaged
from sparsify.drawing.paths import path_figure
from sparsify.drawing.style import Look, looks, save
from sparsify.files import sanitise
from sparsify.nets.layers import Layer, layer_names
from sparsify.pruning.measures import MEASURES
from sparsify.pruning.outcomes import Outcomes
from sparsify.pruning.plan import SweepPlan
from sparsify.pruning.subject import subject_of
from sparsify.runs import Run
from sparsify.study.results import ArmResult, StudyResult, held_out, measured_in, measures_of
from sparsify.text import arms_in_words, layers_in_words, named, percentage
from sparsify.viz.figures import class_damage, curves, filter_panel, folded_panels, selected_through, sweep
from sparsify.viz.networks import predictions
from sparsify.viz.trainings import by_rate, decays, landscape, losses, rates


@dataclass(frozen=True)
class Drawing:
    """One figure of a study: the section of the report that shows it, its kind, its file's name and its caption."""

    section: str
    kind: str
    name: str
    caption: str
    figure: Figure


@dataclass(frozen=True)
class Drawn:
    """A figure that was saved as PNG and as SVG; `alternative` is the text for readers who cannot see it."""

    section: str
    alternative: str
    caption: str
    png: Path
    svg: Path


def draw_study(result: StudyResult, places: Places = HERE) -> list[Drawn]:
    """Draw all figures of a study and save them in its folder, as PNG and SVG; raises as `study_drawings` does."""
    drawn: list[Drawn] = []
    names: set[str] = set()
    for one in study_drawings(result, places):
        numbered = (f"{one.name}-{number}" for number in itertools.count(2))
        name = next(name for name in itertools.chain([one.name], numbered) if name not in names)
        names.add(name)  # two labels can have the same name for a file
        alternative = f"{one.kind}. {one.figure.get_suptitle()}".replace("\n", " ")
        drawn.append(Drawn(one.section, alternative, one.caption, *save(one.figure, result.folder, name)))
    return drawn


def study_drawings(result: StudyResult, places: Places = HERE) -> Iterator[Drawing]:
    """Every figure of the kinds that the study's `draw` names.

    "curves" are those of training; "losses" and "landscape" are what it recorded, if it was asked to; "sweep" is
    accuracy against sparsity, compression and speed-up, and each class; "filters" are those of every convolution that
    was swept, and "path" is the inclusion path of every swept layer. "schedules" are the learning rates, and the weight
    decays that change; "predictions" are pictures with the answers of the arm of the highest mean accuracy. These alone
    need the data, so that they can raise SparsifyError as `subject_of` does. An arm has one look in all of them.

    >>> [drawing.name for drawing in sparsify.viz.study_drawings(result)]
    ['sweep', 'compression', 'speedup', 'classes-1-1']
    """
    draw = result.study.draw
    trained = _trainings(result)
    styles = looks(dict.fromkeys([*(arm.label for arm in result.arms), *trained]))  # what collapsed comes last
    if trained and "curves" in draw:
        yield _curves(result, trained, styles)
    if "schedules" in draw:
        yield from _schedules(result, trained)
    if "losses" in draw:
        yield from _losses(result, trained, styles)
    if "landscape" in draw:
        yield from _landscape(result, styles)
    arms = [arm for arm in result.arms if arm.finished]
    for number, plan in enumerate(result.study.sweeps if "sweep" in draw else ()):
        yield from _sweeps(result, number, plan, arms, styles)
        yield from _classes(result, number, plan, arms, styles)
    if arms and "predictions" in draw:
        yield _predictions(result, arms, places)
    if not {"filters", "path"} & set(draw):
        return  # what follows is of networks
    networks = {arm.label: TrainedNetwork(arm.pictured) for arm in arms if arm.pictured}
    layers = {label: layer_names(network.model) for label, network in networks.items()}
    names = dict.fromkeys(",".join(layers for plan in result.study.sweeps for layers in plan.layers).split(","))
    for name in names:
        has = {label: found[name] for label, found in layers.items() if name in found}
        if "filters" in draw:
            yield from _filters(name, {k: (networks[k], one.name) for k, one in has.items() if one.is_convolution})
        for label, layer in has.items() if "path" in draw else ():
            yield from _path(name, label, networks[label], layer)


def _trainings(result: StudyResult) -> dict[str, list[Run]]:
    """The trainings that came to an end, by their arm; those that collapsed are apart, and called so."""
    kinds = {"": "finished", " (collapsed)": "collapsed"}
    found = {
        arm.label + mark: [run for run in arm.runs if run.status == status]
        for arm in result.arms
        for mark, status in kinds.items()
    }
    return {label: runs for label, runs in found.items() if runs}


def _curves(result: StudyResult, groups: Mapping[str, Sequence[Run]], styles: Mapping[str, Look]) -> Drawing:
    images = f"{held_out(result)} images solid, training dashed"
    what = f"Loss and accuracy of {arms_in_words(groups)} against the epoch: {images}."
    drawing = curves(groups, title=result.study.title, styles=styles)
    return Drawing("training", "Line chart", "curves", what, drawing)


def _schedules(result: StudyResult, trained: Mapping[str, Sequence[Run]]) -> Iterator[Drawing]:
    """Arms whose rates are the same share a panel; weight decays are drawn of the arms in which they change."""
    runs = {label: first for label, (first, *_) in trained.items()}
    changing = {label: run for label, run in runs.items() if run.config.decay_schedule != "constant"}
    drawings = (
        ("rates", "Learning rate", rates, runs, ("schedule", "schedule_options", "lr")),
        ("decays", "Weight decay", decays, changing, ("decay_schedule", "decay_schedule_options", "weight_decay")),
    )
    for stem, what, draw, chosen, fields in drawings:
        groups: dict[tuple[object, ...], list[str]] = {}
        for label, run in chosen.items():
            same = (*(getattr(run.config, name) for name in (*fields, "epochs")), run.summary["steps"])
            groups.setdefault(same, []).append(label)
        if not groups:
            continue
        panels = {}
        for first, *rest in groups.values():
            panels[f"{first} and {len(rest)} more" if rest else first] = chosen[first]
        drawing = draw(panels, title=f"{result.study.title}: {what.lower()}")
        caption = f"{what} against the epoch."
        shared = [labels for labels in groups.values() if len(labels) > 1]
        caption += "".join(f" The same of: {'; '.join(labels)}." for labels in shared)
        yield Drawing("training", "Line chart", stem, caption, drawing)


def _predictions(result: StudyResult, arms: Sequence[ArmResult], places: Places) -> Drawing:
    """The pictures are of a run of the arm with the highest mean accuracy."""

    def accuracy(arm: ArmResult) -> float:
        return float(np.mean([run.summary["accuracy"] for run in arm.finished]))

    best = max(arms, key=accuracy)
    assert best.pictured is not None  # it has an accuracy
    run = best.pictured
    split = held_out(result)
    what = f"{split.capitalize()} pictures with the answers of {named(best.label)}"
    mean = "mean " if len(best.finished) > 1 else ""
    caption = (
        f"{what}, the arm with the highest {mean}accuracy, seed {run.config.seed}, and their probabilities: its most "
        "confident errors, then some that are right."
    )
    drawing = predictions(subject_of(run, places), classes=run.summary["classes"], title=what)
    return Drawing("predictions", "Grid of pictures", "predictions", caption, drawing)


def _losses(result: StudyResult, trained: Mapping[str, Sequence[Run]], styles: Mapping[str, Look]) -> Iterator[Drawing]:
    groups = {label: runs for label, runs in trained.items() if all(has_records(run, "loss") for run in runs)}
    if groups:
        mean = f"the mean of {averaged(max(run.summary['steps'] for runs in groups.values() for run in runs))} steps"
        what = f"Training loss of {arms_in_words(groups)} against the step, each point {mean}."
        drawing = losses(groups, title=result.study.title, styles=styles)
        yield Drawing("training", "Line chart", "losses", what, drawing)


def _landscape(result: StudyResult, styles: Mapping[str, Look]) -> Iterator[Drawing]:
    """Arms that differ in the learning rate only are one group, in the look of the first; of each one run is drawn."""
    runs = [arm.pictured for arm in result.arms if arm.pictured]
    lost = [arm.label for arm in result.arms if arm.lost and not arm.finished]
    recorded = [run for run in runs if has_records(run, "loss", "gradients") or has_records(run, "landscape")]
    if not recorded:
        return
    bands = by_rate(recorded)
    what = (
        f"Loss, change of the gradient and effective smoothness of {arms_in_words(bands)}: the "
        "band over the learning rates, and along the gradient of one training; of each arm one run."
    )
    if lost:
        what += f" Not counted, as no run of theirs is a result: {arms_in_words(lost)}."
    labels = {arm.pictured.name: arm.label for arm in result.arms if arm.pictured}
    own = {band: styles[labels[first.name]] for band, (first, *_) in bands.items()}
    drawing = landscape(bands, title=result.study.title, styles=own)
    yield Drawing("training", "Line chart", "landscape", what, drawing)


def _sweeps(
    result: StudyResult, number: int, plan: SweepPlan, arms: Sequence[ArmResult], styles: Mapping[str, Look]
) -> Iterator[Drawing]:
    split = held_out(result)
    for measure in measured_in(result, number):
        groups = {arm.label: arm.sweeps[number] for arm in arms if measure in measures_of(arm, number)}
        how = MEASURES[measure].clause
        title = f"{result.study.title}: pruned by {plan.name}{how}"
        what = f"{split.capitalize()} accuracy of {arms_in_words(groups)} against "
        several = any(len(sweeps) > 1 for sweeps in groups.values())
        n = " Lines are means over the seeds, each dot is a seed." if several else ""
        for against, stem, words in (
            ("ratio", "sweep", "the ratio that is removed"),
            ("compression", "compression", "compression"),
            ("speedup", "speedup", "the theoretical speed-up"),
        ):
            if against != "ratio" and measure != "accuracy":
                continue
            drawing = sweep(groups, title=title, held_out=split, against=against, measure=measure, styles=styles)
            name = stem + MEASURES[measure].suffix + (f"-{number + 1}" if number > 0 else "")
            yield Drawing("sparsity", "Line chart", name, f"{what}{words}, pruned by {plan.name}{how}.{n}", drawing)


def _classes(
    result: StudyResult, number: int, plan: SweepPlan, arms: Sequence[ArmResult], styles: Mapping[str, Look]
) -> Iterator[Drawing]:
    """A figure for each set of layers, measure and list of classes; arms with other classes are in another figure."""
    ratio = max(plan.ratios)
    if 0 not in plan.ratios or ratio == 0:
        return
    for (place, layers), measure in itertools.product(enumerate(plan.layers), measured_in(result, number)):
        kinds: dict[tuple[str, ...], dict[str, ClassDamage]] = {}
        for arm in arms:
            damage = _damage(arm, number, layers, ratio, measure)
            if damage is not None:
                classes = tuple(map(str, arm.finished[0].summary["classes"]))
                kinds.setdefault(classes, {})[arm.label] = damage
        for kind, (classes, groups) in enumerate(kinds.items()):
            what = f"{percentage(ratio)} of {layers_in_words(layers)} removed by {plan.name}{MEASURES[measure].clause}"
            of = arms_in_words(groups)
            caption = f"Accuracy on each class, of the whole network (ring) and with {what} (dot), of {of}."
            title = f"Each class, with {what}"
            drawing = classes_figure(groups, classes=classes, title=title, held_out=held_out(result), styles=styles)
            name = f"classes{MEASURES[measure].suffix}-{number + 1}-{place + 1}"
            if kind > 0:
                name += f"-{kind + 1}"
            yield Drawing("classes", "Dot plot", name, caption, drawing)


def _damage(arm: ArmResult, number: int, layers: str, ratio: float, measure: str) -> ClassDamage | None:
    """The accuracy of each class, or None if no sweep kept what was answered for each image."""
    kept = [one for one in arm.sweeps[number] if isinstance(one.outcomes.get(measure), Outcomes)]
    if not kept:
        return None
    classes = len(arm.finished[0].summary["classes"])
    return class_damage(kept, layers=layers, ratio=ratio, classes=classes, measure=measure)


def _filters(name: str, arms: Mapping[str, tuple[TrainedNetwork, str]]) -> Iterator[Drawing]:
    """The filters of the layer called `name`; `arms` are by label, each with its layer's module name."""
    if not arms:
        return
    panels = [filter_panel(network, layer, label=label) for label, (network, layer) in arms.items()]
    shown = f"the largest norm first, of one run each of {arms_in_words(arms)}, on one colour scale."
    if any(panel.mark for panel in panels):
        shown += " Struck out: filters that are not in the support."
    stem, caption = f"filters-{sanitise(name)}", f"The filters of {name}, {shown}"
    yield Drawing("filters", "Heatmap", stem, caption, filters_figure(panels, layer=name))
    folded = folded_panels(panels, list(arms.values()))
    if folded is not None:
        caption = f"The filters of {name} as the networks apply them, times γ/√(variance + ε) of the BatchNorm behind "
        caption += f"them where there is one: {shown}"
        drawing = filters_figure(folded, layer=name, folded=True)
        yield Drawing("filters", "Heatmap", f"{stem}-folded", caption, drawing)


def _path(name: str, label: str, network: TrainedNetwork, layer: Layer) -> Iterator[Drawing]:
    path = network.path(layer.name)
    if path is None:
        return
    (parameter,) = path.entry
    entry = path.of_filters(parameter)
    grains = "filters" if entry.ndim == 1 else "weights"
    title = f"{label}, {name}{selected_through(layer, parameter)}"
    caption = (
        f"{title}: {np.isfinite(entry).sum():,} of {entry.size:,} {grains} entered the support by path "
        f"time {path.time[-1]:.3g}; their norms over the path."
    )
    drawing = path_figure(path, parameter=parameter, title=title)
    yield Drawing("paths", "Line chart", f"path-{sanitise(label)}-{sanitise(name)}", caption, drawing)
