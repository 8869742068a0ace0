"""The sections of the report: headline, results, agreement of criteria, software and hardware, commands."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Iterator

import torch
from rich.table import Table

from sparsify.analysis.agreement import Agreement, compare_criteria
from sparsify.config import Config
from sparsify.data.dataset import Split
from sparsify.nets.layers import find_layers
from sparsify.pruning.plan import SweepPlan
from sparsify.pruning.ranking import path_of
from sparsify.pruning.subject import Subject, path_states
from sparsify.report.html import HtmlTable
from sparsify.report.studytables import (
    affordable_tables,
    choice_tables,
    contrast_tables,
    interval_tables,
    study_table,
    training_table,
)
from sparsify.report.tables import percent
from sparsify.runs import Run
from sparsify.study.findings import Findings
from sparsify.study.results import StudyResult, held_out, measured_in
from sparsify.text import layers_in_words


def headline_table(result: StudyResult) -> Table:
    """Each arm whole, and with the most that the first sweep takes from its last set of layers: accuracy and savings.

    The most is its largest ratio below 1, where there is one; the change is that of each seed, in points. Whole is the
    sweep's ratio 0, where there is one: networks that are trained on between rounds are so without pruning, too.
    """
    plan = result.study.sweeps[0]
    layers = plan.layers[-1]
    ratio = max((ratio for ratio in plan.ratios if ratio < 1), default=max(plan.ratios))
    gone = f"{100 * ratio:.10g}% of {layers_in_words(layers)} removed"
    table = Table(title=f"{held_out(result).capitalize()} accuracy (%), whole and with {gone} by {plan.name}")
    for name in ("arm", "whole", gone, "change", "compression", "theoretical speed-up", "n"):
        table.add_column(name)
    for arm in result.arms:
        swept = [sweep.accuracy(layers, 0.0) for sweep in arm.sweeps[0]] if 0 in plan.ratios else None
        whole = swept or [run.summary["accuracy"] for run in arm.finished]
        pruned = [sweep.accuracy(layers, ratio) for sweep in arm.sweeps[0]]
        changes = [after - before for before, after in zip(whole, pruned, strict=True)]
        rows = [row for sweep in arm.sweeps[0] for row in sweep.points(layers, ratio)]
        savings = (_factor([row.compression for row in rows]), _factor([row.speedup for row in rows]))
        table.add_row(arm.label, percent(whole), percent(pruned), _signed(changes), *savings, str(len(whole)))
    return table


def _signed(changes: list[float]) -> str:
    if not changes:
        return "–"
    mean = f"{100 * statistics.mean(changes):+.2f}"
    mean = mean[1:] if float(mean) == 0 else mean.replace("-", "−")
    return " ± ".join([mean, *percent(changes).split(" ± ")[1:]])


def _factor(values: list[float]) -> str:
    finite = [value for value in values if math.isfinite(value)]
    return f"{statistics.mean(finite):.2f}×" if finite else "–"


def results(result: StudyResult) -> list[HtmlTable]:
    """Training, then each sweep's accuracies and those of its controls, one row an arm; then what was selected."""
    tables = [training_table(result)]
    for number, plan in enumerate(result.study.sweeps):
        for layers in plan.layers:
            tables += [study_table(result, layers, number, measure) for measure in measured_in(result, number)]
            tables += [control_table(result, layers, number, control) for control in _controls(result, number)]
    drop = _drop(result)
    selections = [HtmlTable.of(table, drop=drop) for table in choice_tables(result)]
    return [HtmlTable.of(table, corner="arm", drop=drop) for table in tables] + selections


def intervals(result: StudyResult, findings: Findings) -> list[HtmlTable]:
    """The tables of accuracy again, as `interval_tables` has them."""
    return [HtmlTable.of(table, corner="arm", drop=_drop(result)) for table in interval_tables(result, findings)]


