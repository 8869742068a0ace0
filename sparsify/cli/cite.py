"""The command `sparsify cite`: BibTeX of what a study or a run used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sparsify.cli import console
from sparsify.cli.options import RunsDir
from sparsify.errors import unknown

if TYPE_CHECKING:
    from sparsify.report.citations import Used


def cite(name: str, /, *, runs_dir: RunsDir = Path("runs")) -> int:
    """Print BibTeX of every method, network and data set that a study (run, built-in or a TOML file) or a run used."""
    from sparsify.report.citations import bibtex

    console.say(bibtex(_used(name, runs_dir)))
    return 0


def _used(name: str, runs_dir: Path) -> list[Used]:
    """What the study of this name used, as it was run or else as it is written; or else what the run used."""
    from sparsify.report.citations import used_by_study
    from sparsify.study.toml import built_in_studies, load_study

    if any((folder / "study.json").exists() for folder in (Path(name), runs_dir / "studies" / name)):
        from sparsify.study.folder import read_study

        return used_by_study(read_study(name, runs_dir).study)
    if name in built_in_studies() or name.endswith(".toml"):
        return used_by_study(load_study(name))
    return _used_by_run(name, runs_dir)


def _used_by_run(name: str, runs_dir: Path) -> list[Used]:
    from sparsify.pruning.sweep import list_sweeps
    from sparsify.report.citations import used
    from sparsify.runs import find_run, list_runs
    from sparsify.study.toml import built_in_studies

    runs = [run.name for run in list_runs(runs_dir)]
    if not Path(name).exists() and not any(run.startswith(name) for run in runs):
        ran = [path.parent.name for path in sorted((runs_dir / "studies").glob("*/study.json"))]
        raise unknown("study or run", name, [*dict.fromkeys([*ran, *built_in_studies()]), *runs])
    run = find_run(name, runs_dir)
    sweeps = list_sweeps(*run.measured(runs_dir))
    return used([run.config], [sweep.plan.criterion for sweep in sweeps])
