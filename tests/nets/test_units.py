"""Units: which layers are ranked as one thing, and literal examples of what their grains hold and lose."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from problem_networks import (
    IMAGE,
    TOKENS,
    Net,
    chunk_gate,
    conv,
    flipped,
    grouped,
    padded_shortcut,
    pixel_shuffle,
    pooled,
    residual,
    seeded,
    separate_attention,
)
from torch import Tensor, nn

from sparsify.errors import SparsifyError
from sparsify.nets.layers import Layer, find_layers
from sparsify.nets.structure import Cut, Structure
from sparsify.nets.units import Unit, find_units


def layer(name: str, values: list[list[float]]) -> Layer:
    """A convolution of one channel whose filters are these rows."""
    weight = torch.tensor(values)[:, None, None]
    module = nn.Conv2d(1, len(values), (1, weight.shape[-1]))
    module.weight = nn.Parameter(weight, requires_grad=False)
    return Layer(name, module)


A, B = layer("a", [[1, 2], [3, 4]]), layer("b", [[5], [6], [7], [8]])
MEMBERS = ((A, torch.tensor([1, 0])), (B, torch.tensor([0, 0, 1, -1])))
"""Grain 0 is a's filter 1 and b's filters 0 and 1; grain 1 is a's filter 0 and b's filter 2."""


def unit(*asked: Layer, grain: str = "filter") -> Unit:
    """A unit of `MEMBERS`; each layer was asked for by its name in capitals."""
    return Unit({one.name.upper(): one for one in asked}, grain, MEMBERS)


def plain(cuts: list[Cut]) -> list[tuple[str, str, list[int]]]:
    """The layer, the grain and the indices that go, of each cut."""
    return [(cut.layer.name, cut.grain, cut.drop.flatten().nonzero().flatten().tolist()) for cut in cuts]


def test_rows_are_what_belongs_to_a_grain_side_by_side_with_zeros_where_one_has_less() -> None:
    weights = {"a": A.weight, "b": B.weight}
    assert unit(A).count == 2
    assert unit(A).rows(weights).tolist() == [[3, 4, 5, 6], [1, 2, 7, 0]]
    assert unit(A).rows({"a": torch.tensor([10, 20]), "b": torch.tensor([1, 2, 3, 4])}).tolist() == [
        [20, 1, 2],
        [10, 3, 0],
    ]


def test_a_layer_of_which_nothing_is_known_is_left_out_of_the_rows() -> None:
    assert unit(A).rows({"b": B.weight}).tolist() == [[5, 6], [7, 0]]
    assert unit(A).rows({"a": A.weight}).tolist() == [[3, 4], [1, 2]]


def test_the_rows_of_one_layer_are_its_weight_as_it_is() -> None:
    one = Unit({"a": A}, "filter", ((A, torch.arange(2)),))
    assert one.is_one_layer
    assert one.rows({"a": A.weight}) is A.weight
    # not in their order, or not all by themselves: then they are no longer the filters as they come
    assert not Unit({"a": A}, "filter", ((A, torch.tensor([1, 0])),)).is_one_layer
    assert not Unit({"b": B}, "filter", ((B, torch.tensor([0, 0, 1, 1])),)).is_one_layer
    assert not unit(A).is_one_layer


def test_the_rows_of_a_transposed_convolution_have_its_outputs_first() -> None:
    """Its weight is (inputs, outputs, …)."""
    up = Layer("up", nn.ConvTranspose2d(2, 3, 1, bias=False))
    weight = torch.tensor([[1.0, 2, 3], [4, 5, 6]])[:, :, None, None]
    one = Unit({"up": up}, "filter", ((up, torch.arange(3)),))
    assert one.rows({"up": weight}).flatten(1).tolist() == [[1, 4], [2, 5], [3, 6]]
    both = Unit({"up": up}, "filter", ((up, torch.tensor([2, 1, 0])), (layer("c", [[7], [8], [9]]), torch.arange(3))))
    assert both.rows({"up": weight, "c": torch.tensor([7.0, 8, 9])}).tolist() == [[3, 6, 7], [2, 5, 8], [1, 4, 9]]


def test_the_least_is_that_of_all_outputs_of_a_grain() -> None:
    """b's last output is in no grain."""
    assert unit(A).least({"a": torch.tensor([4, 1]), "b": torch.tensor([3, 0.5, 7, 0])}).tolist() == [0.5, 4]
    neurons = torch.tensor([[3, 9], [2, 8], [7, 1], [0, 0]])
    assert unit(A).least({"a": torch.tensor([4, 5]), "b": neurons}).tolist() == [2, 1]
    assert unit(A).least({"b": torch.tensor([3, torch.inf, torch.inf, 0])}).tolist() == [3, torch.inf]


