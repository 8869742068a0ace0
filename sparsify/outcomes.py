"""Outcomes: what a network answered for each image at each point of a sweep."""

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
