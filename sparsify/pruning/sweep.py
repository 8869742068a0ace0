"""Sweep: accuracy and cost at each point, what was removed there, and each image's answer."""

from __future__ import annotations

import csv
import dataclasses
import functools
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sparsify.errors import SparsifyError
from sparsify.files import write_bytes, write_rows


@dataclass(frozen=True, eq=False)
class Outcomes:
    """The labels (images,) and the predicted classes (points, images), in the smallest unsigned type that holds them.

    The labels say which images they are: only outcomes with the same labels are compared.
    """

    labels: np.ndarray
    predictions: np.ndarray

    @classmethod
    def of(cls, labels: np.ndarray, predictions: np.ndarray) -> Outcomes:
        """From any integers from 0 on."""
        kind = np.min_scalar_type(max(labels.max(initial=0), predictions.max(initial=0)))
        return cls(labels.astype(kind), predictions.astype(kind))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Outcomes):
            return NotImplemented
        same = np.array_equal(self.labels, other.labels)
        return same and np.array_equal(self.predictions, other.predictions)

    __hash__ = None

    @property
    def right(self) -> np.ndarray:
        """Whether each answer is right: (points, images), bool."""
        return self.predictions == self.labels

    @property
    def accuracies(self) -> list[float]:
        """The fraction of right answers at each point."""
        return (self.right.sum(1) / len(self.labels)).tolist()

    def save(self, path: Path) -> None:
        """Write an npz file, in one step: `labels`; `right`, a bitset a point; `wrong`, the wrong answers in order.

        At most 1.25 kB a point of 10,000 images, and a byte for each wrong answer; the predictions, whole, would be 10.
        """
        right = self.right
        arrays = {"labels": self.labels, "right": np.packbits(right, axis=1), "wrong": self.predictions[~right]}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        write_bytes(path, buffer.getvalue())

    @classmethod
    def read(cls, path: Path) -> Outcomes:
        """The inverse of `save`. Raises SparsifyError if the file is damaged."""
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
                labels, packed, wrong = (file[name] for name in ("labels", "right", "wrong"))
            right = np.unpackbits(packed, axis=1, count=len(labels)).astype(bool)
            predictions = np.where(right, labels, 0).astype(labels.dtype)
            if len(wrong) != (~right).sum() or wrong.dtype != labels.dtype:
                raise ValueError("the wrong answers do not fit the bitset")
            predictions[~right] = wrong
            return cls(labels, predictions)
        except Exception as error:  # numpy and zipfile raise whatever the damage looks like to them
            raise SparsifyError(f"{path} is damaged ({error}); delete the sweep's files and sweep again") from error


@dataclass(frozen=True)
class Measure:
    """An accuracy that a sweep can hold: its column, how the network was treated before it, and the end of file names.

    `words` and `suffix` are "" for the network as it was pruned.
    """

    column: str
    words: str
    suffix: str

    @property
    def clause(self) -> str:
        """The words behind a comma, as titles end with them: ", fine-tuned"."""
        return f", {self.words}" if self.words else ""


MEASURES = {
    measure.column: measure
    for measure in (
        Measure("accuracy", "", ""),
        Measure("recalibrated_accuracy", "BatchNorm recalibrated on training images", "-recalibrated"),
        Measure("finetuned_accuracy", "fine-tuned", "-finetuned"),
    )
}
"""Every measure, by the name of its column."""


@dataclass(frozen=True)
class SweepRow:
    """One point. `accuracy` is a fraction; `params` and `macs` are what is left, `compression` and `speedup` the
    original over that, not counting the indices that a sparse format needs."""

    criterion: str
    grain: str
    scope: str
    layers: str
    ratio: float
    draw: int
    correct: int
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


@dataclass(frozen=True)
class LedgerRow:
    """What one point removed from one layer: `removed` of `total` grains, as was asked, and `coupled` others with them.

    These went because layers whose outputs are combined, as in an addition, lose the same ones. A layer that was not
    named is here if it lost any. `coupled` is None in files of before it was counted.
    """

    criterion: str
    layers: str
    ratio: float
    draw: int
    layer: str
    grain: str
    removed: int
    total: int
    coupled: int | None = None


