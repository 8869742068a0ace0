"""Two convolutions and one hidden layer: the small networks of many a first course."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from sparsify.errors import SparsifyError
from sparsify.nets.zoo.common import ACTIVATIONS, initialise, require_odd


def convnet(
    shape: tuple[int, int, int],
    classes: int,
    *,
    channels: Sequence[int],
    kernels: Sequence[int],
    padding: str,
    hidden: int,
    norm: str,
    norm_behind_pools: bool,
    dropout: float,
    activation: str,
    init: str,
    output: str,
) -> nn.Module:
    """Build two convolutions, each with 2×2 max pooling, one hidden layer, and the output. Images can have any size.

    Pooling comes before the activation: the same function (both are monotone), computed on a quarter of the numbers.
    `padding` is torch's "valid" (none) or "same"; the latter needs odd kernels. With norm "batch", BatchNorm is behind
    each convolution or, if `norm_behind_pools`, behind each pooling and its activation, and behind fc1. Dropout is what
    the next layer gets of each convolution. Layers are conv1, bn1, pool1, relu1, dropout1, …, fc1, fc2; `output` adds a
    log-softmax. Raises SparsifyError for images that leave nothing behind the second pooling.
    """
    inputs, height, width = shape
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, (filters, kernel) in enumerate(zip(channels, kernels, strict=True), start=1):
        if padding == "same":
            require_odd(kernel)
        layers[f"conv{number}"] = nn.Conv2d(inputs, filters, kernel, padding=padding)
        if norm == "batch" and not norm_behind_pools:
            layers[f"bn{number}"] = nn.BatchNorm2d(filters)
        layers[f"pool{number}"] = nn.MaxPool2d(2)
        layers[f"{activation}{number}"] = ACTIVATIONS[activation]()
        if norm == "batch" and norm_behind_pools:
            layers[f"bn{number}"] = nn.BatchNorm2d(filters)
        if dropout:
            layers[f"dropout{number}"] = nn.Dropout(dropout)
        inputs = filters
        lost = kernel - 1 if padding == "valid" else 0
        height, width = (height - lost) // 2, (width - lost) // 2
    if height < 1 or width < 1:
        raise SparsifyError(
            f"images of {shape[1]}×{shape[2]} pixels are too small for {' and '.join(f'{k}×{k}' for k in kernels)} "
            f"kernels with padding={padding}: nothing is left behind the second pooling"
        )
    layers["flatten"] = nn.Flatten(1)
    layers["fc1"] = nn.Linear(inputs * height * width, hidden)
    if norm == "batch" and norm_behind_pools:
        layers["bn3"] = nn.BatchNorm1d(hidden)
    layers[f"{activation}3"] = ACTIVATIONS[activation]()
    layers["fc2"] = nn.Linear(hidden, classes)
    if output == "log-softmax":
        layers["log_softmax"] = nn.LogSoftmax(1)
    model = nn.Sequential(layers)
    initialise(model, init, nn.Conv2d, nn.Linear)
    return model
