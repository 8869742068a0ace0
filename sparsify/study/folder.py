"""The folder of a study: its results as tables for other programs, and study.json, from which it is read again."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from sparsify.config import Config
from sparsify.errors import SparsifyError, reason_given, unknown
from sparsify.files import frame_as_csv, parse_json, regular, write_bytes, write_text
from sparsify.pruning.ledger import sweep_file
from sparsify.pruning.plan import SweepPlan
from sparsify.pruning.sweep import Sweep
from sparsify.runs import Run, images
from sparsify.study import answers
from sparsify.study.design import USUAL, Arm, Candidate, Choice, Planned, Published, Study, SupportOf
from sparsify.study.findings import Findings
from sparsify.study.points import mask_of, mask_table
from sparsify.study.results import ArmResult, StudyResult
from sparsify.study.schema import MaskTable
from sparsify.study.tasks import Chosen

FILE = "study.json"
RUNS = "runs"
"""A folder in that of a study that is kept without its networks: what is left of its runs."""


def save_study(result: StudyResult, findings: Findings) -> list[Path]:
    """Write table.csv, cells.csv, contrasts.csv, affordable.csv, outcomes.npz and, last, study.json.

    table.csv is `StudyResult.table`. outcomes.npz holds whether each image was answered right at each point
    (`Answers`), so that p over images can be computed again where the runs are not.

    Each file is written in one step. Return their paths.
    """
    tables = {"table": result.table()} | findings.frames()
    paths = []
    for name, table in tables.items():
        paths.append(result.folder / f"{name}.csv")
        write_text(paths[-1], frame_as_csv(table))
    paths.append(result.folder / answers.FILE)
    write_bytes(paths[-1], answers.Answers.of(result).as_bytes())
    paths.append(result.folder / FILE)
    write_text(paths[-1], json.dumps(msgspec.to_builtins(_File.of(result)), indent=2) + "\n")
    return paths


def read_study(name: str | Path, runs_dir: Path | str = "runs") -> StudyResult:
    """Return the result of a study that was run, by its name or its folder, as `run_study` returned it.

    Nothing is trained. The runs are looked for in the study's own folder, in `runs`, if that is there; else where the
    study was run. If study.json was written before the design was kept in it, the arms do not say what they start
    from, and there are no stages. Raises SparsifyError if there is no such study, and if one of its files or runs is
    missing or damaged.

    >>> _ = sparsify.write_study(result)
    >>> sparsify.read_study("tiny").table().equals(result.table())
    True
    """
    studies = Path(runs_dir) / "studies"
    folder = next((path for path in (Path(name), studies / name) if (path / FILE).exists()), None)
    if folder is None:
        there = sorted(path.parent.name for path in studies.glob(f"*/{FILE}"))
        raise unknown("study", str(name), there, where=str(studies))
    with _blaming(folder / FILE):
        kept = parse_json(regular(folder / FILE).read_bytes(), _File)
        numbers = {len(arm.sweeps) for arm in kept.arms} | ({len(kept.swept)} if kept.swept else set())
        if numbers - {len(kept.sweeps)}:
            raise SparsifyError(f"it is of {len(kept.sweeps)} sweeps in one place and of others elsewhere")
        design = None if kept.design is None else tuple(arm.arm for arm in kept.design)
    arms = tuple(_shown(arm, folder, kept.swept) for arm in kept.arms)
    if design is None:
        design = tuple(Arm(arm.label, tuple(run.config for run in arm.runs)) for arm in arms)
    with _blaming(folder / FILE):
        planned = () if kept.contrasts is UNSET else tuple(kept.contrasts)
        swept = () if kept.swept is UNSET else kept.swept
        study = Study(kept.name, kept.title, design, tuple(kept.sweeps), tuple(kept.draw), planned, swept)
        return StudyResult(study, arms, folder, {} if kept.stages is UNSET else kept.stages)


@contextlib.contextmanager
def _blaming(path: Path) -> Iterator[None]:
    """Raise errors of reading a file again, as SparsifyError that says that the file is damaged."""
    try:
        yield
    except (OSError, SparsifyError) as error:
        raise SparsifyError(f"{path} is damaged ({reason_given(error)}); run the study again") from error


class _Configs(Struct):
    """Configs of several seeds: the settings that all share, and for each Config the settings that differ."""

    shared: dict[str, Any]
    each: list[dict[str, Any]]

    @classmethod
    def of(cls, configs: Sequence[Config], arm: Arm) -> _Configs:
        # until an arm that it starts from is trained, what stands there is the arm's label, not a path
        labels = {arm.init, None if arm.mask is None else arm.mask.of, arm.release}
        names = ("init", "mask", "release")
        own = [{name: value for name in names if (value := getattr(one, name)) in labels} for one in configs]
        every = [images.shared(config) | kept for config, kept in zip(configs, own, strict=True)]
        shared = {key: value for key, value in (every or [{}])[0].items() if all(one[key] == value for one in every)}
        return cls(shared, [{key: value for key, value in one.items() if key not in shared} for one in every])

    @property
    def configs(self) -> tuple[Config, ...]:
        return tuple(Config.from_dict({**self.shared, **own}) for own in self.each)


class _Candidate(Struct, omit_defaults=True):
    label: str
    trials: _Configs
    configs: _Configs
    criterion: str = Candidate.criterion


class _Choice(Struct, omit_defaults=True):
    candidates: list[_Candidate]
    on: SweepPlan | None = None
    near: SupportOf | None = None


class _Arm(Struct, omit_defaults=True, kw_only=True):
    """An arm of the design; stages are included."""

    label: str
    stage: bool = False
    init: str | None = None
    mask: MaskTable | None = None
    release: str | None = None
    published: Published | None = None
    configs: _Configs
    choice: _Choice | None = None

    @classmethod
    def of(cls, arm: Arm) -> _Arm:
        choice = None
        if arm.choice is not None:
            candidates = [
                _Candidate(one.label, _Configs.of(one.trials, arm), _Configs.of(one.configs, arm), one.criterion)
                for one in arm.choice.candidates
            ]
            choice = _Choice(candidates, arm.choice.on, arm.choice.near)
        mask = None if arm.mask is None else mask_table(arm.mask)
        configs = _Configs.of(arm.configs, arm)
        return cls(
            label=arm.label,
            stage=arm.stage,
            init=arm.init,
            mask=mask,
            release=arm.release,
            published=arm.published,
            configs=configs,
            choice=choice,
        )

    @property
    def arm(self) -> Arm:
        choice = None
        if self.choice is not None:
            candidates = (
                Candidate(one.label, one.trials.configs, one.configs.configs, one.criterion)
                for one in self.choice.candidates
            )
            choice = Choice(tuple(candidates), self.choice.on, self.choice.near)
        mask = None if self.mask is None else mask_of(self.mask)
        return Arm(self.label, self.configs.configs, self.init, mask, choice, self.stage, self.published, self.release)


class _Shown(Struct, omit_defaults=True):
    """An arm of the result: the names of its runs and, for each sweep of the study, the names of its runs' files."""

    label: str
    runs: list[str]
    sweeps: list[list[str]]
    selected: Chosen | None = None


