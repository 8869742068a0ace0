"""Hard networks: the mask is the one written out by hand, and the shrunk network is the masked one or is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from probing import (
    asked,
    asked_or_refused,
    count,
    mask_of,
    removed,
    require_masked_exactly,
    require_one_line,
    shrunk,
    without,
)
from problem_networks import (
    MORE,
    ODD,
    PROBLEMS,
    SOUND,
    drawn,
    ends_in_a_sum,
    head_first,
    lazy,
    padded_shortcut,
    residual,
    seeded,
    two_heads,
    two_outputs,
)
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from sparsify import SparsifyError, shrink
from sparsify.errors import SparsifyWarning

ALL = {**PROBLEMS, **MORE, **ODD}


# the masks by hand ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, problem in ALL.items() if problem.probed])
def test_the_masks_by_hand_are_right(name: str) -> None:
    problem = ALL[name]
    model, example = seeded(problem.build).double(), tree_map(Tensor.double, drawn(problem.example))
    assert require_masked_exactly(model, example, problem.mask, mixed=problem.mixed) > 0


# make_mask -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_the_mask_is_the_one_by_hand(name: str) -> None:
    """What is to go is made small, so that it is what goes first."""
    problem = ALL[name]
    model, example = seeded(problem.build), drawn(problem.example)
    expected, optional = mask_of(model, problem.mask), mask_of(model, problem.optional)
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for parameter, keep in expected.items():
            parameters[parameter][~keep] *= 1e-3
    mask = asked_or_refused(model, example, problem.layer, problem.ratio, problem.refusable)
    assert mask is None or removed(without(mask, optional)) == removed(expected)


HEADS = {"head", "boxes", "scores"}
ONCE = {problem.build: name for name, problem in reversed({**PROBLEMS, **MORE}.items())}


@pytest.mark.parametrize("name", list(ONCE.values())[::-1])
def test_all_leaves_the_output_of_the_network_alone(name: str) -> None:
    problem = ALL[name]
    model, example = seeded(problem.build), drawn(problem.example)
    mask = asked_or_refused(model, example, "all", 0.5, problem.refusable)
    if mask is None:
        return
    touched = {parameter.split(".")[0] for parameter in removed(mask)}
    assert touched
    assert not touched & HEADS


@pytest.mark.parametrize(
    ("build", "inner"),
    [(two_heads, {"conv"}), (two_outputs, {"conv"}), (head_first, {"conv", "fc"}), (ends_in_a_sum, {"conv1"})],
)
def test_all_takes_every_layer_but_those_of_the_output(build: Callable[[], nn.Module], inner: set[str]) -> None:
    mask = asked(seeded(build), drawn((2, 3, 8, 8)), "all", 0.5)
    assert {parameter.split(".")[0] for parameter in removed(mask)} == inner


@pytest.mark.parametrize("layers", ["all", "stem", "conv2", "stem,conv2"])
def test_layers_that_are_added_are_one_group_of_which_the_ratio_goes(layers: str) -> None:
    """Half of the stream's 6 channels, whichever of its layers are named, although their own orders are opposite."""
    model = seeded(residual)
    with torch.no_grad():
        for channel in range(6):
            model.stem.weight[channel] = 1 + channel
            model.conv2.weight[channel] = 6 - channel
    gone = removed(asked(model, drawn((2, 3, 8, 8)), layers, 0.5))
    assert len(gone["stem.weight"]) == 3
    for parameter in ("stem.bias", "bn.weight", "bn.bias", "conv2.weight", "bn2.weight", "bn2.bias"):
        assert gone[parameter] == gone["stem.weight"]


def test_half_of_a_group_with_a_padded_shortcut_goes() -> None:
    """Its grains are the 8 channels of the branch, 4 of which the stem has, too."""
    gone = removed(asked(seeded(padded_shortcut), drawn((2, 3, 8, 8)), "all", 0.5))
    assert len(gone["conv2.weight"]) == 4
    assert [2 + channel for channel in gone.get("stem.weight", [])] == [i for i in gone["conv2.weight"] if 2 <= i < 6]


# shrink --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_the_shrunk_network_is_the_masked_one_or_is_refused(name: str) -> None:
    problem = ALL[name]
    model, example = seeded(problem.build), drawn(problem.example)
    small = shrunk(model, mask_of(model, problem.mask), example)
    if problem.shrinks:
        assert small is not None
        assert count(small) < count(model)


EVERY = {name: (ALL[name].build, ALL[name].example) for name in (*reversed(ONCE.values()), *ODD)} | SOUND


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("ratio", [0.3, 0.9])
def test_any_network_is_shrunk_as_it_is_masked_or_is_refused(name: str, ratio: float) -> None:
    build, example = EVERY[name]
    model, inputs = seeded(build), drawn(example)
    mask = asked_or_refused(model, inputs, "all", ratio, refusable=True)
    if mask is not None:
        shrunk(model, mask, inputs)


def test_a_network_stays_as_it_was() -> None:
    model = seeded(padded_shortcut).train()
    before = copy.deepcopy(model.state_dict())
    mask = asked(model, drawn((2, 3, 8, 8)), "all", 0.5)
    with pytest.warns(SparsifyWarning, match="some of what is masked stays as zeros"):
        shrink(model, mask, drawn((2, 3, 8, 8)))
    assert model.training
    assert before.keys() == model.state_dict().keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("name", "layer", "reason"),
    [
        ("tied", "encoder", "encoder.*shares|decoder.*shares"),
        ("scripted", "all", "script"),
    ],
)
def test_a_refusal_names_the_module_and_the_reason(name: str, layer: str, reason: str) -> None:
    build, example = SOUND[name]
    with pytest.raises(SparsifyError, match=reason) as caught:
        asked(seeded(build), drawn(example), layer, 0.5)
    require_one_line(caught.value)


def test_a_lazy_network_can_be_trained_afterwards() -> None:
    """Whether it is pruned or refused: it may have taken its shapes from the example."""
    model, images = seeded(lazy), drawn((2, 3, 8, 8))
    asked_or_refused(model, images, "all", 0.5, refusable=True)
    model(images).sum().backward()
    assert all(p.grad is not None and p.requires_grad for p in model.parameters())
