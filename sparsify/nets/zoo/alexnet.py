"""AlexNet as torchvision has it (Krizhevsky 2014), for images of any number of channels."""

from __future__ import annotations

from collections import OrderedDict

import torch
import torchvision.models
from torch import nn

from sparsify.errors import SparsifyError

SMALLEST = 63
"""The smallest side of an image of which the last pooling leaves something."""

POOLED = 6
"""The side of the maps that the first hidden layer sees."""


def alexnet(shape: tuple[int, int, int], classes: int, *, norm: str, dropout: float, width: float) -> nn.Module:
    """Build torchvision's AlexNet with so many outputs, its weights named as there; images have at least 63×63 pixels.

    With norm "batch", BatchNorm is behind each convolution, before its ReLU. All layers but the last have `width` times
    their outputs. Raises SparsifyError for smaller images.
    """
    inputs, height, length = shape
    if min(height, length) < SMALLEST:
        raise SparsifyError(
            f"alexnet takes images of at least {SMALLEST}×{SMALLEST} pixels; these have {height}×{length}"
        )
    with torch.device("meta"):  # only the plan: its layers are made below, in the same order
        plan = torchvision.models.AlexNet(num_classes=classes, dropout=dropout)
        maps = plan.features(torch.zeros(1, 3, height, length)).shape[2:]
    features: list[nn.Module] = []
    for module in plan.features:
        if not isinstance(module, nn.Conv2d):
            features.append(module)
            continue
        outputs = int(width * module.out_channels)
        features.append(nn.Conv2d(inputs, outputs, module.kernel_size, module.stride, module.padding))  # type: ignore[arg-type]  # torch calls them tuples of any length
        if norm == "batch":
            features.append(nn.BatchNorm2d(outputs))
        inputs = outputs
    inputs *= POOLED**2
    classifier: list[nn.Module] = []
    for module in plan.classifier:
        if isinstance(module, nn.Linear):
            outputs = classes if module is plan.classifier[-1] else int(width * module.out_features)
            inputs, module = outputs, nn.Linear(inputs, outputs)
        classifier.append(module)
    # of maps that divide 6×6 the average is a repetition, whose gradient is deterministic on CUDA, too
    repeats = all(POOLED % side == 0 for side in maps)
    return nn.Sequential(
        OrderedDict(
            features=nn.Sequential(*features),
            avgpool=nn.Upsample((POOLED, POOLED)) if repeats else plan.avgpool,
            flatten=nn.Flatten(1),
            classifier=nn.Sequential(*classifier),
        )
    )
