"""Augmentation of whole batches on the device. Random numbers are keyed by (seed, epoch), one row for each image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sparsify.devices import generator

PADDING = 4


def crop_and_flip(images: Tensor, draws: Tensor) -> Tensor:
    """Pad by 4 black pixels, crop to the original size, and mirror half of the images.

    `images` is (n, channels, height, width), uint8. `draws` is (n, 3), int64, on the same device: the crop's first row
    and column, 0 to 8, and 1 if the image is mirrored. The result is channels_last.
    """
    count, _, height, width = images.shape
    padded = F.pad(images, (PADDING,) * 4)
    rows = draws[:, :1] + torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device).expand(count, width)
    columns = draws[:, 1:2] + torch.where(draws[:, 2:] > 0, width - 1 - columns, columns)
    image = torch.arange(count, device=images.device)
    return padded.permute(0, 2, 3, 1)[image[:, None, None], rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def draw(count: int, seed: int, epoch: int) -> Tensor:
    """Return the `draws` of `crop_and_flip` for the `count` images of one epoch: (count, 3), int64, on the CPU."""
    keyed = generator(seed, epoch, "augmentation")
    highest = torch.tensor([2 * PADDING + 1, 2 * PADDING + 1, 2])
    return (torch.rand(count, 3, generator=keyed, dtype=torch.float64) * highest).long()
