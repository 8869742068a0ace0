"""Masks and costs: what a mask leaves is what Torch-Pruning leaves of the network when it shrinks it for real."""

from __future__ import annotations

import contextlib
import copy
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence

import pytest
import torch
import torch_pruning as tp
from torch import Tensor, nn

from sparsify.errors import SparsifyError, SparsifyWarning
from sparsify.nets.layers import layer_names
from sparsify.nets.mask import Mask, masked
from sparsify.nets.structure import Cost, Cut, Structure
from sparsify.nets.zoo.lenet import lenet


class Block(nn.Module):
    """Two convolutions and a shortcut: the outputs of `conv2` are added to what enters."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.bn1(self.conv1(x)).relu()
        return (x + self.bn2(self.conv2(inner))).relu()


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.bn = nn.BatchNorm2d(6)
        self.block = Block(6)
        self.fc = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.block(self.bn(self.stem(x)).relu()).mean((2, 3)))


def vgg() -> nn.Module:
    """BatchNorm throughout, and 2×2 positions for each channel that fc1 sees."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, 8, 3, padding=1),
            bn1=nn.BatchNorm2d(8),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(8, 12, 3, padding=1, bias=False),
            bn2=nn.BatchNorm2d(12),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(1),
            fc1=nn.Linear(48, 10),
            bn3=nn.BatchNorm1d(10),
            relu3=nn.ReLU(),
            fc2=nn.Linear(10, 4),
        )
    )


def mobile() -> nn.Module:
    """A depthwise convolution between two others, a PReLU with one slope and one with a slope for each channel."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, 8, 3),
            prelu1=nn.PReLU(),
            depthwise=nn.Conv2d(8, 8, 3, groups=8),
            bn=nn.BatchNorm2d(8),
            prelu2=nn.PReLU(8),
            pointwise=nn.Conv2d(8, 5, 1),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(1),
            fc=nn.Linear(5, 4),
        )
    )


def seeded(build, seed: int = 0) -> nn.Module:
    """The network in evaluation mode, with random running statistics, scales and shifts."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build()
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
                if module.affine:
                    nn.init.normal_(module.weight)
                    nn.init.normal_(module.bias)
    return model.eval()


def images(count: int = 3, channels: int = 3, size: int = 8) -> Tensor:
    return torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(1))


def build_lenet() -> nn.Module:
    return lenet((1, 28, 28), 10)


NETS = {
    "lenet": (build_lenet, images(3, 1, 28)),
    "vgg": (vgg, images()),
    "residual": (Residual, images()),
    "mobile": (mobile, images()),
}


def remove(
    model: nn.Module, example: Tensor, drop: Mapping[str, Sequence[int] | Tensor], grain: str = "filter"
) -> tuple[Mask, Cost]:
    """The mask without these grains (indices, or a bool tensor), and its cost."""
    structure = Structure(model, example)
    layers = {name: layer_names(model)[name] for name in drop}
    goes = {}
    for name, which in drop.items():
        if not isinstance(which, Tensor):
            goes[name] = torch.zeros(len(layers[name].weight), dtype=torch.bool)
            goes[name][list(which)] = True
        else:
            goes[name] = which
    return structure.remove([Cut(layer, layer.grain(grain), goes[name]) for name, layer in layers.items()])


def shrunk(model: nn.Module, example: Tensor, drop: Mapping[str, Sequence[int]]) -> nn.Module:
    """The oracle: a copy from which Torch-Pruning has cut the outputs, layer after layer."""
    model = copy.deepcopy(model)
    for name, indices in drop.items():
        graph = tp.DependencyGraph().build_dependency(model, example)
        module = model.get_submodule(name)
        function = tp.prune_conv_out_channels if isinstance(module, nn.Conv2d) else tp.prune_linear_out_channels
        graph.get_pruning_group(module, function, list(indices)).prune()
    return model


