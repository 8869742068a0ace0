"""Outcomes: the predicted class of each image at each point of a sweep."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sparsify.errors import SparsifyError
from sparsify.files import write_bytes


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
    def accuracies(self) -> list[float]:
        """The fraction of right predictions at each point."""
        accuracies: list[float] = (self.right.sum(1) / len(self.labels)).tolist()
        return accuracies

    def save(self, path: Path) -> None:
        """Write an npz file, in one step, with the arrays `labels`, `right` (a bitset for each point) and `wrong`.

        `wrong` holds the wrong predictions, in order. For 10,000 images of up to 256 classes a point takes at most
        1.25 kB, and a byte for each wrong prediction; all predictions would take 10 kB.
        """
        right = self.right
        arrays = {"labels": self.labels, "right": np.packbits(right, axis=1), "wrong": self.predictions[~right]}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        write_bytes(path, buffer.getvalue())

    @classmethod
    def read(cls, path: Path) -> Outcomes:
        """Return the Outcomes that `save` wrote. Raises SparsifyError if the file is missing or damaged."""
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
