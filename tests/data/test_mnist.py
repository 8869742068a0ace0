"""MNIST and Fashion-MNIST: read in place, and damage is named by file."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from datafiles import KINDS, RAW_FILES, cut, empty, error_of, extended, flipped, write_raw

from sparsify.data.places import Roots
from sparsify.data.registry import load_dataset


def test_real_mnist(mnist_root: Path) -> None:
    data = load_dataset("mnist", mnist_root)
    assert data.train.images.shape == (60_000, 1, 28, 28)
    assert data.test.images.shape == (10_000, 1, 28, 28)
    assert data.train.images.dtype == torch.uint8
    assert data.train.labels.dtype == torch.int64
    assert data.train.labels[:3].tolist() == [5, 0, 4]
    assert data.test.labels[:3].tolist() == [7, 2, 1]
    assert data.train.labels.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert data.normalise.mean == pytest.approx((33.3184,), abs=1e-4)
    assert data.normalise.std == pytest.approx((78.5675,), abs=1e-4)
    assert data.classes[0] == "zero"
    # ink in the middle, none at the border: neither shifted nor transposed bytes look so
    assert data.train.images[:, :, 0].float().mean() < 0.01
    assert data.train.images[data.train.labels == 1, 0, 14, 14].float().mean() > 128


def test_real_mnist_is_kept_in_memory(mnist_root: Path) -> None:
    assert load_dataset("mnist", mnist_root) is load_dataset("mnist", str(mnist_root))


def test_real_mnist_with_its_last_bytes_cut_off_is_named(mnist_root: Path, roots: Roots) -> None:
    raw = roots.download / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in RAW_FILES:
        (raw / file).symlink_to((mnist_root / "MNIST" / "raw" / file).resolve())
    damaged = raw / "t10k-images-idx3-ubyte"
    content = damaged.read_bytes()
    damaged.unlink()
    damaged.write_bytes(content[:-10])
    assert error_of("mnist", roots.download).startswith(
        f"{damaged} is truncated or corrupt: it has 7,840,006 bytes, not 7,840,016;"
    )


@pytest.mark.parametrize("name", KINDS)
def test_the_raw_layout_is_read_in_place_by_the_same_road(
    name: str, roots: Roots, fake_raw: Callable, offline: list[str]
) -> None:
    fake_raw(roots.download, KINDS[name])
    before = sorted(roots.download.rglob("*"))
    data = load_dataset(name, roots.download)
    assert data.name == name
    assert data.train.images.shape == (5, 1, 28, 28)
    assert data.train.images.flatten()[:3].tolist() == [0, 1, 2]
    assert data.train.images[1, 0, 0, 0] == 28 * 28 % 251
    assert data.test.labels.tolist() == [3, 3]
    assert len(data.classes) == 10
    assert sorted(roots.download.rglob("*")) == before
    assert offline == []


def wrong_magic(content: bytes) -> bytes:
    return b"\0\0\x0d" + content[3:]


def wrong_count(content: bytes) -> bytes:
    return content[:7] + b"\x63" + content[8:]


@pytest.mark.parametrize("damage", [cut, extended, empty, flipped, wrong_magic, wrong_count])
@pytest.mark.parametrize("file", RAW_FILES)
@pytest.mark.parametrize("name", KINDS)
def test_a_damaged_raw_file_is_named(
    name: str, file: str, damage: Callable[[bytes], bytes], roots: Roots, fake_raw: Callable, offline: list[str]
) -> None:
    content = fake_raw(roots.download, KINDS[name])
    path = roots.download / KINDS[name] / "raw" / file
    path.write_bytes(damage(content[file]))
    message = error_of(name, roots.download)
    assert message.startswith(f"{path} is ")
    assert "corrupt" in message
    assert message.endswith(f"delete the folder {path.parent} to download it again")
    assert offline == []


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("file", RAW_FILES)
def test_a_missing_raw_file_is_named(
    name: str, file: str, roots: Roots, fake_raw: Callable, offline: list[str]
) -> None:
    fake_raw(roots.download, KINDS[name])
    path = roots.download / KINDS[name] / "raw" / file
    path.unlink()
    assert error_of(name, roots.download).startswith(f"{path} is missing")
    assert offline == []


def test_fashion_mnist_of_another_size_is_refused_without_fakes(roots: Roots) -> None:
    write_raw(roots.download, "FashionMNIST", {RAW_FILES[0]: struct.pack(">IIII", 0x803, 1, 28, 28) + bytes(28 * 28)})
    message = error_of("fashion-mnist", roots.download)
    assert message.startswith(str(roots.download / "FashionMNIST" / "raw" / RAW_FILES[0]))
    assert "it has 800 bytes, not 47,040,016" in message


def test_a_raw_file_that_cannot_be_read_is_named(roots: Roots, fake_raw: Callable) -> None:
    fake_raw(roots.download, "MNIST")
    path = roots.download / "MNIST" / "raw" / RAW_FILES[1]
    path.unlink()
    path.mkdir()  # root may read everything, but not a folder
    assert error_of("mnist", roots.download).startswith(f"{path} is a folder, not a file")