def counted(model: nn.Module, example: Tensor) -> Cost:
    """The oracle: MACs from the shapes that pass through the layers, parameters from the layers."""
    macs = []

    def convolution(module: nn.Conv2d, inputs: tuple[Tensor], output: Tensor) -> None:
        kernel = module.kernel_size[0] * module.kernel_size[1]
        macs.append(output[0].numel() * inputs[0].shape[1] // module.groups * kernel)

    def connected(_module: nn.Linear, inputs: tuple[Tensor], output: Tensor) -> None:
        macs.append(output[0].numel() * inputs[0].shape[-1])

    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(convolution)
        elif isinstance(module, nn.Linear):
            module.register_forward_hook(connected)
    with torch.no_grad():
        model(example)
    return Cost(sum(p.numel() for p in model.parameters()), sum(macs))


# by hand ---------------------------------------------------------------------------------------------------------


class Gram(nn.Module):
    """y yᵀ of the channels y of an image: every element is of two of them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x).flatten(2)
        return self.head((y @ y.mT).flatten(1))


class Outer(nn.Module):
    """Each neuron of one layer times each of another: both are broadcast over the other."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other, self.head = nn.Linear(6, 3), nn.Linear(6, 4), nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head((self.one(x)[:, :, None] * self.other(x)[:, None]).flatten(1))


def test_a_layer_whose_outputs_can_only_go_all_together_is_refused():
    """A ratio above a half would remove the whole layer."""
    structure = Structure(Gram(), torch.randn(1, 3, 8, 8))
    assert structure.left_out("filter")["conv"] == "its 4 outputs can only go together, all of them as one"
    structure = Structure(Outer(), torch.randn(2, 6))
    assert structure.left_out("neuron")["one"] == "its 3 outputs can only go together, all of them as one"


def test_the_cost_of_lenet_by_hand():
    """Weights and biases; each convolution's weights are used at every position of its output, 28×28, 10×10 and 1×1."""
    params = (6 * 25 + 6) + (16 * 6 * 25 + 16) + (120 * 16 * 25 + 120) + (84 * 120 + 84) + (10 * 84 + 10)
    macs = 28 * 28 * (6 * 25) + 10 * 10 * (16 * 6 * 25) + 120 * 16 * 25 + 84 * 120 + 10 * 84
    assert (params, macs) == (61_706, 416_520)
    assert Structure(build_lenet(), images(1, 1, 28)).remove([])[1] == Cost(61_706, 416_520)


def test_what_two_filters_of_conv1_cost_by_hand():
    """2 filters of 25 weights and a bias, and the 2 inputs that they fed in each of 16 filters of conv2."""
    mask, cost = remove(build_lenet(), images(1, 1, 28), {"conv1": [1, 4]})
    assert cost == Cost(61_706 - 2 * 26 - 16 * 2 * 25, 416_520 - 2 * 25 * 784 - 16 * 2 * 25 * 100)
    assert mask.keys() == {"conv1.weight", "conv1.bias"}
    assert (~mask["conv1.bias"]).nonzero().flatten().tolist() == [1, 4]
    assert (~mask["conv1.weight"]).flatten(1).all(1).nonzero().flatten().tolist() == [1, 4]
    assert int((~mask["conv1.weight"]).sum()) == 2 * 25


def test_what_single_weights_cost_by_hand():
    """A weight of conv1 is used at 784 positions, one of fc1 once; no bias goes with it."""
    goes = torch.zeros(6, 1, 5, 5, dtype=torch.bool)
    goes[0, 0, 0, :3] = True
    mask, cost = remove(build_lenet(), images(1, 1, 28), {"conv1": goes}, grain="weight")
    assert cost == Cost(61_706 - 3, 416_520 - 3 * 784)
    assert mask.keys() == {"conv1.weight"}
    assert torch.equal(~mask["conv1.weight"], goes)
    goes = torch.ones(84, 120, dtype=torch.bool)
    mask, cost = remove(build_lenet(), images(1, 1, 28), {"fc1": goes}, grain="weight")
    assert cost == Cost(61_706 - 10_080, 416_520 - 10_080)


def test_what_a_filter_and_a_weight_both_remove_is_counted_once():
    """Filter 0 of conv3 leaves column 0 of fc1 without input; 3 of the 5 weights removed from fc1 are in it."""
    model, example = build_lenet(), images(1, 1, 28)
    structure = Structure(model, example)
    layers = layer_names(model)
    goes = {"conv3": torch.arange(120) == 0, "fc1": torch.zeros(84, 120, dtype=torch.bool)}
    goes["fc1"][:3, 0] = True
    goes["fc1"][0, 5:7] = True
    _, cost = structure.remove([Cut(layers[name], layers[name].grain(), drop) for name, drop in goes.items()])
    assert cost == Cost(61_706 - 401 - 84 - 2, 416_520 - 400 - 84 - 2)


def test_without_any_output_nothing_is_left():
    layers = layer_names(build_lenet())
    everything = {name: range(len(layer.weight)) for name, layer in layers.items()}
    assert remove(build_lenet(), images(1, 1, 28), everything)[1] == Cost(0, 0)


def test_removing_nothing_costs_nothing():
    mask, cost = remove(build_lenet(), images(1, 1, 28), {"conv1": [], "fc1": torch.zeros(84, dtype=torch.bool)})
    assert cost == Cost(61_706, 416_520)
    assert all(keep.all() for keep in mask.values())


# against Torch-Pruning -------------------------------------------------------------------------------------------

CASES = [
    ("lenet", {"conv1": [0, 5]}),
    ("lenet", {"conv3": [3, 4, 5, 119]}),
    ("lenet", {"conv1": [2], "conv2": [0, 1, 15], "conv3": range(40), "fc1": [7, 9]}),
    ("vgg", {"conv1": [0, 1, 7]}),
    ("vgg", {"conv2": [2, 11]}),
    ("vgg", {"fc1": [0, 4, 9]}),
    ("vgg", {"conv1": [6], "conv2": range(11), "fc1": [1]}),
    ("residual", {"block.conv1": [1, 4]}),
    ("residual", {"block.conv2": [1, 5]}),
    ("residual", {"stem": [2]}),
    ("residual", {"stem": [2, 4], "block.conv1": [0, 1, 2, 3, 4]}),
    ("mobile", {"conv1": [0, 7]}),
    ("mobile", {"depthwise": [3]}),
    ("mobile", {"pointwise": [4, 1]}),
]


@pytest.mark.parametrize(("net", "drop"), CASES, ids=[f"{net}-{','.join(drop)}" for net, drop in CASES])
def test_masked_and_shrunk_networks_cost_and_compute_the_same(net, drop):
    build, example = NETS[net]
    model, example = seeded(build).double(), example.double()
    small = shrunk(model, example[:1], drop)
    mask, cost = remove(model, example[:1], drop)
    assert cost == counted(small, example[:1])
    assert cost.params < counted(model, example[:1]).params
    with torch.no_grad():
        expected = small(example)
        with masked(model, mask):
            torch.testing.assert_close(model(example), expected, rtol=0, atol=1e-12)
        assert (model(example) - expected).abs().max() > 1e-4


@pytest.mark.parametrize("net", NETS)
def test_the_whole_network_is_counted_as_its_shapes_say(net):
    build, example = NETS[net]
    assert Structure(build(), example[:1]).remove([])[1] == counted(seeded(build), example[:1])


def test_layers_that_are_added_lose_the_union_of_their_channels():
    """What the stem loses, block.conv2 loses, and the other way round."""
    model = seeded(Residual)
    mask, cost = remove(model, images(1), {"stem": [0, 1], "block.conv2": [1, 4]})
    union, expected = remove(model, images(1), {"stem": [0, 1, 4]})
    assert cost == expected
    assert mask.keys() == union.keys()
    assert all(torch.equal(mask[name], union[name]) for name in mask)
    assert (~mask["block.bn2.bias"]).nonzero().flatten().tolist() == [0, 1, 4]


def test_a_filter_takes_its_batchnorm_channel_with_it():
    mask, _ = remove(seeded(vgg), images(1), {"conv2": [2, 11]})
    assert mask.keys() == {"conv2.weight", "bn2.weight", "bn2.bias"}
    for keep in mask.values():
        assert (~keep).flatten(1).all(1).nonzero().flatten().tolist() == [2, 11] if keep.ndim > 1 else True
    assert (~mask["bn2.weight"]).nonzero().flatten().tolist() == [2, 11]
    assert (~mask["bn2.bias"]).nonzero().flatten().tolist() == [2, 11]


def test_a_neuron_takes_its_batchnorm_channel_with_it():
    mask, _ = remove(seeded(vgg), images(1), {"fc1": [3]}, grain="neuron")
    assert mask.keys() == {"fc1.weight", "fc1.bias", "bn3.weight", "bn3.bias"}
    for name in ("fc1.bias", "bn3.weight", "bn3.bias"):
        assert (~mask[name]).nonzero().flatten().tolist() == [3]
    assert not mask["fc1.weight"][3].any()
    assert int((~mask["fc1.weight"]).sum()) == 48


def test_single_weights_take_nothing_with_them():
    goes = torch.zeros(10, 48, dtype=torch.bool)
    goes[3] = True
    assert remove(seeded(vgg), images(1), {"fc1": goes}, grain="weight")[0].keys() == {"fc1.weight"}


# MACs are those of one input ---------------------------------------------------------------------------------------


def test_macs_do_not_depend_on_the_number_of_examples():
    costs = {Structure(vgg(), images(count)).remove([])[1] for count in (1, 3)}
    assert len(costs) == 1


def test_a_convolution_that_sees_several_patches_of_an_image_is_counted_for_each():
    class Patches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 4, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            patches = x.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
            return self.conv(patches).view(len(x), -1)

    for count in (1, 2):
        assert Structure(Patches(), images(count)).remove([])[1] == Cost(96, 4 * 96)


def test_a_layer_that_is_used_twice_is_counted_twice():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(5, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.fc(x))

    assert Structure(Twice(), torch.ones(1, 5)).remove([])[1] == Cost(30, 50)


def test_a_layer_that_is_never_used_has_parameters_and_no_macs():
    model = nn.Sequential(nn.Linear(5, 5))
    model[0].spare = nn.Linear(5, 2)
    assert Structure(model, torch.ones(1, 5)).remove([])[1] == Cost(42, 25)


def test_several_examples_are_one_batch_and_not_several_arguments():
    """By itself Torch-Pruning would call model(first, second)."""

    class Optional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.fc2 = nn.Linear(4, 6), nn.Linear(6, 3)

        def forward(self, x: Tensor, features: Tensor | None = None) -> Tensor:
            return self.fc1(x) if features is not None else self.fc2(self.fc1(x))

    assert remove(Optional(), torch.ones(2, 4), {"fc1": [0]}, grain="neuron")[1] == Cost(51 - 5 - 3, 42 - 4 - 3)


class Tokens(nn.Module):
    """A module is given a view of a parameter, which without gradients has no function that made it."""

    def __init__(self) -> None:
        super().__init__()
        self.token, self.norm, self.fc = nn.Parameter(torch.rand(1, 4)), nn.LayerNorm(4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x + self.norm(self.token.expand(len(x), 4)))


def test_a_view_of_a_parameter_can_be_handed_to_a_module():
    assert Structure(Tokens(), torch.ones(2, 4)).remove([])[1] == Cost(4 + 8 + 15, 12)


# what cannot be done is refused --------------------------------------------------------------------------------------


def pooled(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(1), nn.Linear(4, 2))


class Raw(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.shift = nn.Parameter(torch.ones(4, 1, 1))
        self.fc = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc((self.conv(x) + self.shift).mean((2, 3)))


class Unused(Raw):
    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.cat([x, x[:, :1]], 1).mean((2, 3)))


class Tied(Raw):
    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Conv2d(3, 4, 3)
        self.other.weight = self.conv.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.fc((self.conv(x) + self.other(x)).mean((2, 3)))


REFUSED = {
    "batchnorm-without-affine": (
        lambda: pooled(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False)),
        "conv1",
        "0 cannot be pruned: the normalisation '1' behind it has no scale and shift, so that a zero does not stay a "
        "zero",
    ),
    "computed-weight": (
        lambda: pooled(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3))),
        "conv1",
        "0 cannot be pruned: the weight of '0' is computed from other parameters",
    ),
    "computed-weight-of-the-next": (
        lambda: pooled(nn.Conv2d(3, 4, 3), nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 3))),
        "0",
        "0 cannot be pruned: the weight of '1' is computed from other parameters",
    ),
    "tied": (Tied, "conv", "conv cannot be pruned: 'conv' shares its weight with another module"),
    "tied-the-other": (Tied, "other", "other cannot be pruned: 'other' shares its weight with another module"),
    "not-called": (
        Unused,
        "conv",
        "conv cannot be pruned: the network does not call it; if its weight is used, then not by 'conv' itself",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_masked_exactly_is_refused_in_one_line(case):
    build, layer, message = REFUSED[case]
    with pytest.raises(SparsifyError) as caught:
        remove(build(), images(1), {layer: [0]})
    assert str(caught.value) == message


@pytest.mark.parametrize("case", ["batchnorm-without-affine", "not-called"])
def test_single_weights_can_go_where_filters_cannot(case):
    build, name, _ = REFUSED[case]
    model = build()
    goes = torch.zeros_like(layer_names(model)[name].weight, dtype=torch.bool)
    goes[0, 0, 0, 0] = True
    before = Structure(model, images(1)).remove([])[1]
    _, cost = remove(model, images(1), {name: goes}, grain="weight")
    assert before.params - cost.params == 1
    assert before.macs - cost.macs == (0 if case == "not-called" else 6 * 6)  # positions of the convolution


@pytest.mark.parametrize("case", ["computed-weight", "tied"])
def test_single_weights_of_a_weight_that_is_not_the_layers_own_are_refused(case):
    build, name, message = REFUSED[case]
    with pytest.raises(SparsifyError) as caught:
        remove(build(), images(1), {name: torch.zeros(4, 3, 3, 3, dtype=torch.bool)}, grain="weight")
    assert str(caught.value) == message


def test_a_network_whose_forward_fails_is_refused():
    message = "the network cannot be run on the example: RuntimeError: Given groups=1, weight of"
    with pytest.raises(SparsifyError, match=message):
        Structure(build_lenet(), images(1))


# nothing is left behind ----------------------------------------------------------------------------------------------


class Everything(Residual):
    """Dropout, a BatchNorm that counts its batches, a frozen one, and a parameter without gradient."""

    def __init__(self, *, fails: bool = False) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)
        self.fails = fails
        self.train()
        self.block.bn1.eval()
        self.stem.weight.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(self.dropout(x))
        if self.fails and logits.isnan().any():
            raise RuntimeError("no NaN, please")
        return logits