def differences(result: StudyResult, findings: Findings) -> list[HtmlTable]:
    """The largest part that each arm can lose, and the difference of each arm to its reference."""
    drop = _drop(result)
    largest = [HtmlTable.of(table, drop=drop) for table in affordable_tables(result, findings.affordable)]
    return largest + [
        HtmlTable.grouped(table, "removed", drop=drop) for table in contrast_tables(result, findings.contrasts)
    ]


def control_table(result: StudyResult, layers: str, number: int, control: str) -> Table:
    """Accuracy against sparsity as `study_table` has it, of one of the sweep's controls: each seed's mean of draws."""
    plan = result.study.sweeps[number]
    what = f"{held_out(result)} accuracy (%) with {layers_in_words(layers)} pruned by {control}, control of {plan.name}"
    table = Table("removed", *(arm.label for arm in result.arms), title=f"{_drop(result)}{what}")
    measured = [[one for one in arm.sweeps[number] if control in one.controls] for arm in result.arms]
    for ratio in plan.ratios:
        drawn = [[[row.accuracy for row in one.points(layers, ratio, control)] for one in arm] for arm in measured]
        table.add_row(f"{100 * ratio:.10g}%", *(percent([statistics.mean(rows) for rows in arm]) for arm in drawn))
    table.add_row("n", *(str(len(arm)) for arm in measured))
    return table


def _controls(result: StudyResult, number: int) -> list[str]:
    return list(dict.fromkeys(name for arm in result.arms for sweep in arm.sweeps[number] for name in sweep.controls))


def _drop(result: StudyResult) -> str:
    """What the titles of tables begin with, and the page has said."""
    return f"{result.study.title}: "


def likeness_tables(result: StudyResult) -> list[Table]:
    """One table for each sweep and layer, one row a pair of criteria: Kendall's τ and Jaccard's overlap in each arm.

    The first run of each arm is looked at, and of the criteria those that need no images. The overlap is that of what
    goes at the sweep's largest ratio r below 1; that of two random choices is about r/(2 − r).
    """
    tables = []
    seen = set()
    for plan in result.study.sweeps:
        ratio = max((ratio for ratio in plan.ratios if 0 < ratio < 1), default=None)
        asked = (plan.layers, ratio, plan.grain, plan.scope)
        if ratio is None or asked in seen:  # sweeps by another criterion of the same layers
            continue
        seen.add(asked)
        found = {arm.label: _agreements(arm.finished[0], plan, ratio) for arm in result.arms if arm.finished}
        for layers in dict.fromkeys(one.layers for agreements in found.values() for one in agreements):
            tables.append(_agreement_table(layers, ratio, found))
    return tables


def _agreements(run: Run, plan: SweepPlan, ratio: float) -> tuple[Agreement, ...]:
    model = run.model()
    example = torch.zeros(1, *run.summary["shape"])
    split = Split(example, torch.zeros(1, dtype=torch.long))
    subject = Subject(model, split, path=path_states(run, model), seed=run.config.seed, name=run.name)
    asked = SweepPlan(layers=plan.layers, ratios=(ratio,), grain=plan.grain, scope=plan.scope)
    return compare_criteria(subject, asked, criteria=list(_criteria(subject, plan)))


def _criteria(subject: Subject, plan: SweepPlan) -> Iterator[str]:
    """What this network can be ordered by without images."""
    yield from ("magnitude", "l1", "fpgm")
    if plan.scope == "global":  # within a layer it is the order of magnitude
        yield "lamp"
    layers = find_layers(subject.model, ",".join(plan.layers)).values()
    outputs = [layer for layer in layers if layer.grain(plan.grain) != "weight"]
    if outputs and all(subject.structure.scale(layer) is not None for layer in outputs):
        yield "bn-scale"
    states = [path_of(subject, layer) for layer in layers]
    if None not in states:
        yield "entry"
        if all(state.gamma is not None for state in states):
            yield "gamma"


