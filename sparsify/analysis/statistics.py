"""Statistics over seeds: means with intervals, paired differences, and the correction for several tests."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from scipy.special import expit, logit
from scipy.stats import binomtest
from scipy.stats import t as student

from sparsify.errors import SparsifyError

CONFIDENCE = 0.95
"""The confidence of every interval and bound of a study."""


@dataclass(frozen=True)
class Estimate:
    """The mean of `n` values, their sample standard deviation, and the confidence interval of the mean.

    `deviation` is None for one value. `low` and `high` are None if the values show no spread: for one value, unless
    its interval is over images (`estimate_answers`), and if all are equal. Accuracies are counts, so that two seeds
    often have the same one by chance; an interval without width would claim more than the values show. Tables show a
    dash instead.
    """

    n: int
    mean: float
    deviation: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Difference(Estimate):
    """The Estimate of b − a over `n` pairs, and the two-sided p for a mean of 0; None if there is no interval."""

    p: float | None


def estimate(values: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """Return mean ± t·s/√n, where t is the quantile of Student's t with n − 1 degrees of freedom (Student 1908).

    It assumes that the values, one for each seed, are normally distributed. The upper end at `confidence` 0.9 is the
    one-sided bound of 95%. Raises SparsifyError if there is no value, for a value that is not finite, and for a
    confidence that is not between 0 and 1.

    >>> found = sparsify.estimate([98.1, 98.4, 98.3])
    >>> f"{found.mean:.2f}, from {found.low:.2f} to {found.high:.2f} (n = {found.n})"
    '98.27, from 97.89 to 98.65 (n = 3)'
    """
    return _estimate(values, confidence, max(map(abs, values), default=0.0))


def estimate_fraction(values: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """Return the mean m of fractions, such as accuracies, and its interval on the scale of the logit, ln(m / (1 − m)).

    The interval is that of logit(m) ± t·s / (√n·m·(1 − m)), taken back to fractions: the standard error of the mean,
    s/√n, times the derivative of the logit. It lies between 0 and 1 whatever the values are. Accuracies near 100% are
    skewed: of 3 seeds whose errors follow a log-normal law of deviation 0.5, 0.8 and 1, Student's interval covers the
    mean in 92, 88 and 84% of all cases, this one in 94, 93 and 92% (benchmarks/coverage.py). Values of 1 are no
    exception, as they would be if each value had its own logit. Raises SparsifyError as `estimate` does, and for a
    value below 0 or above 1.

    >>> from sparsify.analysis.statistics import estimate_fraction
    >>> found = estimate_fraction([0.98, 0.999, 1.0])
    >>> f"{found.mean:.3f}, from {found.low:.3f} to {found.high:.3f}"
    '0.993, from 0.717 to 1.000'
    """
    for value in values:
        if not 0 <= value <= 1:  # NaN is neither
            raise SparsifyError(f"{value:g} is no fraction; it must be between 0 and 1")
    found = estimate(values, confidence)
    if found.low is None or found.high is None:
        return found
    middle = float(logit(found.mean))
    half = (found.high - found.mean) / (found.mean * (1 - found.mean))
    return replace(found, low=float(expit(middle - half)), high=float(expit(middle + half)))


def estimate_answers(correct: int, count: int, confidence: float = CONFIDENCE) -> Estimate:
    """Return the accuracy of one network, which answers `correct` of `count` images, with its interval over images.

    The interval is the exact one of a binomial fraction (Clopper & Pearson 1934). It is about this network on other
    images, and says nothing of other seeds.

    >>> from sparsify.analysis.statistics import estimate_answers
    >>> found = estimate_answers(9900, 10_000)
    >>> f"{found.mean:.2%}, from {found.low:.2%} to {found.high:.2%}"
    '99.00%, from 98.79% to 99.19%'
    """
    ends = binomtest(correct, count).proportion_ci(confidence)
    return Estimate(1, correct / count, None, float(ends.low), float(ends.high))


def paired(a: Sequence[float], b: Sequence[float], confidence: float = CONFIDENCE) -> Difference:
    """Return the paired t-test of b − a, for values of the same seeds in the same order.

    The interval is that of the differences, so that an effect of a seed on both values cancels. There is no Wilcoxon
    test beside it: for five seeds its smallest p is 0.0625 whatever the difference is, and a second p invites a choice
    between the two. Raises SparsifyError as `estimate` does, and if `a` and `b` differ in length.

    >>> found = sparsify.paired([98.1, 98.4, 98.3], [98.3, 98.5, 98.4])
    >>> f"{found.mean:+.2f}, p = {found.p:.3f}"
    '+0.13, p = 0.057'
    """
    if len(a) != len(b):
        raise SparsifyError(f"{len(a)} values and {len(b)} are no pairs; give one of each for every seed")
    size = max(map(abs, (*a, *b)), default=0.0)
    found = _estimate([y - x for x, y in zip(a, b, strict=True)], confidence, size)
    p = None
    if found.low is not None and found.deviation is not None:
        p = float(2 * student.sf(abs(found.mean) / (found.deviation / math.sqrt(found.n)), found.n - 1))
    return Difference(found.n, found.mean, found.deviation, found.low, found.high, p)


def holm(ps: Sequence[float | None]) -> tuple[float | None, ...]:
    """Return Holm's adjusted p of several tests (Holm 1979), in the same order.

    If each test with an adjusted p below 5% counts as positive, the chance of any false positive is at most 5%. The
    i-th smallest of m becomes the largest of (m − j + 1)·p_j over j ≤ i, at most 1. None stands for a test that could
    not be made; it stays None and does not count in m.
    """
    from statsmodels.stats.multitest import multipletests  # slow to import: only when it is needed

    tested = [p for p in ps if p is not None]
    adjusted = iter(multipletests(tested, method="holm")[1] if tested else ())
    return tuple(None if p is None else float(next(adjusted)) for p in ps)


def _estimate(values: Sequence[float], confidence: float, size: float) -> Estimate:
    """Return the estimate. `size` is the largest number that the values come from: it scales their rounding errors."""
    if not values:
        raise SparsifyError("no value to estimate a mean from")
    if not all(map(math.isfinite, values)):
        raise SparsifyError(f"{', '.join(f'{value:g}' for value in values)}: a mean takes finite values only")
    if not 0 < confidence < 1:
        raise SparsifyError(f"confidence is {confidence:g}; it must be between 0 and 1")
    n, mean = len(values), statistics.fmean(values)
    if max(values) - min(values) <= 1e-12 * size:  # equal up to rounding: 0.9 − 0.8 and 0.8 − 0.7 differ
        mean = 0.0 if abs(mean) <= 1e-12 * size else mean
        return Estimate(n, mean, 0.0 if n > 1 else None, None, None)
    deviation = statistics.stdev(values)
    half = float(student.ppf((1 + confidence) / 2, n - 1)) * deviation / math.sqrt(n)
    return Estimate(n, mean, deviation, mean - half, mean + half)
