"""Layers: a module's own name first, then the ordinals conv1 … and fc1 …; each layer of a set once."""

from __future__ import annotations

import re
from collections import OrderedDict

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from refusals import read_or_refused
from torch import nn

from sparsify.errors import SparsifyError
from sparsify.nets.layers import GRAINS, Layer, find_layer, find_layers, find_sets, layer_names, prunable_layers
from sparsify.nets.zoo.lenet import lenet


def called(model: nn.Module) -> dict[str, str]:
    """What each name means: the module's own name."""
    return {name: layer.name for name, layer in layer_names(model).items()}


def misleading() -> nn.Module:
    """A network whose first convolution is called stem, and whose third is called conv1, as in a ResNet's block."""
    return nn.Sequential(
        OrderedDict(
            stem=nn.Conv2d(1, 2, 3),
            block=nn.Sequential(OrderedDict(fc1=nn.Conv2d(2, 2, 3), conv1=nn.Conv2d(2, 2, 3))),
            conv1=nn.Conv2d(2, 2, 3),
            flatten=nn.Flatten(1),
            head=nn.Linear(2, 2),
            fc1=nn.Linear(2, 2),
        )
    )


def test_the_names_of_lenet():
    names = ["conv1", "conv2", "conv3", "fc1", "fc2"]
    assert called(lenet((1, 28, 28), 10)) == dict(zip(names, names, strict=True))


def test_a_modules_own_name_comes_before_an_ordinal():
    assert called(misleading()) == {
        "stem": "stem",
        "block.fc1": "block.fc1",
        "block.conv1": "block.conv1",
        "conv1": "conv1",
        "head": "head",
        "fc1": "fc1",
        # conv1, the first convolution's ordinal, and fc1, the first fully connected layer's, are taken
        "conv2": "block.fc1",
        "conv3": "block.conv1",
        "conv4": "conv1",
        "fc2": "fc1",
    }


def test_ordinals_where_names_are_numbers():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(1), nn.Linear(2, 3), nn.Linear(3, 4))
    assert called(model) == {"0": "0", "3": "3", "4": "4", "conv1": "0", "fc1": "3", "fc2": "4"}


def test_a_network_that_is_one_layer_is_called_by_its_ordinal():
    model = nn.Linear(2, 2)
    assert called(model) == {"fc1": ""}
    assert find_layers(model, "fc1")["fc1"].parameter == "weight"


def test_convolutions_of_every_dimension_are_found_and_transposed_ones():
    kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    model = nn.Sequential(*(kind(1, 1, 1) for kind in kinds), nn.Bilinear(1, 1, 1), nn.Linear(1, 1))
    found = [(layer.name, layer.is_convolution) for layer in prunable_layers(model)]
    assert found == [*((str(place), True) for place in range(6)), ("7", False)]


def test_the_weight_of_a_transposed_convolution_has_its_outputs_second_in_each_group():
    """4 inputs and 6 outputs in 2 groups: the weight is (4, 3), and output 4 is the second one of the second group."""
    layer = Layer("up", nn.ConvTranspose2d(4, 6, 1, groups=2))
    assert (layer.inputs, layer.outputs, layer.groups) == (4, 6, 2)
    weight = torch.arange(12.0).view(4, 3, 1, 1)
    assert layer.rows(weight).flatten(1).tolist() == [[0, 3], [1, 4], [2, 5], [6, 9], [7, 10], [8, 11]]
    assert layer.rows(torch.arange(6)).tolist() == [0, 1, 2, 3, 4, 5]
    outputs, inputs = torch.arange(6) == 4, torch.arange(4) == 1
    none = [False, False, False]
    assert layer.output_elements(outputs)[:, :, 0, 0].tolist() == [
        none,
        none,
        [False, True, False],
        [False, True, False],
    ]
    assert layer.input_elements(inputs)[:, :, 0, 0].tolist() == [none, [True, True, True], none, none]


def test_the_weight_of_a_convolution_has_its_outputs_first():
    """4 inputs and 2 outputs in 2 groups: the weight is (2, 2), and input 3 is the second one of the second group."""
    layer = Layer("conv", nn.Conv2d(4, 2, 1, groups=2))
    weight = torch.arange(4.0).view(2, 2, 1, 1)
    assert layer.rows(weight) is weight
    assert layer.output_elements(torch.tensor([False, True]))[:, :, 0, 0].tolist() == [[False, False], [True, True]]
    assert layer.input_elements(torch.arange(4) == 3)[:, :, 0, 0].tolist() == [[False, False], [False, True]]


