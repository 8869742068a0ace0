"""Data sets as a Config asks for them: images resized once, and pixels as they are instead of normalised."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torchvision.transforms import v2

from sparsify.data import dataset, pixels
from sparsify.data.dataset import Normalise
from sparsify.data.registry import load_dataset
from sparsify.data.resizing import resized


def test_both_splits_are_resized_by_torchvisions_antialiased_bilinear_resize() -> None:
    digits, small = load_dataset("digits"), load_dataset("digits", resize=14)
    assert small.shape == (1, 14, 14)
    resize = v2.Resize((14, 14), interpolation=v2.InterpolationMode.BILINEAR, antialias=True)
    for before, after in ((digits.train, small.train), (digits.test, small.test)):
        assert after.images.dtype == torch.uint8
        assert torch.equal(after.images, resize(before.images))
        assert torch.equal(after.labels, before.labels)
    assert small.normalise == Normalise.of(small.train.images) != digits.normalise
    assert (small.classes, small.name) == (digits.classes, digits.name)


def test_what_is_resized_is_kept_and_its_original_too() -> None:
    small = load_dataset("digits", resize=14)
    assert load_dataset("digits", resize=14) is small
    assert load_dataset("digits").shape == (1, 28, 28)


def test_a_constant_stays_a_constant_and_height_and_width_become_alike() -> None:
    images = torch.tensor([7, 200], dtype=torch.uint8)[:, None, None, None].expand(2, 3, 10, 6)
    split = dataset.Split(images, [0, 1])
    found = resized(dataset.make_dataset("tiny", split, split, ("a", "b")), 5)
    assert found.shape == (3, 5, 5)
    assert found.test.images.flatten(1).unique(dim=1).tolist() == [[7], [200]]


def test_what_the_memory_has_no_room_for_is_resized_into_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    digits = load_dataset("digits")
    kept = resized(digits, 14)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(pixels, "room_for_data", lambda _: 10)
    monkeypatch.setattr(pixels, "CHUNK", 50_000)  # several parts
    found = resized(digits, 14)
    assert found.sha256() == kept.sha256()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_without_normalisation_pixels_are_from_0_to_1() -> None:
    digits, plain = load_dataset("digits"), load_dataset("digits", normalise=False)
    assert plain.train is digits.train
    found = plain.normalise(torch.tensor([0, 51, 255], dtype=torch.uint8).view(3, 1, 1, 1))
    assert found.dtype == torch.float32
    assert found.flatten().tolist() == torch.tensor([0, 0.2, 1]).tolist()
    assert load_dataset("digits").normalise == digits.normalise
