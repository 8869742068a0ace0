"""A small ResNet for CIFAR-10 that learns in few epochs, after the records in training speed."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from sparsify.errors import SparsifyError
from sparsify.nets.modules import WhiteningConv2d
from sparsify.nets.zoo.common import convolution, initialise

CHANNELS = (64, 256, 256)
ACTIVATIONS: dict[str, type[nn.Module]] = {"gelu": nn.GELU, "relu": nn.ReLU}


class Skipped(nn.Module):
    """y = x + f(BN(conv(x))) with the activation f: a residual branch of one 3×3 convolution."""

    def __init__(self, channels: int, activation: type[nn.Module]) -> None:
        super().__init__()
        self.conv = convolution(channels, channels)
        self.bn = nn.BatchNorm2d(channels)
        self.act = activation()

    def forward(self, inputs: Tensor) -> Tensor:
        """(n, channels, h, w) → (n, channels, h, w)."""
        outputs: Tensor = inputs + self.act(self.bn(self.conv(inputs)))
        return outputs


class Scaled(nn.Module):
    """y = x/8: logits, and with them gradients, begin small (Jordan 2024, who divides by 9)."""

    def forward(self, inputs: Tensor) -> Tensor:
        """(n, classes) → (n, classes)."""
        return inputs / 8


class Mirrored(nn.Module):
    """In evaluation mode: the images, and after them their mirror images."""

    def forward(self, images: Tensor) -> Tensor:
        """(n, channels, h, w) → (2n, channels, h, w); in training mode the images alone."""
        return images if self.training else torch.cat([images, images.flip(3)])


class MirrorMean(nn.Module):
    """In evaluation mode: the mean of the outputs for each image and for its mirror image, as `Mirrored` lays them."""

    def forward(self, outputs: Tensor) -> Tensor:
        """(2n, classes) → (n, classes); in training mode the outputs as they are."""
        if self.training:
            return outputs
        straight, mirrored = outputs.chunk(2)
        return (straight + mirrored) / 2


def resnet_speed(
    shape: tuple[int, int, int],
    classes: int,
    *,
    width: float,
    whitening: bool,
    activation: str,
    init: str,
    test_mirror: bool,
) -> nn.Module:
    """Build the network: a 2×2 convolution, three stages of 64, 256 and 256 channels times `width`, and fc1.

    A stage is a 3×3 convolution, 2×2 max pooling, BatchNorm and activation, and a residual branch of one convolution.
    In the end each channel's maximum is pooled, and fc1's outputs are divided by 8. The first convolution has 8 filters
    for each channel of the images; with `whitening` these decorrelate the patches of the training images, once a
    training begins. With the `init` "identity" the first filters of each 3×3 convolution pass their inputs on. With
    `test_mirror` the outputs in evaluation mode are the means over an image and its mirror image, at twice the cost.
    Images have at least 9×9 pixels; smaller ones raise SparsifyError.
    """
    channels, height, length = shape
    if min(height, length) < 9:
        raise SparsifyError(f"resnet-speed takes images of at least 9×9 pixels; these have {height}×{length}")
    act = ACTIVATIONS[activation]
    first = WhiteningConv2d if whitening else nn.Conv2d
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if test_mirror:
        layers["mirror"] = Mirrored()
    inputs = 8 * channels  # both signs of each of the 4·channels directions of a patch
    layers["conv1"], layers["act1"] = first(channels, inputs, 2), act()
    for number, outputs in enumerate((int(width * many) for many in CHANNELS), start=1):
        stage: OrderedDict[str, nn.Module] = OrderedDict()
        stage["conv"], stage["pool"] = convolution(inputs, outputs), nn.MaxPool2d(2)
        stage["bn"], stage["act"] = nn.BatchNorm2d(outputs), act()
        stage["residual"] = Skipped(outputs, act)
        layers[f"stage{number}"] = nn.Sequential(stage)
        inputs = outputs
    layers["pool"] = nn.MaxPool2d(((height - 1) // 8, (length - 1) // 8))  # of the whole map
    layers["flatten"] = nn.Flatten(1)
    layers["fc1"] = nn.Linear(inputs, classes)
    layers["scale"] = Scaled()
    if test_mirror:
        layers["mean"] = MirrorMean()
    model = nn.Sequential(layers)
    if init == "identity":
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d) and layer is not model.conv1:
                nn.init.dirac_(layer.weight[: layer.in_channels].detach())
    else:
        initialise(model, init, nn.Conv2d, nn.Linear)
    return model
