"""Sweep: for each point, its accuracy and cost, and what was removed."""

from __future__ import annotations

import dataclasses
import html
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sparsify.errors import SparsifyError
from sparsify.files import rows_as_bytes
from sparsify.pruning.ledger import BEFORE_UNITS, LedgerRow, before_units, ledger_path, read_plan, read_table
from sparsify.pruning.measures import MEASURES
from sparsify.pruning.outcomes import Outcomes, Scores, read_outcomes
from sparsify.pruning.plan import SweepPlan
from sparsify.pruning.ratios import SUPPORT, Ratio
from sparsify.sums import Record, write_recorded
from sparsify.text import factor, layers_in_words, percentage, plural, thousands, written

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class SweepRow:
    """One point of a sweep.

    `accuracy` is the fraction `correct` / `count` of the images. Where the subject brought its own `score`, `correct`
    is the sum of the images' scores, which need not be a whole number, and `accuracy` is their mean. `params` and
    `macs` are the parameters and the multiply-accumulates that are left. `compression` and `speedup` are those of the
    whole network divided by them; the indices that a sparse format needs are not counted.
    """

    criterion: str
    grain: str
    scope: str
    layers: str
    ratio: float
    draw: int
    correct: int | float
    count: int
    accuracy: float
    params: int
    macs: int
    compression: float
    speedup: float
    recalibrated_accuracy: float | None = None  # with BatchNorm's statistics re-estimated, where that was asked for
    finetune_epochs: int = 0
    finetuned_accuracy: float | None = None  # after so many epochs under the mask, where there are any
    rounds: int = 1  # in how many the grains went, with so many epochs of fine-tuning between them


_SHOWN = 20  # rows of a table in a notebook


