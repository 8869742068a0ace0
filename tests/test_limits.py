"""Limits: what is too much is refused with a sentence, before it takes time or memory."""

from __future__ import annotations

import datetime

import pytest

from sparsify.cli.options import parse_seeds
from sparsify.config import Config, Places
from sparsify.errors import SparsifyError
from sparsify.limits import MOST_DEPTH, MOST_RATIOS, MOST_SEEDS, Limit, checked_text, checked_values, twice
from sparsify.pruning.plan import PointPlan, SweepPlan
from sparsify.pruning.ratios import parse_ratios

HUGE = 10**5000
LONG = "a whole number of more than 4,300 digits"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Config(epochs=HUGE), f"--epochs is {LONG}; it must be at most 1000000"),
        (lambda: Config(seed=-HUGE), f"--seed is {LONG}; it must be a whole number of at least 0"),
        (lambda: Config(lr=HUGE), "--lr is a whole number of more than 4,300 digits; it must be a finite number"),
        (lambda: Config(lr=datetime.date(1979, 5, 27)), r"--lr is datetime.date\(1979, 5, 27\); it must be a finite"),
        (lambda: Config(opt="sgd", mu=HUGE), "--mu a whole number of more than 4,300 digits has no effect"),
        (lambda: Config(model=["lenet"]), r"unknown network '\['lenet'\]'"),
        (lambda: Config(data={"a": 1}), r"unknown data set '\{'a': 1\}'"),
        (lambda: Config(data="folder:a\0b"), r"--data is 'folder:a\\x00b'; it must be text without NUL"),
        (lambda: Config(init="\udcff"), r"--init is '\\udcff'; it must be text without NUL, and in UTF-8"),
        (lambda: Config(mask="a/" * 3000), "it has 6,000 characters, at most 4,096"),
        (lambda: SweepPlan(draws=10**9, criterion="random"), "--draws is 1000000000; it must be at most 10000"),
        (lambda: SweepPlan(draws=1.5, criterion="random"), "--draws is 1.5; it must be a whole number"),
        (lambda: SweepPlan(rounds=10**9), "--rounds is 1000000000; it must be at most 10000"),
        (lambda: SweepPlan(finetune_epochs=10**9), "--finetune is 1000000000; it must be at most 1000000"),
        (lambda: SweepPlan(layers=["conv3"] * 1001), "1,001 sets of layers are too many; at most 1,000"),
        (lambda: SweepPlan(layers="," * 10_000), "10,001 layers in a set are too many; at most 10,000"),
        (lambda: SweepPlan(layers=[3]), "layers are 3; they must be a text"),
        (lambda: SweepPlan(layers=3), "layers are 3; they must be a text or several"),
        (lambda: SweepPlan(layers=["a"] * 1000, ratios="0:1:1e-3", draws=9, criterion="random"), "9,009,000 pruned"),
        (lambda: SweepPlan(criterion=["l1"]), r"unknown criterion '\['l1'\]'"),
        (lambda: PointPlan(layers="a", ratio=[0, 1]), r"ratio is \[0, 1\]; it must be one number"),
        (lambda: parse_ratios("0," * MOST_RATIOS), "10,001 ratios are too many; at most 10,000"),
        (lambda: parse_ratios(iter(int, 1)), "10,001 ratios are too many; at most 10,000"),
        (lambda: parse_ratios("0:1:1e999999"), "have the step 1E\\+999999, which must be at most 100"),
        (lambda: parse_ratios("0:1:1e-300"), "are more than 10,000 values"),
        (lambda: parse_ratios("1e999999999999999999"), "ratio 1E\\+999999999999999999 is outside 0 to 1"),
        (lambda: parse_ratios("x" * 10**6), "x…' is no number"),
        (lambda: parse_ratios(datetime.date(1979, 5, 27)), r"ratios are datetime.date\(1979, 5, 27\)"),
        (lambda: parse_ratios([HUGE]), "ratio a whole number of more than 4,300 digits is no number"),
        (lambda: parse_seeds("9" * 20), "--seeds '9{20}' are too many; at most 10,000"),
        (lambda: parse_seeds("9" * 5000), "…' are too many; at most 10,000"),
        (lambda: parse_seeds("0-99999999999"), "is malformed"),
        (lambda: parse_seeds(f"1,{'9' * 30}"), "has a seed that is too large; at most 9223372036854775807"),
        (lambda: parse_seeds(f"1,{2**63}"), "has a seed that is too large; at most 9223372036854775807"),
        (lambda: parse_seeds("1," * MOST_SEEDS + "1"), "are too many; at most 10,000"),
    ],
)
def test_what_is_too_much_is_refused_with_the_limit(make, message):
    with pytest.raises(SparsifyError, match=message) as caught:
        make()
    assert len(str(caught.value)) < 400


def test_the_limits_themselves_are_allowed():
    Limit(1, 3).check("it", 3)
    assert Config(seed=2**63 - 1, epochs=10**6).epochs == 10**6
    assert len(parse_seeds(str(MOST_SEEDS))) == MOST_SEEDS
    assert parse_seeds(f"1,{2**63 - 1}") == (1, 2**63 - 1)
    assert checked_text("it", "a" * 4096) == "a" * 4096
    assert len(parse_ratios(f"0:1:{1 / (MOST_RATIOS - 1)}")) in (MOST_RATIOS - 1, MOST_RATIOS)


def test_values_are_looked_through_without_recursion():
    fine: object = 10**300
    for _ in range(MOST_DEPTH - 2):
        fine = [fine]
    checked_values(fine)
    deep: object = 1
    for _ in range(100_000):
        deep = [deep]
    for values, message in ((deep, "nested more than 50 deep"), ({"a": [HUGE]}, "more than 400 digits")):
        with pytest.raises(SparsifyError, match=message):
            checked_values(values)


def test_the_first_value_that_comes_again_is_found():
    assert twice([1, 2, 3, 2, 1]) == 2
    assert twice(["a", "b"]) is None


def test_a_keyword_that_no_plan_and_no_place_has_is_named_with_the_choices():
    with pytest.raises(SparsifyError, match="unknown keyword 'ratio'; did you mean 'ratios'\\? choose from: layers"):
        SweepPlan.of(None, layers="conv3", ratio=0.5)
    with pytest.raises(SparsifyError, match="unknown keyword 'ratios'; did you mean 'ratio'"):
        PointPlan.of(None, layers="conv3", ratios=0.5)
    with pytest.raises(SparsifyError, match="layers and a plan exclude each other; name one or the other"):
        SweepPlan.of(SweepPlan(), layers="conv3")
    with pytest.raises(SparsifyError, match="unknown keyword 'devise'; did you mean 'device'\\? choose from: device,"):
        Places.of(None, devise="cpu")
    with pytest.raises(SparsifyError, match="device and places exclude each other; name one or the other"):
        Places.of(Places(), device="cpu")
