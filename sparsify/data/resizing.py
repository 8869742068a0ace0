"""Images resized once, when a data set is loaded."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import resize

from sparsify.data.dataset import Dataset, Split
from sparsify.data.pixels import Normalise, assembled, chunks


def resized(dataset: Dataset, size: int) -> Dataset:
    """Return the data set with the images of both splits resized to `size` pixels in height and width.

    It is torchvision's antialiased bilinear resize of uint8, whose pixels may differ by 1 between kinds of processors;
    the normalisation is of the resized training images.
    """
    train, test = (Split(_resized(split.images, size), split.labels) for split in (dataset.train, dataset.test))
    return replace(dataset, train=train, test=test, normalise=Normalise.of(train.images))


def _resized(images: Tensor, size: int) -> Tensor:
    shape = (len(images), images.shape[1], size, size)
    parts = (resize(images[rows], [size, size], InterpolationMode.BILINEAR, antialias=True) for rows in chunks(images))
    return assembled(parts, shape)
