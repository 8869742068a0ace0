"""VGG (Simonyan & Zisserman 2015) for 32×32 images, in the form that is common for CIFAR-10."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from sparsify.errors import SparsifyError
from sparsify.nets.modules import Conv3x3
from sparsify.nets.zoo.common import initialise

POOL = 0
"""Stands for a 2×2 max pooling among the channels of a plan."""

CHANNELS = {
    11: (64, POOL, 128, POOL, 256, 256, POOL, 512, 512, POOL, 512, 512, POOL),
    16: (64, 64, POOL, 128, 128, POOL, 256, 256, 256, POOL, 512, 512, 512, POOL, 512, 512, 512, POOL),
}
"""The plan of each network: its convolutions' channels and poolings, by the number of layers that have weights."""


def vgg(
    shape: tuple[int, int, int],
    classes: int,
    plan: Sequence[int],
    *,
    norm: str,
    dropout: float,
    width: float,
    init: str,
) -> nn.Module:
    """Build a VGG: 3×3 convolutions with the channels of `plan` times `width`, two hidden layers, and the output.

    The hidden layers are as wide as the last convolution, with dropout before each. With norm "batch", BatchNorm is
    behind each convolution. Layers are conv1, bn1, relu1, pool1, …, fc1, fc2, fc3. Pooling comes before ReLU: the same
    function (both are monotone), computed on a quarter of the numbers. Weights are initialised as `init` says. Raises
    SparsifyError for images other than 32×32.
    """
    channels, height, length = shape
    if (height, length) != (32, 32):
        raise SparsifyError(f"VGG takes images of 32×32 pixels; these have {height}×{length}")
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    convolutions = pools = 0
    for position, outputs in enumerate(plan):
        if outputs == POOL:
            continue
        convolutions += 1
        filters = int(width * outputs)
        layers[f"conv{convolutions}"] = Conv3x3(channels, filters)
        if norm == "batch":
            layers[f"bn{convolutions}"] = nn.BatchNorm2d(filters)
        if plan[position + 1] == POOL:
            pools += 1
            layers[f"pool{pools}"] = nn.MaxPool2d(2)
        layers[f"relu{convolutions}"] = nn.ReLU(inplace=True)
        channels = filters
    layers["flatten"] = nn.Flatten(1)
    for hidden in (1, 2):
        if dropout:
            layers[f"dropout{hidden}"] = nn.Dropout(dropout)
        layers[f"fc{hidden}"] = nn.Linear(channels, channels)
        layers[f"relu{convolutions + hidden}"] = nn.ReLU(inplace=True)
    layers["fc3"] = nn.Linear(channels, classes)
    model = nn.Sequential(layers)
    initialise(model, init, nn.Conv2d, nn.Linear)
    return model
