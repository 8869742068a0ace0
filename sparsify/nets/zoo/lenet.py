"""LeNet-5 (LeCun et al. 1998) with ReLU and max pooling."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from sparsify.errors import SparsifyError
from sparsify.nets.modules import FullConv2d, StackedConv2d, StackingSequential


def lenet(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Build LeNet-5 with ReLU and max pooling: 61,706 parameters for 28×28 grey images and 10 classes.

    28×28 images are padded by 2, as in LeCun et al. 1998; 32×32 images are not. Other sizes raise SparsifyError.
    Pooling comes before ReLU: the same function (both are monotone), computed on a quarter of the numbers.
    """
    channels, height, width = shape
    if (height, width) not in ((28, 28), (32, 32)):
        raise SparsifyError(f"lenet takes images of 28×28 or 32×32 pixels; these have {height}×{width}")
    return StackingSequential(
        OrderedDict(
            conv1=StackedConv2d(channels, 6, 5, padding=(32 - height) // 2),
            pool1=nn.MaxPool2d(2),
            relu1=nn.ReLU(),
            conv2=StackedConv2d(6, 16, 5),
            pool2=nn.MaxPool2d(2),
            relu2=nn.ReLU(),
            conv3=FullConv2d(16, 120, 5),
            relu3=nn.ReLU(),
            flatten=nn.Flatten(1),
            fc1=nn.Linear(120, 84),
            relu4=nn.ReLU(),
            fc2=nn.Linear(84, classes),
        ),
        until="conv3",
    )
