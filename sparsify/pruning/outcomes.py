"""What each image was answered at each point of a sweep: its class, or a score of the user's own."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sparsify.errors import SparsifyError, reason_given
from sparsify.sums import Record


@dataclass(frozen=True, eq=False)
class Outcomes:
    """The labels (images,) and the predicted classes (points, images), in the smallest unsigned type that holds them.

    The labels identify the images: outcomes are comparable only if their labels are the same.
    """

    labels: np.ndarray
    predictions: np.ndarray

    @classmethod
    def of(cls, labels: np.ndarray, predictions: np.ndarray) -> Outcomes:
        """Return the Outcomes of labels and predictions that are non-negative integers of any type."""
        kind = np.min_scalar_type(max(labels.max(initial=0), predictions.max(initial=0)))
        return cls(labels.astype(kind), predictions.astype(kind))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Outcomes):
            return NotImplemented
        same = np.array_equal(self.labels, other.labels)
        return same and np.array_equal(self.predictions, other.predictions)

    @property
    def right(self) -> np.ndarray:
        """Whether each prediction is right: (points, images), bool."""
        right: np.ndarray = self.predictions == self.labels
        return right

    @property
    def correct(self) -> list[int]:
        """The number of right predictions at each point."""
        correct: list[int] = self.right.sum(1).tolist()
        return correct

    @property
    def accuracies(self) -> list[float]:
        """The fraction of right predictions at each point."""
        accuracies: list[float] = (self.right.sum(1) / len(self.labels)).tolist()
        return accuracies

    def as_bytes(self) -> bytes:
        """An npz file with the arrays `labels`, `right` (a bitset for each point) and `wrong`.

        `wrong` holds the wrong predictions, in order. For 10,000 images of up to 256 classes a point takes at most
        1.25 kB, and a byte for each wrong prediction; all predictions would take 10 kB.
        """
        right = self.right
        arrays = {"labels": self.labels, "right": np.packbits(right, axis=1), "wrong": self.predictions[~right]}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        return buffer.getvalue()

    @classmethod
    def unpacked(cls, arrays: Mapping[str, np.ndarray]) -> Outcomes:
        """Return the Outcomes of the arrays of `as_bytes`. Raises ValueError if they do not fit each other."""
        labels, packed, wrong = (arrays[name] for name in ("labels", "right", "wrong"))
        right = np.unpackbits(packed, axis=1, count=len(labels)).astype(bool)
        predictions = np.where(right, labels, 0).astype(labels.dtype)
        if len(wrong) != (~right).sum() or wrong.dtype != labels.dtype:
            raise ValueError("the wrong answers do not fit the bitset")
        predictions[~right] = wrong
        return cls(labels, predictions)


@dataclass(frozen=True, eq=False)
class Scores:
    """The score of each image at each point, from 0 to 1, by the `score` of a Subject: (points, images), float64.

    There are no classes, so that nothing is right or wrong.
    """

    scores: np.ndarray

    def __eq__(self, other: object) -> bool:
        return np.array_equal(self.scores, other.scores) if isinstance(other, Scores) else NotImplemented

    @property
    def correct(self) -> list[float]:
        """The sum of the scores at each point."""
        sums: list[float] = self.scores.sum(1).tolist()
        return sums

    @property
    def accuracies(self) -> list[float]:
        """The mean score at each point."""
        means: list[float] = (self.scores.sum(1) / self.scores.shape[1]).tolist()
        return means

    def as_bytes(self) -> bytes:
        """An npz file with the array `scores`."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, scores=self.scores)
        return buffer.getvalue()


def read_outcomes(path: Path) -> Outcomes | Scores:
    """Return what a file of `as_bytes` holds. Raises SparsifyError if it is missing or damaged."""
    record = Record.of(path.parent)
    try:
        with np.load(io.BytesIO(record.read(path)), allow_pickle=False) as file:
            return Scores(file["scores"]) if "scores" in file else Outcomes.unpacked(file)
    except Exception as error:  # numpy and zipfile raise whatever the damage looks like to them
        raise SparsifyError(
            f"{path} is damaged ({reason_given(error)}); delete the sweep's files and sweep again"
        ) from error
