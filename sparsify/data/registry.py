"""The data sets and augmentations that a Config can name.

torch is imported by the readers, not here, so that the command line can list the names without it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsify.data import papers
from sparsify.data.places import Download, Roots, absolute
from sparsify.errors import SparsifyError, quoted, reason_given, unknown
from sparsify.limits import PIXELS
from sparsify.publications import Publication, in_short
from sparsify.text import shortest

if TYPE_CHECKING:
    from torch import Tensor

    from sparsify.data.augmentation import Augmentation, Change
    from sparsify.data.dataset import Dataset


FOLDER = "folder:"


@dataclass(frozen=True)
class DatasetSpec:
    """How to read one data set from the folders that are searched, and what the report says of it.

    `description` says what it holds; `papers` are what it was published as. `folder` holds its files, in one of the
    folders that are searched, and `download` is what is fetched if they are in none; both are None where they come with
    scikit-learn.
    """

    load: Callable[[Roots], Dataset]
    description: str
    papers: tuple[Publication, ...] = ()
    folder: str | None = None
    download: Download | None = None

    @property
    def publication(self) -> str | None:
        """Its publications as a sentence names them; None if there are none."""
        return in_short(self.papers)


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


def _colour_digits(roots: Roots) -> Dataset:
    from sparsify.data.vision import colour_digits

    return colour_digits()


def _root(reader: str, kind: str) -> Callable[[Roots], Path | None]:
    def root(roots: Roots) -> Path | None:
        from sparsify.data import vision

        return {"mnist": vision.mnist_root, "cifar": vision.cifar_root}[reader](kind, roots)

    return root


_DIGITS = (papers.ALPAYDIN_1998, papers.PEDREGOSA_2011)

DATASETS: dict[str, DatasetSpec] = {
    "mnist": DatasetSpec(
        _mnist,
        "60,000 and 10,000 grey images of 28×28, 10 digits",
        (papers.LECUN_1998,),
        "MNIST/raw",
        Download(_root("mnist", "MNIST"), 11_594_722, (60_000, 10_000), (1, 28, 28)),
    ),
    "fashion-mnist": DatasetSpec(
        _fashion_mnist,
        "60,000 and 10,000 grey images of 28×28, 10 kinds of clothing",
        (papers.XIAO_2017,),
        "FashionMNIST/raw",
        Download(_root("mnist", "FashionMNIST"), 30_878_645, (60_000, 10_000), (1, 28, 28)),
    ),
    "cifar10": DatasetSpec(
        _cifar10,
        "50,000 and 10,000 colour images of 32×32, 10 classes",
        (papers.KRIZHEVSKY_2009,),
        "cifar-10-batches-py",
        Download(_root("cifar", "CIFAR10"), 170_498_071, (50_000, 10_000), (3, 32, 32)),
    ),
    "digits": DatasetSpec(_digits, "scikit-learn's 1,797 handwritten digits, resized to 28×28", _DIGITS),
    "colour-digits": DatasetSpec(
        _colour_digits, "512 and 128 of scikit-learn's digits, 32×32, each in a colour", _DIGITS
    ),
}


@dataclass(frozen=True)
class AugmentationSpec:
    """One augmentation: how it is loaded, what it does, and how likely it changes an image if the Config does not say.

    `description` is for help texts and reports; `papers` are what it was published as.
    """

    load: Callable[[], Change]
    description: str
    probability: float = 1.0
    papers: tuple[Publication, ...] = ()


def _moves(*, crop: bool, mirrored: float) -> Callable[[], Change]:
    def load() -> Change:
        from sparsify.data.augmentation import ByChance

        return ByChance(crop, mirrored)

    return load


def _alternating() -> Change:
    from sparsify.data.augmentation import Alternating

    return Alternating()


def _shifted() -> Change:
    from sparsify.data.augmentation import Shifted

    return Shifted()


def _torchvision(make: Callable[[Any], Callable[[Tensor], Tensor]]) -> Callable[[], Change]:
    """How to load what `make` makes of torchvision.transforms.v2."""

    def load() -> Change:
        from torchvision.transforms import v2

        from sparsify.data.augmentation import OneByOne

        return OneByOne(make(v2))

    return load


AUGMENTATIONS: dict[str, AugmentationSpec] = {
    "crop-flip": AugmentationSpec(
        _moves(crop=True, mirrored=0.5), "padded by 4 black pixels and cropped, and half of the images mirrored"
    ),
    "mirror": AugmentationSpec(_moves(crop=False, mirrored=1.0), "mirrored", 0.5),
    "alternate-mirror": AugmentationSpec(
        _alternating,
        "mirrored in every second epoch, half of the images in the odd ones (Jordan 2024)",
        papers=(papers.JORDAN_2024,),
    ),
    "crop": AugmentationSpec(_moves(crop=True, mirrored=0.0), "padded by 4 black pixels and cropped"),
    "shift": AugmentationSpec(
        _shifted,
        "moved by up to 2 pixels, mirrored at the edges (Jordan 2024)",
        papers=(papers.JORDAN_2024,),
    ),
    "autoaugment": AugmentationSpec(
        _torchvision(lambda v2: v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10)),
        "AutoAugment's policy for CIFAR-10 (Cubuk et al. 2019)",
        papers=(papers.CUBUK_2019,),
    ),
    "randaugment": AugmentationSpec(
        _torchvision(lambda v2: v2.RandAugment()),
        "RandAugment, 2 operations of magnitude 9 (Cubuk et al. 2020)",
        papers=(papers.CUBUK_2020,),
    ),
    "trivialaugment": AugmentationSpec(
        _torchvision(lambda v2: v2.TrivialAugmentWide()),
        "TrivialAugment, wide (Müller & Hutter 2021)",
        papers=(papers.MULLER_2021,),
    ),
    "augmix": AugmentationSpec(
        _torchvision(lambda v2: v2.AugMix()),
        "AugMix of severity 3 (Hendrycks et al. 2020)",
        papers=(papers.HENDRYCKS_2020,),
    ),
    "colour-jitter": AugmentationSpec(
        _torchvision(lambda v2: v2.ColorJitter(0.4, 0.4, 0.4, 0.1)),
        "brightness, contrast and saturation changed by up to 40%, hue by up to a tenth of the circle",
    ),
    "random-erasing": AugmentationSpec(
        _torchvision(lambda v2: v2.RandomErasing(p=1.0)),
        "a rectangle made black (Zhong et al. 2020)",
        0.5,
        (papers.ZHONG_2020,),
    ),
    "rotation": AugmentationSpec(
        _torchvision(lambda v2: v2.RandomRotation(15, interpolation=v2.InterpolationMode.BILINEAR)),
        "turned by up to 15°",
    ),
    "affine": AugmentationSpec(
        _torchvision(
            lambda v2: v2.RandomAffine(
                15, translate=(0.1, 0.1), scale=(0.9, 1.1), shear=10, interpolation=v2.InterpolationMode.BILINEAR
            )
        ),
        "turned by up to 15°, moved and scaled by up to 10%, sheared by up to 10°",
    ),
}
"""The augmentations, of which `augment` of a Config names some; torchvision's have its defaults where none is given."""