def test_a_module_that_is_used_under_two_names_is_one_layer():
    shared = nn.Linear(2, 2)
    assert called(nn.ModuleDict({"a": shared, "b": shared})) == {"a": "a", "fc1": "a"}


def test_a_set_is_in_the_order_in_which_it_was_asked_for():
    found = find_layers(lenet((1, 28, 28), 10), " fc1, conv3 ")
    assert list(found) == ["fc1", "conv3"]
    assert list(find_layers(lenet((1, 28, 28), 10), ["conv3", "fc1"])) == ["conv3", "fc1"]


def test_each_layer_is_taken_once_under_the_name_that_came_first():
    found = find_layers(misleading(), "conv2,block.fc1,conv2,stem")
    assert {name: layer.name for name, layer in found.items()} == {"conv2": "block.fc1", "stem": "stem"}


def test_an_unknown_layer_lists_the_choices_and_the_nearest():
    with pytest.raises(SparsifyError) as caught:
        find_layers(lenet((1, 28, 28), 10), "conv3,conv4", "lenet")
    assert str(caught.value) == (
        "unknown layer 'conv4' in lenet; did you mean 'conv3'? choose from: conv1, conv2, conv3, fc1, fc2"
    )


@pytest.mark.parametrize("asked", ["fc1,", ["fc1", ""]])
def test_an_empty_name_is_refused(asked):
    with pytest.raises(SparsifyError, match="unknown layer ''"):
        find_layers(lenet((1, 28, 28), 10), asked)


@pytest.mark.parametrize("asked", ["", " ", ",", [""], []])
def test_layers_that_are_missing_are_said_to_be_with_those_that_there_are(asked):
    with pytest.raises(SparsifyError) as caught:
        find_layers(lenet((1, 28, 28), 10), asked, "mine")
    assert str(caught.value) == "layers are missing; mine has: conv1, conv2, conv3, fc1, fc2"


def test_a_network_without_layers_is_refused():
    with pytest.raises(SparsifyError, match="mine has no convolution and no fully connected layer"):
        find_layers(nn.Sequential(nn.BatchNorm2d(3)), "conv1", "mine")


def test_what_is_removed_as_one():
    convolution, connected = Layer("a", nn.Conv2d(1, 1, 1)), Layer("b", nn.Linear(1, 1))
    assert [convolution.grain(grain) for grain in GRAINS] == ["filter", "filter", "filter", "weight", "filter"]
    assert [connected.grain(grain) for grain in GRAINS] == ["weight", "neuron", "neuron", "weight", "neuron"]
    with pytest.raises(SparsifyError, match="unknown grain 'filters'; did you mean 'filter'"):
        convolution.grain("filters")


def test_a_layer_knows_its_weight_and_its_name_in_the_state_dict():
    model = misleading()
    for layer in prunable_layers(model):
        assert layer.weight is dict(model.named_parameters())[layer.parameter]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("all", ["conv1", "conv2", "conv3", "fc1"]),
        ("conv*", ["conv1", "conv2", "conv3"]),
        ("fc*", ["fc1"]),
        ("*[13]", ["conv1", "conv3", "fc1"]),
        ("conv?,fc1", ["conv1", "conv2", "conv3", "fc1"]),
        ("fc1,conv*", ["fc1", "conv1", "conv2", "conv3"]),
        ("conv2,conv*", ["conv2", "conv1", "conv3"]),
        ("all,fc2", ["conv1", "conv2", "conv3", "fc1", "fc2"]),
    ],
)
def test_all_and_globs_leave_out_what_they_are_told_to_unless_it_is_named(asked, expected):
    assert list(find_layers(lenet((1, 28, 28), 10), asked, left_out=lambda: {"fc2": "it is last"})) == expected


@pytest.mark.parametrize("asked", ["all", "conv*", "fc[12]", "conv?,fc1"])
def test_only_names_are_taken_where_nothing_says_what_is_left_out(asked):
    with pytest.raises(
        SparsifyError, match=f"unknown layer '{re.escape(asked.split(',')[0])}' in lenet; .*choose from"
    ):
        find_layers(lenet((1, 28, 28), 10), asked, "lenet")


