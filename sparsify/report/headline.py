"""The answer in numbers: one line an arm."""

from __future__ import annotations

import math
import statistics

from rich.table import Table

from sparsify.points import held_out
from sparsify.study import StudyResult
from sparsify.tables import percent
from sparsify.verdicts import layers_in_words


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
