"""The report of a study: one HTML file that needs nothing but itself."""

from __future__ import annotations

import dataclasses
import datetime
import functools
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from sparsify.files import write_text
from sparsify.report.again import PAGE, keep_source
from sparsify.report.likeness import likenesses
from sparsify.report.pictures import pictures, within
from sparsify.report.prose import setup
from sparsify.report.sections import SECTIONS, Source, headline_table
from sparsify.report.table import to_html
from sparsify.study.findings import Findings
from sparsify.study.results import StudyResult
from sparsify.text import printable, unbroken
from sparsify.viz.study import Drawn

LARGEST = 600_000
"""The bytes of a page; figures for which there is no room lie beside it."""

AROUND = 600
"""The bytes that a figure takes beside its picture: its size, and twice its text for readers who cannot see it."""


def write_report(
    result: StudyResult,
    findings: Findings,
    drawn: Sequence[Drawn],
    *,
    command: Sequence[str],
) -> Path:
    """Write report.html, and report.json that it is made of, into the study's folder; returns the path of the page.

    `drawn` are the study's figures, `command` the words of the command that made it. Each file is written in one step.
    """
    found = pictures(drawn)
    without = Source(result, findings, within(found, 0), command, likenesses(result))
    room = LARGEST - len(render(without).encode())
    source = dataclasses.replace(without, pictures=within(found, room, AROUND))
    keep_source(source)
    path = result.folder / PAGE
    write_text(path, render(source))
    return path


def render(source: Source) -> str:
    """The page."""
    contents = [(section, section.of(source)) for section in SECTIONS]
    return _template().render(
        study=source.result.study,
        setup=setup(source.result),
        headline=to_html(headline_table(source.result)),
        verdicts=source.findings.verdicts,
        first=source.first,
        sections=[
            (section, content, source.figures(section.name)) for section, content in contents if content is not None
        ],
        version=metadata.version("sparsify-study"),
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
    )


def _shown(value: object) -> object:
    """A value as the page shows it: of a text that is no HTML yet, what cannot be printed is escaped."""
    return printable(value, keep="\n") if type(value) is str else value


@functools.cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("sparsify.report"),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["unbroken"] = unbroken
    return environment.get_template("report.html")
