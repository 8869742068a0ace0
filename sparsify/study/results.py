"""What a study measured: its arms' runs and sweeps, one long frame of every point, and each arm's accuracy there."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np

from sparsify.analysis.statistics import CONFIDENCE, estimate_fraction
from sparsify.config import Config
from sparsify.errors import SparsifyError
from sparsify.pruning.measures import MEASURES
from sparsify.pruning.outcomes import Outcomes
from sparsify.pruning.plan import SweepPlan
from sparsify.pruning.ratios import SUPPORT, Ratio
from sparsify.pruning.sweep import Sweep, SweepRow
from sparsify.runs import LOST, Run
from sparsify.runs.images import shared
from sparsify.study.design import Study
from sparsify.study.tasks import Chosen

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class ArmResult:
    """One arm's runs, in the order of the seeds; `sweeps[i]` are those of the study's sweep i, one a finished run.

    They are () if the sweep is of other arms. A seed whose run could not be trained, because one that it starts from
    is lost, has no run. `selected` says how its settings were chosen, if they were.
    """

    label: str
    runs: tuple[Run, ...]
    sweeps: tuple[tuple[Sweep, ...], ...]
    selected: Chosen | None = None

    @property
    def finished(self) -> tuple[Run, ...]:
        """The runs that are results."""
        return tuple(run for run in self.runs if run.status == "finished")

    @property
    def pictured(self) -> Run | None:
        """The run of which there are pictures: the first result, of those whose networks are there if any is.

        Runs that `python -m benchmarks.keep` has kept have none, and can have more seeds beside them.
        """
        has_network = (run for run in self.finished if (run.path / "model.safetensors").exists())
        return next(has_network, next(iter(self.finished), None))

    @property
    def every_sweep(self) -> Iterator[tuple[int, Run, Sweep]]:
        """Each sweep of each finished run, with its number in the study: sweep by sweep, in the order of the seeds."""
        for number, sweeps in enumerate(self.sweeps):
            if sweeps:
                yield from ((number, run, sweep) for run, sweep in zip(self.finished, sweeps, strict=True))

    @property
    def lost(self) -> tuple[Run, ...]:
        """The runs that are no result: they diverged or collapsed."""
        return tuple(run for run in self.runs if run.status in LOST)


class Where(NamedTuple):
    """A place in the tables of accuracy. `control` is "", or the criterion of the control that is looked at."""

    arm: str
    sweep: int
    control: str
    layers: str
    ratio: float
    measure: str


@dataclass(frozen=True)
class StudyResult:
    """What a study measured in the arms that it shows, and the folder that its tables and figures go to.

    `stages` says how the settings of those stages were chosen that select, by their labels.
    """

    study: Study
    arms: tuple[ArmResult, ...]
    folder: Path
    stages: Mapping[str, Chosen] = dataclasses.field(default_factory=dict)

    @property
    def choices(self) -> dict[str, Chosen]:
        """How settings were chosen, by the label of the arm, in the study's order."""
        chosen = {arm.label: arm.selected for arm in self.arms} | dict(self.stages)
        return {arm.label: found for arm in self.study.arms if (found := chosen.get(arm.label)) is not None}

    def table(self) -> pd.DataFrame:
        """Every point of every sweep as a pandas DataFrame, in long form: the columns are those of `long_form`."""
        return self._points.copy()

    @functools.cached_property
    def _points(self) -> pd.DataFrame:
        return long_form((arm.label, run, number, sweep) for arm in self.arms for number, run, sweep in arm.every_sweep)

    @functools.cached_property
    def accuracies(self) -> dict[Where, dict[int, float]]:
        """The accuracies at each place by seed, in the order of the runs; one seed's is the mean over its draws."""
        by_seed = seed_accuracies(self._points)
        return {
            Where._make(cast("tuple[object, ...]", where)): dict(
                zip(group.index.get_level_values("seed").tolist(), group.tolist(), strict=True)
            )
            for where, group in by_seed.groupby(level=list(Where._fields), sort=False)
        }


_POINT = [field.name for field in dataclasses.fields(SweepRow)]
_SETTINGS = [field.name for field in dataclasses.fields(Config) if field.name != "seed"]


def long_form(sweeps: Iterable[tuple[str, Run, int, Sweep]]) -> pd.DataFrame:
    """One row for each point of each (arm, run, number of the sweep, sweep).

    Columns: `arm`, `run`, `seed`, `sweep`, those of a sweep's row, and every other field of the run's Config, as it is
    `shared`: of a folder of images the name. Settings that an optimizer does not take, and measures that were not asked
    for, are missing values.
    """
    import pandas as pd  # slow to import: only when it is needed

    rows = [
        {"arm": arm, "run": run.name, "seed": settings["seed"], "sweep": number}
        | dataclasses.asdict(row)
        | {name: settings[name] for name in _SETTINGS}
        for arm, run, number, sweep in sweeps
        for settings in (shared(run.config),)
        for row in sweep.rows
    ]
    return pd.DataFrame(rows, columns=["arm", "run", "seed", "sweep", *_POINT, *_SETTINGS])


def seed_accuracies(points: pd.DataFrame) -> pd.Series:
    """Each seed's accuracy, the mean over the draws, from the long form; the index is a `Where` and the seed."""
    asked = points.groupby(["arm", "sweep", "seed"], sort=False).criterion.transform("first")
    named = points.assign(control=points.criterion.where(points.criterion != asked, ""))
    columns = [name for name in (*Where._fields, "seed") if name != "measure"]
    values = named.melt(columns, list(MEASURES), var_name="measure", value_name="value").dropna(subset=["value"])
    groups = values.astype({"value": float}).groupby([*Where._fields, "seed"], sort=False)
    return groups.value.agg(lambda draws: sum(draws.tolist()) / len(draws))  # pandas' own mean rounds differently


