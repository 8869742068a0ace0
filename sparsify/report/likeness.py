"""How much the criteria agree in a study: what is measured, as numbers that are kept, and the tables made of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from sparsify.analysis.agreement import compare_criteria
from sparsify.nets.layers import find_layers
from sparsify.pruning.cuts import units_by_name
from sparsify.pruning.plan import SweepPlan
from sparsify.pruning.ranking import path_of, scale_of
from sparsify.pruning.subject import Subject, subject_without_data
from sparsify.report.table import TEXT, Column, Format, Table
from sparsify.runs import Run
from sparsify.study.results import StudyResult
from sparsify.text import listed, percentage, thousands


@dataclass(frozen=True)
class Likeness:
    """The agreement of two criteria on the grains of one layer, or set of layers, in the first run of an arm.

    `sweep` is the number of the study's sweep, `ratio` its largest ratio below 1. `tau` is Kendall's τ of the scores,
    `overlap` Jaccard's of what goes at that ratio; each is None where it is not a number.
    """

    sweep: int
    ratio: float
    arm: str
    layers: str
    grains: int
    first: str
    second: str
    tau: float | None
    overlap: float | None


def likenesses(result: StudyResult) -> list[Likeness]:
    """The agreement of each pair of criteria that need no images, in each sweep that has other layers or ratios."""
    found = []
    seen = set()
    for number, plan in enumerate(result.study.sweeps):
        ratio = max((ratio for ratio in plan.ratios if 0 < ratio < 1), default=None)
        if ratio is None:
            continue
        for arm in result.arms:
            asked = (arm.label, plan.layers, ratio, plan.grain, plan.scope)
            if arm.pictured is None or not arm.sweeps[number] or asked in seen:
                continue  # the sweep is of other arms, or by another criterion of layers that have been looked at
            seen.add(asked)
            found += _of_run(arm.pictured, number, plan, ratio, arm.label)
    return found


def _of_run(run: Run, sweep: int, plan: SweepPlan, ratio: float, arm: str) -> list[Likeness]:
    subject = subject_without_data(run, run.model())
    asked = SweepPlan(layers=plan.layers, ratios=(ratio,), grain=plan.grain, scope=plan.scope)
    return [
        Likeness(
            sweep,
            ratio,
            arm,
            one.layers,
            one.grains,
            one.first,
            one.second,
            _number(one.tau),
            _number(one.overlaps[ratio]),
        )
        for one in compare_criteria(subject, asked, criteria=list(_without_images(subject, plan)))
    ]


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _without_images(subject: Subject, plan: SweepPlan) -> Iterator[str]:
    """The names of the criteria that can order the grains of this network without images."""
    yield from ("magnitude", "l1", "fpgm")
    if plan.scope == "global":  # within a layer it is the order of magnitude
        yield "lamp"
    units = units_by_name(subject, find_layers(subject.model, ",".join(plan.layers)), plan.grain).values()
    outputs = [unit for unit in units if unit.grain != "weight"]
    if outputs and all(scale_of(subject, unit) is not None for unit in outputs):
        yield "bn-scale"
    states = [path_of(subject, unit) for unit in units]
    known = [state for state in states if state is not None]
    if len(known) == len(states):
        yield "entry"
        if all(state.gamma is not None for state in known):
            yield "gamma"


def likeness_tables(found: Sequence[Likeness]) -> list[Table]:
    """Two tables for each sweep and layer, one of τ and one of the overlap: one row an arm, one column a pair.

    Two random choices at the ratio r overlap by about r/(2 − r).
    """
    tables = []
    for sweep, layers in dict.fromkeys((one.sweep, one.layers) for one in found):
        tables += _tables_of([one for one in found if (one.sweep, one.layers) == (sweep, layers)])
    return tables


def _tables_of(found: Sequence[Likeness]) -> list[Table]:
    layers, grains, ratio = found[0].layers, found[0].grains, found[0].ratio
    pairs: dict[str, dict[tuple[str, str], Likeness]] = {}
    for one in found:
        pairs.setdefault(one.arm, {})[one.first, one.second] = one
    names = list(dict.fromkeys((one.first, one.second) for one in found))
    two_digits = Format(lambda value: f"{round(value, 2) + 0.0:.2f}")  # no −0.00
    columns = [Column("arm", TEXT), *(Column(", ".join(pair), two_digits) for pair in names)]
    chance = f"{ratio / (2 - ratio):.2f} by chance"
    values: dict[str, Callable[[Likeness], float | None]] = {
        "Kendall’s τ": lambda one: one.tau,
        f"overlap of what goes at {percentage(ratio)} ({chance})": lambda one: one.overlap,
    }
    tables = []
    for what, value in values.items():
        rows = [
            (label, *(value(ones[pair]) if pair in ones else None for pair in names)) for label, ones in pairs.items()
        ]
        of = f"Agreement on {listed(layers.split(','))} ({thousands(grains)} grains)"
        table = Table.of(f"{of}: {what}", columns, rows).without_empty()
        tables += [table] if len(table.columns) > 1 else []
    return tables
