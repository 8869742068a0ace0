"""A study's tables: training, accuracy against sparsity, differences, what can go, and what was selected."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Literal

from sparsify.analysis.statistics import Estimate
from sparsify.analysis.weights import support_shares
from sparsify.pruning.measures import MEASURES
from sparsify.pruning.ratios import SUPPORT
from sparsify.report.notes import notes
from sparsify.report.table import (
    INTERVAL,
    MEAN,
    POINTS,
    TEXT,
    Column,
    Format,
    Table,
    Turned,
    in_percent,
    plus_minus,
    to_csv,
    to_markdown,
)
from sparsify.runs import LOST, Summary
from sparsify.study.contrasts import Affordable, Contrast
from sparsify.study.design import Published
from sparsify.study.findings import Findings
from sparsify.study.results import (
    ArmResult,
    Point,
    StudyResult,
    accuracies,
    controls_in,
    held_out,
    measured_in,
    outside,
)
from sparsify.study.verdicts import outside_in_words, removed_in_words
from sparsify.text import MISSING, in_markdown, layers_in_words, named, p_value, percentage, points


def study_tables(result: StudyResult, findings: Findings) -> list[Table]:
    """As the terminal and table.md show them: training, accuracy against sparsity, differences, and what can go."""
    differences = contrast_tables(result, findings.contrasts)
    return [
        training_table(result),
        *accuracy_tables(result),
        *differences,
        *affordable_tables(result, findings.affordable),
    ]


def findings_tables(result: StudyResult, findings: Findings) -> list[Table]:
    """As the page shows them before its results: how much of each arm can go, and the differences between arms.

    Columns without a value, as that of a p over seeds where there is one seed, are left out.
    """
    differences = contrast_tables(result, findings.contrasts)
    return [*affordable_tables(result, findings.affordable), *(table.without_empty() for table in differences)]


def results_tables(result: StudyResult) -> list[Table]:
    """As the page shows them: training, each sweep's accuracies and those of its controls, and what was selected."""
    return [training_table(result), *accuracy_tables(result, controls=True), *choice_tables(result)]


def study_markdown(result: StudyResult, findings: Findings) -> str:
    """The tables, what they mean and the verdicts, then the tables of accuracy again with the interval of each cell."""
    tables = study_tables(result, findings)
    sentences = "".join(f"- {in_markdown(sentence)}\n" for sentence in (*notes(result), *findings.verdicts))
    intervals = interval_tables(result, findings)
    return "\n".join([*map(to_markdown, tables), sentences, *map(to_markdown, intervals)])


def interval_tables(result: StudyResult, findings: Findings) -> list[Table]:
    """The tables of accuracy with the 95% interval of each mean; none where no arm has two seeds."""
    if all(cell.low is None for cell in findings.cells):
        return []
    return accuracy_tables(result, intervals=True)


def accuracy_tables(result: StudyResult, *, controls: bool = False, intervals: bool = False) -> list[Table]:
    """Accuracy against sparsity: a table for each sweep, set of layers and measure, and for each control if asked."""
    tables = []
    for sweep, plan in enumerate(result.study.sweeps):
        for layers in plan.layers:
            for measure in measured_in(result, sweep):
                tables.append(accuracy_table(result, layers, sweep, measure, intervals=intervals))
            for control in controls_in(result, sweep) if controls else ():
                tables.append(accuracy_table(result, layers, sweep, control=control))
    return tables


def accuracy_table(
    result: StudyResult,
    layers: str,
    sweep: int = 0,
    measure: str = "accuracy",
    *,
    control: str = "",
    intervals: bool = False,
) -> Table:
    """Accuracy of one set of layers in one sweep of the study, one row an arm, one column a ratio.

    A cell shows the mean and, from two seeds on, the sample standard deviation, or the 95% interval of the mean. With a
    `control` the accuracies are those of the sweep's control by that criterion.
    """
    plan = result.study.sweeps[sweep]
    by = f"{control}, control of {plan.name}" if control else f"{plan.name}{MEASURES[measure].clause}"
    title = f"{held_out(result)} accuracy (%) with {layers_in_words(layers)} pruned by {by}"
    if intervals:
        title += ", 95% intervals of the mean"
    kind = INTERVAL if intervals else MEAN
    columns = [Column("arm", TEXT), *(Column(percentage(ratio), kind) for ratio in plan.ratios), Column("n")]
    alone = plan.support and not control and not intervals
    if alone:
        columns[-1:] = [Column("support", MEAN), Column("of which goes (%)", plus_minus(1)), columns[-1]]
    rows = []
    of = result.study.arms_of(sweep)
    for arm in (one for one in result.arms if one.label in of):
        found = [
            list(accuracies(result, arm, point, control).values())
            for point in (
                Point(sweep=sweep, by=plan.name, layers=layers, ratio=ratio, measure=measure) for ratio in plan.ratios
            )
        ]
        rows.append(
            (
                arm.label,
                *map(in_percent, found),
                *(_alone(result, arm, sweep, layers, measure) if alone else ()),
                len(found[-1]),
            )
        )
    return _table(result, title, columns, rows, turned=Turned("removed", "right"))


