"""Two models on the same images: whether they differ, by how much, and where."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest, bootstrap

from sparsify.errors import SparsifyError


@dataclass(frozen=True)
class Comparison:
    """Model B against model A on the same `count` images.

    `difference` is B's accuracy minus A's and `low` to `high` its confidence interval, `p` McNemar's, `churn` the
    fraction of images that the two give different classes.
    """

    count: int
    difference: float
    low: float
    high: float
    p: float
    churn: float


def compare(labels: np.ndarray, a: np.ndarray, b: np.ndarray, *, confidence: float = 0.95, seed: int = 0) -> Comparison:
    """Compare predicted classes `a` and `b`, (images,) as the labels.

    Raises SparsifyError where they are not of the same number of images, two at least.
    """
    if not len(labels) == len(a) == len(b) or len(labels) < 2:
        counts = f"{len(labels)} labels, {len(a)} and {len(b)} predictions"
        raise SparsifyError(f"{counts}: a comparison takes the same images, two at least")
    right_a, right_b = a == labels, b == labels
    low, high = difference_interval(right_a, right_b, confidence=confidence, seed=seed)
    difference = right_b.mean() - right_a.mean()
    return Comparison(len(labels), float(difference), low, high, mcnemar(right_a, right_b), churn(a, b))


def mcnemar(a: np.ndarray, b: np.ndarray) -> float:
    """The exact two-sided p of McNemar's test, from whether each answer is right, (images,) bool.

    Of the n images that only one of the two models gets right, the number that it is A follows Binomial(n, 1/2) if
    neither model is better (McNemar 1947). 1 if there is none.
    """
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    return float(binomtest(only_a, only_a + only_b, 0.5).pvalue) if only_a + only_b else 1.0


def difference_interval(
    a: np.ndarray, b: np.ndarray, *, confidence: float = 0.95, resamples: int = 9999, seed: int = 0
) -> tuple[float, float]:
    """The bootstrap confidence interval of mean(b) − mean(a), percentiles; images are drawn with both their answers.

    `a` and `b` say whether each answer is right, (images,) bool. The same seed gives the same interval.
    """

    def difference(a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
        return b.mean(axis) - a.mean(axis)

    options = {"paired": True, "vectorized": True, "n_resamples": resamples, "confidence_level": confidence}
    # not BCa, which is not defined where all images have the same difference
    options |= {"method": "percentile", "random_state": np.random.default_rng(seed)}
    batch = max(1, 2**20 // len(a))  # the resamples of 10,000 images at once would need gigabytes
    interval = bootstrap((a, b), difference, batch=batch, **options).confidence_interval
    return float(interval.low), float(interval.high)


def churn(a: np.ndarray, b: np.ndarray) -> float:
    """The fraction of images that differ: of predicted classes or of right answers, whichever are given."""
    return float((a != b).mean())


def class_accuracy(labels: np.ndarray, predictions: np.ndarray, classes: int | None = None) -> np.ndarray:
    """The accuracy on the images of each class, (classes,); NaN for a class without images.

    `classes` are as many as the labels name unless it is given.
    """
    counts = np.bincount(labels, minlength=classes or 0)
    right = np.bincount(labels[predictions == labels], minlength=len(counts))
    return np.divide(right, counts, out=np.full(len(counts), np.nan), where=counts > 0)
