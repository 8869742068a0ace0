"""Layers: a module's own name first, then the ordinals conv1 … and fc1 …; each layer of a set once."""

from __future__ import annotations

from collections import OrderedDict

import pytest
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


def test_convolutions_of_every_dimension_are_found_and_transposed_ones_are_not():
    model = nn.Sequential(nn.Conv1d(1, 1, 1), nn.Conv3d(1, 1, 1), nn.ConvTranspose2d(1, 1, 1), nn.Bilinear(1, 1, 1))
    assert [(layer.name, layer.is_convolution) for layer in prunable_layers(model)] == [("0", True), ("1", True)]


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


@pytest.mark.parametrize("asked", ["", " ", ",", "fc1,", [""]])
def test_an_empty_name_is_refused(asked):
    with pytest.raises(SparsifyError, match="unknown layer ''"):
        find_layers(lenet((1, 28, 28), 10), asked)


def test_an_empty_set_is_refused():
    with pytest.raises(SparsifyError, match="no layer is named; choose from: conv1, conv2"):
        find_layers(lenet((1, 28, 28), 10), [])


def test_a_network_without_layers_is_refused():
    with pytest.raises(SparsifyError, match="mine has no convolution and no fully connected layer"):
        find_layers(nn.Sequential(nn.BatchNorm2d(3)), "conv1", "mine")


def test_what_is_removed_as_one():
    convolution, connected = Layer("a", nn.Conv2d(1, 1, 1)), Layer("b", nn.Linear(1, 1))
    assert [convolution.grain(grain) for grain in GRAINS] == ["filter", "filter", "filter", "weight"]
    assert [connected.grain(grain) for grain in GRAINS] == ["weight", "neuron", "neuron", "weight"]
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
def test_all_and_globs_leave_out_the_output_layer_unless_it_is_named(asked, expected):
    assert list(find_layers(lenet((1, 28, 28), 10), asked)) == expected


def test_a_glob_takes_modules_own_names_before_ordinals_in_the_networks_order():
    found = find_layers(misleading(), "conv*")
    assert {name: layer.name for name, layer in found.items()} == {
        "conv2": "block.fc1",
        "conv3": "block.conv1",
        "conv1": "conv1",
    }
    assert list(find_layers(misleading(), "block.*,all")) == ["block.fc1", "block.conv1", "stem", "conv1", "head"]


def test_a_module_that_is_called_all_is_meant():
    model = nn.ModuleDict({"all": nn.Linear(1, 1), "other": nn.Linear(1, 1), "last": nn.Linear(1, 1)})
    assert list(find_layers(model, "all")) == ["all"]
    assert list(find_layers(model, "a*")) == ["all"]


@pytest.mark.parametrize("asked", ["vonv*", "fc2*", "conv3,fc[2]", "Conv*"])
def test_a_glob_without_a_match_lists_the_names(asked):
    with pytest.raises(SparsifyError) as caught:
        find_layers(lenet((1, 28, 28), 10), asked, "lenet")
    assert str(caught.value) == (
        f"'{asked.split(',')[-1]}' matches no layer in lenet; the output layer, fc2, is taken only by its name; "
        "choose from: conv1, conv2, conv3, fc1, fc2"
    )


def test_all_of_a_network_that_is_one_layer_is_nothing():
    with pytest.raises(SparsifyError, match="'all' matches no layer in the network; the output layer, fc1, is taken"):
        find_layers(nn.Linear(2, 2), "all")


def test_one_layer_is_found_by_its_name_only():
    assert find_layer(lenet((1, 28, 28), 10), "fc2").name == "fc2"
    for name in ("conv*", "all", "conv3,fc1", ""):
        with pytest.raises(SparsifyError, match=r"unknown layer '.*' in lenet"):
            find_layer(lenet((1, 28, 28), 10), name, "lenet")


def test_sets_are_known_by_what_they_stand_for():
    assert list(find_sets(lenet((1, 28, 28), 10), "conv3,fc1")) == ["conv3,fc1"]
    assert list(find_sets(lenet((1, 28, 28), 10), ["conv*", "conv1, conv2,conv3", "all"])) == [
        "conv1,conv2,conv3",
        "conv1,conv2,conv3,fc1",
    ]
    with pytest.raises(SparsifyError, match="unknown layer ''"):
        find_sets(lenet((1, 28, 28), 10), [])