def _alone(
    result: StudyResult, arm: ArmResult, sweep: int, layers: str, measure: str
) -> tuple[Estimate | None, Estimate | None]:
    """The accuracy of what is in the support, and the share of the grains that is not, over an arm's seeds, in %."""
    point = Point(sweep=sweep, by="", layers=layers, ratio=SUPPORT, measure=measure)
    return in_percent(list(accuracies(result, arm, point).values())), in_percent(outside(arm, point))


SPARSE: dict[Literal["support_accuracy", "gamma_accuracy"], str] = {
    "support_accuracy": "support: 0 outside it (%)",
    "gamma_accuracy": "gamma: Γ as the weights (%)",
}
"""The sparse networks of a run, as its summary and the table of trainings name them."""


def training_table(result: StudyResult) -> Table:
    """One row an arm: accuracy, that of the sparse networks, each layer's share in the support.

    Times are not among them: other programs ran on the machine. Each run's metrics.csv has the seconds of its epochs.
    """
    shares = {arm.label: support_shares(arm.finished) for arm in result.arms}
    layers = list(dict.fromkeys(layer for share in shares.values() for layer in share))
    failed = [way for way in LOST if any(run.status == way for arm in result.arms for run in arm.runs)]
    published = {arm.label: arm.published for arm in result.study.arms if arm.published is not None}
    runs = [run for arm in result.arms for run in arm.finished]
    sparse = {name: heading for name, heading in SPARSE.items() if any(name in run.summary for run in runs)}
    columns = [
        Column("arm", TEXT),
        Column(f"{held_out(result)} accuracy (%)", MEAN),
        *([Column("published (%)", MEAN), Column("difference, points", POINTS)] if published else []),
        *(Column(heading, MEAN) for heading in sparse.values()),
        *(Column(f"{layer} in support (%)", plus_minus(1)) for layer in layers),
        Column("n"),
        *map(Column, failed),
    ]
    rows = []
    for arm in result.arms:
        summaries = [run.summary for run in arm.finished]
        row = [
            arm.label,
            in_percent([summary["accuracy"] for summary in summaries]),
            *(_beside(published.get(arm.label), summaries) if published else []),
            *(in_percent([summary[name] for summary in summaries if name in summary]) for name in sparse),
            *(in_percent(shares[arm.label].get(layer, [])) for layer in layers),
            len(summaries),
            *(sum(run.status == way for run in arm.runs) for way in failed),
        ]
        rows.append(row)
    return _table(result, "training", columns, rows, turned=Turned(""))


def _beside(published: Published | None, summaries: Sequence[Summary]) -> tuple[object, object]:
    """What was published for an arm, and the difference of its mean test accuracy to that."""
    if published is None:
        return None, None
    found = [summary["accuracy"] for summary in summaries if summary["held_out"] == "test"]
    difference = statistics.mean(found) - published.test_accuracy if found else None
    return in_percent([published.test_accuracy]), difference


def contrast_tables(result: StudyResult, contrasts: Sequence[Contrast]) -> list[Table]:
    """The difference of each arm to its reference, in points; a table a sweep, measure and kind, changes first.

    The columns are the two intervals, that of Student or over images, and that over both; p and n. Where no contrast
    has an interval over both there is no column for it. Each family has groups of its own. Beside arms whose supports
    are compared stands how much is outside of each.
    """
    tables = []
    kinds = dict.fromkeys((one.sweep, one.measure, one.compared) for one in contrasts)
    for sweep, measure, compared in sorted(
        kinds, key=lambda kind: (kind[0], list(MEASURES).index(kind[1]), kind[2] != "change")
    ):
        found = [one for one in contrasts if (one.sweep, one.measure, one.compared) == (sweep, measure, compared)]
        references = {one.reference for one in found}
        against = f" against {named(found[0].reference)}" if len(references) == 1 else ""
        accuracy = f"{held_out(result)} accuracy"
        what = f"in the change of {accuracy} from 0%" if compared == "change" else f"of {accuracy}"
        title = f"difference {what}{against}, pruned by {found[0].by}{MEASURES[measure].clause}"
        both = any(one.both_low is not None for one in found)
        columns = [
            Column("arm", TEXT),
            Column("removed", TEXT),
            Column("points", POINTS),
            Column(f"{100 * found[0].confidence:g}% interval", Format(_ends, key=lambda one: one.low)),
            *([Column("both ways", Format(_both_ends, key=lambda one: one.both_low))] if both else []),
            *(Column(name, Format(p_value)) for name in ("Holm's p", "p, seeds", "p, images")),
            Column("n"),
        ]
        rows = []
        for group in dict.fromkeys(map(_group, found)):
            for one in (one for one in found if _group(one) == group):
                arm = one.arm if against else f"{one.arm} − {one.reference}"
                arm += f" ({outside_in_words(result, one)})" if one.ratio == SUPPORT else ""
                ends = (one, one) if both else (one,)
                ps = (one.p_adjusted, one.p_seeds, one.p_images)
                rows.append((arm, group, one.difference, *ends, *ps, one.seeds))
        tables.append(_table(result, title, columns, rows, group=1))
    return tables


