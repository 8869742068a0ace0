"""The report's tables of results: accuracy against sparsity, its intervals, controls, and what follows from them."""

from __future__ import annotations

import statistics

from rich.table import Table

from sparsify.findings import Findings
from sparsify.plantables import selection_tables
from sparsify.points import held_out, measured_in
from sparsify.report.htmltables import HtmlTable
from sparsify.study import StudyResult
from sparsify.studytables import affordable_tables, contrast_tables, interval_tables, study_table, training_table
from sparsify.tables import percent
from sparsify.verdicts import layers_in_words


def results(result: StudyResult) -> list[HtmlTable]:
    """Training, then each sweep's accuracies and those of its controls, one row an arm; then what was selected."""
    tables = [training_table(result)]
    for number, plan in enumerate(result.study.sweeps):
        for layers in plan.layers:
            tables += [study_table(result, layers, number, measure) for measure in measured_in(result, number)]
            tables += [control_table(result, layers, number, control) for control in _controls(result, number)]
    drop = _drop(result)
    selections = [HtmlTable.of(table, drop=drop) for table in selection_tables(result)]
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