def test_each_layer_asked_for_has_a_cut_and_the_others_have_none() -> None:
    first, second = torch.tensor([True, False]), torch.tensor([False, True])
    assert plain(unit(A, B).cuts(first)) == [("a", "filter", [1]), ("b", "filter", [0, 1])]
    assert plain(unit(A, B).cuts(second)) == [("a", "filter", [0]), ("b", "filter", [2])]
    assert plain(unit(B).cuts(first)) == [("b", "filter", [0, 1])]
    assert plain(unit(A).cuts(torch.tensor([False, False]))) == [("a", "filter", [])]


def test_of_heads_every_member_has_a_cut() -> None:
    cuts = unit(A, grain="head").cuts(torch.tensor([True, False]))
    assert plain(cuts) == [("a", "filter", [1]), ("b", "filter", [0, 1])]


def test_a_grain_is_gone_if_all_its_outputs_in_the_layers_asked_for_are() -> None:
    """Of b, filter 1 is left in grain 0; grain 1 is gone from both."""
    whole = ((A, torch.tensor([1, 0])), (B, torch.tensor([0, 0, 1, 1])))
    both, one = Unit({"A": A, "B": B}, "filter", whole), Unit({"A": A}, "filter", whole)
    removed = {"A": torch.tensor([True, True]), "B": torch.tensor([True, False, True, True])}
    assert both.gone(removed).tolist() == [False, True]
    assert one.gone(removed).tolist() == [True, True]
    assert one.gone({"A": torch.tensor([False, True])}).tolist() == [True, False]


def test_single_weights_are_those_of_one_layer() -> None:
    one, drop = Unit({"A": A}, "weight"), torch.tensor([True, False, False, True]).view(2, 1, 1, 2)
    assert (one.count, one.layers, one.is_one_layer) == (4, [A], True)
    assert one.rows({"a": A.weight}) is A.weight
    assert plain(one.cuts(drop)) == [("a", "weight", [0, 3])]
    assert one.gone({"A": drop}) is drop


# found in networks ---------------------------------------------------------------------------------------------------


def found(build: Callable[[], nn.Module], shape: tuple[int, ...], asked: str, grain: str = "auto") -> list[Unit]:
    model = seeded(build)
    return find_units(Structure(model, torch.zeros(shape)), find_layers(model, asked), grain)


def grains(one: Unit) -> dict[str, list[int]]:
    return {member.name: numbers.tolist() for member, numbers in one.members}


@pytest.mark.parametrize("asked", ["stem,conv2", "conv2,stem", "conv2", "stem"])
def test_layers_that_are_added_are_one_unit_however_they_are_asked_for(asked: str) -> None:
    (one,) = found(residual, IMAGE, asked)
    assert one.name == asked
    assert list(one.asked) == asked.split(",")
    assert grains(one) == {"stem": [0, 1, 2, 3, 4, 5], "conv2": [0, 1, 2, 3, 4, 5]}
    assert one.grain == "filter"


def test_units_come_in_the_order_of_their_first_layers_and_have_the_names_that_were_asked_for() -> None:
    """conv1 is the stem here, conv2 the first and conv3 the second of the branch."""
    units = found(residual, IMAGE, "conv3,conv1,stem,fc1")
    assert [(one.name, one.grain, one.count) for one in units] == [
        ("conv3,stem", "filter", 6),
        ("conv1", "filter", 5),
        ("fc1", "weight", 18),
    ]
    assert units[2].members == ()


def test_single_weights_are_a_unit_for_each_layer() -> None:
    units = found(residual, IMAGE, "stem,conv2,conv1", "weight")
    assert [(one.name, one.members, one.count) for one in units] == [
        ("stem", (), 6 * 27),
        ("conv2", (), 6 * 45),
        ("conv1", (), 5 * 54),
    ]


def test_grains_are_numbered_as_the_outputs_of_the_layer_that_is_asked_for_first() -> None:
    """The channels of one are added to those of the other in the opposite order."""
    forward, backward = list(range(6)), list(range(5, -1, -1))
    assert grains(*found(flipped, IMAGE, "one")) == {"one": forward, "other": backward}
    assert grains(*found(flipped, IMAGE, "other")) == {"one": backward, "other": forward}
    assert grains(*found(flipped, IMAGE, "other,one")) == {"one": backward, "other": forward}


