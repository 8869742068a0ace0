"""One pass: to the bit what every mask gives when it is evaluated from the start."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from sparsify import evaluate
from sparsify.data.dataset import Split
from sparsify.errors import SparsifyError
from sparsify.nets import registry
from sparsify.nets.mask import Mask, masked
from sparsify.nets.modules import stages_of
from sparsify.nets.prediction import predict_masked
from sparsify.pruning.cuts import make_mask
from sparsify.pruning.measuring import prune
from sparsify.pruning.subject import Subject


def normalise(images: Tensor) -> Tensor:
    return images.float() / 128 - 1


def network(name: str) -> nn.Module:
    """A network of ours, narrow, with statistics and scales of its BatchNorm layers that are no ones and zeros."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        width = "" if name == "lenet" else "width=0.25"
        model = registry.network(name, (1, 28, 28) if name == "lenet" else (3, 32, 32), 10, width)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                for tensor in (module.weight, module.running_var):
                    tensor.uniform_(0.5, 1.5)
                for tensor in (module.bias, module.running_mean):
                    tensor.normal_(0, 0.3)
    return model.to(memory_format=torch.channels_last)


def images_for(name: str, count: int) -> Tensor:
    shape = (count, 1, 28, 28) if name == "lenet" else (count, 3, 32, 32)
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def scratch(model: nn.Module, images: Tensor, masks: list[Mask], batch_size: int, **how: str) -> tuple[list, list]:
    """Each mask by itself, with `evaluate`: the right answers (labels 0 1 2 3 0 …) and the batches of logits."""
    logits: list[Tensor] = []
    handle = model.register_forward_hook(lambda _module, _inputs, output: logits.append(output.float().clone()))
    split, counts = Split(images, torch.arange(len(images)) % 4), []
    for mask in masks:
        with masked(model, mask):
            counts.append(evaluate(model, split, normalise, batch_size=batch_size, **how).correct)
    handle.remove()
    return counts, logits


def check(model: nn.Module, images: Tensor, masks: list[Mask], *, batch_size: int = 8, **how: str) -> None:
    """Predictions, counts and, to the bit, logits are those of each mask by itself; the network stays as it was."""
    before = {name: (p.clone(), p.stride()) for name, p in model.state_dict().items()}
    counts, expected = scratch(model, images, masks, batch_size, **how)
    seen: list[Tensor] = []
    last = stages_of(model)[-1]
    handle = last.register_forward_hook(lambda _module, _inputs, output: seen.append(output.float().clone()))
    predictions = predict_masked(model, images, masks, normalise, batch_size=batch_size, **how)
    handle.remove()
    classes = torch.cat([batch.argmax(1) for batch in expected]).view(len(masks), -1)
    assert torch.equal(predictions, classes)
    assert (predictions == torch.arange(len(images)) % 4).sum(1).tolist() == counts
    assert {batch.numpy().tobytes() for batch in seen} == {batch.numpy().tobytes() for batch in expected}
    assert all(torch.equal(p, before[n][0]) and p.stride() == before[n][1] for n, p in model.state_dict().items())


SETS = {
    "lenet": ["conv3", "conv3,fc1", "conv1", "fc2", "conv2,fc1"],
    "vgg-a-bn": ["conv1", "conv8,fc1", "conv5,fc3"],
    "resnet20": ["conv1", "stage3.2.conv1", "stage2.0.conv2,fc1"],
}


@pytest.mark.parametrize("grain", ["auto", "neuron", "weight"])
@pytest.mark.parametrize("name", SETS)
def test_networks_of_ours(name, grain):
    """Early and late layers, coupled ones, a last batch that is not full."""
    model, images = network(name), images_for(name, 20)
    example = normalise(images[:1])
    asked = [(layers, ratio) for layers in SETS[name] for ratio in (0, 0.3, 0.9)]
    check(model, images, [make_mask(model, example, layers=s, ratio=r, grain=grain) for s, r in asked])


def test_bfloat16_casts_each_mask_anew(monkeypatch):
    monkeypatch.setattr("sparsify.devices.has_bfloat16", lambda _device: True)
    model, images = network("lenet"), images_for("lenet", 8)
    example = normalise(images[:1])
    masks = [make_mask(model, example, layers="conv1,fc1,fc2", ratio=r, grain="weight") for r in (0, 0.5, 0.9)]
    check(model, images, masks, precision="fast")


