"""Means, intervals and tests over seeds: by hand, against scipy, and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sparsify.analysis.statistics import (
    Difference,
    Estimate,
    estimate,
    estimate_answers,
    estimate_fraction,
    holm,
    paired,
)
from sparsify.errors import SparsifyError


def test_an_interval_is_the_mean_and_t_standard_errors():
    """Student's table: t(0.975; 2) = 4.302653, t(0.975; 1) = 12.706205; the standard error of 1, 2, 3 is 1/√3."""
    found = estimate([1.0, 2.0, 3.0])
    assert (found.n, found.mean, found.deviation) == (3, 2.0, 1.0)
    assert found.low == pytest.approx(2 - 4.302653 / math.sqrt(3), abs=1e-6)
    assert found.high == pytest.approx(2 + 4.302653 / math.sqrt(3), abs=1e-6)
    two = estimate([0.0, 2.0])
    assert two.deviation == pytest.approx(math.sqrt(2))
    assert (two.low, two.high) == pytest.approx((1 - 12.706205, 1 + 12.706205), abs=1e-6)


def test_the_upper_end_at_90_percent_is_the_one_sided_bound_of_95():
    """t(0.95; 2) = 2.919986."""
    assert estimate([1.0, 2.0, 3.0], confidence=0.9).high == pytest.approx(2 + 2.919986 / math.sqrt(3), abs=1e-6)


def test_one_value_and_equal_values_have_no_interval():
    assert estimate([0.5]) == Estimate(1, 0.5, None, None, None)
    assert estimate([0.5, 0.5, 0.5]) == Estimate(3, 0.5, 0.0, None, None)
    assert estimate([0.0, 0.0]) == Estimate(2, 0.0, 0.0, None, None)


def test_the_answers_of_one_network_have_an_exact_interval_over_images():
    """Its lower end is the p for which P(X ≥ k) = 2.5%; of 10 right answers of 10 that is p¹⁰ = 2.5%."""
    found = estimate_answers(10, 10)
    assert (found.n, found.mean, found.deviation, found.high) == (1, 1.0, None, 1.0)
    assert found.low == pytest.approx(0.025**0.1)
    half = estimate_answers(5, 10)
    assert stats.binom.sf(4, 10, half.low) == pytest.approx(0.025)
    assert stats.binom.cdf(5, 10, half.high) == pytest.approx(0.025)


def test_a_paired_test_looks_at_the_differences_only():
    """Differences 1, 2, 3: t = 2·√3 with 2 degrees of freedom, for which p = 1 − t/√(t² + 2)."""
    found = paired([10.0, -20.0, 30.0], [11.0, -18.0, 33.0])
    t = 2 * math.sqrt(3)
    assert (found.n, found.mean, found.deviation) == (3, 2.0, 1.0)
    assert found.p == pytest.approx(1 - t / math.sqrt(t**2 + 2), rel=1e-9)
    assert found.low == pytest.approx(2 - 4.302653 / math.sqrt(3), abs=1e-6)
    other = paired([11.0, -18.0, 33.0], [10.0, -20.0, 30.0])
    assert (other.mean, other.low, other.high, other.p) == (-found.mean, -found.high, -found.low, found.p)


def test_equal_differences_show_no_spread_however_they_are_rounded():
    assert 0.9 - 0.8 != 0.8 - 0.7
    found = paired([0.8, 0.7], [0.9, 0.8])
    assert found == Difference(2, pytest.approx(0.1), 0.0, None, None, None)
    assert paired([0.1 + 0.2, 0.3], [0.3, 0.3]) == Difference(2, 0.0, 0.0, None, None, None)
    assert paired([0.5], [0.75]) == Difference(1, 0.25, None, None, None, None)
    assert paired([359 / 360, 358 / 360], [359 / 360, 357 / 360]).p == pytest.approx(0.5)  # t = 1, 1 degree of freedom


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: estimate([]), "no value"),
        (lambda: estimate([1.0, math.nan]), "1, nan: a mean takes finite values only"),
        (lambda: estimate([1.0, 2.0], confidence=95), "confidence is 95; it must be between 0 and 1"),
        (lambda: paired([1.0], [1.0, 2.0]), "1 values and 2 are no pairs"),
        (lambda: paired([], []), "no value"),
    ],
)
def test_what_is_no_sample_is_refused(call, message):
    with pytest.raises(SparsifyError, match=message):
        call()


SAMPLES = st.lists(st.floats(-1, 1).map(lambda x: round(x, 4)), min_size=2, max_size=12)


@given(SAMPLES, st.floats(0.01, 0.99))
def test_estimates_are_scipys_and_contain_the_mean(values, confidence):
    found = estimate(values, confidence)
    if found.low is None:
        assert len(set(values)) == 1
        return
    assert found.low < found.mean < found.high
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(confidence)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-9, abs=1e-12)


