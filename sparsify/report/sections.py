"""The sections of the report: what each is called, and its content in the words and tables that the template takes.

A new section is a function and an entry of `SECTIONS` here, and its text in templates/report.html. A section that shows
nothing but figures needs no text.
"""

from __future__ import annotations

import dataclasses
import math
import shlex
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sparsify.analysis.statistics import Estimate
from sparsify.report.checklist import checked
from sparsify.report.commands import commands_of, without_places
from sparsify.report.likeness import Likeness, likeness_tables
from sparsify.report.notes import NOTES, from_before, sources, weak_supports
from sparsify.report.pictures import Picture
from sparsify.report.prose import arms_table, paths_in_words, plan_in_words
from sparsify.report.studytables import findings_tables, interval_tables, results_tables
from sparsify.report.table import FACTOR, MEAN, TEXT, Column, Format, Table, estimated, in_percent, to_html
from sparsify.report.terms import TERMS, optimizer_terms
from sparsify.report.threads import threads_in_words
from sparsify.runs.records import CONFIG_SUM
from sparsify.study.contrasts import usual_ratio
from sparsify.study.findings import Findings
from sparsify.study.results import Point, StudyResult, accuracies, held_out
from sparsify.text import capitalised, layers_in_words, percentage, points, written


@dataclass(frozen=True)
class Source:
    """What the report is made from: the study, what was found, its figures, the words of the command, and how much
    the criteria agree."""

    result: StudyResult
    findings: Findings
    pictures: Sequence[Picture]
    command: Sequence[str]
    likenesses: Sequence[Likeness]

    @property
    def first(self) -> Picture | None:
        """The figure of the answer: the first one of accuracy against sparsity."""
        return next((picture for picture in self.pictures if picture.drawn.section == "sparsity"), None)

    def figures(self, section: str) -> list[Picture]:
        """The figures of the section of that name, without that of the answer."""
        first = self.first
        return [one for one in self.pictures if one.drawn.section == section and one is not first]


Content = Mapping[str, Any]
"""What the template finds as `content` where it writes the section."""


@dataclass(frozen=True)
class Section:
    """One section: its anchor, its heading, and its content, None where it is left out.

    Without a `content` it shows its figures, and is left out if there are none.
    """

    name: str
    heading: str
    content: Callable[[Source], Content | None] | None = None

    def of(self, source: Source) -> Content | None:
        """The section's content in the report of one study."""
        if self.content is None:
            return {} if source.figures(self.name) else None
        return self.content(source)


def _setup(source: Source) -> Content:
    result = source.result
    arms = arms_table(result)
    return {
        "plans": [plan_in_words(plan, _limited_to(result, number)) for number, plan in enumerate(result.study.sweeps)],
        "from_before": [capitalised(sentence) for sentence in from_before(result)],
        "arms": to_html(arms) if len(arms.frame) > 1 else None,
    }


def _limited_to(result: StudyResult, sweep: int) -> list[str]:
    """The arms of a sweep of the study, by their labels; none if it is of all that are shown."""
    shown, of = [arm.label for arm in result.arms], result.study.arms_of(sweep)
    return [] if set(shown) <= set(of) else [label for label in shown if label in of]


def _differences(source: Source) -> Content | None:
    tables = findings_tables(source.result, source.findings)
    return {"tables": list(map(to_html, tables)), "notes": NOTES[1:]} if tables else None


def _results(source: Source) -> Content:
    tables, intervals = results_tables(source.result), interval_tables(source.result, source.findings)
    return {
        "tables": list(map(to_html, tables)),
        "intervals": list(map(to_html, intervals)),
        "sources": [capitalised(one) for one in (*sources(source.result), *weak_supports(source.result))],
    }


def _classes(source: Source) -> Content | None:
    """The arms named here have sweeps for which what was answered for each image was not kept."""
    arms = [
        arm.label
        for arm in source.result.arms
        if any("accuracy" not in sweep.outcomes for sweeps in arm.sweeps for sweep in sweeps)
    ]
    return {"without_outcomes": arms} if arms or source.figures("classes") else None


def _paths(source: Source) -> Content | None:
    return {"words": paths_in_words(source.result)} if source.figures("paths") else None


def _criteria(source: Source) -> Content | None:
    tables = likeness_tables(source.likenesses)
    return {"tables": list(map(to_html, tables))} if tables else None


def _reproduce(source: Source) -> Content:
    result = source.result
    command = shlex.join(without_places(source.command))
    return {"command": command, "commands": commands_of(result), "threads": threads_in_words(result)}


def _terms(source: Source) -> Content:
    used = (run.config.opt for arm in source.result.arms for run in arm.runs)
    return {"terms": [*TERMS, *optimizer_terms(used)]}


