"""Ratios: ranges include their end exactly, and whatever is typed is either ratios or one clear line."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusals import read_or_refused

from sparsify.errors import SparsifyError
from sparsify.pruning.plan import PointPlan, SweepPlan
from sparsify.pruning.ratios import parse_ratios


def test_a_range_includes_its_end():
    """np.arange(0, 0.6, 0.1) does not."""
    assert parse_ratios("0:0.6:0.1") == (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)


@pytest.mark.parametrize(
    ("ratios", "numbers"),
    [
        ("support", (0.0,)),
        ("0,0.3,support", (0.0, 0.3)),
        (" support , 0.3", (0.3,)),
        ("0:0.6:0.3,support", (0.0, 0.3, 0.6)),
        (["support", 0.3], (0.3,)),
        (("support",), (0.0,)),
    ],
)
def test_support_can_be_one_of_the_ratios(ratios, numbers):
    plan = SweepPlan(layers="conv3", ratios=ratios)
    assert (plan.ratios, plan.support) == (numbers, True)
    assert plan.networks == len(numbers) + 1
    without = SweepPlan(layers="conv3", ratios=numbers)
    assert not without.support
    assert plan.id != without.id
    assert plan == dataclasses.replace(without, support=True) == dataclasses.replace(plan, layers=("conv3",))


def test_support_goes_at_once():
    with pytest.raises(SparsifyError, match="--ratios support with --rounds 3: the support goes at once"):
        SweepPlan(layers="conv3", ratios="support", rounds=3)
    with pytest.raises(SparsifyError, match="'support' is no number"):
        PointPlan(layers="conv3", ratio="support")


@pytest.mark.parametrize(
    ("ratios", "expected"),
    [
        ("0.5", (0.5,)),
        ("0,0.3,0.6", (0.0, 0.3, 0.6)),
        (" 0 , 0.3 ", (0.0, 0.3)),
        (" 0 : 0.2 : 0.1 ", (0.0, 0.1, 0.2)),
        ("0.6,0,0.3,0.30", (0.0, 0.3, 0.6)),
        ("1e-1,.5,1.", (0.1, 0.5, 1.0)),
        ("0:1:0.3", (0.0, 0.3, 0.6, 0.9)),
        ("0.2:0.2:0.1", (0.2,)),
        ("0:0.1:5", (0.0,)),
        ("0.9:1:0.05", (0.9, 0.95, 1.0)),
        (0, (0.0,)),
        (1, (1.0,)),
        (0.25, (0.25,)),
        ([0.3, 0, 1], (0.0, 0.3, 1.0)),
        ((0.1 + 0.2, 0.3), (0.3, 0.30000000000000004)),
        (np.array([0.5, 0.25]), (0.25, 0.5)),
        ((x / 4 for x in range(3)), (0.0, 0.25, 0.5)),
    ],
)
def test_what_is_written_is_what_is_meant(ratios, expected):
    assert parse_ratios(ratios) == expected


@pytest.mark.parametrize("ratios", ["-0", "-0.0", -0.0, [-0.0], "-0:0:1"])
def test_minus_zero_is_zero(ratios):
    (ratio,) = parse_ratios(ratios)
    assert math.copysign(1, ratio) == 1


@pytest.mark.parametrize(
    ("ratios", "reason"),
    [
        ("", "'' is no number"),
        (" ", "' ' is no number"),
        ([], "'' is no number"),
        ("a", "'a' is no number"),
        (["a"], "'a' is no number"),
        ([None], "None is no number"),
        ("0.1,,0.2", "'' is no number"),
        ("0,1,", "'' is no number"),
        ("0;0.5", "'0;0.5' is no number"),
        ("50%", "'50%' is no number"),
        ("0:1", "malformed"),
        ("0:1:0.1:0.1", "malformed"),
        (":", "'' is no number"),
        ("0::0.1", "'' is no number"),
        ("0,0.5:1:0.1", "'0,0.5' is no number"),
        ("0.6:0:0.1", "reversed: 0.6 is above 0"),
        ("0:0.6:0", "step 0, which must be above 0"),
        ("0:0.6:-0.1", "step -0.1, which must be above 0"),
        ("0.6:0:-0.1", "step -0.1, which must be above 0"),
        ("1.1", "ratio 1.1 is outside 0 to 1"),
        ("0,-0.1", "ratio -0.1 is outside 0 to 1"),
        ("-0.5:0.5:0.1", "ratio -0.5 is outside 0 to 1"),
        ("0:1.05:0.5", "ratio 1.05 is outside 0 to 1"),
        (60, "ratio 60.0 is outside 0 to 1"),
        ([0.5, 1 + 2**-52], "is outside 0 to 1"),
        ("nan", "'nan' is not finite"),
        ("sNaN", "'sNaN' is not finite"),
        (float("nan"), "'nan' is not finite"),
        ("inf", "'inf' is not finite"),
        ("0:inf:0.1", "'inf' is not finite"),
        ("0:0.6:nan", "'nan' is not finite"),
        ([float("-inf")], "'-inf' is not finite"),
        ("0:1:1e-30", "more than 10,000 values"),
        ("0:1:1e-999999", "more than 10,000 values"),
        ("0:1e999999:1e-999999", "is outside 0 to 1"),
    ],
)
def test_what_is_no_ratio_is_refused_with_the_reason(ratios, reason):
    with pytest.raises(SparsifyError) as caught:
        parse_ratios(ratios)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@st.composite
def grids(draw):
    """0 : k·m/10^p : m/10^p"""
    places = draw(st.integers(0, 5))
    step = draw(st.integers(1, 10**places))
    return places, step, draw(st.integers(0, min(10**places // step, 10_000)))


def decimal(numerator: int, places: int) -> str:
    digits = str(numerator).zfill(places + 1)
    return f"{digits[: len(digits) - places]}.{digits[len(digits) - places :]}" if places else digits


@given(grids())
def test_every_decimal_grid_hits_its_end_exactly(grid):
    places, step, count = grid
    found = parse_ratios(f"0:{decimal(step * count, places)}:{decimal(step, places)}")
    assert found == tuple(float(Fraction(index * step, 10**places)) for index in range(count + 1))


@given(st.lists(st.floats(0, 1), min_size=1))
def test_lists_of_floats_are_kept_to_the_bit(ratios):
    assert parse_ratios(ratios) == tuple(sorted({abs(ratio) for ratio in ratios}))


@given(st.text(st.sampled_from("0123456789.,:-+e_ naif"), max_size=20) | st.text(max_size=5))
def test_any_text_is_ratios_that_can_be_written_again_or_an_error_of_one_line(text):
    found = read_or_refused(parse_ratios, text)
    if found is None:
        return
    assert found
    assert all(0 <= ratio <= 1 for ratio in found)
    assert list(found) == sorted(set(found))
    assert parse_ratios(",".join(map(repr, found))) == parse_ratios(found) == found


def test_a_plan_and_keywords_exclude_each_other():
    plan, point = SweepPlan(layers="conv3"), PointPlan(layers="conv3", ratio=0.5)
    assert SweepPlan.of(plan) is plan
    assert SweepPlan.of(None, layers="conv3") == plan
    assert PointPlan.of(None, layers="conv3", ratio=0.5) == point
    with pytest.raises(SparsifyError, match="grain and a plan exclude each other"):
        SweepPlan.of(plan, grain="weight")
    with pytest.raises(SparsifyError, match="ratio and a plan exclude each other"):
        PointPlan.of(point, ratio=0.6)


def test_a_plan_is_shown_as_the_call_that_makes_it_without_the_defaults():
    plan = SweepPlan(layers="conv3,fc1", ratios=(0, 0.5), controls=True)
    assert repr(plan) == "SweepPlan(layers=('conv3,fc1',), ratios=(0.0, 0.5), controls=True)"
    point = PointPlan(layers="conv3", ratio=0, grain="weight")
    assert repr(point) == "PointPlan(layers='conv3', ratio=0.0, grain='weight')"
    assert (eval(repr(plan)), eval(repr(point))) == (plan, point)