def test_outputs_that_only_go_together_are_one_grain() -> None:
    """A gate of 4 channels by 4 others, and channels that are made of four outputs each."""
    assert grains(*found(chunk_gate, IMAGE, "conv")) == {"conv": [0, 1, 2, 3, 0, 1, 2, 3]}
    assert grains(*found(pixel_shuffle, IMAGE, "conv")) == {"conv": [i // 4 for i in range(16)]}


def test_outputs_that_no_grain_holds_have_the_number_minus_one() -> None:
    """The 4 channels of the stem are added to those from 2 on of the 8 of conv2."""
    inner = [-1, -1, 0, 1, 2, 3, -1, -1]
    assert grains(*found(padded_shortcut, IMAGE, "stem")) == {"stem": [0, 1, 2, 3], "conv2": inner}
    outer = {"stem": [2, 3, 4, 5], "conv2": [0, 1, 2, 3, 4, 5, 6, 7]}
    assert grains(*found(padded_shortcut, IMAGE, "conv2")) == outer
    first_seen = {"stem": [0, 1, 2, 3], "conv2": [4, 5, 0, 1, 2, 3, 6, 7]}
    assert grains(*found(padded_shortcut, IMAGE, "stem,conv2")) == first_seen
    assert grains(*found(padded_shortcut, IMAGE, "conv2,stem")) == outer


def parts_of_a_sum() -> nn.Module:
    """The channels of a and those of b, 3 and 2, are added to the 5 of c."""
    run = lambda net, x: net.head(pooled((torch.cat([net.a(x), net.b(x)], 1) + net.c(x)).relu()))  # noqa: E731
    return Net(run, a=conv(3, 3), b=conv(3, 2), c=conv(3, 5), head=nn.Linear(5, 4))


@pytest.mark.parametrize("asked", ["a,b,c", "a,c,b", "b,c,a"])
def test_layers_that_go_with_one_that_is_asked_for_are_one_unit_in_any_order(asked: str) -> None:
    (one,) = found(parts_of_a_sum, IMAGE, asked)
    assert one.name == asked
    assert one.count == 5
    held = grains(one)
    assert held["a"] + held["b"] == held["c"]


def test_layers_that_only_go_with_one_that_is_not_asked_for_are_units_of_their_own() -> None:
    first, second = found(parts_of_a_sum, IMAGE, "a,b")
    assert grains(first) == {"a": [0, 1, 2], "c": [0, 1, 2, -1, -1]}
    assert grains(second) == {"b": [0, 1], "c": [-1, -1, -1, 0, 1]}


@pytest.mark.parametrize("asked", ["conv,depthwise", "depthwise,conv"])
def test_a_convolution_and_the_depthwise_one_that_it_feeds_are_one_unit_in_either_order(asked: str) -> None:
    """Two outputs are computed from each channel: they go with it, and it does not go with them."""
    run = lambda net, x: net.head(pooled(net.depthwise(net.conv(x)).relu()))  # noqa: E731
    build = lambda: Net(run, conv=conv(3, 3), depthwise=conv(3, 6, groups=3), head=nn.Linear(6, 4))  # noqa: E731
    (one,) = found(build, IMAGE, asked)
    assert one.name == asked
    assert one.count == 9


def test_the_groups_of_a_grouped_convolution_are_strata() -> None:
    """8 channels in 2 groups leave it, and 8 enter it."""
    for name in ("grouped", "conv"):
        (one,) = found(grouped(2), IMAGE, name)
        assert one.strata is not None
        assert one.strata.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    (plain,) = found(residual, IMAGE, "conv1")
    assert plain.strata is None


@pytest.mark.parametrize("asked", ["query", "value", "query,key,value", "value,query"])
def test_the_heads_of_an_attention_are_one_unit_however_they_are_asked_for(asked: str) -> None:
    """2 heads of 4 queries, 4 keys and 4 values each."""
    (one,) = found(separate_attention, TOKENS, asked, "head")
    assert one.name == asked
    assert grains(one) == {name: [0, 0, 0, 0, 1, 1, 1, 1] for name in ("query", "key", "value")}
    assert one.grain == "head"
    assert {cut.layer.name for cut in one.cuts(torch.tensor([True, False]))} == {"query", "key", "value"}


def test_outputs_that_are_in_no_heads_are_refused() -> None:
    with pytest.raises(SparsifyError, match="conv1 cannot be pruned: it has no heads: each of its 5 outputs"):
        found(residual, IMAGE, "conv1", "head")


def test_a_layer_that_cannot_be_pruned_is_refused() -> None:
    shared = nn.Conv2d(3, 3, 1)
    twin = nn.Conv2d(3, 3, 1)
    twin.weight = shared.weight
    model = nn.Sequential(shared, nn.ReLU(), twin, nn.AdaptiveAvgPool2d(1), nn.Flatten(1), nn.Linear(3, 2)).eval()
    with pytest.raises(SparsifyError, match="0 cannot be pruned: '0' shares its weight with another module"):
        find_units(Structure(model, torch.zeros(1, 3, 4, 4)), find_layers(model, "conv1"))


def test_tensors_on_their_device_stay_there() -> None:
    """Grains are numbered on the CPU; what is taken by them is where the weights are."""
    weights: dict[str, Tensor] = {"a": A.weight.to("meta"), "b": B.weight.to("meta")}
    assert unit(A).rows(weights).device.type == "meta"
