"""The report of a study: one HTML file that needs nothing but itself."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from sparsify.files import write_text
from sparsify.report.pictures import pictures
from sparsify.report.prose import setup
from sparsify.report.sections import SECTIONS, Source, headline_table
from sparsify.report.table import to_html
from sparsify.study.findings import Findings
from sparsify.study.results import StudyResult
from sparsify.text import printable
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
    source = Source(result, findings, pictures(drawn), command)
    contents = [(section, section.of(source)) for section in SECTIONS]
    page = _template().render(
        study=result.study,
        setup=setup(result),
        headline=to_html(headline_table(result)),
        verdicts=findings.verdicts,
        first=source.first,
        sections=[
            (section, content, source.figures(section.name)) for section, content in contents if content is not None
        ],
        version=metadata.version("sparsify-study"),
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
    )
    path = result.folder / FILE
    write_text(path, page)
    return path


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
    return environment.get_template("report.html")
