"""Statistics over seeds: means with their intervals, paired differences, and the correction of a family of tests."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import t as student

from sparsify.errors import SparsifyError

CONFIDENCE = 0.95
"""That of every interval and bound of a study."""


@dataclass(frozen=True)
class Estimate:
    """The mean of `n` values, their sample standard deviation, and the confidence interval of the mean.

    `deviation` is None for one value. `low` and `high` are None where the values show no spread to judge by: for one
    value, and where all are equal. Accuracies are counts: two seeds often have the same one by chance, and an interval
    of no width would claim what they do not show. Tables show a dash.
    """

    n: int
    mean: float
    deviation: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Difference(Estimate):
    """The mean of b − a over `n` pairs, and the two-sided p of its being 0; None where there is no interval."""

    p: float | None


def estimate(values: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """mean ± t·s/√n, with the quantile t of Student's distribution of n − 1 degrees of freedom (Student 1908).

    It supposes values that scatter normally, one a seed. The upper end at `confidence` 0.9 is the one-sided bound of
    95%. Raises SparsifyError for no value, one that is not finite, and a confidence outside 0 to 1.
    """
    return _estimate(values, confidence, max(map(abs, values), default=0.0))


def paired(a: Sequence[float], b: Sequence[float], confidence: float = CONFIDENCE) -> Difference:
    """The paired t-test of b − a, for values of the same seeds in the same order.

    What a seed does to both cancels, so that the interval is that of the differences. There is no Wilcoxon test beside
    it: its smallest p for five seeds is 0.0625 whatever the difference, and a second p invites a choice between them.
    Raises SparsifyError as `estimate`, and where the two are not of the same length.
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
    """The p of a family of tests, so adjusted that 5% is the chance of any false one among them all (Holm 1979).

    The i-th smallest of m becomes the largest of (m − j + 1)·p_j over j ≤ i, at most 1. None, for a test that could not
    be made, stays None and does not count.
    """
    from statsmodels.stats.multitest import multipletests  # slow to import: only when it is needed

    tested = [p for p in ps if p is not None]
    adjusted = iter(multipletests(tested, method="holm")[1] if tested else ())
    return tuple(None if p is None else float(next(adjusted)) for p in ps)


def _estimate(values: Sequence[float], confidence: float, size: float) -> Estimate:
    """`size` is the largest number that the values were made from: their rounding errors are of its scale."""
    if not values:
        raise SparsifyError("no value to estimate a mean from")
    if not all(map(math.isfinite, values)):
        raise SparsifyError(f"{', '.join(f'{value:g}' for value in values)}: a mean takes finite values only")
    if not 0 < confidence < 1:
        raise SparsifyError(f"confidence is {confidence:g}; it must be between 0 and 1")
    n, mean = len(values), statistics.fmean(values)
    if max(values) - min(values) <= 1e-12 * size:  # 0.9 − 0.8 and 0.8 − 0.7 are not the same binary number
        mean = 0.0 if abs(mean) <= 1e-12 * size else mean
        return Estimate(n, mean, 0.0 if n > 1 else None, None, None)
    deviation = statistics.stdev(values)
    half = float(student.ppf((1 + confidence) / 2, n - 1)) * deviation / math.sqrt(n)
    return Estimate(n, mean, deviation, mean - half, mean + half)
