"""Physical removal: the shrunk network is the masked one, in fewer numbers, and is trained on."""

import copy
import math
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

import pytest
import torch
import torch.nn.functional as F
from cutting import CUTS, VGG_CUTS, build, cut, cuts_for, example, images, seeded, tiny_resnet, weights
from torch import Tensor, nn

from sparsify import SparsifyError, shrink
from sparsify.errors import SparsifyWarning
from sparsify.nets.comparing import TOLERANCE, first_apart, output_difference, relative_difference
from sparsify.nets.layers import layer_names
from sparsify.nets.mask import Mask, masked
from sparsify.nets.registry import NETS
from sparsify.nets.shrinking import plan_removal, remaining_zeros, remove_outputs
from sparsify.nets.structure import Cut, Structure
from sparsify.pruning.cuts import make_mask


def two_layers() -> nn.Sequential:
    """fc1 is [[1, 2], [3, 4], [5, 6]] + [7, 8, 9], fc2 is [[1, 10, 100]] without bias."""
    model = nn.Sequential(OrderedDict(fc1=nn.Linear(2, 3), relu=nn.ReLU(), fc2=nn.Linear(3, 1, bias=False)))
    with torch.no_grad():
        model.fc1.weight.copy_(torch.tensor([[1.0, 2], [3, 4], [5, 6]]))
        model.fc1.bias.copy_(torch.tensor([7.0, 8, 9]))
        model.fc2.weight.copy_(torch.tensor([[1.0, 10, 100]]))
    return model


def keeps(*rows: Sequence[int]) -> Tensor:
    return torch.tensor(rows).bool()


# by hand -------------------------------------------------------------------------------------------------------------


def test_a_masked_neuron_goes_with_the_input_that_it_fed() -> None:
    model = two_layers()
    mask = {"fc1.weight": keeps([1, 1], [0, 0], [1, 0]), "fc1.bias": torch.tensor([True, False, True])}
    small = shrink(model, mask, torch.ones(1, 2))
    assert small.fc1.weight.tolist() == [[1, 2], [5, 0]]  # the single weight stays, as a zero
    assert small.fc1.bias.tolist() == [7, 9]
    assert small.fc2.weight.tolist() == [[1, 100]]
    assert (small.fc1.out_features, small.fc2.in_features) == (2, 2)
    assert small(torch.tensor([[1.0, 1.0]])).item() == 10 + 100 * 14


def test_the_network_itself_stays_as_it_was() -> None:
    model = two_layers()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    shrink(model, {"fc1.weight": keeps([0, 0], [1, 1], [1, 0]), "fc1.bias": keeps([0, 1, 1])[0]}, torch.ones(1, 2))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_where_nothing_is_smaller_a_warning_says_what_stays_and_why() -> None:
    why = "nothing is smaller: no filter or neuron that can go is wholly masked; zeros stay in "
    single = {"fc1.weight": keeps([1, 0], [0, 1], [1, 1]), "fc2.weight": keeps([1, 1, 0])}
    with pytest.warns(SparsifyWarning) as said:
        shrink(two_layers(), single, torch.ones(1, 2))
    assert [str(one.message) for one in said] == [f"{why}fc1.weight (2 of 6), fc2.weight (1 of 3)"]
    neuron = {"fc1.weight": keeps([0, 0], [1, 1], [1, 0]), "fc1.bias": keeps([0, 1, 1])[0]}
    with warnings.catch_warnings(action="error"):
        shrink(two_layers(), {}, torch.ones(1, 2))  # nothing is masked
        shrink(two_layers(), neuron, torch.ones(1, 2))  # a neuron goes


@pytest.mark.filterwarnings("ignore:nothing is smaller")
@pytest.mark.parametrize(
    "mask",
    [
        {"fc1.weight": keeps([1, 1], [0, 0], [1, 1])},  # its bias still speaks
        {"fc1.bias": torch.tensor([True, False, True])},
        {"fc1.weight": keeps([1, 1], [0, 1], [1, 1]), "fc1.bias": torch.tensor([True, False, True])},
        {"fc2.weight": keeps([0, 0, 0])},  # the network's own output
        {},
    ],
    ids=["bias-kept", "weights-kept", "one-weight-kept", "output", "nothing"],
)
def test_what_is_not_wholly_masked_stays_as_zeros(mask: Mask) -> None:
    model, inputs = two_layers(), images(5, 2)
    small = shrink(model, mask, inputs)
    assert {name: tensor.shape for name, tensor in small.state_dict().items()} == {
        name: tensor.shape for name, tensor in model.state_dict().items()
    }
    with masked(model, mask):
        assert torch.equal(model(inputs), small(inputs))


