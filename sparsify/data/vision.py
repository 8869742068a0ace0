"""MNIST, Fashion-MNIST and CIFAR-10 through torchvision: read in place, downloaded where they are missing."""

from __future__ import annotations

import hashlib
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torchvision import datasets
from torchvision.datasets.mnist import read_image_file, read_label_file
from torchvision.datasets.utils import check_integrity

from sparsify.data import DataNotFoundError, Roots
from sparsify.data.dataset import Dataset, Split, make_dataset
from sparsify.errors import SparsifyError

DOWNLOAD_TIMEOUT = 10.0  # seconds without an answer

# Of the unpacked files, which torchvision does not check.
RAW_MD5 = {
    "MNIST": {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    }
}


def mnist_like(kind: str, roots: Roots) -> Dataset:
    """MNIST or FashionMNIST from the first of `roots` that holds a file of it, else downloaded."""
    files = [f"{part}-{what}-ubyte" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1")]
    root = _find(roots, lambda root: any((root / kind / "raw" / file).exists() for file in files))
    if root is None:
        root = _download(getattr(datasets, kind), _mirror(kind), roots)
    raw = root / kind / "raw"
    splits = []
    for part, count in (("train", 60_000), ("t10k", 10_000)):
        images = _read(raw / f"{part}-images-idx3-ubyte", read_image_file, (count, 28, 28), RAW_MD5.get(kind))
        labels = _read(raw / f"{part}-labels-idx1-ubyte", read_label_file, (count,), RAW_MD5.get(kind))
        splits.append(Split(images[:, None].contiguous(), labels.long()))
    name = {"MNIST": "mnist", "FashionMNIST": "fashion-mnist"}[kind]
    classes = tuple(label.split(" - ")[-1] for label in getattr(datasets, kind).classes)
    return make_dataset(name, *splits, classes)


def _mirror(kind: str) -> str:
    return getattr(datasets, kind).mirrors[0]


def _read(path: Path, read: Callable[[str], Tensor], shape: tuple[int, ...], md5: dict[str, str] | None) -> Tensor:
    if not path.exists():
        raise SparsifyError(
            f"{path} is missing, though other files of the data set are there; {_MEND.format(path.parent)}"
        )
    try:
        values = read(str(path))
    except (ValueError, AssertionError, RuntimeError, OverflowError, KeyError, IndexError) as error:
        raise SparsifyError(
            f"{path} is truncated or corrupt ({_first_line(error)}); {_MEND.format(path.parent)}"
        ) from error
    if tuple(values.shape) != shape:
        raise SparsifyError(f"{path} holds {tuple(values.shape)} values, not {shape}; {_MEND.format(path.parent)}")
    if md5 is not None and hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() != md5[path.name]:
        raise SparsifyError(f"{path} is corrupt: its MD5 sum is not {md5[path.name]}; {_MEND.format(path.parent)}")
    if values.ndim == 1 and int(values.max()) > 9:
        raise SparsifyError(f"{path} is corrupt: it holds label {int(values.max())}; {_MEND.format(path.parent)}")
    return values


_MEND = "delete the folder {} to download it again"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def cifar(kind: str, roots: Roots) -> Dataset:
    """CIFAR10 from the first of `roots` that holds its folder, else downloaded.

    The archive's parts are pickles: each one's MD5 sum is checked before torchvision opens it.
    """
    source = getattr(datasets, kind)
    root = _find(roots, lambda root: (root / source.base_folder).is_dir())
    if root is None:
        root = _download(source, source.url, roots)
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
    return make_dataset(kind.lower(), *splits, tuple(part.classes))


def _find(roots: Roots, has: Callable[[Path], bool]) -> Path | None:
    return next((root for root in roots.search if has(root)), None)


def _download(source: type, url: str, roots: Roots) -> Path:
    reason = _unreachable(url)
    if reason is not None:
        raise DataNotFoundError(
            f"{source.__name__} is not in {', '.join(map(str, roots.search))} and cannot be downloaded ({reason}); "
            "name the folder that holds it with --data-dir, or use --data digits, which needs no network"
        )
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)  # torchvision opens its connections without one
    try:
        source(str(roots.download), download=True)
    except (OSError, RuntimeError, EOFError) as error:
        text = f"{source.__name__} could not be downloaded to {roots.download}: {_first_line(error)}"
        raise DataNotFoundError(text) from error
    finally:
        socket.setdefaulttimeout(before)
    return roots.download


def _unreachable(url: str) -> str | None:
    """Why the host of `url` does not answer within DOWNLOAD_TIMEOUT, or None if it does."""
    answers: list[str | None] = []

    def ask() -> None:
        try:
            request = urllib.request.Request(url, method="HEAD")
            urllib.request.urlopen(request, timeout=DOWNLOAD_TIMEOUT).close()
            answers.append(None)
        except urllib.error.HTTPError:
            answers.append(None)  # it did answer: the download itself will say what is wrong
        except OSError as error:
            answers.append(_first_line(error))

    # in a thread of its own, because looking up a host's name knows no time limit
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(DOWNLOAD_TIMEOUT)
    return answers[0] if answers else f"no answer within {DOWNLOAD_TIMEOUT:g} seconds"
