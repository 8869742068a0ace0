"""What a network answers for single pictures: probabilities of the classes, whole and pruned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from sparsify.data.decoding import decode, without_warnings
from sparsify.devices import exactly
from sparsify.errors import SparsifyError, reason_given
from sparsify.files import regular
from sparsify.nets.evaluation import PREDICTION_BATCH, call, evaluating
from sparsify.nets.mask import Mask, masked
from sparsify.nets.outputs import logits_of
from sparsify.pruning.subject import Subject


def read_pictures(files: Sequence[Path | str], shape: tuple[int, int, int]) -> Tensor:
    """Return images of files as a network takes them: uint8 (n, channels, height, width).

    They are upright, on white, resized (antialiased) to the height and width, and grey, or in colours, as the network's
    own are. Raises SparsifyError for a file that is missing or no image.
    """
    pictures = []
    for file in files:
        try:
            with without_warnings():
                pixels = torch.from_numpy(decode(regular(Path(file)), file).pixels.copy())
        except OSError as error:
            raise SparsifyError(f"{file} cannot be read: {reason_given(error)}") from error
        resized = transforms.resize(pixels, list(shape[1:]), antialias=True)
        pictures.append(_in_channels(resized, shape[0]))
    return torch.stack(pictures)


def _in_channels(pixels: Tensor, channels: int) -> Tensor:
    if pixels.shape[0] == channels:
        return pixels
    converted: Tensor = (transforms.grayscale_to_rgb if channels == 3 else transforms.rgb_to_grayscale)(pixels)
    return converted


@torch.inference_mode()
def probabilities(subject: Subject, images: Tensor, mask: Mask | None = None) -> Tensor:
    """Return softmax(logits) of each image, (n, classes), float32 on the CPU, under a mask if there is one.

    Of a network with one logit z, whose classes are 0 and 1, it is (1 − σ(z), σ(z)).
    """
    parts = []
    with exactly(subject.precision), evaluating(subject.model), masked(subject.model, mask or {}):
        for batch in images.split(PREDICTION_BATCH):
            output = call(subject.model, subject.prepared(batch.to(subject.split.device)))
            logits = logits_of(output, len(batch)).float()
            logits = logits if logits.shape[1] > 1 else torch.cat([torch.zeros_like(logits), logits], 1)
            parts.append(logits.softmax(1).cpu())
    return torch.cat(parts)
