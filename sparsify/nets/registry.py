"""The networks that a Config can name: functions of (image shape, number of classes).

torch is imported by the builders, not here, so that the command line can list the names without it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


GRAINS = ("auto", "filter", "neuron", "weight")
"""What can be removed from a layer as one; see `Layer.grain`."""


def lenet(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """LeNet-5 (LeCun et al. 1998) with ReLU and max pooling: 61,706 parameters for 28×28 grey images and 10 classes."""
    from sparsify.nets.zoo import lenet as module

    return module.lenet(shape, classes)


def vgg_a(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """VGG-11 (Simonyan & Zisserman 2015) for 32×32 images: 9,750,922 parameters for 3 channels and 10 classes."""
    from sparsify.nets.zoo.vgg import VGG_11, vgg

    return vgg(shape, classes, VGG_11)


def vgg_a_bn(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """VGG-11 (Simonyan & Zisserman 2015) for 32×32 images with BatchNorm behind each convolution."""
    from sparsify.nets.zoo.vgg import VGG_11, vgg

    return vgg(shape, classes, VGG_11, batch_norm=True)


def vgg_a_light(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """VGG-11 (Simonyan & Zisserman 2015) for 32×32 images with a quarter of the channels."""
    from sparsify.nets.zoo.vgg import VGG_11, vgg

    return vgg(shape, classes, VGG_11, width=0.25)


def vgg_a_dropout(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """VGG-11 (Simonyan & Zisserman 2015) for 32×32 images with dropout of a half before fc1 and fc2."""
    from sparsify.nets.zoo.vgg import VGG_11, vgg

    return vgg(shape, classes, VGG_11, dropout=0.5)


def vgg16_bn(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """VGG-16 (Simonyan & Zisserman 2015) for 32×32 images with BatchNorm behind each convolution."""
    from sparsify.nets.zoo.vgg import VGG_16, vgg

    return vgg(shape, classes, VGG_16, batch_norm=True)


def resnet18(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """ResNet-18 (He et al. 2016) for small images: a 3×3 stem without pooling, widths 64 to 512."""
    from sparsify.nets.zoo.resnet import resnet

    return resnet(shape, classes, blocks=(2, 2, 2, 2), width=64)


def resnet20(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """ResNet-20 (He et al. 2016) for CIFAR: widths 16 to 64."""
    from sparsify.nets.zoo.resnet import resnet

    return resnet(shape, classes, blocks=(3, 3, 3), width=16)


NETS: dict[str, Callable[[tuple[int, int, int], int], nn.Module]] = {
    "lenet": lenet,
    "vgg-a": vgg_a,
    "vgg-a-bn": vgg_a_bn,
    "vgg-a-light": vgg_a_light,
    "vgg-a-dropout": vgg_a_dropout,
    "vgg16-bn": vgg16_bn,
    "resnet18": resnet18,
    "resnet20": resnet20,
}

TORCHVISION = "torchvision:"
NAMES = (*NETS, f"{TORCHVISION}NAME")
"""What a network can be called."""


def is_network(name: object) -> bool:
    """Whether it can be a network's name; what stands behind "torchvision:" is known to `network` alone."""
    return isinstance(name, str) and (name in NETS or name.removeprefix(TORCHVISION) not in ("", name))


def network(name: str, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """The network of that name for images of (channels, height, width), with initial weights of torch's generator.

    The generator is afterwards as it was. Raises SparsifyError if there is none, or if it does not take such images.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        if name in NETS:
            return NETS[name](shape, classes)
        from sparsify.nets.zoo.torchvision import zoo

        return zoo(name.removeprefix(TORCHVISION), shape, classes)