def _group(one: Contrast) -> str:
    """What is removed, and the family: "60% of conv3 and fc1, primary"."""
    return f"{removed_in_words(one.ratio, one.layers)}, {one.family}"


def _ends(one: Contrast) -> str:
    """The interval of a contrast, with a star where only images were sampled."""
    if one.low is None or one.high is None:
        return MISSING
    star = "*" if one.over == "images" else ""
    return f"[{points(one.low)}, {points(one.high)}]{star}"


def _both_ends(one: Contrast) -> str:
    """The interval over seeds and images."""
    if one.both_low is None or one.both_high is None:
        return MISSING
    return f"[{points(one.both_low)}, {points(one.both_high)}]"


def affordable_tables(result: StudyResult, found: Sequence[Affordable]) -> list[Table]:
    """The largest ratio that can go, a row an arm, a column a set of layers and ε; a table a sweep and measure."""
    tables = []
    for sweep, measure in dict.fromkeys((one.sweep, one.measure) for one in found):
        kept = {
            (one.arm, one.layers, one.tolerance): one for one in found if (one.sweep, one.measure) == (sweep, measure)
        }
        first = next(iter(kept.values()))
        title = f"largest part that can go by {first.by}, with {100 * first.confidence:g}% confidence"
        ratio = Format(_affordable_up_to(max(result.study.sweeps[sweep].ratios)), key=lambda one: one.ratio)
        asked = list(dict.fromkeys((layers, tolerance) for _, layers, tolerance in kept))
        columns = [Column("arm", TEXT), *(Column(_loses_less(*one), ratio) for one in asked)]
        arms = dict.fromkeys(arm for arm, *_ in kept)
        rows = [(arm, *(kept.get((arm, *one)) for one in asked)) for arm in arms]
        tables.append(_table(result, title + MEASURES[measure].clause, columns, rows))
    return tables


def _loses_less(layers: str, tolerance: float) -> str:
    """ "conv3, loss < 0.5 points"."""
    unit = "point" if tolerance == 0.01 else "points"
    return f"{layers_in_words(layers)}, loss < {100 * tolerance:g} {unit}"


def _affordable_up_to(most: float) -> Callable[[Affordable], str]:
    """ "40%", "≥ 60%" where `most`, the largest ratio that was swept, can go, with a star where only images were
    sampled; "too few images" where no loss at all could be shown to be so small."""

    def write(one: Affordable) -> str:
        if one.too_few_images:
            return "too few images"
        at_least = "≥ " if one.ratio == most else ""
        star = "*" if one.over == "images" else ""
        return f"{at_least}{percentage(one.ratio)}{star}"

    return write


def choice_tables(result: StudyResult) -> list[Table]:
    """One table for each arm that selected its settings: each candidate's mean on the held-out images.

    Where supports were compared, the mean difference of the layers' shares in the support stands beside it.
    """
    tables = []
    for label, found in result.choices.items():
        columns = [Column("candidate", TEXT), Column("held-out accuracy (%)", MEAN), Column("n"), Column("", TEXT)]
        if found.of_supports:
            columns.insert(1, Column("support differs by (points)", MEAN))
        rows = []
        for trial in found.trials:
            verdict = "selected" if trial.label == found.chosen else "" if trial.accuracies else trial.lost
            away = (in_percent(trial.distances or ()),) if found.of_supports else ()
            rows.append((trial.label, *away, in_percent(trial.accuracies), len(trial.accuracies), verdict))
        held_out = f"a held-out {percentage(found.val)} of the training images"
        what = f"selected by {found.figure}{', trained without' if found.of_supports else ' on'} {held_out}"
        tables.append(Table.of(f"the settings of {named(label)}, {what}", columns, rows, subject=result.study.title))
    return tables


def choices_csv(result: StudyResult) -> str:
    """One row for each arm that selected, candidate and seed; the accuracy of a candidate that is lost is empty.

    Where supports were compared in a study, the last column has their distance, a fraction.
    """
    names = ["arm", "figure", "val", "candidate", "seed", "run", "accuracy", "selected"]
    supports = any(found.of_supports for found in result.choices.values())
    rows = []
    for label, found in result.choices.items():
        for trial in found.trials:
            for place, (seed, run) in enumerate(zip(found.seeds, trial.runs, strict=True)):
                accuracy = trial.accuracies[place] if trial.accuracies else None
                chosen = int(trial.label == found.chosen)
                distance = (trial.distances[place] if trial.distances else None,) if supports else ()
                rows.append((label, found.figure, found.val, trial.label, seed, run, accuracy, chosen, *distance))
    return to_csv(Table.of("", [Column(name) for name in [*names, *["distance"] * supports]], rows))


def _table(
    result: StudyResult,
    title: str,
    columns: Sequence[Column],
    rows: Sequence[Sequence[object]],
    *,
    group: int | None = None,
    turned: Turned | None = None,
) -> Table:
    """A table of numbers, which stand close together on the terminal."""
    subject = result.study.title
    return Table.of(title, columns, rows, subject=subject, group=group, turned=turned, spacing="narrow")