def _agreement_table(layers: str, ratio: float, found: dict[str, tuple[Agreement, ...]]) -> Table:
    pairs = {label: {(a.first, a.second): a for a in ones if a.layers == layers} for label, ones in found.items()}
    grains = next(one.grains for ones in pairs.values() for one in ones.values())
    chance = f"{ratio / (2 - ratio):.2f} by chance"
    what = f"τ of each pair, and overlap of what goes at {100 * ratio:.10g}% ({chance})"
    table = Table(title=f"Agreement on {layers} ({grains:,} grains): {what}")
    table.add_column("criteria")
    for label in pairs:
        table.add_column(f"{label}: τ")
        table.add_column(f"{label}: overlap")
    for pair in dict.fromkeys(pair for ones in pairs.values() for pair in ones):
        cells = []
        for ones in pairs.values():
            one = ones.get(pair)
            cells += ["–", "–"] if one is None else [_two_digits(one.tau), _two_digits(one.overlaps[ratio])]
        table.add_row(", ".join(pair), *cells)
    return table


def _two_digits(value: float) -> str:
    return "–" if math.isnan(value) else f"{round(value, 2) + 0.0:.2f}".replace("-", "−")


_WHEN = "started"


def environment_table(result: StudyResult) -> Table:
    """One row for each value that a run's environment.json holds, and which runs have it."""
    labelled = [(f"{arm.label}, seed {run.config.seed}", run.environment) for arm in result.arms for run in arm.runs]
    table = Table(title="Software and hardware of the trainings")
    for name in ("what", "value", "runs"):
        table.add_column(name)
    for key in dict.fromkeys(key for _, environment in labelled for key in environment):
        values: dict[str, list[str]] = {}
        for label, environment in labelled:
            values.setdefault(_value_text(environment.get(key)), []).append(label)
        if key == _WHEN:  # of every run another one
            span = " to ".join(dict.fromkeys((min(values), max(values))))
            values = {span: [label for label, _ in labelled]}
        for value, labels in values.items():
            count = f"all {len(labelled)}" if len(labels) == len(labelled) else f"{len(labels)}: {'; '.join(labels)}"
            table.add_row(key.replace("_", " "), value, count)
    return table


def _value_text(value: object) -> str:
    return "–" if value is None else str(value)


def train_command(config: Config, threads: int | None = None) -> list[str]:
    """The words of the command that trains this Config: the optimizer, and each field that is not at its default.

    `threads` of torch on a CPU change the last bits, and with them, a little, what is trained.
    """
    defaults = Config(opt=config.opt).to_dict()
    changed = {name: value for name, value in config.to_dict().items() if name == "opt" or value != defaults[name]}
    words = ["sparsify", "train", *(word for name, value in changed.items() for word in _flag(name, value))]
    return words if threads is None else [f"OMP_NUM_THREADS={threads}", *words]


def prune_command(run: Run, plan: SweepPlan) -> list[str]:
    """The words of the command that sweeps this run by a plan: each flag that is not at its default."""
    words = ["sparsify", "prune", run.name]
    for layers in plan.layers:
        words += _flag("layers", layers)
    usual = SweepPlan()
    if plan.ratios != usual.ratios:
        words += _flag("ratios", ",".join(_shortest(ratio) for ratio in plan.ratios))
    for name in ("criterion", "grain", "scope", "reverse", "controls"):
        if getattr(plan, name) != getattr(usual, name):
            words += _flag(name, getattr(plan, name))
    # how often random is drawn by default depends on the criterion and the controls
    if plan.drawn != dataclasses.replace(plan, draws=None).drawn:
        words += _flag("draws", plan.drawn)
    for flag, value in (("recalibrate_bn", plan.recalibrate_bn), ("finetune", plan.finetune_epochs)):
        if value:
            words += _flag(flag, value)
    return words if plan.rounds == 1 else [*words, *_flag("rounds", plan.rounds)]


def _flag(name: str, value: object) -> list[str]:
    flag = "--" + name.replace("_", "-")
    if value is True:
        return [flag]
    text = _shortest(value) if isinstance(value, float) else str(value)
    return [f"{flag}={text}"] if text.startswith("-") else [flag, text]


def _shortest(value: float) -> str:
    short = f"{value:g}"
    return short if float(short) == value else repr(value)
