"""Augmentation of batches of uint8 images. Random numbers are keyed by (seed, epoch), one row for each image.

An image's row alone says what is done to it, so that the result depends neither on the batch that the image is in nor
on the device. The row goes by the image's place in the epoch or, where sides alternate, by its index.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from sparsify.devices import generator

PADDING = 4
REACH = 2


def crop_and_flip(images: Tensor, draws: Tensor) -> Tensor:
    """Pad by 4 black pixels, crop to the original size, and mirror half of the images.

    `images` is (n, channels, height, width), uint8. `draws` is (n, 3), int64, on the same device: the crop's first row
    and column, 0 to 8, and 1 if the image is mirrored. The result is channels_last.
    """
    count, _, height, width = images.shape
    rows = draws[:, :1] + torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device).expand(count, width)
    columns = draws[:, 1:2] + torch.where(draws[:, 2:] > 0, width - 1 - columns, columns)
    return _taken(F.pad(images, (PADDING,) * 4), rows, columns)


def shift(images: Tensor, draws: Tensor) -> Tensor:
    """Move each image down and to the right, and fill what becomes free with its mirror image at that edge.

    `images` is (n, channels, height, width), uint8. `draws` is (n, 2), int64, on the same device: by how many pixels
    down and to the right, −2 to 2. The result is channels_last.
    """
    height, width = images.shape[2:]
    rows, columns = (_moved(size, by) for size, by in ((height, draws[:, :1]), (width, draws[:, 1:])))
    return _taken(images, rows, columns)


def _taken(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return of each image its own rows, (n, height), and columns, (n, width): channels_last."""
    image = torch.arange(len(images), device=images.device)[:, None, None]
    return images.permute(0, 2, 3, 1)[image, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _moved(size: int, by: Tensor) -> Tensor:
    """Whence each of `size` pixels comes if all move by `by`, (n, 1): (n, size). Pixels 2, 1 stand before 0, 1, 2."""
    places = (torch.arange(size, device=by.device) - by).abs()
    last = size - 1
    return (last - (last - places).abs()).clamp(0, last)


@dataclass(frozen=True)
class Shown:
    """The images of one epoch as they are shown, and whence one augmentation has its random numbers.

    `order` is (n,), the index of the image at each place.
    """

    order: Tensor
    seed: int
    epoch: int
    purpose: tuple[str, ...]

    def generator(self) -> torch.Generator:
        """Return the generator of this epoch."""
        return generator(self.seed, self.epoch, *self.purpose)

    def generator_of_all_epochs(self) -> torch.Generator:
        """Return a generator that is the same in each epoch."""
        return generator(self.seed, *self.purpose)


class Change(ABC):
    """What an augmentation does to images: `columns` random numbers say what to each of them."""

    columns: ClassVar[int]

    @abstractmethod
    def draw(self, shown: Shown, probability: float) -> Tensor:
        """Return the draws of the images of one epoch, (n, columns), int64, on the CPU.

        With the `probability` they change an image; else they leave it alone.
        """

    @abstractmethod
    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        """Return a batch of images, uint8, as their draws change them."""


class Moves(Change):
    """Images cropped after padding, or mirrored, a whole batch at a time: `crop_and_flip` with its draws."""

    columns: ClassVar[int] = 3

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        """Return the images as `crop_and_flip` does."""
        return crop_and_flip(images, draws)


@dataclass(frozen=True)
class ByChance(Moves):
    """Images cropped, and a part of them, `mirrored`, mirrored, as is drawn anew in each epoch."""

    crop: bool
    mirrored: float

    def draw(self, shown: Shown, probability: float) -> Tensor:
        """Return the `draws` of `crop_and_flip`, (n, 3); an image that is left alone has 4, 4, 0."""
        count, keyed = len(shown.order), shown.generator()
        uniform = torch.rand(count, 3, generator=keyed, dtype=torch.float64)
        places = (uniform * (2 * PADDING + 1)).long() if self.crop else torch.full((count, 3), PADDING)
        places[:, 2] = uniform[:, 2] >= 1 - self.mirrored
        if probability < 1:
            alone = torch.rand(count, generator=keyed, dtype=torch.float64) >= probability
            places[alone] = torch.tensor([PADDING, PADDING, 0])
        return places


class Alternating(Moves):
    """Each image is mirrored in every second epoch, half of the images in the odd ones (Jordan 2024).

    So two epochs show an image from both sides, where chance shows half of the images twice from the same one.
    """

    def draw(self, shown: Shown, probability: float) -> Tensor:
        """Return the `draws` of `crop_and_flip`, (n, 3); images that are left alone, by chance, are never mirrored."""
        images = int(shown.order.max()) + 1
        keyed = shown.generator_of_all_epochs()
        first, alone = (torch.rand(images, generator=keyed, dtype=torch.float64) for _ in range(2))
        mirrored = ((first < 0.5).long() + shown.epoch) % 2 * (alone < probability)
        places = torch.full((len(shown.order), 3), PADDING)
        places[:, 2] = mirrored[shown.order]
        return places


class Shifted(Change):
    """Images moved by up to 2 pixels, a whole batch at a time: `shift` with its draws (Jordan 2024)."""

    columns: ClassVar[int] = 2

    def draw(self, shown: Shown, probability: float) -> Tensor:
        """Return the `draws` of `shift`, (n, 2); an image that is left alone has 0, 0."""
        count, keyed = len(shown.order), shown.generator()
        uniform, alone = (torch.rand(count, many, generator=keyed, dtype=torch.float64) for many in (2, 1))
        return ((uniform * (2 * REACH + 1)).long() - REACH).masked_fill(alone >= probability, 0)

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        """Return the images as `shift` does."""
        return shift(images, draws)


@dataclass(frozen=True)
class OneByOne(Change):
    """A transform of torchvision, which draws from torch's own generator: it is seeded for each image.

    The images are changed on the CPU, as uint8, one at a time, and come back to their device.
    """

    transform: Callable[[Tensor], Tensor]
    columns: ClassVar[int] = 1

    def draw(self, shown: Shown, probability: float) -> Tensor:
        """Return the seed of each image, (n, 1), or -1 for one that is left alone."""
        count, keyed = len(shown.order), shown.generator()
        seeds = torch.randint(2**63 - 1, (count,), generator=keyed)
        alone = torch.rand(count, generator=keyed, dtype=torch.float64) >= probability
        return seeds.masked_fill(alone, -1)[:, None]

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        """Return the images, each as the transform changes it after its seed. torch's generator is restored."""
        # contiguous: the last bits of a convolution, and so a pixel, may depend on the layout
        changed = images.to("cpu", copy=True).contiguous()
        with torch.random.fork_rng(devices=[]), torch.inference_mode():
            for image, seed in zip(changed.unbind(), draws[:, 0].tolist(), strict=True):
                if seed >= 0:
                    torch.default_generator.manual_seed(seed)  # torch.manual_seed seeds every GPU, too
                    image.copy_(self.transform(image))
        return changed.to(images.device)


@dataclass(frozen=True)
class Part:
    """One augmentation of several: its name, the probability that it changes an image, and what it does."""

    name: str
    probability: float
    does: Change


class Augmentation:
    """Augmentations, one after another; without any, images stay as they are."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = tuple(parts)

    @property
    def one_by_one(self) -> bool:
        """Whether images are changed one by one on the CPU, which no CUDA graph can hold."""
        return any(isinstance(part.does, OneByOne) for part in self.parts)

    def draw(self, order: Tensor, seed: int, epoch: int) -> Tensor:
        """Return the draws for the images of one epoch: (n, columns), int64, on the CPU.

        `order`, (n,), int64, on the CPU, is the index of the image at each place.
        """
        drawn = [torch.empty(len(order), 0, dtype=torch.int64)]
        for part in self.parts:
            # crop-flip was the only one once, and its numbers stay what they were
            purpose = ("augmentation",) if part.name == "crop-flip" else ("augmentation", part.name)
            drawn.append(part.does.draw(Shown(order, seed, epoch, purpose), part.probability))
        return torch.cat(drawn, 1)

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        """Return a batch of images, uint8, as their rows of `draws` change them."""
        for part in self.parts:
            images, draws = part.does(images, draws[:, : part.does.columns]), draws[:, part.does.columns :]
        return images
