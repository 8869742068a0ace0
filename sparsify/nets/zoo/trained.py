"""Weights that torchvision's networks were trained to on ImageNet."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor, nn
from torchvision.models import WeightsEnum, get_model_weights

from sparsify.data.downloads import FAILURES, limited, reason_of, unreachable
from sparsify.errors import SparsifyError


def load_trained(model: nn.Module, name: str) -> None:
    """Load torchvision's weights of its network `name` into the model in place, all but those of its last layer.

    They are torchvision's default ones, in torch's folder of downloads, or fetched into it. Raises SparsifyError if
    they are neither there nor to be fetched, and if they do not fit.
    """
    own = model.state_dict()
    last = _last_layer(model)
    trained = _state(name, get_model_weights(name).DEFAULT)
    # of a network whose auxiliary outputs are left out, the weights have more
    kept = {key: value for key, value in trained.items() if key in own and not key.startswith(f"{last}.")}
    lacking = [key for key in own if key not in kept and not key.startswith(f"{last}.")]
    unlike = [key for key, value in kept.items() if value.shape != own[key].shape]
    for keys, what in ((lacking, "lack"), (unlike, "have another shape of")):
        if keys:
            raise SparsifyError(f"--pretrained: torchvision's weights of {name} {what} {keys[0]}, and do not fit")
    model.load_state_dict(kept, strict=False)


def _last_layer(model: nn.Module) -> str:
    """The name of the last layer with a weight matrix or filters, which gives the logits."""
    kinds = (nn.Linear, nn.Conv2d)
    *_, last = (path for path, module in model.named_modules() if isinstance(module, kinds))
    return str(last)


def _state(name: str, weights: WeightsEnum) -> dict[str, Tensor]:
    """Return the trained weights from torch's folder of downloads, where they are fetched to if they are not there."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rpartition("/")[2]
    reason = None if path.exists() else unreachable(weights.url)
    if reason is None:
        try:
            with limited():
                found: dict[str, Tensor] = weights.get_state_dict(
                    progress=False, check_hash=True, map_location="cpu", weights_only=True
                )
            return found
        except (*FAILURES, EOFError, UnpicklingError) as error:
            if path.exists():
                raise SparsifyError(f"--pretrained: {path} cannot be read ({reason_of(error)}); delete it") from error
            reason = reason_of(error)
    raise SparsifyError(
        f"--pretrained: the weights of {name} are not in {path.parent} and cannot be downloaded ({reason}); put "
        f"{weights.url} there, or train without --pretrained"
    )
