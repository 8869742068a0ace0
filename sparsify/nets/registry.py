"""The networks that a Config can name.

torch is imported by the builders, not here, so that the command line can list the names without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sparsify.settings import Given, Setting, Value, values_of

if TYPE_CHECKING:
    from torch import nn

    Build = Callable[[tuple[int, int, int], int, Mapping[str, Value]], nn.Module]
    """A function of the images' (channels, height, width), the number of classes, and the values of all settings."""

    Load = Callable[[nn.Module], None]
    """Loads trained weights into all layers of a network but the last, or raises SparsifyError."""


GRAINS = ("auto", "filter", "neuron", "weight", "head")
"""What can be removed from a layer as one; see `Layer.grain`."""


@dataclass(frozen=True)
class NetworkSpec:
    """How to build one network, and what the report says of it.

    `build` takes the images' (channels, height, width), the number of classes, and the value of every one of
    `settings`, the options of this network. `publication` cites the paper, and is None if there is none. `weights`
    loads ImageNet weights into all layers but the last, and is None if there are none.
    """

    build: Build
    description: str
    publication: str | None = None
    settings: Mapping[str, Setting] = field(default_factory=dict)
    weights: Load | None = None


def _lenet(shape: tuple[int, int, int], classes: int, options: Mapping[str, Value]) -> nn.Module:
    from sparsify.nets.zoo.lenet import lenet

    return lenet(shape, classes)


def _vgg(weight_layers: int, *, batch_norm: bool = False, dropout: float = 0.0, width: float = 1.0) -> Build:
    def build(shape: tuple[int, int, int], classes: int, options: Mapping[str, Value]) -> nn.Module:
        from sparsify.nets.zoo.vgg import CHANNELS, vgg

        return vgg(shape, classes, CHANNELS[weight_layers], batch_norm=batch_norm, dropout=dropout, width=width)

    return build


def _resnet(*, blocks: Sequence[int], width: int) -> Build:
    def build(shape: tuple[int, int, int], classes: int, options: Mapping[str, Value]) -> nn.Module:
        from sparsify.nets.zoo.resnet import resnet

        return resnet(shape, classes, blocks=blocks, width=width)

    return build


def _torchvision(name: str) -> Build:
    def build(shape: tuple[int, int, int], classes: int, options: Mapping[str, Value]) -> nn.Module:
        from sparsify.nets.zoo.torchvision import zoo

        return zoo(name, shape, classes)

    return build


def _imagenet(name: str) -> Load:
    def load(model: nn.Module) -> None:
        from sparsify.nets.zoo.pretrained import load_imagenet

        load_imagenet(model, name)

    return load


_VGG = "Simonyan & Zisserman 2015"
_RESNET = "He et al. 2016"

NETS: dict[str, NetworkSpec] = {
    "lenet": NetworkSpec(_lenet, "LeNet-5 with ReLU and max pooling", "LeCun et al. 1998"),
    "vgg-a": NetworkSpec(_vgg(11), "VGG-11 for 32×32 images", _VGG),
    "vgg-a-bn": NetworkSpec(
        _vgg(11, batch_norm=True), "VGG-11 for 32×32 images, with BatchNorm behind each convolution", _VGG
    ),
    "vgg-a-light": NetworkSpec(_vgg(11, width=0.25), "VGG-11 for 32×32 images, with a quarter of the channels", _VGG),
    "vgg-a-dropout": NetworkSpec(
        _vgg(11, dropout=0.5), "VGG-11 for 32×32 images, with dropout of a half before fc1 and fc2", _VGG
    ),
    "vgg16-bn": NetworkSpec(
        _vgg(16, batch_norm=True), "VGG-16 for 32×32 images, with BatchNorm behind each convolution", _VGG
    ),
    "resnet18": NetworkSpec(
        _resnet(blocks=(2, 2, 2, 2), width=64),
        "ResNet-18 for small images: a 3×3 stem without pooling, widths 64 to 512",
        _RESNET,
    ),
    "resnet20": NetworkSpec(_resnet(blocks=(3, 3, 3), width=16), "ResNet-20 for CIFAR: widths 16 to 64", _RESNET),
}

TORCHVISION = "torchvision:"
NAMES = (*NETS, f"{TORCHVISION}NAME")
"""The names that a network can have, for help texts and errors."""


def is_network(name: object) -> bool:
    """Whether `name` can be a network's name. What follows "torchvision:" is checked only when `network` builds it."""
    return isinstance(name, str) and (name in NETS or name.removeprefix(TORCHVISION) not in ("", name))


def network_spec(name: str) -> NetworkSpec:
    """Return the entry of the network `name`, one of NETS or "torchvision:NAME"."""
    if name in NETS:
        return NETS[name]
    own = name.removeprefix(TORCHVISION)
    return NetworkSpec(_torchvision(own), "a network of torchvision", weights=_imagenet(own))


def network(name: str, shape: tuple[int, int, int], classes: int, options: Given = "") -> nn.Module:
    """Build the network `name` for images of (channels, height, width), with random initial weights.

    `options` are its own, as in "norm=batch,dropout=0.3". The weights are drawn from torch's generator, which is put
    back to its state afterwards. Raises SparsifyError for an unknown name or option, and for images that the network
    does not take.
    """
    import torch

    spec = network_spec(name)
    values = values_of("--net", name, options, spec.settings)

    with torch.random.fork_rng(devices=[]):
        return spec.build(shape, classes, values)
