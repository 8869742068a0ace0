"""A folder of images, `train/<class>/*` and `test/<class>/*`. They are decoded once and kept in the cache folder."""

from __future__ import annotations

import hashlib
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from PIL import Image, UnidentifiedImageError
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

from sparsify.data.dataset import Dataset, Split, make_dataset
from sparsify.data.places import Roots
from sparsify.errors import SparsifyError, SparsifyWarning
from sparsify.files import write_tensors

DECODING = b"1"  # to be raised when images are decoded in another way, so that older copies are not used
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}


def image_folder(path: Path, roots: Roots) -> Dataset:
    """Read a folder of images, grey if all of them are, else RGB. Hidden files and other suffixes are skipped.

    Raises SparsifyError for a folder without classes, a class without images, classes that differ between train and
    test, and for a file that cannot be decoded or that differs in size from the first.
    """
    files = {part: _list(path, part) for part in ("train", "test")}
    classes = sorted(files["train"])
    extra = sorted(set(files["test"]) ^ set(classes))
    if extra:
        has, lacks = ("train", "test") if extra[0] in files["train"] else ("test", "train")
        raise SparsifyError(f"{path}: class '{extra[0]}' is in {has}/, but not in {lacks}/")
    stamp = hashlib.sha256(DECODING)
    for part in files:
        for label in classes:
            for file in files[part][label]:
                status = file.stat()
                stamp.update(os.fsencode(file) + f"\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    # one file for each folder, so that copies of a folder that changes do not accumulate
    cached = roots.cache / "decoded" / f"{hashlib.sha256(os.fsencode(path)).hexdigest()[:32]}.safetensors"
    tensors = _read_cache(cached, stamp.hexdigest())
    if tensors is None:
        tensors = _decode(files, classes)
        try:
            write_tensors(cached, tensors, {"stamp": stamp.hexdigest()})
        except OSError as error:
            warnings.warn(
                f"the decoded images could not be kept ({error.strerror}: {cached.parent}); next time they are decoded "
                "again",
                SparsifyWarning,
                stacklevel=2,
            )
    return make_dataset(
        f"folder:{path}",
        Split(tensors["train.images"], tensors["train.labels"]),
        Split(tensors["test.images"], tensors["test.labels"]),
        tuple(classes),
    )


def _list(path: Path, part: str) -> dict[str, list[Path]]:
    folder = path / part
    if not folder.is_dir():
        raise SparsifyError(
            f"{folder} is not a folder; --data folder:PATH reads PATH/train/<class>/* and PATH/test/<class>/*"
        )
    found = {
        entry.name: sorted(
            file for file in entry.iterdir() if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
        )
        for entry in folder.iterdir()
        if entry.is_dir() and not entry.name.startswith(".")
    }
    if not found:
        raise SparsifyError(f"{folder} has no classes: it must hold a folder of images for each class")
    for label, images in found.items():
        if not images:
            raise SparsifyError(f"{folder / label} holds no images; known are: {', '.join(sorted(SUFFIXES))}")
    return found


def _open(file: Path) -> Tensor:
    try:
        with Image.open(file) as image:
            if image.mode.startswith(("I", "F")):  # a conversion would clip them at 255
                raise ValueError("its pixels have more than 8 bits a channel")
            pixels: Tensor = pil_to_tensor(image.convert("L" if image.mode in ("1", "L", "LA") else "RGB"))
            return pixels
    except UnidentifiedImageError as error:
        raise SparsifyError(f"{file} is truncated or is no image") from error
    except Exception as error:  # a decoder can raise anything for damaged bytes
        raise SparsifyError(f"{file} cannot be decoded: {error}") from error


def _decode(files: dict[str, dict[str, list[Path]]], classes: list[str]) -> dict[str, Tensor]:
    decoded: dict[str, tuple[list[Tensor], list[Path]]] = {}
    tensors: dict[str, Tensor] = {}
    with ThreadPoolExecutor() as pool:  # PIL releases Python's lock while it decodes
        for part, by_class in files.items():
            paths = [file for label in classes for file in by_class[label]]
            labels = [index for index, label in enumerate(classes) for _ in by_class[label]]
            decoded[part] = list(pool.map(_open, paths)), paths
            tensors[f"{part}.labels"] = torch.tensor(labels)
    channels = max(image.shape[0] for images, _ in decoded.values() for image in images)
    size = decoded["train"][0][0].shape[1:]
    for part, (images, paths) in decoded.items():
        for image, file in zip(images, paths, strict=True):
            if image.shape[1:] != size:
                raise SparsifyError(
                    f"{file} has {image.shape[1]}×{image.shape[2]} pixels, the first image {size[0]}×{size[1]}; "
                    "all images must have one size"
                )
        tensors[f"{part}.images"] = torch.stack([image.expand(channels, *size) for image in images])
    return tensors


def _read_cache(path: Path, stamp: str) -> dict[str, Tensor] | None:
    try:
        with safe_open(path, "pt") as file:
            if (file.metadata() or {}).get("stamp") != stamp:
                return None
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError):
        return None  # a damaged cache is written anew from the images