# tiny networks of 4 numbers ------------------------------------------------------------------------------------------


def linear(inputs: int = 4, outputs: int = 4) -> nn.Linear:
    """Random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(inputs + 10 * outputs)
        return nn.Linear(inputs, outputs)


IMAGES = torch.randint(0, 256, (20, 4), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)


def masks_of(model: nn.Module) -> list[Mask]:
    """For each parameter: whole, its first row or element gone, all gone, and every second element gone."""
    masks: list[Mask] = [{}]
    for name, p in model.named_parameters():
        keep = torch.ones_like(p, dtype=torch.bool)
        row, half = keep.clone(), keep.clone()
        row[0], half.view(-1)[::2] = False, False
        masks += [{name: keep}, {name: row}, {name: ~keep}, {name: half}]
    rows = {
        name: torch.arange(len(p)).view(-1, *[1] * (p.ndim - 1)).expand_as(p) > 1
        for name, p in model.named_parameters()
    }
    return [*masks, rows, {name: ~keep for name, keep in rows.items()}]


class Residual(nn.Sequential):
    """A Sequential that does more than its children."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + super().forward(inputs)


class Keep(nn.Module):
    """Remembers its input."""

    def forward(self, inputs: Tensor) -> Tensor:
        self.kept = inputs.clone()
        return inputs


class Add(nn.Module):
    """Adds what another module remembers."""

    def __init__(self, keep: Keep) -> None:
        super().__init__()
        self.keep = [keep]

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + self.keep[0].kept


