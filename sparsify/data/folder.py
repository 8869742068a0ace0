"""A folder of images, `train/<class>/**` and `test/<class>/**`. They are decoded once, into a file in the cache folder.

The file is mapped into memory, not read: what is not in use stays on the disk.
"""

from __future__ import annotations

import collections
import hashlib
import json
import math
import mmap
import os
import struct
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from sparsify.data.dataset import Dataset, Split, make_dataset
from sparsify.data.decoding import FORMATS, decode, without_warnings
from sparsify.data.pixels import fits
from sparsify.data.places import Roots
from sparsify.errors import SparsifyError, SparsifyWarning, reason_given
from sparsify.files import regular, replacing
from sparsify.limits import checked_text
from sparsify.progress import counting
from sparsify.text import plural, size

DECODING = b"3"  # to be raised when images are decoded in another way, or kept, so that older copies are not used
PARTS = ("train", "test")
KINDS = ("labels", "images")  # of tensors, in the order of the file
BLOCK = 2**22  # bytes of the images that a thread decodes at a time
AHEAD = 2**27  # bytes of the images that wait to be written, or are being decoded
THREADS = min(16, os.cpu_count() or 1)  # PIL releases Python's lock while it decodes


def image_folder(path: Path, roots: Roots) -> Dataset:
    """Read a folder of images, grey if all of them are, else RGB, in the order of torchvision's ImageFolder.

    A class is a folder, and all images below it, at any depth, are its own. Hidden files and other suffixes are
    skipped. Warns (SparsifyWarning) when what is transparent was put on white, and of a folder that is larger than the
    memory. Raises SparsifyError for a folder without classes, a class without images, classes that differ between train
    and test, and for what `decode` raises it.
    """
    found = {part: _classes(path / part) for part in PARTS}
    classes = sorted(found["train"])
    extra = sorted(set(found["test"]) ^ set(classes))
    if extra:
        has, lacks = ("train", "test") if extra[0] in found["train"] else ("test", "train")
        raise SparsifyError(f"{path}: class '{extra[0]}' is in {has}/, but not in {lacks}/")
    stamp = hashlib.sha256(DECODING)
    for part in PARTS:
        for label in classes:
            for file in found[part][label]:
                status = os.stat(regular(file))
                stamp.update(os.fsencode(file) + f"\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    files = _Files(
        {part: [file for label in classes for file in found[part][label]] for part in PARTS},
        {part: [number for number, label in enumerate(classes) for _ in found[part][label]] for part in PARTS},
        stamp.hexdigest(),
    )
    # one file for each folder, so that copies of a folder that changes do not accumulate
    cached = roots.cache / "decoded" / f"{hashlib.sha256(os.fsencode(path)).hexdigest()[:32]}.safetensors"
    tensors = _read_cache(cached, files.stamp) or _decode(files, cached)
    train, test = (Split(tensors[f"{part}.images"], tensors[f"{part}.labels"]) for part in PARTS)
    together = train.images.nbytes + test.images.nbytes
    if not fits(together, train.device):
        warnings.warn(
            f"the images of {path} take {size(together)}, too much for the memory: they stay in {cached.parent} and "
            "are read from it as they are needed, which takes longer and gives the same numbers",
            SparsifyWarning,
            stacklevel=2,
        )
    return make_dataset(f"folder:{path}", train, test, tuple(classes))


@dataclass(frozen=True)
class _Files:
    """The files and labels of each part, and the sum of what would change if they did."""

    images: dict[str, list[Path]]
    labels: dict[str, list[int]]
    stamp: str

    def header(self, shape: Sequence[int], digest: str = "0" * 64) -> bytes:
        """What a safetensors file begins with, if each image has this shape; the labels come first, as int64.

        `digest` is the SHA-256 sum of what follows in hex digits.
        """
        entries: dict[str, object] = {"__metadata__": {"stamp": self.stamp, "sha256": digest}}
        end = 0
        for name, kind, bytes_each, dimensions in (
            ("labels", "I64", 8, ()),
            ("images", "U8", math.prod(shape), shape),
        ):
            for part, labels in self.labels.items():
                begin, end = end, end + len(labels) * bytes_each
                of = {"dtype": kind, "shape": [len(labels), *dimensions], "data_offsets": [begin, end]}
                entries[f"{part}.{name}"] = of
        text = json.dumps(entries).encode()
        text += b" " * (-len(text) % 8)
        return struct.pack("<Q", len(text)) + text


def _classes(folder: Path) -> dict[str, list[Path]]:
    if not folder.is_dir():
        raise SparsifyError(
            f"{folder} is not a folder; --data folder:PATH reads PATH/train/<class>/* and PATH/test/<class>/*"
        )
    found = {}
    for entry in folder.iterdir():
        if entry.name.startswith("."):
            continue
        if entry.is_symlink() and not entry.exists():
            regular(entry)
        if entry.is_dir():
            checked_text("the class", entry.name)
            found[entry.name] = list(_images(entry))
    if not found:
        raise SparsifyError(f"{folder} has no classes: it must hold a folder of images for each class")
    for label, images in found.items():
        if not images:
            raise SparsifyError(f"{folder / label} holds no images; known are: {', '.join(FORMATS)}")
    return found


