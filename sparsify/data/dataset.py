"""A data set as uint8 tensors: decoded once, and kept in memory or on the device, where batches are taken by index."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sparsify.errors import SparsifyError


@dataclass(frozen=True)
class Split:
    """Images (n, channels, height, width), uint8, and their labels (n,), int64, on one device.

    >>> split = sparsify.Split(torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 1, 0, 1]))
    >>> len(split), len(split[:3])
    (4, 3)
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Tensor | slice) -> Split:
        return Split(self.images[index], self.labels[index])

    def to(self, device: torch.device | str) -> Split:
        """Return the split on another device.

        >>> sparsify.load_dataset("digits").test.to("cpu").labels.device
        device(type='cpu')
        """
        return Split(self.images.to(device), self.labels.to(device))


@functools.lru_cache(maxsize=64)
def _of_channels(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Return the values as (channels, 1, 1). It is cached, because each copy to the device waits for the device."""
    return torch.tensor(values, device=device).view(-1, 1, 1)


@dataclass(frozen=True)
class Normalise:
    """Maps pixel values from 0 to 255 to float32 with mean 0 and standard deviation 1 in each channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: Tensor) -> Tensor:
        """Normalise images: (n, channels, height, width), uint8 → float32."""
        mean, std = (_of_channels(values, images.device) for values in (self.mean, self.std))
        return images.float().sub_(mean).div_(std)

    @classmethod
    def of(cls, images: Tensor) -> Normalise:
        """Return the normalisation of these images. A constant channel gets the standard deviation 1."""
        values = torch.arange(256, dtype=torch.float64)
        mean, std = [], []
        for channel in range(images.shape[1]):
            # a histogram is exact and needs no copy of the data in floats
            share = images[:, channel].flatten().bincount(minlength=256).double() / images[:, channel].numel()
            average = float(values @ share)
            mean.append(average)
            std.append(float((values - average).square() @ share) ** 0.5 or 1.0)
        return cls(tuple(mean), tuple(std))


@dataclass(frozen=True)
class Dataset:
    """A training split and a held-out split, `test`.

    `held_out` says what `test` holds: "test", or "val" if it holds a part of the training images.
    """

    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]
    normalise: Normalise
    held_out: str = "test"

    @property
    def shape(self) -> tuple[int, int, int]:
        """The (channels, height, width) of an image."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    def to(self, device: torch.device | str) -> Dataset:
        """Return the data set on another device."""
        return replace(self, train=self.train.to(device), test=self.test.to(device))

    def sha256(self) -> str:
        """Return the SHA-256 sum of all images and labels, in hex digits."""
        digest = hashlib.sha256()
        for split in (self.train, self.test):
            for tensor in (split.images, split.labels):
                digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def hold_out(self, fraction: float, order: Tensor) -> Dataset:
        """Return the data set with a fraction of the training images held out, in place of the test images.

        `order` is a permutation of the n training images; the first round(fraction·n) of it are held out. Raises
        SparsifyError if that leaves a split empty.
        """
        count = round(fraction * len(self.train))
        if not 0 < count < len(self.train):
            raise SparsifyError(f"--val {fraction:g} of {len(self.train)} training images leaves a split empty")
        return replace(self, train=self.train[order[count:]], test=self.train[order[:count]], held_out="val")


def make_dataset(name: str, train: Split, test: Split, classes: tuple[str, ...]) -> Dataset:
    """Return a Dataset that is normalised by the statistics of its training images."""
    return Dataset(name, train, test, classes, Normalise.of(train.images))
