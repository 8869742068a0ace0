"""torchvision's classification networks, untrained."""

from __future__ import annotations

import difflib

import torch
import torchvision.models
from torch import Tensor, nn

from sparsify.errors import SparsifyError, first_line

_OPTIONS: dict[str, dict[str, bool]] = {
    # without the auxiliary outputs, which exist only to train on ImageNet; both warn if init_weights is not given
    "googlenet": {"aux_logits": False, "init_weights": True},
    "inception_v3": {"aux_logits": False, "init_weights": True},
}


def zoo(name: str, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Build torchvision's network `name` for images of (channels, height, width), without trained weights.

    Raises SparsifyError for an unknown name, and for a network that does not give one logit per class for such images.
    """
    names = torchvision.models.list_models(module=torchvision.models)
    if name not in names:
        nearest = difflib.get_close_matches(name, names, n=5, cutoff=0.3) or names
        raise SparsifyError(f"unknown network 'torchvision:{name}'; the nearest in torchvision: {', '.join(nearest)}")
    size = "×".join(map(str, shape))
    if shape[0] != 3:
        raise SparsifyError(f"torchvision:{name} takes images of 3 channels, and these are {size}")
    options = _OPTIONS.get(name, {})
    model: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=classes, **options).eval()
    try:
        with torch.inference_mode():
            logits = model(torch.zeros(1, *shape))
    except Exception as error:  # the network's own forward can raise anything
        reason = first_line(error)
        raise SparsifyError(f"torchvision:{name} does not take images of {size}: {reason}") from error
    if not isinstance(logits, Tensor) or logits.shape != (1, classes):
        raise SparsifyError(f"torchvision:{name} does not give one tensor of {classes} logits for an image")
    return model.train()
