"""The data sets and augmentations that a Config can name.

torch is imported by the readers, not here, so that the command line can list the names without it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sparsify.data.places import Roots, _absolute
from sparsify.errors import SparsifyError, unknown

if TYPE_CHECKING:
    from torch import Tensor

    from sparsify.data.dataset import Dataset


FOLDER = "folder:"


def mnist(roots: Roots) -> Dataset:
    """MNIST (LeCun et al. 1998): 60,000 and 10,000 grey images of 28×28, 10 digits."""
    from sparsify.data.vision import mnist_like

    return mnist_like("MNIST", roots)


def fashion_mnist(roots: Roots) -> Dataset:
    """Fashion-MNIST (Xiao et al. 2017): 60,000 and 10,000 grey images of 28×28, 10 kinds of clothing."""
    from sparsify.data.vision import mnist_like

    return mnist_like("FashionMNIST", roots)


def cifar10(roots: Roots) -> Dataset:
    """CIFAR-10 (Krizhevsky 2009): 50,000 and 10,000 colour images of 32×32, 10 classes."""
    from sparsify.data.vision import cifar

    return cifar("CIFAR10", roots)


def digits(roots: Roots) -> Dataset:
    """scikit-learn's 1,797 handwritten digits, resized to 28×28: embedded, no network needed."""
    from sparsify.data.vision import embedded_digits

    return embedded_digits()


DATASETS: dict[str, Callable[[Roots], Dataset]] = {
    "mnist": mnist,
    "fashion-mnist": fashion_mnist,
    "cifar10": cifar10,
    "digits": digits,
}


def as_they_are(images: Tensor, draws: Tensor) -> Tensor:
    """No augmentation."""
    return images


def crop_flip(images: Tensor, draws: Tensor) -> Tensor:
    """Padding by 4 pixels, a random crop, half of the images mirrored."""
    from sparsify.data.augmentation import crop_and_flip

    return crop_and_flip(images, draws)


AUGMENTATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"none": as_they_are, "crop-flip": crop_flip}
"""Functions of uint8 images and of what `augmentation.draw` drew for them."""


def load_dataset(name: str, data_dir: Path | str | None = None) -> Dataset:
    """The data set `name`, decoded into uint8 tensors on the CPU; the last two are kept in memory.

    Raises SparsifyError for an unknown name and for a missing, unreadable, truncated or corrupt file, which it names;
    DataNotFoundError if there are no files and the download failed.
    """
    if not name.startswith(FOLDER) and name not in DATASETS:
        raise unknown("data set", name, [*DATASETS, "folder:PATH"])
    roots = Roots.of(data_dir)
    if data_dir is not None and not roots.download.is_dir():
        raise SparsifyError(f"--data-dir {data_dir} is not a folder")
    if name.startswith(FOLDER):
        name = f"{FOLDER}{_absolute(name.removeprefix(FOLDER))}"
    try:
        return _load(name, roots)
    except OSError as error:  # permissions, a broken disk
        raise SparsifyError(f"{error.filename or name} cannot be read: {error.strerror or error}") from error


@functools.lru_cache(maxsize=2)
def _load(name: str, roots: Roots) -> Dataset:
    if name.startswith(FOLDER):
        from sparsify.data.folder import image_folder

        return image_folder(Path(name.removeprefix(FOLDER)), roots)
    return DATASETS[name](roots)
