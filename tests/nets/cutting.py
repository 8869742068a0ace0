"""Networks of the registry, and what is cut from each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from sparsify.nets.layers import layer_names
from sparsify.nets.registry import network
from sparsify.nets.structure import Cut


def seeded(build: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """The network in evaluation mode; BatchNorm's scales, shifts and running statistics are not the defaults."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build()
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
                nn.init.normal_(module.weight)
                nn.init.normal_(module.bias)
    return model.eval()


def images(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def cut(model: nn.Module, name: str, indices: Sequence[int]) -> Cut:
    """Whole outputs of one layer."""
    layer = layer_names(model)[name]
    drop = torch.zeros(len(layer.weight), dtype=torch.bool)
    drop[list(indices)] = True
    return Cut(layer, layer.grain("filter"), drop)


def weights(model: nn.Module, name: str, ratio: float = 0.5) -> Cut:
    """Single weights of one layer."""
    layer = layer_names(model)[name]
    return Cut(layer, "weight", torch.rand(layer.weight.shape, generator=torch.Generator().manual_seed(2)) < ratio)


# outputs of convolutions and neurons, and the layer that loses single weights
CUTS = {
    "lenet": ({"conv1": [0, 5], "conv2": [3], "conv3": range(0, 120, 2)}, "fc1"),
    "convnet": ({"conv1": [0, 63], "conv2": range(20), "fc1": range(0, 1024, 2)}, "fc2"),
    "elu-net": ({"conv1": [0, 127], "conv2": range(20), "fc1": range(0, 256, 2)}, "fc2"),
    "resnet9": ({"conv1": [1, 63], "stage1.conv": range(9), "stage3.residual.conv1": range(99)}, "fc1"),
    "alexnet": ({"features.0": [3], "features.4": range(9), "classifier.1": range(99)}, "classifier.4"),
    "resnet-speed": ({"conv1": [1, 23], "stage1.conv": range(9), "stage3.residual.conv": range(99)}, "fc1"),
    "resnet18": ({"conv1": [1, 15], "stage1.0.conv1": range(9), "stage2.0.shortcut.conv": [0, 7]}, "fc1"),
    "resnet20": ({"conv1": [1, 15], "stage1.0.conv2": [1, 3], "stage3.2.conv1": range(63)}, "fc1"),
}
VGG_CUTS = ({"conv1": [0, 15], "conv2": range(5), "conv3": [8], "fc1": [2, 3]}, "fc2")


OPTIONS = {"alexnet": "width=0.0625,norm=batch", "elu-net": "norm=batch", "convnet": "norm=batch,dropout=0.5"}
OPTIONS |= dict.fromkeys(("vgg-a", "vgg-a-dropout", "vgg16-bn", "resnet18"), "width=0.25")  # vgg-a-bn is whole
SHAPES = {"lenet": (1, 28, 28), "alexnet": (1, 64, 64)}


def example(net: str) -> Tensor:
    return images(4, *SHAPES.get(net, (3, 32, 32)))


def build(net: str) -> nn.Module:
    return seeded(lambda: network(net, SHAPES.get(net, (3, 32, 32)), 10, OPTIONS.get(net, "")))


def cuts_for(net: str, model: nn.Module) -> list[Cut]:
    outputs, single = CUTS.get(net, VGG_CUTS)
    return [*(cut(model, name, indices) for name, indices in outputs.items()), weights(model, single)]


def tiny_resnet(shape: tuple[int, int, int], classes: int) -> nn.Module:
    from sparsify.nets.zoo.resnet import resnet

    return resnet(shape, classes, blocks=(1, 1), width=4)
