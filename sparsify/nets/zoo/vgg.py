"""VGG (Simonyan & Zisserman 2015) for 32×32 images, in the form that is common for CIFAR-10."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from sparsify.errors import SparsifyError
from sparsify.nets.modules import Conv3x3

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
    batch_norm: bool = False,
    dropout: float = 0.0,
    width: float = 1.0,
) -> nn.Module:
    """Build a VGG: 3×3 convolutions with the channels of `plan` times `width`, two hidden layers, and the output.

    The hidden layers are as wide as the last convolution. Layers are conv1, bn1, relu1, pool1, …, fc1, fc2, fc3.
    Pooling comes before ReLU: the same function (both are monotone), computed on a quarter of the numbers. Weights are
    initialised as in He et al. 2015 (variance 2 / fan-in), biases are 0. Raises SparsifyError for images other than
    32×32.
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
        if batch_norm:
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
    for layer in layers.values():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return nn.Sequential(layers)
