"""torchvision's ImageNet weights, from the disk or fetched."""

from __future__ import annotations

import hashlib
import pickle  # nosec B403: only to catch its error; torch reads with weights_only
from pathlib import Path
from urllib.parse import urlparse

import torch
import torchvision.models
from torch import nn

from sparsify.data.downloads import FAILURES, cause_of
from sparsify.errors import SparsifyError, first_line, shown

_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
"""What GoogLeNet's and Inception's weights have for outputs that exist only to train on ImageNet."""


def last_layer(model: nn.Module) -> str:
    """Return the name of the last module that has parameters: in torchvision's networks, the output layer."""
    *_, (name, _) = model.named_parameters()
    return name.rpartition(".")[0]


def load_imagenet(model: nn.Module, name: str) -> str:
    """Load torchvision's newest ImageNet weights of its network `name` into all layers of the model but the last.

    Returns torchvision's name of the weights and the SHA-256 sum of their file, as in "AlexNet_Weights.IMAGENET1K_V1,
    sha256 7be5…".

    The weights are looked for in torch's cache folder (`torch.hub`), and else fetched. Raises SparsifyError if they are
    neither there nor can be fetched, and if the model has layers of other shapes; then it stays as it is.
    """
    weights = torchvision.models.get_model_weights(name).DEFAULT
    place = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(weights.url).path).name
    try:
        tensors = weights.get_state_dict(progress=False, check_hash=True, map_location="cpu", weights_only=True)
    except (*FAILURES, EOFError, pickle.UnpicklingError) as error:
        why = shown(first_line(cause_of(error)))
        if place.is_file():
            raise SparsifyError(f"the ImageNet weights in {place} cannot be read: {why}; delete the file") from error
        raise SparsifyError(
            f"the ImageNet weights of {name} are not at {place}, and {weights.url} cannot be fetched: {why}"
        ) from error
    last = last_layer(model) + "."
    own = {key: tensor for key, tensor in model.state_dict().items() if not key.startswith(last)}
    found = {key: tensor for key, tensor in tensors.items() if not key.startswith((last, *_AUXILIARY))}
    for key in [*own, *found]:
        here, there = (tuple(side[key].shape) if key in side else None for side in (own, found))
        if here != there:
            raise SparsifyError(
                f"the ImageNet weights of {name} do not fit: {key} is {there or 'missing'} there, and "
                f"{here or 'missing'} here; they are for images of 3 channels and for the network without options"
            )
    model.load_state_dict(found, strict=False)
    with place.open("rb") as file:
        return f"{weights}, sha256 {hashlib.file_digest(file, 'sha256').hexdigest()}"