UNCHANGED = "none"
"""The `augment` of a Config that changes no image."""


def named_augmentations(text: object) -> list[tuple[str, float]]:
    """Return the names in "mirror+crop+autoaugment:0.6", each with the probability that it changes an image.

    Of "none" there are none. Raises SparsifyError for an unknown name, for one that stands twice, and for a probability
    that is not above 0 and at most 1.
    """
    if text == UNCHANGED:
        return []
    if not isinstance(text, str):
        raise unknown("augmentation", text, [UNCHANGED, *AUGMENTATIONS])
    found: dict[str, float] = {}
    for part in text.split("+"):
        name, colon, number = (piece.strip() for piece in part.partition(":"))
        if name == UNCHANGED:
            raise SparsifyError(f"--augment is {quoted(text)}; {UNCHANGED} stands alone")
        if name not in AUGMENTATIONS:
            raise unknown("augmentation", name, [UNCHANGED, *AUGMENTATIONS])
        if name in found:
            raise SparsifyError(f"--augment is {quoted(text)}; {name} stands there twice")
        found[name] = _probability(name, number) if colon else AUGMENTATIONS[name].probability
    return list(found.items())


def _probability(name: str, text: str) -> float:
    try:
        probability = float(text)
    except ValueError:
        probability = math.nan
    if not 0 < probability <= 1:
        raise SparsifyError(
            f"--augment has {quoted(f'{name}:{text}')}; a probability must be above 0 and at most 1, as in {name}:0.6"
        )
    return probability


