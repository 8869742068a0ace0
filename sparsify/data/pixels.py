"""Images as one uint8 tensor: put together, in parts, and normalised."""

from __future__ import annotations

import functools
import math
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sparsify.data.places import Roots
from sparsify.devices import room_for_data
from sparsify.folders import delete_leftovers, suffix

CHUNK = 2**24  # bytes of a tensor that are read at a time


def fits(bytes_: int, device: torch.device) -> bool:
    """Whether the device has room for so much data."""
    return bytes_ <= room_for_data(device)


def assembled(parts: Iterable[Tensor], shape: tuple[int, ...]) -> Tensor:
    """Return the uint8 tensor of this shape, on the CPU, whose rows are those of the parts, one part after another.

    What the memory has no room for is in a file without a name, mapped into memory.
    """
    if fits(math.prod(shape), torch.device("cpu")):
        whole, done = torch.empty(shape, dtype=torch.uint8), 0
        for part in parts:
            whole[done : done + len(part)] = part
            done += len(part)
        return whole
    kept = Roots.of().cache  # not the system's folder of temporary files, which may be in memory
    kept.mkdir(parents=True, exist_ok=True)
    delete_leftovers(kept)
    with tempfile.NamedTemporaryFile(dir=kept, prefix=".images-", suffix=suffix()) as file:
        for part in parts:
            file.write(part.contiguous().numpy().data)
        file.flush()
        return torch.from_file(file.name, shared=False, size=math.prod(shape), dtype=torch.uint8).view(shape)


def chunks(tensor: Tensor) -> Iterator[slice]:
    """Slices of the first dimension, each of a few megabytes, so that a mapped tensor is not read as a whole."""
    step = max(1, CHUNK * len(tensor) // max(1, tensor.nbytes))
    return (slice(begin, begin + step) for begin in range(0, len(tensor), step))


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

    @property
    def off(self) -> Normalise:
        """Without normalisation: of as many channels, pixel values from 0 to 1."""
        return Normalise((0.0,) * len(self.mean), (255.0,) * len(self.std))

    @classmethod
    def of(cls, images: Tensor) -> Normalise:
        """Return the normalisation of these images. A constant channel gets the standard deviation 1."""
        values = torch.arange(256, dtype=torch.float64)
        mean, std = [], []
        for channel in range(images.shape[1]):
            # a histogram is exact and needs no copy of the data in floats
            counts = torch.zeros(256, dtype=torch.int64, device=images.device)
            for rows in chunks(images):
                counts += images[rows, channel].flatten().bincount(minlength=256)
            share = counts.double() / images[:, channel].numel()
            average = float(values @ share)
            mean.append(average)
            std.append(float((values - average).square() @ share) ** 0.5 or 1.0)
        return cls(tuple(mean), tuple(std))
