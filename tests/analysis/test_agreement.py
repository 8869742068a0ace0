"""Agreement: Kendall's τ and the Jaccard overlap by hand, and the pairs of criteria of a small network."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from sparsify.analysis.agreement import Agreement, compare_criteria, jaccard, kendall, ties_decide
from sparsify.data.dataset import Split
from sparsify.errors import SparsifyError
from sparsify.pruning.ranking import Ranking
from sparsify.pruning.subject import Subject
from sparsify.report.table import to_markdown
from sparsify.report.tables import agreement_tables


def test_kendall_counts_the_pairs_in_the_same_order():
    """Of the 6 pairs of (1, 2, 3, 4) and (1, 2, 4, 3) one is in the opposite order: (5 − 1)/6."""
    assert kendall(torch.tensor([1, 2, 3, 4]), torch.tensor([1, 2, 4, 3])) == pytest.approx(4 / 6)
    assert kendall(torch.tensor([[1.0, 2], [3, 4]]), torch.tensor([[4.0, 3], [2, 1]])) == pytest.approx(-1)
    assert math.isnan(kendall(torch.zeros(4), torch.arange(4.0)))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=20))
def test_kendall_is_tau_b(pairs):
    """(concordant − discordant) / √(pairs untied in one · pairs untied in the other)."""
    signs = [((a > c) - (a < c), (b > d) - (b < d)) for (a, b), (c, d) in itertools.combinations(pairs, 2)]
    untied = math.sqrt(sum(x != 0 for x, _ in signs) * sum(y != 0 for _, y in signs))
    first, second = torch.tensor(pairs).T
    found = kendall(first, second)
    assert math.isnan(found) if not untied else found == pytest.approx(sum(x * y for x, y in signs) / untied)


def test_jaccard_is_the_share_of_what_both_remove():
    a, b = torch.tensor([True, True, False, False]), torch.tensor([True, False, True, False])
    assert jaccard(a, b) == pytest.approx(1 / 3)
    assert jaccard(a, a) == 1
    assert jaccard(a, ~a) == 0
    assert jaccard(a & ~a, b & ~b) == 1


def subject() -> Subject:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 4, bias=False), nn.ReLU(), nn.Linear(4, 2))
    with torch.no_grad():
        # L2 norms 5, √32, 1, 7; L1 norms 7, 8, 1, 7
        model[0].weight.copy_(torch.tensor([[3.0, 4], [4, 4], [1, 0], [7, 0]]))
    return Subject(model, Split(torch.rand(3, 2), torch.tensor([0, 1, 0])), name="mine")


def test_two_criteria_on_one_layer():
    """Of the orders 2, 0, 1, 3 and 2, 0 = 3, 1 the pair (1, 3) is discordant and (0, 3) tied: (4 − 1)/√(6·5)."""
    (found,) = compare_criteria(subject(), layers="0", criteria="magnitude,l1", ratios=[0.25, 0.75], grain="neuron")
    assert found.tau == pytest.approx(3 / math.sqrt(30))
    assert found.overlaps == {0.25: 1.0, 0.75: pytest.approx(2 / 4)}  # 2, 0, 1 and 2, 0, 3
    assert (found.layers, found.grains, found.first, found.second) == ("0", 4, "magnitude", "l1")


def test_where_ties_decide_what_goes_there_is_no_overlap():
    """At half, the L1 norms 7, 8, 1, 7 remove 2 and then 0 or 3: which of them is a matter of their index alone."""
    ratios = [0, 0.25, 0.5, 0.75, 1]
    (found,) = compare_criteria(subject(), layers="0", criteria="magnitude,l1", ratios=ratios, grain="neuron")
    assert [math.isnan(found.overlaps[ratio]) for ratio in ratios] == [False, False, True, False, False]
    (table,) = agreement_tables([found], title="mine")
    assert table.texts()[0][4] == "–"


@given(st.lists(st.integers(0, 3), min_size=1, max_size=9), st.floats(0, 1), st.sampled_from(["layer", "global"]))
def test_ties_decide_where_the_last_that_goes_is_as_low_as_the_first_that_stays(scores, ratio, scope):
    values = torch.tensor(scores, dtype=torch.float)
    ranking = Ranking("l1", {"a": values[: len(scores) // 2], "b": values[len(scores) // 2 :]}, scope)
    drops = ranking.drops(ratio)
    parts = (
        [(values, torch.cat(list(drops.values())))]
        if scope == "global"
        else zip(ranking.scores.values(), drops.values(), strict=True)
    )
    tied = any(len(one[drop]) and len(one[~drop]) and one[drop].max() == one[~drop].min() for one, drop in parts)
    assert ties_decide(ranking, ratio) == tied


def test_ties_within_a_stratum_decide_too():
    """Of each half one goes: of 1, 1 either, of 1, 2 the first."""
    strata = {"a": torch.tensor([0, 0, 1, 1])}
    scores = torch.tensor([[1.0, 1.0, 1.0, 2.0], [0.0, 1.0, 1.0, 2.0]])
    assert [ties_decide(Ranking("l1", {"a": one}, strata=strata), 0.5) for one in scores] == [True, False]


def test_a_network_is_taken_with_its_data_as_prune_takes_it():
    asked, of = {"layers": "0", "criteria": "magnitude,l1", "grain": "neuron"}, subject()
    data = (np.array([[0.5, 1.0], [1.0, 0.5], [0.0, 1.0]], np.float32), [0, 1, 0])
    found = compare_criteria(of.model, data=data, **asked)
    assert found == compare_criteria(of, **asked)
    (taylor,) = compare_criteria(of.model, data=data, training=data, layers="0", criteria="l1,taylor", grain="neuron")
    assert -1 <= taylor.tau <= 1


@pytest.mark.parametrize(
    ("target", "data", "message"),
    [
        (subject().model, None, "a network needs data to be measured on, as in data=(images, labels)"),
        (subject(), (torch.rand(3, 2), [0, 1, 0]), "data is given with a Subject, which has its own"),
        ("lenet", None, "a str cannot be pruned; it must be a network, a Run or a Subject"),
    ],
)
def test_another_target_is_refused(target, data, message):
    with pytest.raises(SparsifyError, match=re.escape(message)):
        compare_criteria(target, data=data, layers="0", criteria="magnitude,l1")


def test_every_pair_on_every_layer_or_globally_on_every_set():
    asked = {"criteria": ["magnitude", "fpgm", "random"], "ratios": [0.5], "grain": "neuron"}
    pairs = [("magnitude", "fpgm"), ("magnitude", "random"), ("fpgm", "random")]
    found = compare_criteria(subject(), layers=["0,2", "2"], **asked)
    assert [(one.layers, one.first, one.second) for one in found] == [
        (name, *pair) for name in ("0", "2") for pair in pairs
    ]
    together = compare_criteria(subject(), layers=["0,2", "2"], scope="global", **asked)
    assert [(one.layers, one.grains) for one in together[::3]] == [("0,2", 6), ("2", 2)]


def test_lamp_differs_from_magnitude_only_globally():
    (alone,) = compare_criteria(subject(), layers="0", criteria="magnitude,lamp", grain="neuron")
    (together,) = compare_criteria(subject(), layers="0,2", criteria="magnitude,lamp", grain="neuron", scope="global")
    assert alone.tau == pytest.approx(1)
    assert set(alone.overlaps.values()) == {1.0}
    assert together.tau < 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"criteria": "l1"}, "--compare-criteria 'l1' is no pair; name two or more of: magnitude, l1"),
        ({"criteria": "l1, l1"}, "--compare-criteria 'l1' is no pair"),
        ({"criteria": "l1,l2"}, "unknown criterion 'l2'; choose from: magnitude, l1"),
        ({"criteria": "l1,"}, "unknown criterion ''"),
        ({"criteria": "l1,taylor"}, "criterion 'taylor' needs gradients on training images"),
        ({"grain": "rows"}, "unknown grain 'rows'"),
        ({"scope": "set"}, "unknown scope 'set'; choose from: layer, global"),
        ({"layers": "1"}, "unknown layer '1' in mine"),
        ({"ratios": "2"}, "ratio 2 is outside 0 to 1"),
    ],
)
def test_what_makes_no_sense_is_refused(changes, message):
    with pytest.raises(SparsifyError) as caught:
        compare_criteria(subject(), **({"layers": "0", "criteria": "l1,lamp"} | changes))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_table_has_a_row_a_pair():
    one = Agreement("conv3", 1200, "l1", "lamp", 0.5, {0.25: 1 / 3, 0.5: 1.0})
    constant = dataclasses.replace(one, first="gamma", tau=math.nan)
    (table,) = agreement_tables([one, constant], title="mine")
    text = to_markdown(table)
    assert text.startswith("**mine: agreement on conv3 (1,200 grains)**")
    assert "Jaccard 25%" in text
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[-2:]]
    assert rows == [["l1, lamp", "0.500", "0.333", "1.000"], ["gamma, lamp", "–", "0.333", "1.000"]]
