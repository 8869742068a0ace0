"""Selection: exact counts in each layer or of all together, either order, controls with the counts of another."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sparsify.nets.mask import lowest, removed_count
from sparsify.pruning.ranking import Ranking

SCORES = {"a": torch.tensor([1.0, 5, 3]), "b": torch.tensor([[2.0, 3], [3, 0]])}
"""Together, the lowest first: b₃, a₀, b₀, a₂, b₁, b₂, a₁; three grains tie at 3."""


def gone(selection: Ranking, ratio: float) -> dict[str, list[int]]:
    return {name: drop.flatten().nonzero().flatten().tolist() for name, drop in selection.drops(ratio).items()}


def test_each_layer_loses_the_ratio_of_its_own_grains():
    assert gone(Ranking("m", SCORES), 0.5) == {"a": [0, 2], "b": [0, 3]}
    assert gone(Ranking("m", SCORES, reverse=True), 0.5) == {"a": [1, 2], "b": [1, 2]}


def test_globally_the_lowest_of_all_go_and_ties_by_layer_and_then_by_index():
    found = [gone(Ranking("m", SCORES, "global"), count / 7) for count in range(8)]
    assert found == [
        {"a": [], "b": []},
        {"a": [], "b": [3]},
        {"a": [0], "b": [3]},
        {"a": [0], "b": [0, 3]},
        {"a": [0, 2], "b": [0, 3]},
        {"a": [0, 2], "b": [0, 1, 3]},
        {"a": [0, 2], "b": [0, 1, 2, 3]},  # b is gone: that is measured
        {"a": [0, 1, 2], "b": [0, 1, 2, 3]},
    ]


def test_globally_reversed_the_highest_go_and_ties_by_layer_and_then_by_index_all_the_same():
    found = [gone(Ranking("m", SCORES, "global", reverse=True), count / 7) for count in range(1, 5)]
    assert found == [
        {"a": [1], "b": []},
        {"a": [1, 2], "b": []},
        {"a": [1, 2], "b": [1]},
        {"a": [1, 2], "b": [1, 2]},
    ]


def test_a_control_takes_as_many_of_each_layer_as_what_it_controls():
    """4 of 7 are 2 and 2 globally; of 0.9, 6 of 7, all of b go."""
    base = Ranking("m", SCORES, "global")
    opposite = Ranking("m", SCORES, "global", reverse=True, like=base)
    assert gone(opposite, 4 / 7) == {"a": [1, 2], "b": [1, 2]}
    assert gone(opposite, 6 / 7) == {"a": [1, 2], "b": [0, 1, 2, 3]}
    assert gone(Ranking("m", SCORES, "global", reverse=True), 6 / 7) == {"a": [0, 1, 2], "b": [0, 1, 2]}


def test_the_name_says_which_order():
    assert Ranking("lamp", SCORES).name == "lamp"
    assert Ranking("lamp", SCORES, reverse=True).name == "lamp-reversed"


LAYERS = st.lists(st.lists(st.integers(-3, 3), min_size=1, max_size=9), min_size=1, max_size=4)
RATIOS = st.floats(0, 1)


def scores_of(layers: list[list[int]]) -> dict[str, torch.Tensor]:
    return {str(index): torch.tensor(values, dtype=torch.float32) for index, values in enumerate(layers)}


@given(LAYERS, RATIOS, st.booleans())
def test_counts_are_exact_in_each_layer(layers, ratio, reverse):
    found = Ranking("m", scores_of(layers), "layer", reverse).drops(ratio)
    assert [int(drop.sum()) for drop in found.values()] == [round(ratio * len(values)) for values in layers]


@given(LAYERS, RATIOS, st.booleans())
def test_globally_the_grains_that_go_are_those_of_one_sorted_list(layers, ratio, reverse):
    grains = [(value, layer, index) for layer, values in enumerate(layers) for index, value in enumerate(values)]
    order = sorted(grains, key=lambda grain: (-grain[0] if reverse else grain[0], *grain[1:]))
    expected = {(layer, index) for _, layer, index in order[: round(ratio * len(grains))]}
    found = Ranking("m", scores_of(layers), "global", reverse).drops(ratio)
    assert {(int(name), i) for name, drop in found.items() for i in drop.nonzero().flatten().tolist()} == expected


@given(LAYERS, RATIOS, st.booleans(), st.sampled_from(["layer", "global"]))
def test_more_goes_at_a_higher_ratio_and_what_went_stays_gone(layers, ratio, reverse, scope):
    selection = Ranking("m", scores_of(layers), scope, reverse)
    less, more = selection.drops(ratio / 2), selection.drops(ratio)
    assert all((more[name] >= less[name]).all() for name in more)


@given(LAYERS, RATIOS, st.sampled_from(["layer", "global"]))
def test_controls_have_identical_counts_in_each_layer(layers, ratio, scope):
    base = Ranking("m", scores_of(layers), scope)
    other = {name: torch.rand(values.shape) for name, values in base.scores.items()}
    controls = [
        Ranking("random", other, scope, like=base),
        Ranking("m", base.scores, scope, reverse=True, like=base),
    ]
    for control in controls:
        for name, drop in control.drops(ratio).items():
            assert drop.sum() == base.drops(ratio)[name].sum()


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=20), RATIOS)
def test_in_one_layer_both_scopes_are_the_same(values, ratio):
    scores = scores_of([values])
    assert torch.equal(Ranking("m", scores).drops(ratio)["0"], Ranking("m", scores, "global").drops(ratio)["0"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64])
def test_the_highest_go_in_every_kind_of_score(dtype):
    scores = torch.tensor([2, 7, -9, 7, 0], dtype=dtype)
    assert lowest(scores, removed_count(0.6, 5), reverse=True).tolist() == [True, True, False, True, False]
