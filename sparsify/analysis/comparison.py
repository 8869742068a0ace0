"""Comparison of two models on the same images: whether they differ in accuracy, by how much, and in which classes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.fft import irfft, rfft
from scipy.stats import binom

from sparsify.analysis.statistics import holm
from sparsify.config import HERE, Places
from sparsify.data.dataset import each
from sparsify.devices import enough_memory
from sparsify.errors import SparsifyError
from sparsify.nets.prediction import predict_masked
from sparsify.pruning.cuts import cuts_of
from sparsify.pruning.plan import PointPlan
from sparsify.pruning.subject import subject_of
from sparsify.runs import Run

_DRAWN = 10_000_000  # numbers that are drawn at a time, so that memory is bounded


@dataclass(frozen=True)
class ClassComparison:
    """The accuracies of A and B on the `count` images of one class; `p` is McNemar's, Holm-adjusted over classes."""

    label: int
    count: int
    a: float
    b: float
    p: float


@dataclass(frozen=True)
class Comparison:
    """Model B compared with model A on the same `count` images.

    `difference` is B's accuracy minus A's, and `low` to `high` is its confidence interval (`difference_interval`). `p`
    is that of McNemar's test. `only_a` and `only_b` are the numbers of images that only A, and only B, gets right.
    `churn` is the fraction of the images to which they give different classes. `classes` holds the classes that have
    images.
    """

    count: int
    difference: float
    low: float
    high: float
    p: float
    only_a: int
    only_b: int
    churn: float
    classes: tuple[ClassComparison, ...]


def compare(labels: np.ndarray, a: np.ndarray, b: np.ndarray, *, confidence: float = 0.95) -> Comparison:
    """Compare the predicted classes `a` and `b`; both are (images,), like the labels.

    Raises SparsifyError unless all three have the same number of images, at least two.

    >>> labels = np.array([0, 0, 1, 1])
    >>> found = sparsify.compare(labels, np.array([0, 1, 1, 0]), np.array([0, 0, 1, 0]))
    >>> found.difference, found.only_b, found.churn
    (0.25, 1, 0.25)
    """
    if not len(labels) == len(a) == len(b) or len(labels) < 2:
        counts = f"{len(labels)} labels, {len(a)} and {len(b)} predictions"
        raise SparsifyError(f"{counts}: a comparison takes the same images, two at least")
    right_a, right_b = a == labels, b == labels
    low, high = difference_interval(right_a, right_b, confidence=confidence)
    return Comparison(
        count=len(labels),
        difference=float(right_b.mean() - right_a.mean()),
        low=low,
        high=high,
        p=mcnemar(right_a, right_b),
        only_a=int((right_a & ~right_b).sum()),
        only_b=int((right_b & ~right_a).sum()),
        churn=churn(a, b),
        classes=_by_class(labels, a, b),
    )