@given(st.data())
def test_paired_tests_are_scipys(data):
    a = data.draw(SAMPLES)
    b = data.draw(st.lists(st.floats(-1, 1).map(lambda x: round(x, 4)), min_size=len(a), max_size=len(a)))
    found = paired(a, b)
    if found.p is not None:
        assert found.p == pytest.approx(stats.ttest_rel(b, a).pvalue, rel=1e-6, abs=1e-12)
        assert (found.p < 0.05) == (found.low > 0 or found.high < 0)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    """2,000 studies of four seeds: a 95% interval misses about 100 times."""
    draws = np.random.default_rng(0).normal(0.9, 0.01, (2000, 4)).tolist()
    covered = sum(found.low <= 0.9 <= found.high for found in map(estimate, draws))
    assert 0.93 <= covered / 2000 <= 0.97
    assert 0.6 < sum(e.low <= 0.9 <= e.high for e in (estimate(v, 0.68) for v in draws)) / 2000 < 0.75


def test_the_interval_of_fractions_is_that_of_the_means_logit():
    """Of 0.98, 0.99 and 1: m = 0.99 and s = 0.01, so that the half is 4.302653·0.01/√3 over 0.99·0.01 = 2.50925."""
    found = estimate_fraction([0.98, 0.99, 1.0])
    assert (found.n, found.mean, found.deviation) == (3, pytest.approx(0.99), pytest.approx(0.01))
    odds = 99 * math.exp(-2.50925), 99 * math.exp(2.50925)
    assert (found.low, found.high) == pytest.approx([one / (1 + one) for one in odds], rel=1e-5)
    assert estimate([0.98, 0.99, 1.0]).high > 1


def test_the_interval_of_fractions_is_symmetric_and_like_students_far_from_the_ends():
    errors = estimate_fraction([0.02, 0.01, 0.0])
    right = estimate_fraction([0.98, 0.99, 1.0])
    assert (errors.low, errors.high) == pytest.approx((1 - right.high, 1 - right.low))
    half, student = estimate_fraction([0.5, 0.502, 0.501]), estimate([0.5, 0.502, 0.501])
    assert (half.low, half.high) == pytest.approx((student.low, student.high), abs=1e-6)


def test_fractions_without_spread_have_no_interval_and_others_are_refused():
    assert estimate_fraction([1.0, 1.0]) == Estimate(2, 1.0, 0.0, None, None)
    assert estimate_fraction([0.5]) == Estimate(1, 0.5, None, None, None)
    for wrong, text in ((98.5, "98.5"), (-0.1, "-0.1"), (math.nan, "nan")):
        with pytest.raises(SparsifyError, match=f"{text} is no fraction; it must be between 0 and 1"):
            estimate_fraction([0.5, wrong])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_the_interval_of_fractions_never_leaves_them(values):
    found = estimate_fraction(values)
    if found.low is not None:
        assert 0 <= found.low <= found.mean <= found.high <= 1


def test_near_100_percent_it_covers_where_students_interval_does_not():
    """5,000 studies of three seeds whose errors are log-normal around 2%; benchmarks/coverage.py has more."""
    draws = 1 - 0.02 * np.exp(0.8 * np.random.default_rng(0).standard_normal((5000, 3)))
    truth = 1 - 0.02 * math.exp(0.32)
    covered = {
        kind: sum(one.low <= truth <= one.high for one in map(kind, draws.clip(0).tolist())) / 5000
        for kind in (estimate, estimate_fraction)
    }
    assert covered[estimate] < 0.9
    assert covered[estimate_fraction] > 0.92


def test_holm_multiplies_the_smallest_by_all_and_never_falls():
    """Holm's step-down: 3·0.01, then 2·0.04 = 0.08, then the largest, which must not be below 0.08."""
    assert holm([0.04, 0.01, 0.05]) == pytest.approx((0.08, 0.03, 0.08))
    assert holm([0.6, None, 0.5]) == (1.0, None, 1.0)
    assert holm([0.03]) == (0.03,)
    assert holm([None]) == (None,)
    assert holm([]) == ()


@settings(max_examples=15)  # statsmodels collects garbage in each call, which takes a tenth of a second
@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=10))
def test_holm_keeps_the_order_and_lowers_no_p(ps):
    adjusted = holm(ps)
    pairs = sorted((p, q) for p, q in zip(ps, adjusted, strict=True) if p is not None)
    assert [p is None for p in ps] == [q is None for q in adjusted]
    assert all(p <= q <= 1 for p, q in pairs)
    assert [q for _, q in pairs] == sorted(q for _, q in pairs)