def observed(model: nn.Module) -> dict[str, object]:
    """Everything about a network, and the world, that tracing must leave as it is."""
    return {
        "state": {name: value.clone() for name, value in model.state_dict().items()},
        "identity": {name: id(p) for name, p in model.named_parameters()},
        "requires_grad": {name: p.requires_grad for name, p in model.named_parameters()},
        "grad": {name: p.grad for name, p in model.named_parameters()},
        "training": {name: module.training for name, module in model.named_modules()},
        "hooks": {name: len(module._forward_hooks) for name, module in model.named_modules()},
        "attributes": {name: sorted(vars(module)) for name, module in model.named_modules()},
        "generator": torch.get_rng_state(),
        "grad_enabled": torch.is_grad_enabled(),
    }


@contextlib.contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    before = observed(model)
    yield
    after = observed(model)
    for tensors in (before["state"], after["state"]):
        assert tensors.keys() == before["state"].keys()
    assert all(torch.equal(value, after["state"][name]) for name, value in before.pop("state").items())
    assert torch.equal(before.pop("generator"), after.pop("generator"))
    assert before == {name: value for name, value in after.items() if name != "state"}


def test_counting_and_tracing_leave_the_network_as_it_was():
    model = Everything()
    with untouched(model):
        remove(model, images(2), {"stem": [0], "block.conv1": [1]})
    with untouched(model), torch.no_grad():
        remove(model, images(1), {"stem": [0]})