@pytest.mark.parametrize(
    "mixed", [lambda x: x - x.mean(1, keepdim=True), lambda x: x.softmax(1), lambda x: x.sort(1).values]
)
def test_channels_that_are_mixed_before_the_next_layer_are_refused(mixed):
    """Nothing of them can go; the same network, as large as before, is no answer without a word."""
    model = nn.Sequential(nn.Conv2d(3, 4, 1), Applied(mixed), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1))
    example = torch.randn(2, 3, 4, 4)
    said = "the outputs of '0' are mixed, or cut off, before they reach a layer"
    with pytest.raises(SparsifyError, match=f"^the network cannot be shrunk: {said}; its masks are exact"):
        shrink(model, make_mask(model, example, layers="0", ratio=0.5), example)
    mask = make_mask(model, example, layers="0,2", ratio=0.5)
    with pytest.warns(SparsifyWarning, match=f"some of what is masked stays as zeros, because .*: {said}"):
        small = shrink(model, mask, example)
    assert (small[0].out_channels, small[2].out_channels) == (4, 2)


class PairsGated(nn.Module):
    """Each channel of the gate is multiplied with two of the first layer."""

    def __init__(self):
        super().__init__()
        self.first, self.gate = nn.Conv2d(1, 4, 1), nn.Conv2d(4, 2, 1)
        self.second, self.third = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1)

    def forward(self, x):
        x = self.first(x)
        return self.third(self.second(x * self.gate(x).repeat_interleave(2, 1)).relu())


def test_a_gate_stays_with_what_it_is_multiplied_with_and_is_named():
    """A copy that is as large as before is no answer without a word."""
    model, example = seeded(PairsGated), images(2, 1, 4, 4)
    said = "the outputs of 'gate' are combined with several channels each, some of which stay"
    for cuts in (["gate"], ["first", "gate"]):
        mask = Structure(model, example).mask([cut(model, name, [1]) for name in cuts])
        with pytest.raises(SparsifyError, match=f"^the network cannot be shrunk: .*{said if len(cuts) == 1 else ''}"):
            shrink(model, mask, example)
    mask = Structure(model, example).mask([cut(model, "gate", [1]), cut(model, "second", [0])])
    with pytest.warns(SparsifyWarning, match=f"stays as zeros, because it cannot be removed: {said}$"):
        small = shrink(model, mask, example)
    assert (small.gate.out_channels, small.second.out_channels) == (2, 3)
    whole = Structure(model, example).mask([cut(model, "gate", [1]), cut(model, "first", [2, 3])])
    small = shrink(model, whole, example)
    assert (small.gate.out_channels, small.first.out_channels) == (1, 2)


class Applied(nn.Module):
    """A function of its input."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def test_a_filter_whose_batchnorm_is_not_masked_stays_because_its_shift_is_felt() -> None:
    build = lambda: nn.Sequential(  # noqa: E731
        nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Flatten(1), nn.Linear(4 * 4, 3)
    )
    model, inputs = seeded(build), images(3, 2, 4, 4)
    keep = torch.ones_like(model[0].weight, dtype=torch.bool)
    keep[1:3] = False
    norm = torch.tensor([True, True, False, True])
    removal = plan_removal(Structure(model, inputs[:1]), {"0.weight": keep, "1.weight": norm, "1.bias": norm})
    assert removal.outputs == {"0": [2]}
    small = shrink(model, removal.mask, inputs)
    assert small[3].in_features == 12
    assert not small[0].weight[1].any()


def test_zeros_that_are_left_are_counted_without_those_that_go_with_inputs() -> None:
    """fc1 loses neuron 1, so column 1 of fc2 goes; of fc2's 2 masked weights one is in it."""
    model = two_layers()
    mask = {
        "fc1.weight": keeps([1, 1], [0, 0], [1, 1]),
        "fc1.bias": keeps([1, 0, 1])[0],
        "fc2.weight": keeps([0, 0, 1]),
    }
    removal = plan_removal(Structure(model, torch.ones(1, 2)[:1]), mask)
    assert remaining_zeros(Structure(model, torch.ones(1, 2)), removal) == {"fc2.weight": (1, 2)}