def _environment(source: Source) -> Content:
    return {"table": to_html(environment_table(source.result))}


def _checklist(source: Source) -> Content:
    return {"checks": checked(source.result)}


SECTIONS = (
    Section("setup", "How it was done", _setup),
    Section("differences", "What can go, and where arms differ", _differences),
    Section("results", "Results", _results),
    Section("sparsity", "Accuracy against sparsity"),
    Section("classes", "What happens to each class", _classes),
    Section("filters", "Filters"),
    Section("paths", "Inclusion paths", _paths),
    Section("training", "Training"),
    Section("predictions", "Pictures and answers"),
    Section("criteria", "Do the criteria agree?", _criteria),
    Section("reproduce", "Reproduce it", _reproduce),
    Section("environment", "Environment", _environment),
    Section("checklist", "Checklist", _checklist),
    Section("terms", "Terms", _terms),
)
"""Every section behind the answer, in the order of the page."""


def headline_table(result: StudyResult) -> Table:
    """For each arm, accuracy and savings: whole, and with as much removed as the contrasts are of.

    That is the ratio of the first primary contrast that the study plans of the first sweep's last set of layers, which
    is shown, else `usual_ratio`. The change is that of each seed, in points. Whole is the sweep's ratio
    0 if there is one: networks that are trained on between rounds are trained on without pruning, too.
    """
    plan = result.study.sweeps[0]
    layers = plan.layers[-1]
    planned = [one.ratio for one in result.study.contrasts if one.primary and one.sweep == 0 and one.layers == layers]
    ratio = next((ratio for ratio in planned if isinstance(ratio, float) and ratio > 0), usual_ratio(plan))
    point = Point(sweep=0, by=plan.name, layers=layers, ratio=ratio, measure="accuracy")
    gone = f"{percentage(ratio)} of {layers_in_words(layers)} removed"
    columns = [
        Column("arm", TEXT),
        Column("whole", MEAN),
        Column(gone, MEAN),
        Column("change", Format(_change)),
        Column("compression", FACTOR),
        Column("theoretical speed-up", FACTOR),
        Column("n"),
    ]
    rows = []
    of = result.study.arms_of(0)
    for arm in (one for one in result.arms if one.label in of):
        pruned = list(accuracies(result, arm, point).values())
        whole = [run.summary["accuracy"] for run in arm.finished]
        if 0 in plan.ratios and pruned:
            whole = list(accuracies(result, arm, dataclasses.replace(point, ratio=0.0)).values())
        changes = [after - before for before, after in zip(whole, pruned, strict=True)]
        swept = [row for sweep in arm.sweeps[0] for row in sweep.points(layers, ratio)]
        savings = (_mean([row.compression for row in swept]), _mean([row.speedup for row in swept]))
        rows.append((arm.label, in_percent(whole), in_percent(pruned), estimated(changes), *savings, len(whole)))
    title = f"{held_out(result)} accuracy (%), whole and with {gone} by {plan.name}"
    return Table.of(capitalised(title), columns, rows)


def _change(one: Estimate) -> str:
    """A change of fractions in points: "−1.25 ± 1.77", and 0 without a sign."""
    mean = points(one.mean)
    return mean if one.deviation is None else f"{mean} ± {100 * one.deviation:.2f}"


def _mean(values: list[float]) -> float | None:
    """The mean of the finite ones; None if there are none."""
    finite = [value for value in values if math.isfinite(value)]
    return statistics.mean(finite) if finite else None


_WHEN = "started"


def environment_table(result: StudyResult) -> Table:
    """One row for each value that a run's environment.json holds, and which runs have it."""
    labelled = [(f"{arm.label}, seed {run.config.seed}", run.environment) for arm in result.arms for run in arm.runs]
    rows = []
    for key in dict.fromkeys(key for _, environment in labelled for key in environment if key != CONFIG_SUM):
        values: dict[object, list[str]] = {}
        for label, environment in labelled:
            value = environment.get(key)
            if key == "platform" and value is not None:  # runs from before say which kernel, too
                value = str(value).partition("-")[0]
            values.setdefault(value, []).append(label)
        if key == _WHEN:  # each run has another one
            days = sorted(map(written, values))
            values = {" to ".join(dict.fromkeys((days[0], days[-1]))): [label for label, _ in labelled]}
        for value, labels in values.items():
            count = f"all {len(labelled)}" if len(labels) == len(labelled) else f"{len(labels)}: {'; '.join(labels)}"
            rows.append((key.replace("_", " "), value, count))
    columns = [Column("what", TEXT), Column("value", TEXT), Column("runs", TEXT)]
    return Table.of("Software and hardware of the trainings", columns, rows)
