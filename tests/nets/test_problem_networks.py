"""Hard networks: the mask is the one written out by hand, and the shrunk network is the masked one or is refused."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping

import pytest
import torch
from problem_networks import (
    MORE,
    ODD,
    PROBLEMS,
    SOUND,
    Example,
    Index,
    drawn,
    head_first,
    lazy,
    padded_shortcut,
    residual,
    seeded,
    two_heads,
    two_outputs,
)
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from sparsify import SparsifyError, make_mask, shrink
from sparsify.errors import SparsifyWarning
from sparsify.nets.mask import Mask, apply_mask, masked

ALL = {**PROBLEMS, **MORE, **ODD}
CUT = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def call(model: nn.Module, example: Example) -> list[Tensor]:
    """The tensors that a network gives for one input, several, or several by name."""
    with torch.no_grad():
        if isinstance(example, dict):
            return tree_leaves(model(**example))
        return tree_leaves(model(*example) if isinstance(example, tuple) else model(example))


def mask_of(model: nn.Module, which: Mapping[str, Index]) -> Mask:
    mask = {}
    parameters = dict(model.named_parameters())
    for name, index in which.items():
        mask[name] = torch.ones_like(parameters[name], dtype=torch.bool)
        mask[name][index] = False
    return mask


def removed(mask: Mask) -> dict[str, list]:
    """The indices that a mask removes: of the first dimension where it removes whole slices, else of all."""
    found = {}
    for name, keep in mask.items():
        gone = ~keep.reshape(len(keep), -1)
        if gone.any():
            whole = torch.equal(gone.any(1), gone.all(1))
            found[name] = (gone.all(1) if whole else ~keep).nonzero().squeeze(1).tolist()
    return found


def without(mask: Mask, optional: Mask) -> Mask:
    """The mask, in which the optional elements are kept."""
    return {name: keep | ~optional[name] if name in optional else keep for name, keep in mask.items()}


def require_one_line(error: SparsifyError) -> None:
    assert str(error).strip()
    assert "\n" not in str(error)


def asked(model: nn.Module, example: Example, layers: str, ratio: float) -> Mask:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SparsifyWarning)
        return make_mask(model, example, layers=layers, ratio=ratio, grain="neuron")


def asked_or_refused(model: nn.Module, example: Example, layers: str, ratio: float, refusable: bool) -> Mask | None:
    """The mask, or None if it is refused in one line, and may be."""
    try:
        return asked(model, example, layers, ratio)
    except SparsifyError as error:
        require_one_line(error)
        if not refusable:
            raise
        return None


def shrunk(model: nn.Module, mask: Mask, example: Example) -> nn.Module | None:
    """The shrunk network, which computes what the masked one does; None if it is refused in one line."""
    try:
        small = shrink(model, mask, example)
    except SparsifyError as error:
        require_one_line(error)
        return None
    other = tree_map(lambda tensor: tensor + torch.randn_like(tensor), example)
    for inputs in (example, other):
        with masked(model, mask):
            expected = call(model, inputs)
        for one, two in zip(expected, call(small, inputs), strict=True):
            assert one.shape == two.shape
            assert (one - two).abs().max() <= 1e-5 * max(one.abs().max().item(), 1e-3)
    return small


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


# the masks by hand ---------------------------------------------------------------------------------------------------


def channels_of(module: nn.Module, tensor: Tensor) -> Tensor:
    """The tensor with its channels, of the input or output of a layer, in the first dimension."""
    return tensor.movedim(-1 if isinstance(module, nn.Linear) else 1, 0)


def arriving(
    model: nn.Module, example: Example, outputs: list[Tensor] | None = None
) -> tuple[list[Tensor], list[tuple[str, Tensor]]]:
    """What arrives at every layer and at the network's output, channels first; and what the layers give, by their name.

    The layers give `outputs`, in the order of their calls, in the place of what they compute: so nothing that arrives
    has passed through a layer.
    """
    arrived: list[Tensor] = []
    given: list[tuple[str, Tensor]] = []
    handles = []
    for name, module in model.named_modules():
        if not isinstance(module, CUT) or getattr(module, "groups", 1) == getattr(module, "in_channels", 0) > 1:
            continue  # a depthwise convolution keeps channels apart

        def look(module: nn.Module, inputs: tuple[Tensor], output: Tensor, name: str = name) -> Tensor:
            arrived.append(channels_of(module, inputs[0]).clone())
            output = output if outputs is None else outputs[len(given)]
            given.append((name, output))
            return output

        handles.append(module.register_forward_hook(look))
    results = call(model, example)
    for handle in handles:
        handle.remove()
    return [*arrived, *(output.movedim(1, 0) for output in results)], given


def disturbed(model: nn.Module, given: list[tuple[str, Tensor]], which: Mapping[str, Index], size: float) -> list:
    """What the layers give, with random numbers of this size where outputs go."""
    tensors = []
    for name, tensor in given:
        tensor = tensor.clone()
        if f"{name}.weight" in which:
            channels, index = channels_of(model.get_submodule(name), tensor), which[f"{name}.weight"]
            channels[index] = size * torch.randn_like(channels[index])
        tensors.append(tensor)
    return tensors


@pytest.mark.parametrize("name", [name for name, problem in ALL.items() if problem.probed])
def test_the_masks_by_hand_are_right(name: str) -> None:
    """With all layers cut out, what the removed outputs do not reach stays as it is, and what they reach is 0.

    The channels that they reach are those that change when the outputs do. This needs nothing of this package but the
    application of a mask.
    """
    problem = ALL[name]
    model, example = seeded(problem.build).double(), tree_map(Tensor.double, drawn(problem.example))
    whole, given = arriving(model, example)
    reached = [torch.zeros(len(tensor), dtype=torch.bool) for tensor in whole]
    for size in (0, 1, 3, 10):
        changed, _ = arriving(model, example, disturbed(model, given, problem.mask, size))
        for place, one, two in zip(reached, whole, changed, strict=True):
            place |= (one != two).flatten(1).any(1)
    assert any(place.any() for place in reached)
    apply_mask(model, mask_of(model, problem.mask))
    left, _ = arriving(model, example, disturbed(model, given, problem.mask, 0))
    for place, before, after in zip(reached, whole, left, strict=True):
        assert torch.equal(before[~place], after[~place])
        if not problem.mixed:
            assert not after[place].any()


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
    [(two_heads, {"conv"}), (two_outputs, {"conv"}), (head_first, {"conv", "fc"})],
)
def test_all_takes_every_layer_but_those_of_the_output(build, inner: set[str]) -> None:
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
    shrunk(model, mask, drawn((2, 3, 8, 8)))
    assert model.training
    assert before.keys() == model.state_dict().keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_lazy_network_can_be_trained_afterwards() -> None:
    """Whether it is pruned or refused: it may have taken its shapes from the example."""
    model, images = seeded(lazy), drawn((2, 3, 8, 8))
    asked_or_refused(model, images, "all", 0.5, refusable=True)
    model(images).sum().backward()
    assert all(p.grad is not None and p.requires_grad for p in model.parameters())