class SpatialAttention(nn.Module):
    """The second half of CBAM (Woo et al. 2018): a gate of each pixel from the mean and the maximum of its channels."""

    def __init__(self) -> None:
        super().__init__()
        self.before = nn.Conv2d(1, 6, 3)
        self.gate = nn.Conv2d(2, 1, 3, padding=1)
        self.behind = nn.Conv2d(6, 2, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = self.before(images).relu()
        over = torch.cat([maps.mean(1, keepdim=True), maps.amax(1, keepdim=True)], 1)
        return self.behind(maps * self.gate(over).sigmoid()).mean((2, 3))


def test_where_a_mean_over_channels_is_in_the_way_the_first_module_that_sees_it_is_named() -> None:
    model, example = seeded(SpatialAttention), images(3, 1, 8, 8)
    mask = make_mask(model, example, layers="before", ratio=0.5)
    with pytest.raises(
        SparsifyError, match=r"more than 1e-05, from 'gate' on: before it, something such as a mean over"
    ):
        shrink(model, mask, example)


def test_networks_that_compute_the_same_are_nowhere_apart() -> None:
    model, example = seeded(SpatialAttention), images(3, 1, 8, 8)
    assert first_apart(model, {}, model, example) == ""
    changed = copy.deepcopy(model)
    changed.behind.weight.data[0, 0, 0, 0] += 1
    assert first_apart(model, {}, changed, example) == "behind"


def test_the_relative_difference_by_hand() -> None:
    assert relative_difference(torch.tensor([-4.0, 2.0]), torch.tensor([-4.0, 3.0])) == 0.25
    assert relative_difference(torch.zeros(2), torch.tensor([0.0, 0.5])) == 0.5
    assert relative_difference(torch.zeros(2), torch.zeros(3)) == float("inf")


# every network -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("net", NETS)
def test_masked_and_shrunk_agree_on_every_network(net: str) -> None:
    model, inputs = build(net), example(net)
    cuts = cuts_for(net, model)
    removal = plan_removal(Structure(model, inputs[:1]), cuts)
    small = shrink(model, cuts, inputs)
    assert output_difference(model, removal.mask, small, inputs) <= TOLERANCE
    assert output_difference(model, {}, small, inputs) > 100 * TOLERANCE  # what went was felt
    for name, indices in removal.outputs.items():
        assert len(small.get_submodule(name).weight) == len(model.get_submodule(name).weight) - len(indices)
    for one, other in zip(model.modules(), small.modules(), strict=True):
        assert type(one) is type(other)
    assert (small.get_submodule(CUTS.get(net, VGG_CUTS)[1]).weight == 0).any()


@pytest.mark.parametrize("net", ["lenet", "vgg-a-light", "resnet20"])
def test_a_mask_and_the_cuts_that_make_it_shrink_to_the_same_bits(net: str) -> None:
    model, inputs = build(net), example(net)
    cuts = cuts_for(net, model)
    mask = plan_removal(Structure(model, inputs[:1]), cuts).mask
    by_cuts, by_mask = shrink(model, cuts, inputs), shrink(model, mask, inputs)
    assert all(torch.equal(tensor, by_mask.state_dict()[name]) for name, tensor in by_cuts.state_dict().items())


def test_layers_that_are_added_lose_the_union_and_are_named() -> None:
    model, inputs = build("resnet20"), example("resnet20")
    removal = plan_removal(
        Structure(model, inputs[:1]), [cut(model, "conv1", [1, 15]), cut(model, "stage1.1.conv2", [0, 1])]
    )
    together = ("conv1", "stage1.0.conv2", "stage1.1.conv2", "stage1.2.conv2")
    assert removal.coupled == (together,)
    assert removal.outputs == {name: [0, 1, 15] for name in together}
    assert shrink(model, removal.mask, inputs).stage1[2].bn2.running_mean.shape == (13,)


def test_layers_on_their_own_are_not_coupled() -> None:
    model, inputs = build("lenet"), example("lenet")
    assert plan_removal(Structure(model, inputs[:1]), cuts_for("lenet", model)).coupled == ()


class Concatenated(nn.Module):
    """Channels of two convolutions side by side, added to those of a third: removing from one shifts the other's."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.both = nn.Conv2d(2, 3, 1), nn.Conv2d(2, 4, 1), nn.Conv2d(2, 7, 1)
        self.head = nn.Conv2d(7, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head((torch.cat([self.left(x), self.right(x)], 1) + self.both(x)).relu()).mean((2, 3))


def test_indices_do_not_shift_when_several_layers_lose_channels_of_one() -> None:
    model, inputs = seeded(Concatenated), images(3, 2, 4, 4)
    cuts = [cut(model, "left", [0]), cut(model, "right", [1, 3]), cut(model, "both", [2])]
    removal = plan_removal(Structure(model, inputs[:1]), cuts)
    assert removal.outputs == {"left": [0, 2], "right": [1, 3], "both": [0, 2, 4, 6]}
    small = shrink(model, removal.mask, inputs)
    assert torch.equal(small.both.bias, model.both.bias[[1, 3, 5]])
    assert torch.equal(small.head.weight, model.head.weight[:, [1, 3, 5]])


@pytest.mark.parametrize("seed", range(6))
def test_random_masks_of_coupled_layers_are_removed_exactly(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for made, inputs in ((Concatenated, images(3, 2, 4, 4)), (lambda: tiny_resnet((2, 8, 8), 3), images(3, 2, 8, 8))):
        model = seeded(made, seed)
        cuts = []
        for name, layer in layer_names(model).items():
            goes = torch.rand(len(layer.weight), generator=generator).argsort()[: len(layer.weight) // 4].tolist()
            cuts.append(cut(model, name, goes) if torch.rand((), generator=generator) < 0.7 else weights(model, name))
        removal = plan_removal(Structure(model, inputs[:1]), cuts)
        small = shrink(model, cuts, inputs)
        assert output_difference(model, removal.mask, small, inputs) <= TOLERANCE


def test_any_module_a_depthwise_convolution_and_a_neuron_with_batchnorm() -> None:
    def mobile() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(3, 8, 3),
            nn.PReLU(8),
            nn.Conv2d(8, 8, 3, groups=8),
            nn.BatchNorm2d(8),
            nn.Flatten(1),
            nn.Linear(8 * 16, 6, bias=False),
            nn.BatchNorm1d(6),
            nn.ReLU(),
            nn.Linear(6, 4),
        )

    model, inputs = seeded(mobile), images(3, 3, 8, 8)
    small = shrink(model, [cut(model, "0", [1, 7]), cut(model, "5", [0, 5])], inputs)
    assert (small[2].groups, small[5].weight.shape, small[6].num_features) == (6, (4, 6 * 16), 4)


# it trains -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("net", ["lenet", "vgg-a-dropout", "resnet20"])
def test_a_shrunk_network_is_trained_on(net: str) -> None:
    model, inputs = build(net), example(net)  # 4 images: LeNet stacks them while it trains
    small = shrink(model, cuts_for(net, model), inputs).train()
    optimizer = torch.optim.SGD(small.parameters(), lr=0.01)
    before = {name: p.detach().clone() for name, p in small.named_parameters()}
    F.cross_entropy(small(inputs), torch.arange(4)).backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in small.parameters())
    optimizer.step()
    assert any(not torch.equal(p, before[name]) for name, p in small.named_parameters())


def test_a_shrunk_lenet_computes_the_same_in_training_mode() -> None:
    model, inputs = build("lenet"), example("lenet")
    small = shrink(model, cuts_for("lenet", model), inputs)
    with torch.no_grad():
        assert relative_difference(small(inputs), small.train()(inputs)) <= TOLERANCE


def test_modes_and_frozen_parameters_are_kept() -> None:
    model, inputs = build("resnet20").train(), example("resnet20")
    model.conv1.weight.requires_grad_(False)
    model.bn1.eval()
    small = shrink(model, cuts_for("resnet20", model), inputs)
    assert {name: p.requires_grad for name, p in small.named_parameters()} == {
        name: p.requires_grad for name, p in model.named_parameters()
    }
    assert [m.training for m in small.modules()] == [m.training for m in model.modules()]


# bad input -----------------------------------------------------------------------------------------------------------


def after(activation: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 6, 3), activation, nn.Flatten(1), nn.Linear(6 * 36, 4))


class Viewed(nn.Module):
    """Its forward holds the number of channels, so that it cannot have fewer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 6, 3), nn.Linear(6 * 36, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.conv(x).relu().view(-1, 216))


