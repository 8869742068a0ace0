"""A study's tables: its plan, training, accuracy against sparsity, differences, what each arm can lose, and choices."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Sequence

from rich import box
from rich.table import Table

from sparsify.analysis.statistics import Estimate, estimate
from sparsify.analysis.weights import support_shares
from sparsify.report.tables import markdown, percent, plus_minus
from sparsify.study.contrasts import Affordable, Contrast
from sparsify.study.design import Study
from sparsify.study.estimates import PlanCost, TaskCost
from sparsify.study.findings import MEASURED, Findings
from sparsify.study.planning import Plan, Task
from sparsify.study.results import StudyResult, accuracies, held_out, measured_in
from sparsify.text import duration, layers_in_words, size

NOTES = (
    "n is the number of seeds; ± is one sample standard deviation",
    "p, seeds: would other seeds differ, too? p, images: would these networks differ on other images? Holm's p is of"
    " the first, or, at a star, of the second, and allows for all comparisons of the study",
    "*: one seed, or seeds without spread, so that only images are sampled; ≥: nothing larger was swept; 0%: not even"
    " the smallest ratio is shown to cost so little",
)
"""What the tables mean."""


def study_tables(result: StudyResult, findings: Findings) -> list[Table]:
    """Training, accuracy against sparsity, a table a set of layers and measure, differences, and what can go."""
    accuracy = [study_table(result, layers, sweep, measure) for sweep, layers, measure in _measured(result)]
    differences = contrast_tables(result, findings.contrasts)
    return [training_table(result), *accuracy, *differences, *affordable_tables(result, findings.affordable)]


def study_markdown(result: StudyResult, findings: Findings) -> str:
    """The tables, what they mean and the verdicts, then the tables of accuracy again with the interval of each cell."""
    tables = study_tables(result, findings)
    sentences = "".join(f"- {sentence}\n" for sentence in (*NOTES, *findings.verdicts))
    intervals = map(markdown, interval_tables(result, findings))
    return "\n".join([*map(markdown, tables), sentences, *intervals])


def interval_tables(result: StudyResult, findings: Findings) -> list[Table]:
    """The tables of accuracy again, each cell the interval of its mean; none where no arm has two seeds."""
    if all(cell.low is None for cell in findings.cells):
        return []
    return [study_table(result, layers, sweep, measure, 0.95) for sweep, layers, measure in _measured(result)]


def study_table(
    result: StudyResult, layers: str, sweep: int = 0, measure: str = "accuracy", confidence: float | None = None
) -> Table:
    """Accuracy against sparsity of one set of layers in one sweep of the study: one row a ratio, one column an arm.

    A cell is the mean and, from two seeds on, the sample standard deviation, or, with a `confidence`, the interval of
    the mean.
    """
    plan = result.study.sweeps[sweep]
    what = f"{held_out(result)} accuracy (%) with {layers_in_words(layers)} pruned by {plan.name}"
    what += f", {MEASURED[measure]}" * bool(MEASURED[measure])
    what += f", {100 * confidence:g}% intervals of the mean" if confidence is not None else ""
    table = _table(f"{result.study.title}: {what}", "removed", [arm.label for arm in result.arms], "right")
    counts = []
    for ratio in plan.ratios:
        at = {"sweep": sweep, "layers": layers, "ratio": ratio, "measure": measure}
        arms = [list(accuracies(arm, at).values()) for arm in result.arms]
        cells = map(percent, arms)
        if confidence is not None:
            cells = (interval(estimate(values, confidence)) if values else "–" for values in arms)
        table.add_row(f"{100 * ratio:.10g}%", *cells)
        counts = [str(len(values)) for values in arms]
    table.add_row("n", *counts)
    return table


def interval(estimate: Estimate) -> str:
    """ "[98.81, 99.51]", in %; a dash where there is none. An accuracy lies between 0 and 100, and so do its ends."""
    if estimate.low is None:
        return "–"
    return f"[{max(0.0, 100 * estimate.low):.2f}, {min(100.0, 100 * estimate.high):.2f}]"


def training_table(result: StudyResult) -> Table:
    """One column an arm: accuracy, seconds an epoch and the share of each layer's grains in the support."""
    table = _table(f"{result.study.title}: training", "", [arm.label for arm in result.arms])
    finished = [[run.summary for run in arm.finished] for arm in result.arms]
    accuracy = [percent([summary["accuracy"] for summary in summaries]) for summaries in finished]
    table.add_row(f"{held_out(result)} accuracy (%)", *accuracy)
    table.add_row(
        "seconds an epoch", *(plus_minus([s["seconds_per_epoch"] for s in summaries]) for summaries in finished)
    )
    shares = [support_shares(arm.finished) for arm in result.arms]
    for layer in dict.fromkeys(layer for share in shares for layer in share):
        table.add_row(f"{layer} in support (%)", *(percent(share.get(layer, []), 1) for share in shares))
    table.add_row("n", *(str(len(summaries)) for summaries in finished))
    if any(len(arm.finished) < len(arm.runs) for arm in result.arms):
        table.add_row("diverged", *(str(len(arm.runs) - len(arm.finished)) for arm in result.arms))
    return table