@dataclass(frozen=True, repr=False)
class Sweep:
    """The result of a plan: its points as rows, in the plan's order, their ledger, and their outcomes by measure.

    The measures are the keys of `MEASURES`. The plan's `layers` are the sets by their layers' names. Sweeps that were
    saved before outcomes were kept have none, or those of "accuracy" only. `len` is the number of points, and iterating
    gives their rows. `before_units` says that the sweep was saved by a version before 0.3 and would come out otherwise
    now: layers were scored one by one, and coupled ones lost the union of what each would lose.

    >>> sweep
    <Sweep ...: magnitude, 0% to 80% of conv3,fc1, 3 points>
    >>> len(sweep), [row.ratio for row in sweep]
    (3, [0.0, 0.4, 0.8])
    """

    plan: SweepPlan
    rows: tuple[SweepRow, ...]
    ledger: tuple[LedgerRow, ...]
    outcomes: Mapping[str, Outcomes | Scores] = field(default_factory=dict)
    before_units: bool = False

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[SweepRow]:
        return iter(self.rows)

    def __repr__(self) -> str:
        return f"<Sweep {self}>"

    def __str__(self) -> str:
        sets = " | ".join(layers if layers.count(",") < 4 else layers_in_words(layers) for layers in self.plan.layers)
        ratios = " to ".join(dict.fromkeys(percentage(ratio) for ratio in (self.plan.ratios[0], self.plan.ratios[-1])))
        before = f"; it {BEFORE_UNITS}" if self.before_units else ""
        return f"{self.id}: {self.plan.name}, {ratios} of {sets}, {plural(len(self), 'point')}{before}"

    def _repr_html_(self) -> str:
        """The points as notebooks show them: means over the draws."""
        numbers = ["params", "macs", "compression", "speedup"]
        means = self.table().groupby(["criterion", "layers", "ratio"], sort=False)[[*self.measures, *numbers]].mean()
        accuracy = dict.fromkeys(self.measures, "{:.2%}".format)
        counts = dict.fromkeys(("params", "macs"), lambda count: thousands(round(count)))
        factors = dict.fromkeys(("compression", "speedup"), factor)
        formats = {"ratio": percentage, **accuracy, **counts, **factors}
        table = means.reset_index().to_html(index=False, formatters=formats, max_rows=_SHOWN, border=0)
        return f"<p>{html.escape(repr(self))}</p>\n{table}"

    def table(self) -> pd.DataFrame:
        """Return every point as a row of a pandas DataFrame; its columns are the fields of `SweepRow`.

        Measures that were not asked for are missing values (NaN).

        >>> sweep.table()[["layers", "ratio", "params", "count"]]
              layers  ratio  params  count
        0  conv3,fc1    0.0   61706    360
        1  conv3,fc1    0.4   36033    360
        2  conv3,fc1    0.8   13590    360
        """
        import pandas as pd  # slow to import: only when it is needed

        fields = [field.name for field in dataclasses.fields(SweepRow)]
        rows = [[getattr(row, name) for name in fields] for row in self.rows]
        return pd.DataFrame(rows, columns=fields).astype(dict.fromkeys(MEASURES, float))

    def plot(self, against: str = "ratio", *, measure: str = "accuracy", title: str = "") -> Figure:
        """Draw accuracy against the ratio, one panel a set of layers; return the matplotlib Figure.

        `against` can also be "compression" or "speedup", and `measure` any of `measures`. Controls are dashed and
        dotted. `sparsify.viz.sweep` draws several sweeps together. Raises SparsifyError for other axes and measures.

        >>> sweep.plot().savefig("sweep.png")
        """
        from sparsify.drawing.sweeps import sweep_figure  # matplotlib is slow to import

        return sweep_figure(
            {self.plan.name: [self.table()]}, title=title, held_out="", against=against, measure=measure
        )

    @property
    def id(self) -> str:
        """The id of its plan, 8 hex digits; it is part of the names of the sweep's files.

        >>> sweep.id == sweep.plan.id
        True
        """
        return self.plan.id

    @property
    def measures(self) -> list[str]:
        """The keys of `MEASURES` that were measured in this sweep.

        >>> sweep.measures
        ['accuracy']
        """
        return [name for name in MEASURES if getattr(self.rows[0], name) is not None]

    def points(self, layers: str, ratio: Ratio, criterion: str | None = None) -> list[SweepRow]:
        """Return the rows of one set at one ratio, one for each draw: those of the plan's order, or of a control.

        At "support" it is the row of what is in the support, if that was asked for, as of all that take a ratio here.

        >>> [row.params for row in sweep.points("conv3,fc1", 0.4)]
        [36033]
        """
        return [self.rows[place] for place in self._places(layers, ratio, criterion)]

    def support(self, layers: str) -> SweepRow | None:
        """Return the row of the network without what is outside the support; None if that was not asked for.

        Its criterion is "support", and its ratio the fraction of the set's grains that are outside.

        >>> sparsify.prune(run, layers="conv3", ratios="support", device="cpu").support("conv3").ratio
        0.9
        """
        return next(iter(self.points(layers, SUPPORT)), None)

    def accuracy(self, layers: str, ratio: Ratio, measure: str = "accuracy") -> float:
        """Return one measure at one point, the mean over its draws. Raises SparsifyError if it was not measured.

        >>> sweep.accuracy("conv3,fc1", 0) == run.summary["accuracy"]
        True
        """
        rows = self.points(layers, ratio)
        found: list[float] = [value for row in rows if (value := getattr(row, measure)) is not None]
        if not found or len(found) < len(rows):
            raise self._missing(layers, ratio)
        return sum(found) / len(found)

    def predictions(self, layers: str, ratio: Ratio, measure: str = "accuracy") -> np.ndarray:
        """Return the predicted class of each image at one point, in its first draw: (images,).

        `measure` says which network predicts: the one as it was pruned, recalibrated or fine-tuned. Raises
        SparsifyError if the point is not in the sweep, if its outcomes were not kept, or if they are scores.

        >>> sweep.predictions("conv3,fc1", 0.4).shape
        (360,)
        """
        places = self._places(layers, ratio)  # the first draw comes first
        if not places:
            raise self._missing(layers, ratio)
        classes: np.ndarray = self.classified(measure).predictions[places[0]]
        return classes

    def right(self, layers: str, ratio: Ratio, measure: str = "accuracy") -> np.ndarray:
        """Return whether each prediction at one point is right: (draws, images), bool.

        Raises SparsifyError as `predictions` does.

        >>> sweep.right("conv3,fc1", 0.4).shape
        (1, 360)
        """
        places = self._places(layers, ratio)
        if not places:
            raise self._missing(layers, ratio)
        return self.classified(measure).right[places]

    def scores(self, layers: str, ratio: Ratio, measure: str = "accuracy") -> np.ndarray:
        """Return the score of each image at one point, (draws, images), float64; without a `score`, 1 if it is right.

        Raises SparsifyError as `predictions` does, but not for a sweep with scores.

        >>> sweep.scores("conv3,fc1", 0.4).shape
        (1, 360)
        """
        places = self._places(layers, ratio)
        if not places:
            raise self._missing(layers, ratio)
        kept = self._any_kept(measure)
        found = kept.scores if isinstance(kept, Scores) else kept.right.astype(np.float64)
        return found[places]

    def classified(self, measure: str = "accuracy") -> Outcomes:
        """Return the labels and predicted classes of the images. Raises SparsifyError as `predictions` does.

        >>> len(sweep.classified().labels)
        360
        """
        kept = self._any_kept(measure)
        if isinstance(kept, Scores):
            raise SparsifyError(f"sweep-{self.id} has scores of single images, and no classes; take its `scores`")
        return kept

    def _any_kept(self, measure: str) -> Outcomes | Scores:
        if measure not in self.outcomes:
            of = "" if measure == "accuracy" else f" for {measure}"
            raise SparsifyError(f"sweep-{self.id} has no outcomes of single images{of}; sweep again to keep them")
        return self.outcomes[measure]

    def _places(self, layers: str, ratio: Ratio, criterion: str | None = None) -> list[int]:
        if ratio == SUPPORT:  # whatever ratio that comes to
            return [i for i, row in enumerate(self.rows) if (row.layers, row.criterion) == (layers, SUPPORT)]
        wanted = (layers, ratio, criterion or self.plan.order)
        return [i for i, row in enumerate(self.rows) if (row.layers, row.ratio, row.criterion) == wanted]

    def _missing(self, layers: str, ratio: Ratio) -> SparsifyError:
        return SparsifyError(f"{layers} at {written(ratio)} is not in this sweep of {', '.join(self.plan.layers)}")

    def save(self, folder: Path) -> Path:
        """Write the files of the sweep into a folder; return the path of `sweep-<id>.csv`, which is written last.

        Their SHA-256 sums go to the summary.json of the run, or to `sums.json` in a folder that is no run.

        The plan is written to `sweep-<id>.json` and the ledger to `sweep-<id>-ledger.csv`. The outcomes go to
        `sweep-<id>-outcomes.npz`, and those of other measures than "accuracy" to
        `sweep-<id>-recalibrated-outcomes.npz` and `sweep-<id>-finetuned-outcomes.npz`.

        >>> sweep.save(run.path)
        PosixPath('runs/.../sweep-....csv')
        """
        path = folder / f"sweep-{self.id}.csv"
        saved = {**dataclasses.asdict(self.plan), "units": not self.before_units}
        if not self.plan.support:
            del saved["support"]  # as before there was one
        kept = {measure: found.as_bytes() for measure, found in self.outcomes.items()}
        files = {
            path.with_suffix(".json").name: (json.dumps(saved, indent=2) + "\n").encode(),
            ledger_path(path).name: rows_as_bytes(LedgerRow, self.ledger),
            # None deletes those of another sweep of the same name
            **{_outcomes(path, measure).name: kept.get(measure) for measure in MEASURES},
            path.name: rows_as_bytes(SweepRow, self.rows),
        }
        write_recorded(folder, files)
        return path

    @classmethod
    def read(cls, path: Path) -> Sweep:
        """Return the Sweep that `save` wrote. The files of the plan and of the outcomes may be missing.

        Raises SparsifyError if the rows or the ledger are missing, and if a file is damaged.

        >>> sparsify.Sweep.read(sweep.save(run.path)) == sweep
        True
        """
        rows = read_table(path, SweepRow)
        for number, row in enumerate(rows, 2):
            if not abs(row.accuracy * row.count - row.correct) <= 1e-6 * max(row.count, 1):  # NaN is none, either
                reason = f"line {number}: accuracy is {row.accuracy:g}, not {row.correct:g} of {row.count}"
                raise SparsifyError(f"{path} is damaged ({reason}); delete it and sweep again")
        files = {measure: _outcomes(path, measure) for measure in MEASURES}
        record = Record.of(path.parent)
        there = {measure: file for measure, file in files.items() if file.exists() or file.name in record.sums}
        outcomes = {measure: read_outcomes(file) for measure, file in there.items()}
        for measure, kept in outcomes.items():
            if not _of_rows(kept, measure, rows):
                raise SparsifyError(f"{files[measure]} is not that of {path.name}; delete both and sweep again")
        saved = path.with_suffix(".json")
        known = saved.exists() or saved.name in record.sums
        plan = read_plan(saved, SweepPlan) if known else plan_of_rows(rows)
        return cls(plan, rows, read_table(ledger_path(path), LedgerRow), outcomes, before_units(path))


