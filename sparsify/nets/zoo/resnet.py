"""ResNets (He et al. 2016) for small images, and a ResNet-9."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from sparsify.errors import SparsifyError
from sparsify.nets.zoo.common import convolution, initialise, require_odd


class BasicBlock(nn.Module):
    """y = ReLU(x + BN(conv(ReLU(BN(conv(x)))))), with a 1×1 convolution and BatchNorm on x if the shapes differ."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = convolution(inputs, outputs, stride=stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = convolution(outputs, outputs)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride > 1 or inputs != outputs:
            shortcut = {"conv": convolution(inputs, outputs, kernel=1, stride=stride), "bn": nn.BatchNorm2d(outputs)}
            self.shortcut = nn.Sequential(OrderedDict(shortcut))
        self.relu2 = nn.ReLU(inplace=True)

    def forward(self, inputs: Tensor) -> Tensor:
        """(n, inputs, h, w) → (n, outputs, h / stride, w / stride)."""
        residual = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(inputs)))))
        outputs: Tensor = self.relu2(residual + self.shortcut(inputs))
        return outputs


class Residual(nn.Module):
    """y = x + f(f(x)) with f = ReLU(BN(conv)), as in ResNet-9: the ReLUs are within the branch."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.conv1 = convolution(channels, channels, kernel=kernel)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = convolution(channels, channels, kernel=kernel)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu2 = nn.ReLU(inplace=True)

    def forward(self, inputs: Tensor) -> Tensor:
        """(n, channels, h, w) → (n, channels, h, w)."""
        inner = self.relu1(self.bn1(self.conv1(inputs)))
        outputs: Tensor = inputs + self.relu2(self.bn2(self.conv2(inner)))
        return outputs


def resnet(
    shape: tuple[int, int, int], classes: int, *, blocks: Sequence[int], width: int, init: str = "he"
) -> nn.Module:
    """Build a ResNet: a 3×3 stem, stages of BasicBlocks, average pooling, and fc1. Images can have any size.

    Each stage but the first halves the image and doubles the width. If the shape changes, the shortcut is a projection
    (option B of the paper). Convolutions are initialised as `init` says.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv1"], layers["bn1"] = convolution(shape[0], width), nn.BatchNorm2d(width)
    layers["relu1"] = nn.ReLU(inplace=True)
    channels = width
    for stage, count in enumerate(blocks):
        outputs = width * 2**stage
        members = []
        for block in range(count):
            members.append(BasicBlock(channels, outputs, 2 if stage and not block else 1))
            channels = outputs
        layers[f"stage{stage + 1}"] = nn.Sequential(*members)
    layers["pool"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten(1)
    layers["fc1"] = nn.Linear(channels, classes)
    model = nn.Sequential(layers)
    initialise(model, init, nn.Conv2d)
    return model


def resnet9(
    shape: tuple[int, int, int], classes: int, *, kernel: int, width: float, dropout: float, init: str
) -> nn.Module:
    """Build a ResNet-9: nine convolutions with BatchNorm, and fc1. Images have at least 8×8 pixels.

    A stem of 64 channels, then three stages of 128, 128 and 256, all times `width`: a convolution if the channels
    change, 2×2 max pooling, and a residual block of two convolutions. In the end each channel's maximum is pooled,
    and dropout comes before fc1. Raises SparsifyError for smaller images and for an even kernel.
    """
    channels, height, length = shape
    if min(height, length) < 8:
        raise SparsifyError(f"resnet9 takes images of at least 8×8 pixels; these have {height}×{length}")
    require_odd(kernel)
    stem, *stages = (int(width * outputs) for outputs in (64, 128, 128, 256))
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv1"], layers["bn1"] = convolution(channels, stem, kernel=kernel), nn.BatchNorm2d(stem)
    layers["relu1"] = nn.ReLU(inplace=True)
    channels = stem
    for number, outputs in enumerate(stages, start=1):
        stage: OrderedDict[str, nn.Module] = OrderedDict()
        if outputs != channels:
            stage["conv"] = convolution(channels, outputs, kernel=kernel)
            stage["bn"], stage["pool"], stage["relu"] = nn.BatchNorm2d(outputs), nn.MaxPool2d(2), nn.ReLU(inplace=True)
        else:
            stage["pool"] = nn.MaxPool2d(2)
        stage["residual"] = Residual(outputs, kernel)
        layers[f"stage{number}"] = nn.Sequential(stage)
        channels = outputs
    layers["pool"] = nn.MaxPool2d((height // 8, length // 8))  # of the whole map, with a deterministic gradient
    layers["flatten"] = nn.Flatten(1)
    if dropout:
        layers["dropout"] = nn.Dropout(dropout)
    layers["fc1"] = nn.Linear(channels, classes)
    model = nn.Sequential(layers)
    initialise(model, init, nn.Conv2d, nn.Linear)
    return model