@dataclass(frozen=True)
class Sweep:
    """The points of one sweep in the order in which they were asked for, their ledger, and their outcomes by measure.

    The measures are those of `MEASURES`. Sweeps of before outcomes were kept have none, or those of "accuracy" only.
    """

    rows: tuple[SweepRow, ...]
    ledger: tuple[LedgerRow, ...] = field(repr=False)
    outcomes: Mapping[str, Outcomes] = field(default_factory=dict, repr=False)

    @property
    def id(self) -> str:
        """The `sweep_id` of what was asked."""
        first = self.rows[0]
        return sweep_id(
            layers=self.layer_sets,
            ratios=self.ratios,
            criterion=first.criterion,
            grain=first.grain,
            scope=first.scope,
            draws=1 + max(row.draw for row in self.rows),
            controls=bool(self.controls),
            recalibrate_bn=self.recalibrated,
            finetune_epochs=first.finetune_epochs,
            rounds=first.rounds,
        )

    @property
    def criterion(self) -> str:
        """The criterion that was asked for, "-reversed" behind it if its order was."""
        return self.rows[0].criterion

    @property
    def controls(self) -> list[str]:
        """The criteria that were added as controls: "random" and the reversed one, or none."""
        return [name for name in dict.fromkeys(row.criterion for row in self.rows) if name != self.criterion]

    @property
    def layer_sets(self) -> list[str]:
        """The sets of layers, in the order in which they were asked for."""
        return list(dict.fromkeys(row.layers for row in self.rows))

    @property
    def ratios(self) -> list[float]:
        """The ratios, ascending."""
        return sorted({row.ratio for row in self.rows})

    @property
    def recalibrated(self) -> bool:
        """Whether each point was measured again with BatchNorm's statistics re-estimated."""
        return self.rows[0].recalibrated_accuracy is not None

    @property
    def measures(self) -> list[str]:
        """Those of `MEASURES` that it holds."""
        return [name for name in MEASURES if getattr(self.rows[0], name) is not None]

    def points(self, layers: str, ratio: float, criterion: str | None = None) -> list[SweepRow]:
        """The rows of one set at one ratio, one a draw: of the criterion that was asked for, or of a control."""
        wanted = (layers, ratio, criterion or self.criterion)
        return [row for row in self.rows if (row.layers, row.ratio, row.criterion) == wanted]

    def accuracy(self, layers: str, ratio: float, measure: str = "accuracy") -> float:
        """One of `MEASURES` at one point, the mean over the draws. Raises SparsifyError if it is not there."""
        rows = self.points(layers, ratio)
        found = [getattr(row, measure) for row in rows]
        if not found or None in found:
            raise self._missing(layers, ratio)
        return sum(found) / len(found)

    def predictions(self, layers: str, ratio: float, measure: str = "accuracy", *, draw: int = 0) -> np.ndarray:
        """The predicted class of each image at one point, of the network that was measured so: (images,).

        Raises SparsifyError if it was not swept, or without its outcomes.
        """
        places = [place for place in self._places(layers, ratio) if self.rows[place].draw == draw]
        if not places:
            raise self._missing(layers, ratio)
        return self._kept(measure).predictions[places[0]]

    def right(self, layers: str, ratio: float, measure: str = "accuracy") -> np.ndarray:
        """Whether each answer at one point is right: (draws, images), bool. Raises SparsifyError as `predictions`."""
        places = self._places(layers, ratio)
        if not places:
            raise self._missing(layers, ratio)
        return self._kept(measure).right[places]

    def _kept(self, measure: str) -> Outcomes:
        if measure not in self.outcomes:
            of = "" if measure == "accuracy" else f" for {measure}"
            raise SparsifyError(f"sweep-{self.id} has no outcomes of single images{of}; sweep again to keep them")
        return self.outcomes[measure]

    def _places(self, layers: str, ratio: float) -> list[int]:
        wanted = (layers, ratio, self.criterion)
        return [i for i, row in enumerate(self.rows) if (row.layers, row.ratio, row.criterion) == wanted]

    def _missing(self, layers: str, ratio: float) -> SparsifyError:
        return SparsifyError(f"{layers} at {ratio:g} is not in this sweep of {', '.join(self.layer_sets)}")

    def save(self, folder: Path) -> Path:
        """Write `sweep-<id>-ledger.csv`, the outcomes and, last, `sweep-<id>.csv`; returns its path.

        The outcomes are in `sweep-<id>-outcomes.npz`, and, of other measures than "accuracy", in
        `sweep-<id>-recalibrated-outcomes.npz` and `sweep-<id>-finetuned-outcomes.npz`.
        """
        write_rows(folder / f"sweep-{self.id}-ledger.csv", LedgerRow, self.ledger)
        path = folder / f"sweep-{self.id}.csv"
        for measure in MEASURES:
            if measure in self.outcomes:
                self.outcomes[measure].save(_outcomes(path, measure))
            else:
                _outcomes(path, measure).unlink(missing_ok=True)  # those of another sweep of the same name
        write_rows(path, SweepRow, self.rows)
        return path

    @classmethod
    def read(cls, path: Path) -> Sweep:
        """The inverse of `save`. Raises SparsifyError if a file is damaged, or missing, but for the outcomes."""
        ledger = path.with_name(f"{path.stem}-ledger.csv")
        rows = tuple(_from_csv(SweepRow, path))
        files = {measure: _outcomes(path, measure) for measure in MEASURES}
        outcomes = {measure: Outcomes.read(file) for measure, file in files.items() if file.exists()}
        for measure, kept in outcomes.items():
            if kept.right.sum(1).tolist() != [_right_answers(row, measure) for row in rows]:
                raise SparsifyError(f"{files[measure]} is not that of {path.name}; delete both and sweep again")
        return cls(rows, tuple(_from_csv(LedgerRow, ledger)), outcomes)