def _by_class(labels: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[ClassComparison, ...]:
    found, counts = np.unique(labels, return_counts=True)
    accuracies = (class_accuracy(labels, answers)[found].tolist() for answers in (a, b))
    ps = holm([mcnemar(*(answers[labels == label] == label for answers in (a, b))) for label in found])
    return tuple(map(ClassComparison, found.tolist(), counts.tolist(), *accuracies, ps))


def compare_runs(first: Run, second: Run, point: PointPlan | None = None, places: Places = HERE) -> Comparison:
    """Compare two runs on the images that both are measured on; with a `point`, compare both without what it removes.

    The result is about these two networks only: `sparsify.study.contrasts` compares over seeds. Raises SparsifyError if
    both are the same run, if the runs are measured on different images, and as `prune` does.
    """
    if first.path.resolve() == second.path.resolve():
        raise SparsifyError(f"{first.name} is named twice: a run does not differ from itself; name two runs")
    subjects = [subject_of(run, places) for run in (first, second)]
    one, other = (subject.split for subject in subjects)
    pairs = zip((*each(one.images), one.labels), (*each(other.images), other.labels), strict=True)
    if not all(torch.equal(first_of, second_of) for first_of, second_of in pairs):
        measured = " and ".join(map(_images_of, (first, second)))
        raise SparsifyError(f"{first.name} and {second.name} are not measured on the same images: {measured}")
    answers = []
    for subject in subjects:
        mask = {} if point is None else subject.structure.remove(cuts_of(subject, point))[0]
        with enough_memory("the comparison", "take --device cpu"):
            found = predict_masked(
                subject.model, subject.split.images, [mask], subject.normalise, precision=subject.precision
            )
        answers.append(found[0].cpu().numpy())
    return compare(one.labels.cpu().numpy(), *answers)


def _images_of(run: Run) -> str:
    """Return the images that a run is measured on, in words: "digits (test)", "digits (0.1 held out by seed 3)"."""
    held_out = "test" if run.summary["held_out"] == "test" else f"{run.config.val:g} held out by seed {run.config.seed}"
    return f"{run.config.data_name} ({held_out})"


def mcnemar(a: np.ndarray, b: np.ndarray) -> float:
    """Return the exact two-sided p of McNemar's test of two models.

    `a` and `b` say whether each answer is right: bool, (images,). If neither model is better, then of the n images that
    only one of them gets right, the number that A gets right follows Binomial(n, 1/2) (McNemar 1947).
    """
    return signs_flipped(differences(a, b))


def signs_flipped(differences: np.ndarray) -> float:
    """Return the exact two-sided p of the sign-flip test (Fisher 1935) of whole numbers, (images,).

    If neither of two sides is better, the sign of each image's difference is equally likely + or −, and p is the chance
    that |Σ ±d_i| reaches |Σ d_i|; it is 1 if every d_i is 0. For two models this is McNemar's test. With several models
    on each side, for example one for each seed, d_i sums over them (`differences`), and the sign is flipped for all
    together, because they fail on the same hard images: to add up their tables would count one image many times.

    The test is about these models on other images; it says nothing about other seeds.
    """
    sizes, counts = np.unique(np.abs(differences), return_counts=True)
    likely = np.ones(1)  # of Σ d_i over the images with a positive sign
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        if size:
            spaced = np.zeros(size * count + 1)
            spaced[::size] = binom.pmf(np.arange(count + 1), count, 0.5)
            likely = np.convolve(likely, spaced)
    sums = 2 * np.arange(len(likely)) - (len(likely) - 1)
    return min(1.0, float(likely[np.abs(sums) >= abs(differences.sum())].sum()))


def difference_interval(a: np.ndarray, b: np.ndarray, *, confidence: float = 0.95) -> tuple[float, float]:
    """Return the `images_interval` of mean(b) − mean(a), over images and models.

    `a` and `b` say whether each answer is right: bool, (images,) or (models, images).
    """
    models = 1 if a.ndim == 1 else len(a)
    return images_interval(differences(a, b), models, most=models, confidence=confidence)


def images_interval(
    differences: np.ndarray, models: int, *, most: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the mean difference, over images that are drawn with all answers.

    `differences` are whole numbers from −`most` to `most`, (images,), each a sum over so many `models`. The interval is
    that of infinitely many resamples, so that it does not depend on chance: the sum of n draws from them is distributed
    as the n-fold convolution of their distribution (Efron 1979).

    Two images are added, as far apart as two can be: −`most` and `most` (Bonett & Price 2012). Without them the
    interval is too short if few images differ, and has no width if none does.
    """
    values, counts = np.unique(np.append(differences, [-most, most]), return_counts=True)
    images = int(counts.sum())
    one = np.zeros(2 * most * images + 1)
    one[values + most] = counts / images
    likely = irfft(rfft(one) ** images, len(one))
    tail = (1 - confidence) / 2
    low = np.argmax(likely.cumsum() >= tail)
    high = len(one) - 1 - np.argmax(likely[::-1].cumsum() >= tail)
    first, last = (float(end / (images * models) - most / models) for end in (low, high))
    return first, last


def two_way_interval(
    differences: np.ndarray, *, draws: int = 1, confidence: float = 0.95, resamples: int = 9999
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the mean of differences over seeds and images.

    `differences` are whole numbers, (seeds, images), each a sum over so many `draws`. In each resample the seeds are
    drawn with replacement and, apart from them, the images, each with all its answers (Owen 2007), as
    `scipy.stats.bootstrap` does with the numbers of the seeds and of the images as two samples. Here the seeds are
    drawn first: with them each image has one sum, of few values, and how often each of these is drawn is multinomial.
    Of few seeds it is shorter than Student's interval: it takes the spread that they show for the true one.
    """
    seeds, images = differences.shape
    kinds, counts = np.unique(differences, axis=1, return_counts=True)  # images with the same differences are one kind
    generator = np.random.default_rng(0)  # the same interval each time
    of_seeds = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples)
    chosen, times = np.unique(of_seeds, axis=0, return_counts=True)
    values = np.arange(seeds * int(kinds.min()), seeds * int(kinds.max()) + 1)  # an image's sum over the drawn seeds
    means = []
    size = len(counts) + int(times.max()) * len(values)
    for block in np.array_split(np.arange(len(chosen)), math.ceil(len(chosen) * size / _DRAWN)):
        # as floats, for which there is a fast product, and which hold such whole numbers exactly
        sums = (chosen[block].astype(float) @ kinds.astype(float)).astype(np.int64) - values[0]
        cells = (sums + np.arange(len(block))[:, None] * len(values)).ravel()
        images_of = np.bincount(cells, np.tile(counts, len(block)), len(block) * len(values))
        likely = np.repeat(images_of.reshape(len(block), -1) / images, times[block], axis=0)
        means.append(generator.multinomial(images, likely) @ values / (seeds * images * draws))
    low, high = np.quantile(np.concatenate(means), [(1 - confidence) / 2, (1 + confidence) / 2]).tolist()
    return low, high


def differences(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return, for each image, the right answers of B minus those of A: (images,).

    `a` and `b` say whether each answer is right: bool, (images,) or (models, images).
    """
    more: np.ndarray = np.atleast_2d(b).sum(0, dtype=np.int64) - np.atleast_2d(a).sum(0, dtype=np.int64)
    return more


def churn(a: np.ndarray, b: np.ndarray) -> float:
    """Return the fraction of elements that differ between two arrays of predicted classes, or of right answers."""
    return float((a != b).mean())


def class_accuracy(labels: np.ndarray, predictions: np.ndarray, classes: int | None = None) -> np.ndarray:
    """Return the accuracy on the images of each class, (classes,); NaN for a class without images.

    `classes` is the number of classes; by default the highest label + 1.
    """
    counts = np.bincount(labels, minlength=classes or 0)
    right = np.bincount(labels[predictions == labels], minlength=len(counts))
    accuracy: np.ndarray = np.divide(right, counts, out=np.full(len(counts), np.nan), where=counts > 0)
    return accuracy