def _images(folder: Path) -> Iterator[Path]:
    """The images of a class, in the order of torchvision's ImageFolder: folder by folder, by the text of their path."""
    walked = []
    within = {str(folder): {os.path.realpath(folder)}}  # the folders on the way to each, where they really are
    for root, folders, names in os.walk(folder, followlinks=True, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in folders:
            inner = Path(root, name)
            if inner.suffix.lower() in FORMATS:
                raise SparsifyError(f"{inner} is a folder, and its name is that of an image")
            real = os.path.realpath(inner)
            if real in within[root] or Path(os.path.realpath(root)).is_relative_to(real):
                raise SparsifyError(f"{inner} is a link to a folder that it is in")
            within[str(inner)] = within[root] | {real}
        walked.append((root, names))
    for root, names in sorted(walked):
        for name in sorted(names):
            if os.path.splitext(name)[1].lower() in FORMATS and not name.startswith("."):
                yield Path(root, name)


def _refuse(error: OSError) -> None:
    raise error  # os.walk would pass over a folder that it cannot read


Result = TypeVar("Result")


class _Writer(Protocol):
    def write(self, content: bytes | memoryview, /) -> object: ...


class _InColour(Exception):
    """An image has three channels, and those before it have one."""


def _decode(files: _Files, cached: Path) -> dict[str, Tensor]:
    """Decode into the file `cached`, or into memory if it cannot be written, which is a warning."""
    first = files.images["train"][0]
    with without_warnings():
        channels, height, width = decode(first, first).pixels.shape
        try:
            tensors, transparent = _decode_as((channels, height, width), files, cached)
        except _InColour:
            tensors, transparent = _decode_as((3, height, width), files, cached)
    if transparent:
        warnings.warn(
            f"{plural(transparent, 'image')} below {first.parents[2]} {'has' if transparent == 1 else 'have'} "
            "transparent pixels; they are put on white",
            SparsifyWarning,
            stacklevel=3,
        )
    return tensors


def _decode_as(shape: tuple[int, int, int], files: _Files, cached: Path) -> tuple[dict[str, Tensor], int]:
    """Return the images and labels of each part, and how many images have transparent pixels."""
    try:
        with replacing(cached) as file:
            file.write(files.header(shape))
            transparent, digest = _write(file, shape, files)
            file.seek(0)
            file.write(files.header(shape, digest))
    except OSError as error:  # of writing: that of an image is a SparsifyError
        reason = error.strerror
    else:
        tensors = _read_cache(cached, files.stamp)
        if tensors is not None:
            return tensors, transparent
        reason = "they were replaced"
    warnings.warn(
        f"the decoded images could not be kept ({reason}: {cached.parent}); next time they are decoded again",
        SparsifyWarning,
        stacklevel=4,
    )
    counts = {part: len(labels) for part, labels in files.labels.items()}
    memory = mmap.mmap(-1, sum(counts.values()) * (8 + math.prod(shape)))
    transparent, _ = _write(memory, shape, files)
    tensors, place = {}, 0
    for name, kind, of in (("labels", torch.int64, ()), ("images", torch.uint8, shape)):
        for part, count in counts.items():
            numbers = count * math.prod(of)
            tensors[f"{part}.{name}"] = torch.frombuffer(memory, dtype=kind, count=numbers, offset=place).view(-1, *of)
            place += tensors[f"{part}.{name}"].nbytes
    return tensors, transparent


def _write(file: _Writer, shape: tuple[int, int, int], files: _Files) -> tuple[int, str]:
    """Write all labels, then all images, in their order.

    Return how many images have transparent pixels, and the SHA-256 sum of what was written in hex digits.
    """
    digest = hashlib.sha256()
    for labels in files.labels.values():
        content = np.array(labels, "<i8").tobytes()
        digest.update(content)
        file.write(content)
    paths = [path for images in files.images.values() for path in images]
    count = max(1, BLOCK // math.prod(shape))
    done = transparent = 0
    with ThreadPoolExecutor(THREADS) as pool, counting("decoding images") as listener:
        blocks = (paths[begin : begin + count] for begin in range(0, len(paths), count))
        most = max(1, AHEAD // (count * math.prod(shape)))
        for pixels, some in _in_order((pool.submit(_block, block, shape) for block in blocks), most):
            digest.update(pixels.data)
            file.write(pixels.data)
            done, transparent = done + len(pixels), transparent + some
            listener(done, len(paths))
    return transparent, digest.hexdigest()


def _in_order(jobs: Iterator[Future[Result]], most: int) -> Iterator[Result]:
    """Yield the result of each job, in order. A job begins when it is taken; at most so many are taken and wait."""
    waiting: collections.deque[Future[Result]] = collections.deque()
    for job in jobs:
        waiting.append(job)
        if len(waiting) == most:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _block(paths: Sequence[Path], shape: tuple[int, int, int]) -> tuple[np.ndarray, int]:
    """Return the images, uint8 (n, channels, height, width), and how many of them have transparent pixels."""
    channels, height, width = shape
    block = np.empty((len(paths), *shape), np.uint8)
    transparent = 0
    for place, path in enumerate(paths):
        image = decode(path, path, (height, width))
        if len(image.pixels) > channels:
            raise _InColour
        block[place] = image.pixels  # one that is grey is the same in each channel
        transparent += image.transparent
    return block, transparent


def _read_cache(path: Path, stamp: str) -> dict[str, Tensor] | None:
    """Return the tensors of the file, mapped into memory; None if there is none, or it is of other images.

    None as well, with a SparsifyWarning, if it is damaged: it is written anew from the images.
    """
    try:
        with safe_open(regular(path), "pt") as file:
            kept = file.metadata() or {}
            if kept.get("stamp") != stamp:
                return None
            tensors = {f"{part}.{name}": file.get_tensor(f"{part}.{name}") for name in KINDS for part in PARTS}
        digest = hashlib.sha256()
        for tensor in tensors.values():
            digest.update(tensor.numpy().data)
        if digest.hexdigest() == kept.get("sha256"):
            return tensors
        reason = "its SHA-256 sum is not the one that stands in it"
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (SafetensorError, OSError, SparsifyError) as error:
        reason = reason_given(error)
    warnings.warn(f"{path} is damaged ({reason}); the images are decoded again", SparsifyWarning, stacklevel=3)
    return None