def sweep_id(
    *,
    layers: Sequence[str],
    ratios: Sequence[float],
    criterion: str = "magnitude",
    grain: str = "auto",
    scope: str = "layer",
    reverse: bool = False,
    draws: int = 1,
    controls: bool = False,
    recalibrate_bn: bool = False,
    finetune_epochs: int = 0,
    rounds: int = 1,
) -> str:
    """8 hex digits of what `prune` is asked, by the same keywords; `layers` are the sets by their layers' names."""
    name = criterion + "-reversed" * reverse
    asked = [name, grain, scope, list(layers), [float(ratio) for ratio in ratios], draws]
    asked += ["recalibrate-bn"] * recalibrate_bn + ["controls"] * controls
    asked += [f"finetune-{finetune_epochs}"] * bool(finetune_epochs) + [f"rounds-{rounds}"] * (rounds > 1)
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:8]


def list_sweeps(*folders: Path) -> list[Sweep]:
    """Every sweep in these folders, the newest first."""
    paths = {path.resolve() for folder in folders for path in folder.glob("sweep-" + "[0-9a-f]" * 8 + ".csv")}
    return [Sweep.read(path) for path in sorted(paths, key=lambda path: -path.stat().st_mtime)]


def _outcomes(path: Path, measure: str) -> Path:
    return path.with_name(f"{path.stem}{MEASURES[measure].suffix}-outcomes.npz")


def _right_answers(row: SweepRow, measure: str) -> int:
    """How many answers are right."""
    return row.correct if measure == "accuracy" else round(getattr(row, measure) * row.count)


def _optional(kind: type, text: str) -> int | float | None:
    return None if text == "" else kind(text)


def _from_csv(kind: type, path: Path) -> list:
    types = {"str": str, "int": int, "float": float}
    types |= {f"{name} | None": functools.partial(_optional, types[name]) for name in ("int", "float")}
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            there = set(reader.fieldnames or ())
            # columns that came later have a default, and a file from before does not hold them
            kept = [f for f in dataclasses.fields(kind) if f.name in there or f.default is dataclasses.MISSING]
            fields = {field.name: types[field.type] for field in kept}
            rows = [kind(**{name: read(row[name]) for name, read in fields.items()}) for row in reader]
        if not rows:
            raise ValueError("it has no rows")
        return rows
    except (OSError, KeyError, ValueError, TypeError, csv.Error) as error:
        raise SparsifyError(f"{path} is damaged or missing ({error}); delete it and sweep again") from error