class _File(Struct):
    """The content of study.json. `design` is None in files that were written before the design was kept."""

    name: str
    title: str
    sweeps: list[SweepPlan]
    arms: list[_Shown]
    draw: list[str] = msgspec.field(default_factory=lambda: list(USUAL))
    design: list[_Arm] | None = None
    contrasts: list[Planned] | UnsetType = UNSET  # missing where none was planned
    swept: tuple[tuple[str, ...], ...] | UnsetType = UNSET  # missing where every sweep is of every arm
    stages: dict[str, Chosen] | UnsetType = UNSET  # how settings of stages were chosen; missing where none was

    @classmethod
    def of(cls, result: StudyResult) -> _File:
        study = result.study
        shown = [
            _Shown(
                arm.label,
                [run.name for run in arm.runs],
                [[sweep_file(sweep.id) for sweep in sweeps] for sweeps in arm.sweeps],
                arm.selected,
            )
            for arm in result.arms
        ]
        design = [_Arm.of(arm) for arm in study.arms]
        return cls(
            study.name,
            study.title,
            list(study.sweeps),
            shown,
            list(study.draw),
            design,
            list(study.contrasts) or UNSET,
            study.swept or UNSET,
            dict(result.stages) or UNSET,
        )


def _shown(arm: _Shown, folder: Path, swept: tuple[tuple[str, ...], ...] | UnsetType) -> ArmResult:
    home = folder / RUNS if (folder / RUNS).is_dir() else folder.parent.parent
    runs = tuple(Run(home / name) for name in arm.runs)
    for run in runs:
        if run.status == "unfinished":
            raise SparsifyError(f"{run.path} of the study {folder} is missing; run the study again")
    finished = [run for run in runs if run.status == "finished"]
    # before collapses were recorded such runs were swept, too; then as many files are named as trainings came to an end
    ended = [run for run in runs if run.status != "diverged"]
    named = [
        [file for run, file in zip(ended, files, strict=True) if run in finished] if len(files) == len(ended) else files
        for files in arm.sweeps
    ]
    of = [arm.label in (labels or (arm.label,)) for labels in (swept or [()] * len(named))]
    for files, own in zip(named, of, strict=True):
        if own and len(files) != len(finished):
            reason = f"a sweep of '{arm.label}' has {len(files)} files, and {len(finished)} of its runs are finished"
            raise SparsifyError(f"{folder / FILE} is damaged ({reason}); run the study again")
    sweeps = tuple(
        tuple(Sweep.read(run.path / file) for run, file in zip(finished, files, strict=own))
        for files, own in zip(named, of, strict=True)
    )
    return ArmResult(arm.label, runs, sweeps, arm.selected)
