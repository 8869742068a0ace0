"""The criteria, networks and data sets that can be named: what they are, and who published them when."""

from __future__ import annotations

from dataclasses import dataclass

PUBLISHED = {
    "magnitude": 1989,  # Janowsky
    "l1": 2017,
    "bn-scale": 2017,
    "taylor": 2019,
    "fpgm": 2019,
    "entry": 2020,
    "gamma": 2020,
    "lamp": 2021,
}
"""When each criterion was published; "random" is nobody's."""


@dataclass(frozen=True)
class Source:
    """What something is, in words, and its publication, None where it has none of its own."""

    words: str
    publication: str | None = None


_VGG = "Simonyan & Zisserman 2015"
_RESNET = "He et al. 2016"

NETWORKS = {
    "lenet": Source("LeNet-5 with ReLU and max pooling", "LeCun et al. 1998"),
    "vgg-a": Source("VGG-11 for 32×32 images", _VGG),
    "vgg-a-bn": Source("VGG-11 for 32×32 images, with BatchNorm behind each convolution", _VGG),
    "vgg-a-light": Source("VGG-11 for 32×32 images, with a quarter of the channels", _VGG),
    "vgg-a-dropout": Source("VGG-11 for 32×32 images, with dropout of a half before fc1 and fc2", _VGG),
    "vgg16-bn": Source("VGG-16 for 32×32 images, with BatchNorm behind each convolution", _VGG),
    "resnet18": Source("ResNet-18 for small images: a 3×3 stem without pooling, widths 64 to 512", _RESNET),
    "resnet20": Source("ResNet-20 for CIFAR: widths 16 to 64", _RESNET),
}
"""Every network of `NETS`."""

TORCHVISION = Source("a network of torchvision")
UNKNOWN = Source("a network that is not described here")

DATA = {
    "mnist": Source("60,000 and 10,000 grey images of 28×28, 10 digits", "LeCun et al. 1998"),
    "fashion-mnist": Source("60,000 and 10,000 grey images of 28×28, 10 kinds of clothing", "Xiao et al. 2017"),
    "cifar10": Source("50,000 and 10,000 colour images of 32×32, 10 classes", "Krizhevsky 2009"),
    "digits": Source("scikit-learn's 1,797 handwritten digits, resized to 28×28"),
}
"""Every data set of `DATASETS`."""


def in_words(source: Source) -> str:
    """ "ResNet-20 for CIFAR: widths 16 to 64; He et al. 2016"."""
    return "; ".join(filter(None, (source.words, source.publication)))
