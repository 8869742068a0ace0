"""The networks that a Config can name.

torch is imported by the builders, not here, so that the command line can list the names without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sparsify.data.papers import JORDAN_2024, LECUN_1998
from sparsify.nets.papers import CLEVERT_2016, HE_2016, IOFFE_2015, KRIZHEVSKY_2014, PAGE_2018, SIMONYAN_2015
from sparsify.publications import Publication, in_short
from sparsify.settings import Given, Setting, Value, values_of

if TYPE_CHECKING:
    from torch import nn

    Build = Callable[[tuple[int, int, int], int, Mapping[str, Value]], nn.Module]
    """A function of the images' (channels, height, width), the number of classes, and the values of all settings."""

    Load = Callable[[nn.Module], str]
    """Loads trained weights into all layers of a network but the last, or raises SparsifyError; says which they are."""


GRAINS = ("auto", "filter", "neuron", "weight", "head")
"""What can be removed from a layer as one; see `Layer.grain`."""


@dataclass(frozen=True)
class NetworkSpec:
    """How to build one network, and what the report says of it.

    `build` takes the images' (channels, height, width), the number of classes, and the value of every one of
    `settings`, the options of this network. `papers` are what it was published as. `weights`
    loads ImageNet weights into all layers but the last, and is None if there are none. `usual` are the layers that
    studies prune together, by their names with commas; "" where there are none.
    """

    build: Build
    description: str
    papers: tuple[Publication, ...] = ()
    settings: Mapping[str, Setting] = field(default_factory=dict)
    weights: Load | None = None
    usual: str = ""

    @property
    def publication(self) -> str | None:
        """Its publications as a sentence names them; None if there are none."""
        return in_short(self.papers)


def _lenet(shape: tuple[int, int, int], classes: int, options: Mapping[str, Any]) -> nn.Module:
    from sparsify.nets.zoo.lenet import lenet

    return lenet(shape, classes, **options)


def _convnet(*, norm_behind_pools: bool) -> Build:
    def build(shape: tuple[int, int, int], classes: int, options: Mapping[str, Any]) -> nn.Module:
        from sparsify.nets.zoo.convnet import convnet

        return convnet(shape, classes, norm_behind_pools=norm_behind_pools, **options)

    return build


def _vgg(weight_layers: int) -> Build:
    def build(shape: tuple[int, int, int], classes: int, options: Mapping[str, Any]) -> nn.Module:
        from sparsify.nets.zoo.vgg import CHANNELS, vgg

        return vgg(shape, classes, CHANNELS[weight_layers], **options)

    return build


def _resnet(*, blocks: Sequence[int], channels: int) -> Build:
    def build(shape: tuple[int, int, int], classes: int, options: Mapping[str, Any]) -> nn.Module:
        from sparsify.nets.zoo.resnet import resnet

        return resnet(shape, classes, blocks=blocks, width=int(options["width"] * channels), init=options["init"])

    return build


def _resnet9(shape: tuple[int, int, int], classes: int, options: Mapping[str, Any]) -> nn.Module:
    from sparsify.nets.zoo.resnet import resnet9

    return resnet9(shape, classes, **options)


def _resnet_speed(shape: tuple[int, int, int], classes: int, options: Mapping[str, Any]) -> nn.Module:
    from sparsify.nets.zoo.speed import resnet_speed

    return resnet_speed(shape, classes, **options)


def _alexnet(shape: tuple[int, int, int], classes: int, options: Mapping[str, Any]) -> nn.Module:
    from sparsify.nets.zoo.alexnet import alexnet

    return alexnet(shape, classes, **options)


def _torchvision(name: str) -> Build:
    def build(shape: tuple[int, int, int], classes: int, options: Mapping[str, Any]) -> nn.Module:
        from sparsify.nets.zoo.torchvision import zoo

        return zoo(name, shape, classes)

    return build


def _imagenet(name: str) -> Load:
    def load(model: nn.Module) -> str:
        from sparsify.nets.zoo.pretrained import load_imagenet

        return load_imagenet(model, name)

    return load


def _norm(default: str = "none", where: str = "each convolution") -> Setting:
    return Setting(default=default, choices=("none", "batch"), help=f"batch: BatchNorm behind {where}")


def _dropout(default: float = 0.0, where: str = "behind each convolution") -> Setting:
    return Setting(default=default, least=0, below=1, help=f"dropout {where}")


def _width(default: float = 1.0) -> Setting:
    return Setting(default=default, least=1 / 16, most=16, help="factor of the channels and hidden neurons")


def _init(default: str = "torch", layers: str = "all layers") -> Setting:
    return Setting(default=default, choices=("torch", "he"), help=f"initial weights: torch's own, or He's of {layers}")


def _activation(default: str, *choices: str) -> Setting:
    return Setting(default=default, choices=choices, help="activation")


def _convnet_settings(
    *, channels: int, kernel: int, padding: str, hidden: int, activation: str, norm: Setting
) -> dict[str, Setting]:
    return {
        "channels": Setting(default=(channels, channels), least=1, most=4096, help="channels of the two convolutions"),
        "kernels": Setting(default=(kernel, kernel), least=1, most=31, help="sides of the two kernels"),
        "padding": Setting(default=padding, choices=("valid", "same"), help="valid: none; same: maps keep their size"),
        "hidden": Setting(default=hidden, least=1, most=65_536, help="neurons of the hidden layer"),
        "norm": norm,
        "dropout": _dropout(),
        "activation": _activation(activation, "relu", "tanh", "elu"),
        "init": _init(),
        "output": Setting(default="logits", choices=("logits", "log-softmax"), help="what the network gives"),
    }