def contrast_tables(result: StudyResult, contrasts: Sequence[Contrast]) -> list[Table]:
    """The difference of each arm to its reference, in points, with its interval and p; a table a sweep and measure."""
    tables = []
    for kind in dict.fromkeys((one.sweep, one.measure) for one in contrasts):
        rows = [one for one in contrasts if (one.sweep, one.measure) == kind]
        references = {one.reference for one in rows}
        against = f" against {rows[0].reference}" if len(references) == 1 else ""
        what = f"difference of {held_out(result)} accuracy{against}, pruned by {rows[0].by}"
        what += f", {MEASURED[kind[1]]}" * bool(MEASURED[kind[1]])
        columns = ("points", f"{100 * rows[0].confidence:g}% interval", "Holm's p", "p, seeds", "p, images", "n")
        table = _table(f"{result.study.title}: {what}", "arm", columns)
        points = dict.fromkeys((one.layers, one.ratio) for one in rows)
        for layers, ratio in points:
            table.add_row(f"{100 * ratio:.10g}% of {layers_in_words(layers)}")
            for one in rows:
                if (one.layers, one.ratio) == (layers, ratio):
                    table.add_row(f"  {one.arm}" + f" − {one.reference}" * (not against), *_contrast_cells(one))
        tables.append(table)
    return tables


def _contrast_cells(one: Contrast) -> tuple[str, ...]:
    ends = "–" if one.low is None else f"[{100 * one.low:+.2f}, {100 * one.high:+.2f}]" + "*" * (one.over == "images")
    ps = (_p(p) for p in (one.p_adjusted, one.p_seeds, one.p_images))
    return (f"{100 * one.difference:+.2f}", ends, *ps, str(one.seeds))


def affordable_tables(result: StudyResult, found: Sequence[Affordable]) -> list[Table]:
    """The largest ratio that an arm can lose, for each set of layers and tolerance; a table a sweep and measure."""
    tables = []
    for sweep, measure in dict.fromkeys((one.sweep, one.measure) for one in found):
        rows = [one for one in found if (one.sweep, one.measure) == (sweep, measure)]
        what = f"largest part that can go by {rows[0].by}, with {100 * rows[0].confidence:g}% confidence"
        what += f", {MEASURED[measure]}" * bool(MEASURED[measure])
        arms = list(dict.fromkeys(one.arm for one in rows))
        table = _table(f"{result.study.title}: {what}", "layers", ("loses less than", *arms))
        most = max(result.study.sweeps[sweep].ratios)
        for layers, tolerance in dict.fromkeys((one.layers, one.tolerance) for one in rows):
            by_arm = {one.arm: one for one in rows if (one.layers, one.tolerance) == (layers, tolerance)}
            cells = (_affordable_cell(by_arm[arm], most) if arm in by_arm else "–" for arm in arms)
            table.add_row(layers_in_words(layers), f"{100 * tolerance:g} point" + "s" * (tolerance != 0.01), *cells)
        tables.append(table)
    return tables


def _affordable_cell(one: Affordable, most: float) -> str:
    """ "40%", "≥ 60%" where no larger ratio was swept, and a star where only images were sampled."""
    return "≥ " * (one.ratio == most) + f"{100 * one.ratio:.10g}%" + "*" * (one.over == "images")


def _p(p: float | None) -> str:
    if p is None:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _table(title: str, first: str, others: Sequence[str], justify: str = "left") -> Table:
    """A table whose columns are numbers but for the first, which stands left unless it is one of numbers, too."""
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", collapse_padding=True, pad_edge=False)
    table.add_column(first, justify=justify)
    for name in others:
        table.add_column(name, justify="right")
    return table


def _measured(result: StudyResult) -> list[tuple[int, str, str]]:
    """Each sweep, set of layers and measure of which there is a table."""
    return [
        (sweep, layers, measure)
        for sweep, plan in enumerate(result.study.sweeps)
        for layers in plan.layers
        for measure in measured_in(result, sweep)
    ]


