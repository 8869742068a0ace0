"""LeNet-5 (LeCun et al. 1998) with ReLU or tanh and max pooling."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from sparsify.errors import SparsifyError
from sparsify.nets.modules import FullConv2d, StackedConv2d, StackingSequential
from sparsify.nets.zoo.common import ACTIVATIONS, initialise


def lenet(shape: tuple[int, int, int], classes: int, *, activation: str = "relu", init: str = "torch") -> nn.Module:
    """Build LeNet-5 with max pooling: 61,706 parameters for 28×28 grey images and 10 classes.

    28×28 images are padded by 2, as in LeCun et al. 1998; 32×32 images are not. Other sizes raise SparsifyError.
    Pooling comes before the activation: the same function (both are monotone), computed on a quarter of the numbers.
    """
    channels, height, width = shape
    if (height, width) not in ((28, 28), (32, 32)):
        raise SparsifyError(f"lenet takes images of 28×28 or 32×32 pixels; these have {height}×{width}")
    act = ACTIVATIONS[activation]
    layers: list[tuple[str, nn.Module]] = [
        ("conv1", StackedConv2d(channels, 6, 5, padding=(32 - height) // 2)),
        ("pool1", nn.MaxPool2d(2)),
        (f"{activation}1", act()),
        ("conv2", StackedConv2d(6, 16, 5)),
        ("pool2", nn.MaxPool2d(2)),
        (f"{activation}2", act()),
        ("conv3", FullConv2d(16, 120, 5)),
        (f"{activation}3", act()),
        ("flatten", nn.Flatten(1)),
        ("fc1", nn.Linear(120, 84)),
        (f"{activation}4", act()),
        ("fc2", nn.Linear(84, classes)),
    ]
    model = StackingSequential(OrderedDict(layers), until="conv3")
    initialise(model, init, nn.Conv2d, nn.Linear)
    return model