class InPlace(nn.Module):
    """Works in place on its input, and has a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = linear()

    def forward(self, inputs: Tensor) -> Tensor:
        return self.linear(inputs.mul_(2).relu_())


class Pair(nn.Module):
    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        return inputs, 2 * inputs


class Sum(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = linear()

    def forward(self, inputs: tuple[Tensor, Tensor]) -> Tensor:
        return self.linear(inputs[0].relu_()) + inputs[1]


def double(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
    return 2 * output


def hooked_container() -> nn.Module:
    model = nn.Sequential(linear(), nn.Sequential(linear(), nn.ReLU(inplace=True)), linear())
    model[1].register_forward_hook(double)
    return model


def hooked_layer() -> nn.Module:
    """Its hook moves what a mask of the layer leaves at 0."""
    model = nn.Sequential(linear(), linear(), linear())
    model[1].register_forward_hook(lambda _module, _inputs, output: output.cumsum(1) + 1)
    return model


def own_forward() -> nn.Module:
    model = nn.Sequential(linear(), nn.Sequential(linear()), linear())
    model[1].forward = lambda inputs: inputs - 1
    return model


def tied() -> nn.Module:
    """The first and the last layer have one weight, and one module stands twice."""
    first, relu = linear(), nn.ReLU(inplace=True)
    model = nn.Sequential(first, relu, linear(), relu, first, linear())
    model[5].weight = first.weight
    return model


def skip() -> nn.Module:
    keep = Keep()
    return nn.Sequential(linear(), keep, nn.ReLU(inplace=True), linear(), Add(keep), linear())


def normed() -> nn.Module:
    """A BatchNorm that takes the statistics of the batch in evaluation mode too."""
    return nn.Sequential(linear(), nn.BatchNorm1d(4, track_running_stats=False), nn.ReLU(), nn.Dropout(0.5), linear())


NETWORKS = {
    "one layer": linear,
    "no Sequential": InPlace,
    "layers": lambda: nn.Sequential(
        linear(), nn.ReLU(inplace=True), nn.Sequential(linear(), nn.Sequential()), linear()
    ),
    "in place": lambda: nn.Sequential(InPlace(), InPlace(), linear()),
    "own forward of a class": lambda: nn.Sequential(linear(), Residual(linear(), nn.ReLU()), linear()),
    "own forward of a module": own_forward,
    "a hook on a container": hooked_container,
    "a hook on a layer": hooked_layer,
    "spectral norm": lambda: nn.Sequential(linear(), nn.utils.parametrizations.spectral_norm(linear()), linear()),
    "tied": tied,
    "skip": skip,
    "tuples": lambda: nn.Sequential(linear(), Pair(), Sum(), linear()),
    "statistics of the batch": normed,
    "convolutions": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 4)), nn.Conv1d(1, 3, 2), nn.Conv1d(3, 3, 2, groups=3, bias=False), nn.Flatten(1), linear(6)
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_tiny_networks(name):
    model = NETWORKS[name]()
    check(model, IMAGES, masks_of(model))


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 3e38])
@pytest.mark.parametrize("layer", [0, 1])
def test_what_is_not_finite(value, layer):
    """0 times infinity is NaN, but a filter whose sum overflows gives 0 when it is removed."""
    model = nn.Sequential(linear(), linear(), linear())
    with torch.no_grad():
        model[layer].weight[1] = value
    masks = masks_of(model)
    _, expected = scratch(model, IMAGES, masks, 8)
    predictions = predict_masked(model, IMAGES, masks, normalise, batch_size=8)
    assert torch.equal(predictions, torch.cat([batch.argmax(1) for batch in expected]).view(len(masks), -1))


def test_what_masks_share_is_computed_once():
    """The third mask is the fourth, and the last one leaves the second layer alone."""
    model = nn.Sequential(linear(), linear(), linear())
    calls = [0, 0, 0]

    def count(place: int) -> Callable[[Tensor], Tensor]:
        def parametrised(inputs: Tensor) -> Tensor:
            calls[place] += 1
            return type(model[place]).forward(model[place], inputs)

        return parametrised

    rows = torch.tensor([True, False, True, True])
    weights = torch.arange(16).view(4, 4) % 3 > 0
    masks = [{}, {"1.weight": weights}, {"1.bias": rows}, {"1.bias": rows.clone()}, {"2.weight": weights}]
    for place in range(3):
        model[place].forward = count(place)
    check(model, IMAGES[:8], masks)
    calls[:] = 0, 0, 0
    predict_masked(model, IMAGES[:8], masks, normalise)
    assert calls == [1, 3, 4]


def test_whole_outputs_are_removed_behind_the_layer(monkeypatch):
    calls = []
    forward = nn.Linear.forward
    monkeypatch.setattr(nn.Linear, "forward", lambda self, x: calls.append(self) or forward(self, x))
    model = nn.Sequential(linear(), linear())
    masks = [
        {"0.weight": (torch.arange(4) >= n)[:, None].expand(4, 4), "0.bias": torch.arange(4) >= n} for n in range(4)
    ]
    predict_masked(model, IMAGES, masks, normalise)
    assert [calls.count(layer) for layer in model] == [1, 4]


def test_images_are_normalised_once_and_the_listener_hears_of_every_mask():
    loaded, heard = [], []

    def load(images: Tensor) -> Tensor:
        loaded.append(len(images))
        return normalise(images)

    model = nn.Sequential(linear(), linear())
    model.train()
    predict_masked(model, IMAGES, masks_of(model)[:3], load, batch_size=8, listener=lambda *done: heard.append(done))
    assert loaded == [8, 8, 4]
    assert heard == [(done // 3, 3) for done in range(1, 10)]
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize(
    ("mask", "message"),
    [({"9.weight": torch.ones(4, 4) > 0}, "which the network does not have"), ({"0.bias": torch.ones(3) > 0}, "not")],
)
def test_a_mask_that_does_not_fit_is_refused(mask, message):
    with pytest.raises(SparsifyError, match=message):
        predict_masked(nn.Sequential(linear()), IMAGES, [{}, mask], normalise)


def test_a_sweep_is_what_evaluate_says_of_each_mask():
    model, images = network("lenet"), images_for("lenet", 30)
    subject = Subject(model, Split(images, torch.arange(30) % 4), normalise)
    sweep = prune(subject, layers=["conv3", "conv3,fc1"], ratios="0:0.9:0.3")
    example = normalise(images[:1])
    masks = [make_mask(model, example, layers=row.layers, ratio=row.ratio) for row in sweep.rows]
    counts, logits = scratch(model, images, masks, 1000)
    assert [row.correct for row in sweep.rows] == counts
    outcomes = sweep.outcomes["accuracy"]
    assert outcomes.right.sum(1).tolist() == counts
    assert outcomes.labels.tolist() == subject.split.labels.tolist()
    for row, expected in zip(sweep.rows, logits, strict=True):
        assert sweep.predictions(row.layers, row.ratio).tolist() == expected.argmax(1).tolist()