REFUSED: Mapping[str, tuple[Callable[[], nn.Module], range, str]] = {
    "everything": (lambda: after(nn.ReLU()), range(6), "nothing would be left of 0: all of its 6 outputs"),
    "sigmoid": (lambda: after(nn.Sigmoid()), range(2), "cannot be shrunk: what is masked still reaches '3'"),
    "groupnorm": (lambda: after(nn.GroupNorm(1, 6)), range(2), "cannot be shrunk: '1' normalises across channels"),
    "viewed": (Viewed, range(2), "cannot be shrunk: its forward does not take fewer channels .RuntimeError: shape"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_shrunk_is_refused_in_one_line(case: str) -> None:
    build, indices, message = REFUSED[case]
    model = build()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(SparsifyError, match=message) as caught:
        shrink(model, [cut(model, "conv1", indices)], images(2, 3, 8, 8))
    assert "\n" not in str(caught.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


class InTwoPlaces(nn.Module):
    """Two convolutions that lose filters; the second is followed by what is named."""

    def __init__(self, behind: nn.Module) -> None:
        super().__init__()
        self.first, self.second, self.behind = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3), behind
        self.fc = nn.Linear(6 * 16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.behind(self.second(self.first(x).relu())).flatten(1))


class InHalves(nn.Module):
    """It works on 3 channels and 3 others: a split at a fixed place."""

    def forward(self, x: Tensor) -> Tensor:
        first, second = x[:, :3], x[:, 3:]
        return torch.cat([first.relu(), second.reshape(len(x), 3, 4, 4).relu()], dim=1)


KEPT = {
    "sigmoid": (nn.Sigmoid, "what is masked still reaches 'fc'"),
    "groupnorm": (lambda: nn.GroupNorm(1, 6), "'behind' normalises across channels"),
    "halves": (InHalves, "the forward of 'behind' does not take fewer channels .RuntimeError: shape"),
}


@pytest.mark.parametrize("case", KEPT)
def test_what_cannot_be_removed_stays_as_zeros_and_the_rest_goes(case: str) -> None:
    build, message = KEPT[case]
    model, inputs = InTwoPlaces(build()).eval(), images(2, 3, 8, 8)
    structure = Structure(model, inputs[:1])
    drop = torch.tensor([False, True, False, False, True, True])
    cuts = [Cut(layer, "filter", drop) for layer in (structure.layers["first"], structure.layers["second"])]
    with pytest.warns(SparsifyWarning, match=f"stays as zeros, because it cannot be removed: {message}"):
        small = shrink(model, cuts, inputs)
    assert (small.first.out_channels, small.second.out_channels) == (3, 6)
    assert not small.second.weight[drop].any()
    assert small.second.weight[~drop].any(1).all()
    with masked(model, structure.mask(cuts)), torch.inference_mode():
        assert relative_difference(model(inputs), small(inputs)) <= TOLERANCE


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ({"fc9.weight": keeps([1, 1])}, "the mask names 'fc9.weight', which the network does not have"),
        ({"fc1.weight": keeps([1, 1])}, r"the mask of 'fc1.weight' is \(1, 2\), not \(3, 2\)"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(mask: Mask, message: str) -> None:
    with pytest.raises(SparsifyError, match=message):
        shrink(two_layers(), mask, torch.ones(1, 2))


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"fc1": [0, 3]}, "fc1 has outputs 0 to 2, and none of index 3"),
        ({"fc1": [-1]}, "none of index -1"),
        ({"fc3": [0]}, "unknown layer 'fc3'; did you mean 'fc2'"),
        ({"fc1": [0, 1, 2]}, "nothing would be left of fc1"),
    ],
)
def test_indices_that_there_are_not_are_refused(outputs: dict[str, list[int]], message: str) -> None:
    """Torch-Pruning would accept them."""
    with pytest.raises(SparsifyError, match=message):
        remove_outputs(Structure(two_layers(), torch.ones(1, 2)), outputs)