def test_a_trace_that_fails_leaves_the_network_as_it_was():
    model = Everything()
    with untouched(model), pytest.raises(SparsifyError, match="cannot be run on the example"):
        Structure(model, images(1, channels=1))
    model = Everything(fails=True)
    with untouched(model), pytest.raises(SparsifyError, match="cannot be followed: RuntimeError: no NaN, please"):
        remove(model, images(1), {"stem": [0]})


def test_a_refusal_leaves_the_network_as_it_was():
    model = REFUSED["batchnorm-without-affine"][0]().train()
    with untouched(model), pytest.raises(SparsifyError, match="no scale and shift"):
        remove(model, images(2), {"conv1": [0]})


# what is masked must not be felt -------------------------------------------------------------------------------------


def after(activation: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 6, 3), activation, nn.Flatten(1), nn.Linear(6 * 36, 4))


@pytest.mark.parametrize(
    "activation", [nn.Sigmoid(), nn.Softplus(), nn.GroupNorm(1, 6)], ids=["sigmoid", "softplus", "norm"]
)
def test_a_masked_filter_that_still_sends_something_on_is_warned_about_once(activation):
    model = after(activation)
    layer = layer_names(model)["conv1"]
    structure = Structure(model, images(1))
    cut = Cut(layer, "filter", torch.arange(6) == 2)
    with pytest.warns(SparsifyWarning, match=r"what is masked still reaches '3'|'1' normalises across channels"):
        structure.remove([cut])
    structure.remove([cut])  # warnings are errors


@pytest.mark.parametrize(
    "activation", [nn.ReLU(), nn.GELU(), nn.Tanh(), nn.GroupNorm(6, 6)], ids=lambda module: type(module).__name__
)
def test_a_masked_filter_that_sends_nothing_on_is_not_warned_about(activation):
    model = after(activation)
    Structure(model, images(1)).remove([Cut(layer_names(model)["conv1"], "filter", torch.arange(6) < 3)])