def augmentation_text(named: Iterable[tuple[str, float]]) -> str:
    """Return the inverse of `named_augmentations`: a probability stands there only where it is not the usual one."""
    parts = (
        name if probability == AUGMENTATIONS[name].probability else f"{name}:{shortest(probability)}"
        for name, probability in named
    )
    return "+".join(parts) or UNCHANGED


def augmentation(text: str) -> Augmentation:
    """Return what `text` names, as in "mirror+crop+autoaugment:0.6". Raises SparsifyError as `named_augmentations`."""
    from sparsify.data.augmentation import Augmentation, Part

    return Augmentation([Part(name, share, AUGMENTATIONS[name].load()) for name, share in named_augmentations(text)])


def load_dataset(
    name: str, data_dir: Path | str | None = None, *, resize: int | None = None, normalise: bool = True
) -> Dataset:
    """Load the data set `name` as uint8 tensors on the CPU. The last two data sets are kept in memory.

    With `resize`, its images are `resized` to so many pixels in height and width; it is normalised by the statistics of
    its training images as they are then, or, without `normalise`, only scaled to [0, 1]. Raises SparsifyError for an
    unknown name and for a missing, unreadable, truncated or corrupt file, which it names; DataNotFoundError if there
    are no files and the download failed.

    >>> data = sparsify.load_dataset("digits")
    >>> len(data.train), len(data.test), data.shape
    (1437, 360, (1, 28, 28))
    >>> sparsify.load_dataset("digits", resize=32).shape
    (1, 32, 32)
    """
    if not name.startswith(FOLDER) and name not in DATASETS:
        raise unknown("data set", name, [*DATASETS, "folder:PATH"])
    if resize is not None:
        PIXELS.check("resize", resize)
    roots = _roots(data_dir)
    if name.startswith(FOLDER):
        name = f"{FOLDER}{absolute(name.removeprefix(FOLDER))}"
    try:
        dataset = _load(name, roots) if resize is None else _load_resized(name, roots, resize)
    except OSError as error:  # permissions, a broken disk
        raise SparsifyError(f"{error.filename or name} cannot be read: {reason_given(error)}") from error
    return dataset if normalise else replace(dataset, normalise=dataset.normalise.off)


def _roots(data_dir: Path | str | None) -> Roots:
    roots = Roots.of(data_dir)
    if data_dir is not None and not roots.download.is_dir():
        raise SparsifyError(f"--data-dir {data_dir} is not a folder")
    return roots


def to_download(name: str, data_dir: Path | str | None = None) -> Download | None:
    """Return what `load_dataset` would fetch of a data set, None if its files are there. Raises as it does."""
    download = DATASETS[name].download if name in DATASETS else None
    return None if download is None or download.root(_roots(data_dir)) else download


@functools.lru_cache(maxsize=2)
def _load(name: str, roots: Roots) -> Dataset:
    if name.startswith(FOLDER):
        from sparsify.data.folder import image_folder

        return image_folder(Path(name.removeprefix(FOLDER)), roots)
    return DATASETS[name].load(roots)


@functools.lru_cache(maxsize=2)
def _load_resized(name: str, roots: Roots, size: int) -> Dataset:
    from sparsify.data.resizing import resized

    return resized(_load(name, roots), size)
