"""A data set as uint8 tensors: decoded once, and kept in memory or on the device, where batches are taken by index."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as SampleDataset
from typing_extensions import TypeVar

from sparsify.data.pixels import Normalise, assembled, chunks, fits
from sparsify.data.places import Download
from sparsify.devices import generator
from sparsify.errors import SparsifyError, SparsifyWarning, first_line
from sparsify.text import size

Inputs = Tensor | tuple[Tensor, ...] | dict[str, Tensor]
"""A batch for a network: a tensor, or those of its arguments, by place or by keyword; in each, images come first."""

Batch = TypeVar("Batch", bound=Inputs)
Images = TypeVar("Images", bound=Inputs, default=Tensor, covariant=True)

READ = 256  # samples of a torch data set that are collated at a time


def each(inputs: Inputs) -> list[Tensor]:
    """Return the tensors of a batch."""
    if isinstance(inputs, Tensor):
        return [inputs]
    return list(inputs.values() if isinstance(inputs, dict) else inputs)


def mapped(function: Callable[[Tensor], Tensor], inputs: Batch) -> Batch:
    """Return the batch with `function` of each of its tensors."""
    if isinstance(inputs, Tensor):
        return cast("Batch", function(inputs))
    if isinstance(inputs, dict):
        return cast("Batch", {name: function(tensor) for name, tensor in inputs.items()})
    return cast("Batch", tuple(map(function, inputs)))


def part_of(inputs: Batch, index: Tensor | slice) -> Batch:
    """Return the images with these indices of a batch."""
    return mapped(lambda tensor: tensor[index], inputs)


def described(inputs: Inputs) -> str:
    """Return the shapes and types of a batch in words: "(1, 3, 32, 32) float32"."""
    names = [f"{name} " for name in inputs] if isinstance(inputs, dict) else [""] * len(each(inputs))
    kinds = (f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}" for tensor in each(inputs))
    return ", ".join(name + kind for name, kind in zip(names, kinds, strict=True))


@dataclass(frozen=True, repr=False)
class Split(Generic[Images]):
    """Images and their labels, (n, …), on one device; in a data set uint8 (n, channels, height, width) and int64 (n,).

    Images for which a device has no room stay on the CPU (see `to`); then the split is on the device of the labels, and
    so is each part that is taken of it by an index or a slice.

    `images` may be a tuple or a dict of tensors, for a network that takes several (see `call`). Arrays and lists become
    tensors. Raises SparsifyError for what cannot become one, and if there are not as many labels as images.

    >>> split = sparsify.Split(torch.zeros(4, 1, 8, 8, dtype=torch.uint8), [0, 1, 0, 1])
    >>> len(split), len(split[:3])
    (4, 3)
    """

    images: Images
    labels: Tensor

    def __post_init__(self) -> None:
        object.__setattr__(self, "images", _as_inputs(self.images))
        object.__setattr__(self, "labels", _as_tensor(self.labels, "labels"))
        counts = {len(tensor) if tensor.ndim else 0 for tensor in each(self.images)}
        if len(counts) != 1:
            raise SparsifyError(f"the inputs are {described(self.images)}; the number of images must come first in all")
        (count,) = counts
        if self.labels.ndim == 0 or len(self.labels) != count:
            labels = len(self.labels) if self.labels.ndim else 1
            raise SparsifyError(f"{count:,} images have {labels:,} labels; each image needs one")

    def __repr__(self) -> str:
        return f"<Split: images {described(self.images)}, labels {described(self.labels)}, on {self.device}>"

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Tensor | slice) -> Split[Images]:
        def taken(tensor: Tensor) -> Tensor:
            return tensor[index.to(tensor.device) if isinstance(index, Tensor) else index].to(self.device)

        return Split(mapped(taken, self.images), self.labels[index])

    @property
    def device(self) -> torch.device:
        """The device that it is on.

        >>> sparsify.load_dataset("digits").test.device
        device(type='cpu')
        """
        return self.labels.device

    @property
    def streamed(self) -> bool:
        """Whether the images are not on the device of the split: each batch is moved there as it is taken.

        >>> sparsify.load_dataset("digits").test.streamed
        False
        """
        return any(tensor.device != self.device for tensor in each(self.images))

    def to(self, device: torch.device | str) -> Split[Images]:
        """Return the split on another device. Warns (SparsifyWarning) if it has no room for the images, which stay.

        >>> sparsify.load_dataset("digits").test.to("cpu").labels.device
        device(type='cpu')
        """
        device = torch.device(device)
        together = sum(tensor.nbytes for tensor in each(self.images) if tensor.device.type != device.type)
        if together and device.type != "cpu" and not fits(together, device):
            warnings.warn(
                f"the images take {size(together)}, too much for what is free on {device}: each batch is moved there "
                "as it is taken, which takes longer and gives the same numbers",
                SparsifyWarning,
                stacklevel=2,
            )
            return Split(self.images, self.labels.to(device))
        return Split(mapped(lambda tensor: tensor.to(device), self.images), self.labels.to(device))

    @staticmethod
    def of(data: Data) -> Split[Inputs]:
        """Return the Split of a pair (images, labels), a DataLoader, a torch data set, or other batches; it is read.

        A batch is (images, labels), (first input, second input, …, labels), or a dict with "labels"; a list may also
        hold single samples, with one label each. Raises SparsifyError for anything else.

        >>> len(sparsify.Split.of(([[0.0, 1.0], [1.0, 0.0]], [1, 0])))
        2
        """
        if isinstance(data, Split):
            return data
        if isinstance(data, tuple):
            if len(data) != 2:
                raise SparsifyError(f"the data is a tuple of {len(data)}; it must be (images, labels)")
            return Split(*data)
        if isinstance(data, SampleDataset) or (isinstance(data, list) and data and _is_sample(data[0])):
            data = DataLoader(cast("SampleDataset[Any]", data), READ)
        if not isinstance(data, Iterable) or isinstance(data, (str, bytes, Mapping)) or hasattr(data, "shape"):
            raise _no_data(data)
        try:
            parts = [_batch(one) for one in data]
            if not parts:
                raise SparsifyError(f"the data, a {type(data).__name__}, has no batches")
            return Split(_together([part.images for part in parts]), torch.cat([part.labels for part in parts]))
        except (RuntimeError, KeyError, TypeError) as error:  # of unlike shapes or kinds, or no tensors
            raise SparsifyError(f"the batches of the data cannot be put together: {first_line(error)}") from error


Data = Split[Inputs] | tuple[Any, Any] | Iterable[Any]
"""What `Split.of` takes: a Split, a pair (images, labels), a DataLoader or torch data set, or other batches."""


def _is_sample(one: object) -> bool:
    """Whether it is a sample, with one label, not a batch."""
    if isinstance(one, Mapping):
        return "labels" in one and np.ndim(one["labels"]) == 0
    return isinstance(one, (tuple, list)) and len(one) > 1 and np.ndim(one[-1]) == 0


def _batch(one: object) -> Split[Inputs]:
    if isinstance(one, Mapping) and "labels" in one:
        return Split({name: values for name, values in one.items() if name != "labels"}, one["labels"])
    if isinstance(one, (tuple, list)) and len(one) > 1:
        *inputs, labels = one
        return Split(inputs[0] if len(inputs) == 1 else tuple(inputs), labels)
    raise SparsifyError(f"a batch of the data is a {type(one).__name__}; it must be (images, labels)")


def _together(parts: list[Inputs]) -> Inputs:
    first = parts[0]
    if isinstance(first, dict):
        return {name: torch.cat([cast("dict[str, Tensor]", part)[name] for part in parts]) for name in first}
    columns = [torch.cat(column) for column in zip(*map(each, parts), strict=True)]
    return columns[0] if isinstance(first, Tensor) else tuple(columns)


def _as_inputs(values: object) -> Inputs:
    if isinstance(values, Mapping) and values:
        return {str(name): _as_tensor(one, f"the input '{name}'") for name, one in values.items()}
    if isinstance(values, tuple) and values:
        return tuple(_as_tensor(one, "an input") for one in values)
    return _as_tensor(values, "images")


def _as_tensor(values: Any, what: str) -> Tensor:
    if isinstance(values, Tensor):
        return values
    try:
        if isinstance(values, list) and values and all(isinstance(one, Tensor) for one in values):
            return torch.stack(values)
        return torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:  # whatever torch says of what is no array
        raise SparsifyError(f"{what}: a {type(values).__name__} cannot become a tensor: {first_line(error)}") from error


def _no_data(data: object) -> SparsifyError:
    return SparsifyError(f"the data is a {type(data).__name__}; it must be (images, labels), a DataLoader or a Split")


def _gathered(images: Tensor, index: Tensor) -> Tensor:
    """Return `images[index]`; what the memory has no room for is kept as `assembled` does."""
    if fits(images.nbytes, images.device):
        return images[index]
    return assembled((images[index[rows]] for rows in chunks(images)), (len(index), *images.shape[1:]))


@dataclass(frozen=True, repr=False)
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

    def __repr__(self) -> str:
        images = f"{len(self.train):,} train and {len(self.test):,} {self.held_out} images"
        return f"<Dataset {self.name}: {images} {self.shape}, {len(self.classes)} classes>"

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
                for rows in chunks(tensor):
                    digest.update(tensor[rows].cpu().contiguous().numpy().data)
        return digest.hexdigest()

    def hold_out(self, fraction: float, order: Tensor) -> Dataset:
        """Return the data set with a fraction of the training images held out, in place of the test images.

        `order` is a permutation of the n training images; the first round(fraction·n) of it are held out. Raises
        SparsifyError if that leaves a split empty.
        """
        count = round(fraction * len(self.train))
        if not 0 < count < len(self.train):
            raise SparsifyError(f"--val {fraction:g} of {len(self.train)} training images leaves a split empty")
        parts = (order[count:], order[:count])
        train, test = (Split(_gathered(self.train.images, part), self.train.labels[part]) for part in parts)
        return replace(self, train=train, test=test, held_out="val")


def make_dataset(name: str, train: Split, test: Split, classes: tuple[str, ...]) -> Dataset:
    """Return a Dataset that is normalised by the statistics of its training images."""
    return Dataset(name, train, test, classes, Normalise.of(train.images))


def stand_in(name: str, download: Download, resize: int | None = None) -> Dataset:
    """Return a data set of as many images, of as many pixels and classes, as a download brings: one image of noise."""
    channels, height, width = download.shape
    shape = (1, channels, resize or height, resize or width)
    noise = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator(0, "stand-in", name))
    train, test = (
        Split(noise.expand(count, -1, -1, -1), torch.arange(count) % download.classes) for count in download.images
    )
    return Dataset(name, train, test, tuple(map(str, range(download.classes))), Normalise.of(noise))
