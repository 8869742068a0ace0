"""The networks that a Config can name: functions of (image shape, number of classes).

Layers are named conv1, conv2, …, fc1, … in the order of the forward pass. torch is imported by the builders, not
here, so that the command line can list the names without it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

from sparsify.errors import SparsifyError

if TYPE_CHECKING:
    from torch import nn


def lenet(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """LeNet-5 with ReLU and max pooling: 61,706 parameters for 28×28 grey images and 10 classes.

    28×28 images are padded by 2, as in LeCun et al. 1998; 32×32 images are not. Other sizes raise SparsifyError.
    Pooling stands before ReLU: the same function (both are monotone) on a quarter of the numbers.
    """
    from torch import nn

    from sparsify.modules import FullConv2d, StackedConv2d, StackingSequential

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


NETS: dict[str, Callable[[tuple[int, int, int], int], nn.Module]] = {"lenet": lenet}
