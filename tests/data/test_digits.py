"""The digits that are embedded."""

from __future__ import annotations

import pytest
import torch

from sparsify.data.registry import DATASETS, load_dataset
from sparsify.data.vision import embedded_digits
from sparsify.errors import SparsifyError


def test_digits_are_1437_and_360_grey_images_of_28x28() -> None:
    data = load_dataset("digits")
    assert data.name == "digits"
    assert data.train.images.shape == (1437, 1, 28, 28)
    assert data.test.images.shape == (360, 1, 28, 28)
    assert data.shape == (1, 28, 28)
    for split in (data.train, data.test):
        assert split.images.dtype == torch.uint8
        assert split.labels.dtype == torch.int64
        assert len(split) == len(split.images) == len(split.labels)
    assert data.classes == ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
    assert data.held_out == "test"


def test_digits_use_the_whole_range_of_pixels() -> None:
    images = load_dataset("digits").train.images
    assert int(images.min()) == 0
    assert int(images.max()) == 255


def test_digits_are_the_same_every_time() -> None:
    first, second = embedded_digits(), embedded_digits()
    for a, b in ((first.train, second.train), (first.test, second.test)):
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.labels, b.labels)
    # a run's name stands for these very images
    assert first.test.labels[:10].tolist() == [7, 6, 3, 7, 7, 3, 2, 8, 9, 3]


def test_digits_are_stratified() -> None:
    data = load_dataset("digits")
    train, test = data.train.labels.bincount(minlength=10), data.test.labels.bincount(minlength=10)
    expected = (train + test) * 360 / 1797
    assert (test - expected).abs().max() < 1


def test_no_digit_is_in_both_splits() -> None:
    data = load_dataset("digits")
    train, test = ({image.numpy().tobytes() for image in split.images} for split in (data.train, data.test))
    assert not train & test
    assert len(train | test) == 1797


def test_colour_digits_are_512_and_128_images_of_three_channels_as_is_said_of_them() -> None:
    data = load_dataset("colour-digits")
    assert data.train.images.shape == (512, 3, 32, 32)
    assert data.test.images.shape == (128, 3, 32, 32)
    assert DATASETS["colour-digits"].description.startswith("512 and 128 of")


def test_images_of_no_pixels_are_refused() -> None:
    with pytest.raises(SparsifyError, match=r"^resize is 0; it must be a whole number of at least 1"):
        load_dataset("digits", resize=0)