@dataclass(frozen=True, kw_only=True)
class Point:
    """A point of a study: a ratio of some layers, removed in its sweep number `sweep` (from 0), which goes `by` this.

    With the ratio "support" it is all outside the support of each run, so that each removes a part of its own.
    `measure` is the name of one of `sparsify.pruning.measures.MEASURES`.
    """

    sweep: int
    by: str
    layers: str
    ratio: Ratio
    measure: str


@dataclass(frozen=True, kw_only=True)
class Cell(Point):
    """The accuracy of an arm at a point, as `estimate_fraction` has it over `n` seeds.

    Where a seed has several draws of "random", its accuracy is their mean.
    """

    arm: str
    n: int
    mean: float
    deviation: float | None
    low: float | None
    high: float | None


def cells(result: StudyResult) -> list[Cell]:
    """Every cell of the study's tables."""
    return [
        Cell(**vars(point), arm=arm.label, **vars(estimate_fraction(list(values.values()), CONFIDENCE)))
        for arm in result.arms
        for number, plan in enumerate(result.study.sweeps)
        for point in points_of(plan, number, plan.ratios, measures_of(arm, number))
        if (values := accuracies(result, arm, point))
    ]


def measures_of(arm: ArmResult, sweep: int) -> list[str]:
    """The names of what was measured of an arm in one sweep of the study."""
    return arm.sweeps[sweep][0].measures if arm.sweeps[sweep] else []


def measured_in(result: StudyResult, sweep: int) -> list[str]:
    """The names of what was measured of any arm in one sweep of the study."""
    return list(dict.fromkeys(name for arm in result.arms for name in measures_of(arm, sweep)))


def controls_in(result: StudyResult, sweep: int) -> list[str]:
    """The controls, by their criteria, that any arm has in one sweep of the study."""
    return list(
        dict.fromkeys(name for arm in result.arms for one in arm.sweeps[sweep] for name in one.plan.control_orders)
    )


def held_out(result: StudyResult) -> str:
    """The split that the study is measured on: "test" or "val"."""
    return next((run.summary["held_out"] for arm in result.arms for run in arm.finished), "test")


def accuracies(result: StudyResult, arm: ArmResult, at: Point, control: str = "") -> dict[int, float]:
    """An arm's accuracy at a point by seed, the mean over the draws; with a `control`, that of the control.

    Empty if it was not measured. Raises SparsifyError for layers and a ratio that were not swept.
    """
    if at.ratio == SUPPORT:
        swept = _by_seed(arm, at.sweep).items() if arm.sweeps[at.sweep] else ()
        return {seed: one.accuracy(at.layers, SUPPORT, at.measure) for seed, one in swept if one.support(at.layers)}
    found = result.accuracies.get(Where(arm.label, at.sweep, control, at.layers, at.ratio, at.measure))
    if found is None and not control and at.measure in measures_of(arm, at.sweep):
        sets = ", ".join(arm.sweeps[at.sweep][0].plan.layers)
        raise SparsifyError(f"{at.layers} at {at.ratio:g} is not in this sweep of {sets}")
    return found or {}


def points_of(plan: SweepPlan, sweep: int, ratios: Sequence[float], measures: Sequence[str]) -> Iterator[Point]:
    """Every point of one sweep at these ratios, for each set of layers and measure."""
    for layers in plan.layers:
        for ratio in ratios:
            for measure in measures:
                yield Point(sweep=sweep, by=plan.name, layers=layers, ratio=ratio, measure=measure)


def outside(arm: ArmResult, at: Point) -> list[float]:
    """The fraction of the grains of the point's layers that is outside the support, of each run that says so."""
    return [row.ratio for one in arm.sweeps[at.sweep] if (row := one.support(at.layers)) is not None]


def right_answers(sides: Sequence[tuple[ArmResult, Ratio]], at: Point, seeds: Sequence[int]) -> list[np.ndarray] | None:
    """Whether each answer is right, (seeds × draws, images) for each arm and ratio; the ratio of `at` does not matter.

    The one network of a support stands for as many draws as the others have. None unless all outcomes were kept and are
    of the same images: with --val each seed holds out others.
    """
    sweeps = [[_by_seed(arm, at.sweep)[seed] for seed in seeds] for arm, _ in sides]
    kept = [one.outcomes.get(at.measure) for side in sweeps for one in side]
    outcomes = [one for one in kept if isinstance(one, Outcomes)]
    if len(outcomes) < len(kept):
        return None
    if not all(np.array_equal(one.labels, outcomes[0].labels) for one in outcomes):
        return None
    found = [
        np.concatenate([one.right(at.layers, ratio, at.measure) for one in side])
        for side, (_, ratio) in zip(sweeps, sides, strict=True)
    ]
    return of_one_length(found)


def of_one_length(sides: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Arrays (seeds × draws, images) of one draw or of several, with the rows of one draw as often as the others'."""
    most = max(map(len, sides))
    return [np.repeat(one, most // len(one), axis=0) for one in sides]


def _by_seed(arm: ArmResult, sweep: int) -> dict[int, Sweep]:
    return {run.config.seed: one for run, one in zip(arm.finished, arm.sweeps[sweep], strict=True)}