def _vgg_settings(*, norm: str = "none", dropout: float = 0.0, width: float = 1.0) -> dict[str, Setting]:
    return {
        "norm": _norm(norm),
        "dropout": _dropout(dropout, "before fc1 and fc2"),
        "width": _width(width),
        "init": _init("he"),
    }


_VGG = (SIMONYAN_2015,)
_RESNET = (HE_2016,)
_RESNET_SETTINGS = {"width": _width(), "init": _init("he", "the convolutions")}

NETS: dict[str, NetworkSpec] = {
    "lenet": NetworkSpec(
        _lenet,
        "LeNet-5 with ReLU and max pooling",
        (LECUN_1998,),
        {"activation": _activation("relu", "relu", "tanh"), "init": _init()},
        usual="conv3,fc1",
    ),
    "convnet": NetworkSpec(
        _convnet(norm_behind_pools=False),
        "after LeNet-5: two convolutions of 64 with 5×5 kernels, unpadded and pooled, and one hidden layer of 1,024",
        (LECUN_1998,),
        _convnet_settings(channels=64, kernel=5, padding="valid", hidden=1024, activation="relu", norm=_norm()),
        usual="conv2,fc1",
    ),
    "elu-net": NetworkSpec(
        _convnet(norm_behind_pools=True),
        "two padded 3×3 convolutions of 128 with ELU, each pooled, and one hidden layer (its 256 neurons are assumed)",
        (CLEVERT_2016,),
        _convnet_settings(
            channels=128,
            kernel=3,
            padding="same",
            hidden=256,
            activation="elu",
            norm=_norm(where="each pooling and its activation, and behind fc1"),
        ),
        usual="conv2,fc1",
    ),
    "vgg-a": NetworkSpec(_vgg(11), "VGG-11 for 32×32 images", _VGG, _vgg_settings(), usual="conv3,fc1"),
    "vgg-a-bn": NetworkSpec(
        _vgg(11),
        "VGG-11 for 32×32 images, with BatchNorm behind each convolution",
        (*_VGG, IOFFE_2015),
        _vgg_settings(norm="batch"),
        usual="conv3,fc1",
    ),
    "vgg-a-light": NetworkSpec(
        _vgg(11),
        "VGG-11 for 32×32 images, with a quarter of the channels",
        _VGG,
        _vgg_settings(width=0.25),
        usual="conv3,fc1",
    ),
    "vgg-a-dropout": NetworkSpec(
        _vgg(11),
        "VGG-11 for 32×32 images, with dropout of a half before fc1 and fc2",
        _VGG,
        _vgg_settings(dropout=0.5),
        usual="conv3,fc1",
    ),
    "vgg16-bn": NetworkSpec(
        _vgg(16),
        "VGG-16 for 32×32 images, with BatchNorm behind each convolution",
        (*_VGG, IOFFE_2015),
        _vgg_settings(norm="batch"),
        usual="conv3,fc1",
    ),
    "resnet9": NetworkSpec(
        _resnet9,
        "ResNet-9 for small images: nine convolutions, widths 64 to 256, three poolings",
        (HE_2016, PAGE_2018),
        {
            "kernel": Setting(default=3, least=1, most=31, help="side of all kernels, an odd number"),
            "width": _width(),
            "dropout": _dropout(where="before fc1"),
            "init": _init(),
        },
        usual="conv3,conv5,conv8",
    ),
    "resnet-speed": NetworkSpec(
        _resnet_speed,
        "a small ResNet that learns in few epochs: a whitening 2×2 convolution, widths 64, 256, 256, three poolings",
        (HE_2016, PAGE_2018, JORDAN_2024),
        {
            "width": _width(),
            "whitening": Setting(default=True, help="whether conv1 begins by decorrelating patches of the images"),
            "activation": _activation("gelu", "gelu", "relu"),
            "init": Setting(
                default="identity",
                choices=("identity", "torch", "he"),
                help="initial weights: identity passes inputs on, else torch's own, or He's of all layers",
            ),
            "test_mirror": Setting(
                default=False,
                help="whether outputs in evaluation are means over an image and its mirror image, at twice the cost",
            ),
        },
        usual="conv7",
    ),
    "resnet18": NetworkSpec(
        _resnet(blocks=(2, 2, 2, 2), channels=64),
        "ResNet-18 for small images: a 3×3 stem without pooling, widths 64 to 512",
        _RESNET,
        _RESNET_SETTINGS,
    ),
    "resnet20": NetworkSpec(
        _resnet(blocks=(3, 3, 3), channels=16), "ResNet-20 for CIFAR: widths 16 to 64", _RESNET, _RESNET_SETTINGS
    ),
    "alexnet": NetworkSpec(
        _alexnet,
        "AlexNet of torchvision, for images of 63×63 pixels or more",
        (KRIZHEVSKY_2014,),
        {"norm": _norm(), "dropout": _dropout(0.5, "before fc1 and fc2"), "width": _width()},
        _imagenet("alexnet"),
        usual="conv3,fc1",
    ),
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
