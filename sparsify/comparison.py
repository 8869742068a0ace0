"""Two models on the same images: whether they differ, by how much, and where."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.stats import binomtest, bootstrap

from sparsify.cost import Structure
from sparsify.errors import SparsifyError
from sparsify.onepass import predict_masked
from sparsify.pruning import cuts_of, subject_of
from sparsify.runs import Run


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


def compare_runs(
    first: Run,
    second: Run,
    *,
    layers: str | None = None,
    ratio: float = 0.0,
    criterion: str = "magnitude",
    device: str = "auto",
    data_dir: Path | str | None = None,
) -> Comparison:
    """Two runs on the images that both are measured on, whole, or both with a `ratio` of `layers` removed.

    Raises SparsifyError where these are not the same images, and as `prune` does.
    """
    if (layers is None) != (ratio == 0):
        raise SparsifyError(f"--layers {layers or 'is missing'} and --ratio {ratio:g}: what is pruned takes both")
    answers = []
    for run in (first, second):
        subject = subject_of(run, device=device, data_dir=data_dir)
        example, mask = subject.normalise(subject.split.images[:1]), {}
        if layers is not None:
            cuts = cuts_of(subject, example, layers=layers, ratio=ratio, criterion=criterion)
            mask = Structure(subject.model, example).remove(cuts)[0]
        how = {"normalise": subject.normalise, "precision": subject.precision}
        predicted = predict_masked(subject.model, subject.split.images, [mask], **how)[0]
        answers.append((subject.split.images.cpu(), subject.split.labels.cpu().numpy(), predicted.cpu().numpy()))
    (images, labels, a), (others, _, b) = answers
    if not torch.equal(images, others):
        raise SparsifyError(f"{first.name} and {second.name} are not measured on the same images")
    return compare(labels, a, b)


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