def studies_table(studies: Sequence[Study]) -> Table:
    """One row a study."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("study", "title", "arms", "seeds", "sweeps"):
        table.add_column(name)
    for study in studies:
        shown = [arm for arm in study.arms if not arm.stage]
        seeds = ", ".join(map(str, dict.fromkeys(config.seed for arm in shown for config in arm.configs)))
        sweeps = (f"{' and '.join(plan.layers)} by {plan.name}" for plan in study.sweeps)
        table.add_row(study.name, study.title, "; ".join(arm.label for arm in shown), seeds, "; ".join(sweeps))
    return table


def plan_table(study: Study, plan: Plan, estimates: PlanCost) -> Table:
    """What there is of each arm, what is missing, and about how long and how large that is.

    One row a run, or one for all seeds of an arm that miss the same.
    """
    table = Table(title=f"{study.title}: what is missing", box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("arm")
    table.add_column("seeds", justify="right")
    table.add_column("run")
    table.add_column("missing")
    for name in ("time", "disk"):
        table.add_column(name, justify="right")
    rows = [(_named(task), task, one) for task, one in zip(plan.tasks, estimates.tasks, strict=True)]
    for (arm, waits, missing), group in itertools.groupby(rows, key=lambda row: row[0]):
        tasks, costs = zip(*((task, one) for _, task, one in group), strict=True)
        alone = tasks[0].run.name if tasks[0].run is not None else "–"
        run = waits or (alone if len(tasks) == 1 else f"{len(tasks)} runs")
        table.add_row(arm, _seed_range([task.config.seed for task in tasks]), run, missing, *_cost(costs))
    return table


def _named(task: Task) -> tuple[str, str, str]:
    """The arm, and its candidate if it is one; what it waits for; what is missing."""
    arm = f"{task.arm}: {task.candidate}" if task.candidate else task.arm
    return arm, "" if task.run is not None or not task.waits else f"after {task.waits}", _missing(task)


def _seed_range(seeds: Sequence[int]) -> str:
    """ "3", "0–4", or "1, 5": as short as it can be said."""
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"{seeds[0]}–{seeds[-1]}"
    return ", ".join(map(str, seeds))


def plan_line(plan: Plan, estimates: PlanCost) -> str:
    """How much is missing in all."""
    if plan.done:
        return "nothing is missing"
    found = {  # two arms may share a run
        task.run.path if task.run is not None else number: len(
            task.sweeps if task.status == "unfinished" else task.missing
        )
        for number, task in enumerate(plan.tasks)
        if not task.done
    }
    runs, sweeps = plan.trainings, sum(found.values())
    at_a_time = f", {estimates.processes} at a time," * (estimates.processes > 1 and runs > 1)
    return (
        f"missing: {runs} training{'s' * (runs != 1)}{at_a_time} and {sweeps} sweep{'s' * (sweeps != 1)}; "
        f"about {duration(estimates.seconds)} and {size(estimates.kept)}, "
        f"{size(estimates.checkpoints)} more while it trains"
    )


def _missing(task: Task) -> str:
    """As "train from epoch 8, sweep 1, 2"."""
    if task.done:
        return f"left out: {task.lost}" if task.lost else "diverged" if task.status == "diverged" else "–"
    numbers = range(len(task.sweeps)) if task.status == "unfinished" else task.missing
    steps = []
    if task.status == "unfinished":
        count, first = task.config.epochs, task.epochs_done + 1
        steps.append(f"train from epoch {first} of {count}" if first > 1 else f"train {count} epoch{'s' * (count > 1)}")
    if numbers:
        steps.append("sweep" if len(task.sweeps) == 1 else f"sweep {', '.join(str(n + 1) for n in numbers)}")
    return ", ".join(steps)


def _cost(estimates: Sequence[TaskCost]) -> tuple[str, str]:
    seconds = sum(one.training + one.sweeping for one in estimates)
    return (duration(seconds), size(sum(one.kept for one in estimates))) if seconds else ("", "")


def choice_tables(result: StudyResult) -> list[Table]:
    """One table an arm that selected its settings: each candidate's mean on the held-out images."""
    tables = []
    for arm in result.arms:
        found = arm.selected
        if found is None:
            continue
        title = f"{result.study.title}: {arm.label}, selected by {found.figure} on a held-out {100 * found.val:.10g}%"
        table = Table(title=f"{title} of the training images", box=box.SIMPLE_HEAD, title_justify="left")
        for name in ("candidate", "held-out accuracy (%)", "n", ""):
            table.add_column(name, justify="left" if name in ("candidate", "") else "right")
        for trial in found.trials:
            verdict = "selected" if trial.label == found.chosen else "" if trial.accuracies else "diverged"
            table.add_row(trial.label, percent(trial.accuracies), str(len(trial.accuracies)), verdict)
        tables.append(table)
    return tables


def choices_csv(result: StudyResult) -> str:
    """One row for each arm that selected, candidate and seed; "" is the accuracy of a candidate that diverged."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("arm", "figure", "val", "candidate", "seed", "run", "accuracy", "selected"))
    for arm in result.arms:
        found = arm.selected
        for trial in found.trials if found is not None else ():
            for place, (seed, run) in enumerate(zip(found.seeds, trial.runs, strict=True)):
                accuracy = trial.accuracies[place] if trial.accuracies else ""
                chosen = int(trial.label == found.chosen)
                writer.writerow((arm.label, found.figure, found.val, trial.label, seed, run, accuracy, chosen))
    return buffer.getvalue()
