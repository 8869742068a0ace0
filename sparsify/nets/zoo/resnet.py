"""ResNet (He et al. 2016) for small images."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn


def _convolution(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)


class BasicBlock(nn.Module):
    """y = ReLU(x + BN(conv(ReLU(BN(conv(x)))))), with a 1×1 convolution and BatchNorm on x if the shapes differ."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _convolution(inputs, outputs, stride=stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = _convolution(outputs, outputs)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride > 1 or inputs != outputs:
            shortcut = {"conv": _convolution(inputs, outputs, kernel=1, stride=stride), "bn": nn.BatchNorm2d(outputs)}
            self.shortcut = nn.Sequential(OrderedDict(shortcut))
        self.relu2 = nn.ReLU(inplace=True)

    def forward(self, inputs: Tensor) -> Tensor:
        """(n, inputs, h, w) → (n, outputs, h / stride, w / stride)."""
        residual = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(inputs)))))
        outputs: Tensor = self.relu2(residual + self.shortcut(inputs))
        return outputs


def resnet(shape: tuple[int, int, int], classes: int, *, blocks: Sequence[int], width: int) -> nn.Module:
    """Build a ResNet: a 3×3 stem, stages of BasicBlocks, average pooling, and fc1. Images can have any size.

    Each stage but the first halves the image and doubles the width. If the shape changes, the shortcut is a projection
    (option B of the paper). Convolutions are initialised as in He et al. 2015 (variance 2 / fan-in).
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv1"], layers["bn1"] = _convolution(shape[0], width), nn.BatchNorm2d(width)
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
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return model
