"""CIFAR-10: no pickle is opened before its sum is right."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datafiles import cut, empty, error_of, flipped
from torchvision import datasets

from sparsify.data.places import Roots
from sparsify.data.registry import load_dataset


@pytest.fixture
def fake_cifar(roots: Roots, monkeypatch: pytest.MonkeyPatch) -> Path:
    """CIFAR-10's folder with two images a part, whose MD5 sums are the true ones; the first image is red."""
    folder = roots.download / datasets.CIFAR10.base_folder
    folder.mkdir()
    image = np.arange(3072, dtype=np.uint16).astype(np.uint8)
    image[:1024] = 255
    image[1024:2048] = 7

    def write(file: str, values: dict[str, Any]) -> list[str]:
        content = pickle.dumps(values)
        (folder / file).write_bytes(content)
        return [file, hashlib.md5(content).hexdigest()]

    def part(number: int) -> dict[str, Any]:
        return {"data": np.stack([image, np.full(3072, number, np.uint8)]), "labels": [number, 9]}

    train = [write(f"data_batch_{number}", part(number)) for number in range(1, 6)]
    test = [write("test_batch", part(6))]
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    meta = write("batches.meta", {"label_names": names})
    monkeypatch.setattr(datasets.CIFAR10, "train_list", train)
    monkeypatch.setattr(datasets.CIFAR10, "test_list", test)
    monkeypatch.setattr(datasets.CIFAR10, "meta", {"filename": "batches.meta", "key": "label_names", "md5": meta[1]})
    return folder


def test_cifar10_is_channels_first_in_the_order_of_its_parts(fake_cifar: Path, offline: list[str]) -> None:
    data = load_dataset("cifar10", fake_cifar.parent)
    assert data.name == "cifar10"
    assert data.train.images.shape == (10, 3, 32, 32)
    assert data.train.images.dtype == torch.uint8
    assert data.train.images.is_contiguous()
    assert data.train.labels.tolist() == [1, 9, 2, 9, 3, 9, 4, 9, 5, 9]
    assert data.test.labels.tolist() == [6, 9]
    assert data.train.images[0, 0].unique().tolist() == [255]
    assert data.train.images[0, 1].unique().tolist() == [7]
    assert data.train.images[0, 2].flatten()[:3].tolist() == [0, 1, 2]
    assert data.classes[9] == "truck"
    assert offline == []


CIFAR_FILES = ["data_batch_1", "data_batch_5", "test_batch", "batches.meta"]


@pytest.mark.parametrize("file", CIFAR_FILES)
@pytest.mark.parametrize("damage", [cut, empty, flipped])
def test_a_damaged_part_of_cifar10_is_named(
    file: str, damage: Callable[[bytes], bytes], fake_cifar: Path, offline: list[str]
) -> None:
    path = fake_cifar / file
    path.write_bytes(damage(path.read_bytes()))
    message = error_of("cifar10", fake_cifar.parent)
    assert message.startswith(f"{path} is corrupt")
    assert message.endswith(f"delete the folder {fake_cifar} to download it again")
    assert offline == []


@pytest.mark.parametrize("file", CIFAR_FILES)
def test_a_missing_part_of_cifar10_is_named(file: str, fake_cifar: Path) -> None:
    (fake_cifar / file).unlink()
    assert error_of("cifar10", fake_cifar.parent).startswith(f"{fake_cifar / file} is missing")


class Touch:
    """Its pickle makes a file when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_a_foreign_pickle_is_never_opened(fake_cifar: Path, tmp_path: Path) -> None:
    (fake_cifar / "batches.meta").write_bytes(pickle.dumps(Touch(tmp_path / "opened")))
    assert "batches.meta is corrupt" in error_of("cifar10", fake_cifar.parent)
    assert not (tmp_path / "opened").exists()