def test_networks_that_differ_are_refused_whatever_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sparsify.nets.shrinking.output_difference", lambda *_: float("nan"))
    with pytest.raises(SparsifyError, match="its outputs would differ from the masked network's by nan"):
        shrink(two_layers(), {}, torch.ones(1, 2))


def test_what_is_no_number_is_a_difference_in_whichever_output_it_is() -> None:
    class Twice(nn.Module):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.factor = factor

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return 1 * x, self.factor * x

    assert output_difference(Twice(1.0), {}, Twice(1.5), torch.ones(1, 2)) == 0.5
    assert math.isnan(output_difference(Twice(1.0), {}, Twice(math.nan), torch.ones(1, 2)))


def test_a_network_and_its_shrunk_form_are_compared_without_cudnn() -> None:
    """Which may take other algorithms for other numbers of channels."""

    class Asking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers, self.enabled = two_layers(), []

        def forward(self, x: Tensor) -> Tensor:
            self.enabled.append(torch.backends.cudnn.enabled)
            return self.layers(x)

    model, small, before = Asking(), Asking(), torch.backends.cudnn.enabled
    output_difference(model, {}, small, torch.ones(1, 2))
    assert model.enabled + small.enabled == [False, False]
    assert torch.backends.cudnn.enabled == before
