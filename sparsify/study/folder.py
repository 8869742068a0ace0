"""A study's folder: what was measured as tables for other programs, and the study itself, to be read again."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from sparsify.errors import SparsifyError, unknown
from sparsify.files import write_text
from sparsify.pruning.plan import SweepPlan
from sparsify.pruning.sweep import Sweep
from sparsify.runs import Run
from sparsify.study.design import Arm, Study
from sparsify.study.findings import Findings
from sparsify.study.results import ArmResult, StudyResult

FILE = "study.json"


def save_study(result: StudyResult, findings: Findings) -> list[Path]:
    """Write table.csv (`StudyResult.table`), cells.csv, contrasts.csv, affordable.csv and, last, study.json.

    Each file is written in one step; returns their paths.
    """
    tables = {"table": result.table()} | findings.frames()
    paths = []
    for name, table in tables.items():
        paths.append(result.folder / f"{name}.csv")
        write_text(paths[-1], table.to_csv(index=False, lineterminator="\n"))
    paths.append(result.folder / FILE)
    write_text(paths[-1], json.dumps(_to_json(result), indent=2) + "\n")
    return paths


def read_study(name: str | Path, runs_dir: Path | str = "runs") -> StudyResult:
    """The result of a study that was run, by its name or its folder; nothing is trained or swept.

    Raises SparsifyError if there is none, and if one of its files or its runs is missing or damaged.
    """
    studies = Path(runs_dir) / "studies"
    folder = next((path for path in (Path(name), studies / name) if (path / FILE).exists()), None)
    if folder is None:
        there = sorted(path.parent.name for path in studies.glob(f"*/{FILE}"))
        raise unknown("study", str(name), there, where=str(studies))
    path = folder / FILE
    try:
        return _from_json(json.loads(path.read_text(encoding="utf-8")), folder)
    except SparsifyError:
        raise
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise SparsifyError(f"{path} is damaged ({error!r}); run the study again") from error


def _to_json(result: StudyResult) -> dict[str, Any]:
    """The study's plan, and the names of the runs and of their sweeps' files."""
    return {
        "name": result.study.name,
        "title": result.study.title,
        "sweeps": [dataclasses.asdict(plan) for plan in result.study.sweeps],
        "arms": [
            {
                "label": arm.label,
                "runs": [run.name for run in arm.runs],
                "sweeps": [[f"sweep-{sweep.id}.csv" for sweep in sweeps] for sweeps in arm.sweeps],
            }
            for arm in result.arms
        ],
    }


def _from_json(values: dict[str, Any], folder: Path) -> StudyResult:
    plans = tuple(
        SweepPlan(**plan | {"layers": tuple(plan["layers"]), "ratios": tuple(plan["ratios"])})
        for plan in values["sweeps"]
    )
    arms, results = [], []
    for arm in values["arms"]:
        runs = tuple(Run(folder.parent.parent / name) for name in arm["runs"])
        for run in runs:
            if run.status == "unfinished":
                raise SparsifyError(f"{run.path} of the study {folder} is missing; run the study again")
        finished = [run for run in runs if run.status == "finished"]
        sweeps = tuple(
            tuple(Sweep.read(run.path / file) for run, file in zip(finished, files, strict=True))
            for files in arm["sweeps"]
        )
        arms.append(Arm(arm["label"], tuple(run.config for run in runs)))
        results.append(ArmResult(arm["label"], runs, sweeps))
    return StudyResult(Study(values["name"], values["title"], tuple(arms), plans), tuple(results), folder)
