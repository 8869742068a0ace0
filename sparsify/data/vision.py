"""MNIST, Fashion-MNIST and CIFAR-10 through torchvision, and scikit-learn's digits."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn.functional import interpolate
from torchvision import datasets
from torchvision.datasets.mnist import read_image_file, read_label_file
from torchvision.datasets.utils import check_integrity

from sparsify.data.dataset import Dataset, Split, make_dataset
from sparsify.data.downloads import FAILURES, limited, reason_of, unreachable
from sparsify.data.places import DataNotFoundError, Roots
from sparsify.devices import generator
from sparsify.errors import SparsifyError
from sparsify.files import regular
from sparsify.folders import delete_leftovers, suffix

# MD5 sums of the unpacked files, which torchvision does not check.
RAW_MD5 = {
    "MNIST": {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    "FashionMNIST": {
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
}
RAW_BYTES = {
    "train-images-idx3-ubyte": 16 + 60_000 * 28 * 28,
    "train-labels-idx1-ubyte": 8 + 60_000,
    "t10k-images-idx3-ubyte": 16 + 10_000 * 28 * 28,
    "t10k-labels-idx1-ubyte": 8 + 10_000,
}
_MEND = "delete the folder {} to download it again"


def mnist_root(kind: str, roots: Roots) -> Path | None:
    """Return the first of `roots` that holds a file of MNIST or FashionMNIST, None if there is none."""
    return _find(roots, lambda root: any((root / kind / "raw" / file).exists() for file in RAW_BYTES))


def cifar_root(kind: str, roots: Roots) -> Path | None:
    """Return the first of `roots` that holds the folder of CIFAR10, None if there is none."""
    return _find(roots, lambda root: (root / getattr(datasets, kind).base_folder).is_dir())


def mnist_like(kind: str, roots: Roots) -> Dataset:
    """Read MNIST or FashionMNIST from the first of `roots` that holds a file of it, or download it.

    Raises SparsifyError for a missing, truncated or corrupt file, and DataNotFoundError if the download fails.
    """
    source = getattr(datasets, kind)
    root = mnist_root(kind, roots) or _download(source, source.mirrors[0], roots)
    raw = root / kind / "raw"
    for file, md5 in RAW_MD5[kind].items():
        _check_raw(raw / file, md5)
    splits = []
    for part in ("train", "t10k"):
        images = read_image_file(str(raw / f"{part}-images-idx3-ubyte"))
        labels = read_label_file(str(raw / f"{part}-labels-idx1-ubyte"))
        splits.append(Split(images[:, None], labels))
    name = {"MNIST": "mnist", "FashionMNIST": "fashion-mnist"}[kind]
    train, test = splits
    return make_dataset(name, train, test, tuple(label.split(" - ")[-1] for label in source.classes))


def _check_raw(path: Path, md5: str) -> None:
    mend = _MEND.format(path.parent)
    if not path.is_symlink() and not path.exists():
        raise SparsifyError(f"{path} is missing, though other files of the data set are there; {mend}")
    found, size = regular(path).stat().st_size, RAW_BYTES[path.name]
    if found != size:  # before anything is read
        raise SparsifyError(f"{path} is truncated or corrupt: it has {found:,} bytes, not {size:,}; {mend}")
    if hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() != md5:
        raise SparsifyError(f"{path} is corrupt: its MD5 sum is not {md5}; {mend}")


def cifar(kind: str, roots: Roots) -> Dataset:
    """Read CIFAR10 from the first of `roots` that holds its folder, or download it.

    The archive's files are pickles: the MD5 sum of each is checked before torchvision opens it. Raises SparsifyError
    for a missing or corrupt file, and DataNotFoundError if the download fails.
    """
    source = getattr(datasets, kind)
    root = cifar_root(kind, roots) or _download(source, source.url, roots)
    folder = root / source.base_folder
    for file, md5 in [*source.train_list, *source.test_list, (source.meta["filename"], source.meta["md5"])]:
        if not check_integrity(str(folder / file), md5):
            state = "corrupt: its MD5 sum is not " + md5 if (folder / file).exists() else "missing"
            raise SparsifyError(f"{folder / file} is {state}; {_MEND.format(folder)}")
    splits = []
    for train in (True, False):
        part = source(str(root), train=train)
        images = torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous()
        splits.append(Split(images, torch.tensor(part.targets)))
    train_split, test_split = splits
    return make_dataset(kind.lower(), train_split, test_split, tuple(part.classes))


def _find(roots: Roots, has: Callable[[Path], bool]) -> Path | None:
    return next((root for root in roots.search if has(root)), None)


def _download(source: type, url: str, roots: Roots) -> Path:
    reason = unreachable(url) or _fetch(source, roots.download)
    if reason:
        raise DataNotFoundError(
            f"{source.__name__} is not in {', '.join(map(str, roots.search))} and cannot be downloaded ({reason}); "
            "name the folder that holds it with --data-dir or $SPARSIFY_DATA; the data set digits needs no network"
        )
    return roots.download


_BEFORE = re.compile(r"\.download-[a-z0-9_]{8}")
"""How versions before 0.4 named the folder of a download that goes on."""


def _fetch(source: type, root: Path) -> str | None:
    """Download into `root`, completely or not at all. Return the reason if it failed, else None."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        delete_leftovers(root, before=_BEFORE)
        with tempfile.TemporaryDirectory(dir=root, prefix=".download-", suffix=suffix()) as beside:
            with limited():
                source(beside, download=True)
            for file in Path(beside).rglob("*"):
                if file.is_file() and file.suffix != ".gz":  # the archives are no longer needed
                    target = root / file.relative_to(beside)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    file.replace(target)
    except (*FAILURES, EOFError) as error:
        return reason_of(error)
    return None


TEST_IMAGES = 360


def embedded_digits() -> Dataset:
    """Return scikit-learn's digits: 1,437 training and 360 test images, stratified by class.

    Their 8×8 pixels of 0 to 16 are resized to 28×28 pixels of 0 to 255.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    small = torch.from_numpy(bunch.images).float()[:, None] * (255 / 16)
    images = interpolate(small, size=(28, 28), mode="bilinear", align_corners=False).round().to(torch.uint8)
    labels = torch.from_numpy(bunch.target).long()
    train, test = train_test_split(
        torch.arange(len(labels)).numpy(), test_size=TEST_IMAGES, random_state=0, stratify=bunch.target
    )
    everything = Split(images, labels)
    return make_dataset(
        "digits",
        everything[torch.from_numpy(train)],
        everything[torch.from_numpy(test)],
        tuple(str(digit) for digit in range(10)),
    )


def colour_digits() -> Dataset:
    """Return 512 training and 128 test images of scikit-learn's digits, 32×32 pixels, each in a colour of its own.

    They stand in for coloured photographs where a network only has to run.
    """
    grey = embedded_digits()

    def coloured(split: Split, count: int, purpose: str) -> Split:
        few = split[:count]
        tints = torch.rand(len(few), 3, 1, 1, generator=generator(0, "colour-digits", purpose)) * 0.7 + 0.3
        larger = interpolate(few.images.float(), size=(32, 32), mode="bilinear", align_corners=False)
        return Split((larger * tints).round().to(torch.uint8), few.labels)

    return make_dataset(
        "colour-digits", coloured(grey.train, 512, "train"), coloured(grey.test, 128, "test"), grey.classes
    )
