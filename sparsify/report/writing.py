"""What a study leaves in its folder: tables, figures, the report, and the study itself, to be read again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sparsify.config import HERE, Places
from sparsify.files import write_text
from sparsify.folders import held, make_folder
from sparsify.report.notes import lost_csv
from sparsify.report.page import write_report
from sparsify.report.studytables import choice_tables, choices_csv, study_markdown
from sparsify.report.table import to_markdown
from sparsify.study.findings import Findings, find
from sparsify.study.folder import save_study
from sparsify.study.results import StudyResult
from sparsify.viz.study import draw_study


def write_study(
    result: StudyResult,
    findings: Findings | None = None,
    *,
    command: Sequence[str] | None = None,
    places: Places = HERE,
) -> Path:
    """Write what `sparsify study` writes into the study's folder; returns the path of report.html.

    These are table.md, table.csv, cells.csv, contrasts.csv, affordable.csv, outcomes.npz, study.json, selection.csv if
    an arm selects its settings, not-counted.csv if a run diverged or collapsed, the figures of `result.study.draw`,
    report.html, and report.json, with which its words can be written again without the networks. `findings` are those
    of `find(result)` unless they are given. `command` are the words that the report names as what made it; without them
    it is `sparsify study` with the study's name. `places` say where the data is, which the figure "predictions" needs.
    Raises SparsifyError if the folder is deleted or moved meanwhile, and as `study_drawings` does.

    >>> sparsify.write_study(result)
    PosixPath('runs/studies/tiny/report.html')
    """
    findings = find(result) if findings is None else findings
    words = ["sparsify", "study", result.study.name] if command is None else command
    make_folder(result.folder)
    with held(result.folder):
        write_text(result.folder / "table.md", tables(result, findings))
        save_study(result, findings)
        if result.choices:
            write_text(result.folder / "selection.csv", choices_csv(result))
        if any(arm.lost for arm in result.arms):
            write_text(result.folder / "not-counted.csv", lost_csv(result))
        return write_report(result, findings, draw_study(result, places), command=words)


def tables(result: StudyResult, findings: Findings) -> str:
    """The text of table.md."""
    return "\n".join([study_markdown(result, findings), *map(to_markdown, choice_tables(result))])
