"""The report of a study: one HTML file that needs nothing but itself."""

from __future__ import annotations

import datetime
import functools
import shlex
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from sparsify.files import write_text
from sparsify.report.checklist import checked
from sparsify.report.html import HtmlTable, pictures
from sparsify.report.prose import arms_table, paths_in_words, plan_in_words, setup
from sparsify.report.sections import (
    differences,
    environment_table,
    headline_table,
    intervals,
    likeness_tables,
    prune_command,
    results,
    train_command,
)
from sparsify.report.studytables import NOTES
from sparsify.runs import Run
from sparsify.study.findings import Findings
from sparsify.study.results import StudyResult
from sparsify.viz.study import Drawn

FILE = "report.html"


def write_report(
    result: StudyResult,
    findings: Findings,
    drawn: Sequence[Drawn],
    *,
    command: Sequence[str],
) -> Path:
    """Write `report.html` into the study's folder, in one step; returns its path.

    `drawn` are the study's figures, `command` the words of the command that made it.
    """
    page = _template().render(
        study=result.study,
        setup=setup(result),
        plans=[plan_in_words(plan) for plan in result.study.sweeps],
        arms=HtmlTable.of(arms_table(result)),
        headline=HtmlTable.of(headline_table(result)),
        verdicts=findings.verdicts,
        differences=differences(result, findings),
        notes=NOTES[1:],
        results=results(result),
        intervals=intervals(result, findings),
        pictures=pictures(drawn),
        paths=paths_in_words(result),
        without_outcomes=_without_outcomes(result),
        agreements=[HtmlTable.of(table) for table in likeness_tables(result)],
        command=shlex.join(command),
        commands=_commands(result),
        environment=HtmlTable.of(environment_table(result)),
        checklist=checked(result),
        version=metadata.version("sparsify-study"),
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
    )
    path = result.folder / FILE
    write_text(path, page)
    return path


@functools.cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("sparsify.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html")


def _without_outcomes(result: StudyResult) -> list[str]:
    """The arms with sweeps that did not keep what was answered for each image."""
    return [
        arm.label
        for arm in result.arms
        if any("accuracy" not in sweep.outcomes for sweeps in arm.sweeps for sweep in sweeps)
    ]


def _threads(run: Run) -> int | None:
    """Of a training on the CPU, torch's threads."""
    return run.environment.get("threads") if run.environment.get("device") == "cpu" else None


def _commands(result: StudyResult) -> list[tuple[str, str]]:
    """Of each arm, stages included, the commands that train and sweep its runs, one a line."""
    shown = {arm.label: arm for arm in result.arms}
    found = []
    for arm in result.study.arms:
        lines = []
        if arm.mask is not None:
            point = arm.mask.point
            of = f"{100 * point.ratio:.10g}% of {point.layers} that {point.criterion} removes from"
            lines.append(f"# the study makes the mask, without the {of} '{arm.mask.of}'")
        runs = shown[arm.label].runs if arm.label in shown else ()
        lines += [shlex.join(train_command(run.config, _threads(run))) for run in runs]
        lines += [shlex.join(train_command(config)) for config in arm.configs if not runs]
        if arm.label in shown:
            # a row of sweeps a finished run
            for run, sweeps in zip(shown[arm.label].finished, zip(*shown[arm.label].sweeps, strict=True), strict=True):
                lines += [shlex.join(prune_command(run, sweep.plan)) for sweep in sweeps]
        found.append((f"{arm.label} (a stage on the way)" if arm.stage else arm.label, "\n".join(lines)))
    return found
