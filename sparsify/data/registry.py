"""The data sets and augmentations that a Config can name.

torch is imported by the readers, not here, so that the command line can list the names without it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sparsify.data.places import Roots, absolute
from sparsify.errors import SparsifyError, unknown

if TYPE_CHECKING:
    from torch import Tensor

    from sparsify.data.dataset import Dataset


FOLDER = "folder:"


@dataclass(frozen=True)
class DatasetSpec:
    """How to read one data set from the folders that are searched, and what the report says of it.

    `description` says what it holds; `publication` cites its paper, and is None if it has none of its own.
    """

    load: Callable[[Roots], Dataset]
    description: str
    publication: str | None = None


def _mnist(roots: Roots) -> Dataset:
    from sparsify.data.vision import mnist_like

    return mnist_like("MNIST", roots)


def _fashion_mnist(roots: Roots) -> Dataset:
    from sparsify.data.vision import mnist_like

    return mnist_like("FashionMNIST", roots)


def _cifar10(roots: Roots) -> Dataset:
    from sparsify.data.vision import cifar

    return cifar("CIFAR10", roots)


def _digits(roots: Roots) -> Dataset:
    from sparsify.data.vision import embedded_digits

    return embedded_digits()


DATASETS: dict[str, DatasetSpec] = {
    "mnist": DatasetSpec(_mnist, "60,000 and 10,000 grey images of 28×28, 10 digits", "LeCun et al. 1998"),
    "fashion-mnist": DatasetSpec(
        _fashion_mnist, "60,000 and 10,000 grey images of 28×28, 10 kinds of clothing", "Xiao et al. 2017"
    ),
    "cifar10": DatasetSpec(_cifar10, "50,000 and 10,000 colour images of 32×32, 10 classes", "Krizhevsky 2009"),
    "digits": DatasetSpec(_digits, "scikit-learn's 1,797 handwritten digits, resized to 28×28"),
}


def unchanged(images: Tensor, draws: Tensor) -> Tensor:
    """Return the images as they are."""
    return images


def crop_flip(images: Tensor, draws: Tensor) -> Tensor:
    """Pad by 4 pixels, crop at random, and mirror half of the images."""
    from sparsify.data.augmentation import crop_and_flip

    return crop_and_flip(images, draws)


AUGMENTATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"none": unchanged, "crop-flip": crop_flip}
"""Functions of a batch of uint8 images and of the numbers that `augmentation.draw` drew for it."""


def load_dataset(name: str, data_dir: Path | str | None = None) -> Dataset:
    """Load the data set `name` as uint8 tensors on the CPU. The last two data sets are kept in memory.

    Raises SparsifyError for an unknown name and for a missing, unreadable, truncated or corrupt file, which it names;
    DataNotFoundError if there are no files and the download failed.

    >>> data = sparsify.load_dataset("digits")
    >>> len(data.train), len(data.test), data.shape
    (1437, 360, (1, 28, 28))
    """
    if not name.startswith(FOLDER) and name not in DATASETS:
        raise unknown("data set", name, [*DATASETS, "folder:PATH"])
    roots = Roots.of(data_dir)
    if data_dir is not None and not roots.download.is_dir():
        raise SparsifyError(f"--data-dir {data_dir} is not a folder")
    if name.startswith(FOLDER):
        name = f"{FOLDER}{absolute(name.removeprefix(FOLDER))}"
    try:
        return _load(name, roots)
    except OSError as error:  # permissions, a broken disk
        raise SparsifyError(f"{error.filename or name} cannot be read: {error.strerror or error}") from error


@functools.lru_cache(maxsize=2)
def _load(name: str, roots: Roots) -> Dataset:
    if name.startswith(FOLDER):
        from sparsify.data.folder import image_folder

        return image_folder(Path(name.removeprefix(FOLDER)), roots)
    return DATASETS[name].load(roots)
