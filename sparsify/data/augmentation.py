"""Augmentation on the device, a batch at a time; what is drawn is keyed by (seed, epoch), one row for each image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sparsify.devices import generator

PADDING = 4


def crop_and_flip(images: Tensor, draws: Tensor) -> Tensor:
    """Padding by 4 black pixels, a crop of the original size, and half of the images mirrored.

    `images` (n, channels, height, width), uint8; `draws` (n, 3), int64, on their device: the crop's first row and
    column, 0 to 8, and whether the image is mirrored. The result is channels_last.
    """
    count, _, height, width = images.shape
    padded = F.pad(images, (PADDING,) * 4)
    rows = draws[:, :1] + torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device).expand(count, width)
    columns = draws[:, 1:2] + torch.where(draws[:, 2:] > 0, width - 1 - columns, columns)
    image = torch.arange(count, device=images.device)
    return padded.permute(0, 2, 3, 1)[image[:, None, None], rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def draw(count: int, seed: int, epoch: int) -> Tensor:
    """What `crop_and_flip` needs for `count` images of one epoch: (count, 3), int64, on the CPU."""
    keyed = generator(seed, epoch, "augmentation")
    highest = torch.tensor([2 * PADDING + 1, 2 * PADDING + 1, 2])
    return (torch.rand(count, 3, generator=keyed, dtype=torch.float64) * highest).long()