def test_what_is_left_out_is_only_asked_for_if_there_is_a_pattern():
    def never():
        raise AssertionError

    assert list(find_layers(lenet((1, 28, 28), 10), "fc2,conv1", left_out=never)) == ["fc2", "conv1"]
    with pytest.raises(SparsifyError, match="unknown layer 'conv9' in the network"):
        find_layers(lenet((1, 28, 28), 10), "conv9", left_out=never)
    with pytest.raises(AssertionError):
        find_layers(lenet((1, 28, 28), 10), "fc2,conv*", left_out=never)


def test_a_glob_takes_modules_own_names_before_ordinals_in_the_networks_order():
    found = find_layers(misleading(), "conv*", left_out=lambda: {"fc1": "it is left"})
    assert {name: layer.name for name, layer in found.items()} == {
        "conv2": "block.fc1",
        "conv3": "block.conv1",
        "conv1": "conv1",
    }
    found = find_layers(misleading(), "block.*,all", left_out=lambda: {"fc1": "it is left"})
    assert list(found) == ["block.fc1", "block.conv1", "stem", "conv1", "head"]


def test_a_module_that_is_called_all_is_meant():
    model = nn.ModuleDict({"all": nn.Linear(1, 1), "other": nn.Linear(1, 1), "last": nn.Linear(1, 1)})
    assert list(find_layers(model, "all")) == ["all"]
    assert list(find_layers(model, "all", left_out=lambda: {"last": "it is last"})) == ["all"]
    assert list(find_layers(model, "a*", left_out=lambda: {"last": "it is last"})) == ["all"]


@pytest.mark.parametrize(
    ("asked", "but"),
    [
        ("vonv*", ""),
        ("Conv*", ""),
        ("fc2*", ", but for what it leaves out: fc2 (it is last)"),
        ("conv3,fc[2]", ", but for what it leaves out: fc2 (it is last)"),
    ],
)
def test_a_glob_without_a_match_lists_the_names(asked, but):
    with pytest.raises(SparsifyError) as caught:
        find_layers(lenet((1, 28, 28), 10), asked, "lenet", lambda: {"fc2": "it is last"})
    assert str(caught.value) == (
        f"'{asked.split(',')[-1]}' matches no layer in lenet{but}; choose from: conv1, conv2, conv3, fc1, fc2"
    )


def test_all_of_a_network_that_is_one_layer_is_nothing():
    with pytest.raises(SparsifyError, match=r"'all' matches no layer in the network, but for .*: fc1 \(it is all\)"):
        find_layers(nn.Linear(2, 2), "all", left_out=lambda: {"": "it is all"})


def test_one_layer_is_found_by_its_name_only():
    assert find_layer(lenet((1, 28, 28), 10), "fc2").name == "fc2"
    for name in ("conv*", "all", "conv3,fc1", ""):
        with pytest.raises(SparsifyError, match=r"unknown layer '.*' in lenet"):
            find_layer(lenet((1, 28, 28), 10), name, "lenet")


def test_sets_are_known_by_what_they_stand_for():
    assert list(find_sets(lenet((1, 28, 28), 10), "conv3,fc1")) == ["conv3,fc1"]
    sets = ["conv*", "conv1, conv2,conv3", "all"]
    assert list(find_sets(lenet((1, 28, 28), 10), sets, left_out=lambda: {"fc2": "it is last"})) == [
        "conv1,conv2,conv3",
        "conv1,conv2,conv3,fc1",
    ]
    with pytest.raises(SparsifyError, match="layers are missing; the network has: conv1"):
        find_sets(lenet((1, 28, 28), 10), [])


PATTERNS = st.lists(st.sampled_from(["conv1", "conv3", "fc1", "fc2", "all", "conv*", "fc?", "*[12]", " ", "fc9"]))


@given(PATTERNS.map(",".join) | st.text("convf123all*?[]!,. ", max_size=12) | st.text(max_size=5))
def test_any_text_is_layers_that_can_be_named_again_or_an_error_of_one_line(text):
    model = lenet((1, 28, 28), 10)
    sets = read_or_refused(lambda text: find_sets(model, text, left_out=lambda: {"fc2": "it is last"}), text)
    if sets is None:
        return
    ((names, found),) = sets.items()
    assert found
    assert list(find_layers(model, names)) == list(find_layers(model, list(found))) == list(found)
    assert len({layer.name for layer in found.values()}) == len(found)