def plan_of_rows(rows: Sequence[SweepRow]) -> SweepPlan:
    """Return the plan of a sweep that was saved without one, as far as its rows show it."""
    numbers = [row for row in rows if row.criterion != SUPPORT]
    support, rows = len(numbers) < len(rows), numbers
    first = rows[0]
    orders = list(dict.fromkeys(row.criterion for row in rows))
    return SweepPlan(
        layers=tuple(dict.fromkeys(row.layers for row in rows)),
        ratios=tuple({row.ratio for row in rows}),
        criterion=first.criterion.removesuffix("-reversed"),
        grain=first.grain,
        scope=first.scope,
        reverse=first.criterion.endswith("-reversed"),
        controls=len(orders) > 1,
        draws=1 + max(row.draw for row in rows),
        recalibrate_bn=first.recalibrated_accuracy is not None,
        finetune_epochs=first.finetune_epochs,
        rounds=first.rounds,
        support=support,
    )


def list_sweeps(*folders: Path) -> list[Sweep]:
    """Return every sweep in these folders, the newest first."""
    paths = {path.resolve() for folder in folders for path in folder.glob("sweep-" + "[0-9a-f]" * 8 + ".csv")}
    return [Sweep.read(path) for path in sorted(paths, key=lambda path: -path.stat().st_mtime)]


def _outcomes(path: Path, measure: str) -> Path:
    return path.with_name(f"{path.stem}{MEASURES[measure].suffix}-outcomes.npz")


def _of_rows(kept: Outcomes | Scores, measure: str, rows: Sequence[SweepRow]) -> bool:
    """Return whether outcomes have the right predictions, or the mean scores, of these rows."""
    if isinstance(kept, Scores):
        return kept.accuracies == [getattr(row, measure) for row in rows]
    right = (row.correct if measure == "accuracy" else round(getattr(row, measure) * row.count) for row in rows)
    return kept.correct == list(right)
