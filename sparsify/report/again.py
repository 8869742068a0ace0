"""The report again: its words anew from a study's own files, with the figures that it has.

What a report is made of beside the study is kept in report.json: the words of the command, what stands below each
figure, and how much the criteria agree, for which the networks would be needed. The figures are in the report itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from sparsify.errors import SparsifyError
from sparsify.files import parse_json, regular, write_text
from sparsify.report.commands import without_places
from sparsify.report.likeness import Likeness
from sparsify.report.pictures import Picture
from sparsify.report.sections import Source
from sparsify.study.findings import find
from sparsify.study.results import StudyResult
from sparsify.viz.study import Drawn

FILE = "report.json"
PAGE = "report.html"


class _Figure(Struct):
    section: str
    name: str
    alternative: str
    caption: str
    width: float
    height: float


class _Kept(Struct):
    command: list[str]
    figures: list[_Figure]
    likenesses: list[Likeness]


def keep_source(source: Source) -> None:
    """Write report.json into the study's folder."""
    figures = [
        _Figure(one.drawn.section, one.drawn.svg.stem, one.drawn.alternative, one.drawn.caption, one.width, one.height)
        for one in source.pictures
    ]
    kept = _Kept(without_places(source.command), figures, list(source.likenesses))
    write_text(source.result.folder / FILE, msgspec.json.format(msgspec.json.encode(kept)).decode() + "\n")


def source_again(result: StudyResult) -> Source:
    """What the report of a study that was read back is made from: findings anew, the rest as it was kept.

    Raises SparsifyError if report.json or report.html is missing or damaged.
    """
    try:
        kept = parse_json(regular(result.folder / FILE).read_bytes(), _Kept)
        page = regular(result.folder / PAGE).read_text(encoding="utf-8")
    except OSError as error:
        raise SparsifyError(f"{error.filename} is missing; run the study again") from error
    return Source(result, find(result), _pictures(result.folder, kept.figures, page), kept.command, kept.likenesses)


def _pictures(folder: Path, figures: Sequence[_Figure], page: str) -> list[Picture]:
    """The figures, with the data URI that each has in the page; None where the page names its file."""
    uris: dict[str, str] = dict(
        re.findall(r'<figure id="figure-([^"]+)"[^>]*>\s*<div[^>]*>\s*<img src="([^"]+)"', page)
    )
    return [
        Picture(
            Drawn(one.section, one.alternative, one.caption, folder / f"{one.name}.png", folder / f"{one.name}.svg"),
            uris.get(one.name),
            one.width,
            one.height,
        )
        for one in figures
    ]
