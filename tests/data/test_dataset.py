"""Splits, their normalisation, and what is held out."""

from __future__ import annotations

import collections
import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from sparsify.data import pixels
from sparsify.data.dataset import Dataset, Normalise, Split, make_dataset
from sparsify.devices import permutation
from sparsify.errors import SparsifyError, SparsifyWarning


def random_images(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def test_batches_are_gathered_by_index() -> None:
    split = Split(random_images(5, 1, 2, 2), torch.arange(5))
    batch = split[torch.tensor([3, 1])]
    assert batch.labels.tolist() == [3, 1]
    assert torch.equal(batch.images[0], split.images[3])
    assert len(split[1:4]) == 3


def test_normalised_training_images_have_mean_0_and_deviation_1_in_each_channel() -> None:
    images = random_images(50, 3, 8, 8) // torch.tensor([1, 4, 16], dtype=torch.uint8)[:, None, None]
    before = images.clone()
    values = Normalise.of(images)(images)
    assert values.dtype == torch.float32
    assert values.shape == images.shape
    assert values.mean((0, 2, 3)).tolist() == pytest.approx([0] * 3, abs=1e-5)
    assert values.std((0, 2, 3), correction=0).tolist() == pytest.approx([1] * 3, abs=1e-5)
    assert torch.equal(images, before)


def test_the_statistics_are_those_of_the_training_images() -> None:
    train, test = random_images(20, 1, 4, 4), torch.zeros(20, 1, 4, 4, dtype=torch.uint8)
    data = make_dataset("x", Split(train, torch.zeros(20)), Split(test, torch.zeros(20)), ("a",))
    assert data.normalise.mean == pytest.approx((float(train.double().mean()),))
    assert data.normalise.std == pytest.approx((float(train.double().std(correction=0)),))


def test_statistics_by_hand() -> None:
    images = torch.tensor([0, 0, 10, 30], dtype=torch.uint8).view(4, 1, 1, 1)
    assert Normalise.of(images) == Normalise((10.0,), (150.0**0.5,))


@pytest.mark.parametrize("value", [0, 77, 255])
def test_a_constant_channel_becomes_0_and_not_nan(value: int) -> None:
    images = torch.full((4, 2, 3, 3), value, dtype=torch.uint8)
    images[:, 1] = random_images(4, 3, 3)
    normalise = Normalise.of(images)
    assert normalise.std[0] == 1.0
    assert normalise(images)[:, 0].unique().tolist() == [0.0]
    assert normalise(images).isfinite().all()


@pytest.fixture
def numbered() -> Dataset:
    """100 training images whose label is their number, 40 test images with labels from 1000."""
    train = Split(random_images(100, 1, 2, 2), torch.arange(100))
    test = Split(random_images(40, 1, 2, 2, seed=1), torch.arange(1000, 1040))
    return make_dataset("numbered", train, test, ("a",))


@pytest.mark.parametrize(("fraction", "count"), [(0.1, 10), (0.25, 25), (0.99, 99), (0.01, 1), (0.016, 2)])
def test_hold_out_takes_exactly_the_rounded_fraction(fraction: float, count: int, numbered: Dataset) -> None:
    held = numbered.hold_out(fraction, permutation(100, 0, "val"))
    assert (len(held.train), len(held.test)) == (100 - count, count)
    assert held.held_out == "val"


def test_hold_out_is_a_partition_of_the_training_images(numbered: Dataset) -> None:
    held = numbered.hold_out(0.3, permutation(100, 0, "val"))
    assert collections.Counter(held.train.labels.tolist() + held.test.labels.tolist()) == dict.fromkeys(range(100), 1)
    for split in (held.train, held.test):
        assert torch.equal(split.images, numbered.train.images[split.labels])


def test_hold_out_keeps_no_test_image(numbered: Dataset) -> None:
    held = numbered.hold_out(0.3, permutation(100, 0, "val"))
    labels = torch.cat([held.train.labels, held.test.labels])
    assert int(labels.max()) < 1000
    assert held.normalise == numbered.normalise


def test_hold_out_follows_the_order(numbered: Dataset) -> None:
    order = permutation(100, 3, "val")
    held = numbered.hold_out(0.1, order)
    assert torch.equal(held.test.labels, order[:10])
    other = numbered.hold_out(0.1, permutation(100, 4, "val"))
    assert not torch.equal(held.test.labels, other.test.labels)


@pytest.mark.parametrize("fraction", [0.001, 0.999])
def test_hold_out_that_leaves_a_split_empty_is_refused(fraction: float, numbered: Dataset) -> None:
    with pytest.raises(SparsifyError, match=f"--val {fraction} of 100 training images leaves a split empty"):
        numbered.hold_out(fraction, permutation(100, 0, "val"))


def test_sums_and_statistics_are_taken_in_chunks(monkeypatch: pytest.MonkeyPatch, numbered: Dataset) -> None:
    monkeypatch.setattr(pixels, "CHUNK", 12)  # three images, one and a half labels
    tensors = (numbered.train.images, numbered.train.labels, numbered.test.images, numbered.test.labels)
    assert numbered.sha256() == hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in tensors)).hexdigest()
    assert Normalise.of(numbered.train.images) == numbered.normalise
    assert numbered.normalise.mean == pytest.approx((float(numbered.train.images.double().mean()),))


def test_what_the_memory_has_no_room_for_is_held_out_in_a_file(
    monkeypatch: pytest.MonkeyPatch, numbered: Dataset, tmp_path: Path
) -> None:
    order = permutation(100, 0, "val")
    kept = numbered.hold_out(0.3, order)
    monkeypatch.setattr(pixels, "room_for_data", lambda _: 10)
    held = numbered.hold_out(0.3, order)
    assert held.sha256() == kept.sha256()
    assert list((tmp_path / "cache").iterdir()) == []


def test_images_for_which_a_device_has_no_room_stay_and_their_batches_move(monkeypatch: pytest.MonkeyPatch) -> None:
    split = Split(random_images(5, 1, 2, 2), torch.arange(5))
    monkeypatch.setattr(pixels, "room_for_data", lambda _: 20)
    assert not split.to("meta").streamed
    monkeypatch.setattr(pixels, "room_for_data", lambda _: 19)
    with pytest.warns(SparsifyWarning, match="the images take 20 B, too much for what is free on meta: each batch is"):
        moved = split.to("meta")
    assert moved.streamed
    assert (moved.images.device.type, moved.device.type) == ("cpu", "meta")
    assert moved.images is split.images
    for part in (moved[torch.tensor([3, 1])], moved[:2]):
        assert not part.streamed
        assert (part.images.device.type, part.images.shape) == ("meta", (2, 1, 2, 2))
    assert split.to("cpu").images is split.images


# what a split takes --------------------------------------------------------------------------------------------------


def test_several_inputs_are_indexed_and_counted_together():
    split = Split({"ids": torch.arange(3), "mask": torch.eye(3)}, torch.tensor([0, 1, 2]))
    part = split[torch.tensor([2, 0])]
    assert part.images["ids"].tolist() == [2, 0]
    assert part.images["mask"].tolist() == [[0, 0, 1], [1, 0, 0]]
    both = Split((torch.arange(3), torch.arange(3)), torch.zeros(3))
    assert [tensor.tolist() for tensor in both[1:].images] == [[1, 2], [1, 2]]


def test_arrays_and_lists_become_tensors():
    split = Split(np.array([[0.5], [1.5]], dtype=np.float32), [1, 0])
    assert split.images.tolist() == [[0.5], [1.5]]
    assert split.labels.tolist() == [1, 0]
    assert Split([torch.zeros(2), torch.ones(2)], (0, 1)).images.tolist() == [[0, 0], [1, 1]]


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (torch.zeros(3, 1), torch.zeros(2), "3 images have 2 labels; each image needs one"),
        (torch.zeros(3, 1), torch.tensor(1), "3 images have 1 labels; each image needs one"),
        ((torch.zeros(3, 1), torch.zeros(2)), torch.zeros(3), r"the inputs are \(3, 1\) float32, \(2,\) float32; the"),
        (["a.png", "b.png"], [0, 1], "images: a list cannot become a tensor: "),
        (torch.zeros(1, 1), ["cat"], "labels: a list cannot become a tensor: "),
    ],
)
def test_images_and_labels_that_do_not_fit_are_refused(images, labels, words):
    with pytest.raises(SparsifyError, match=words) as caught:
        Split(images, labels)
    assert "\n" not in str(caught.value)


IMAGES, LABELS = torch.arange(10.0).view(5, 2), torch.tensor([0, 1, 2, 1, 0])


@pytest.mark.parametrize(
    "data",
    [
        (IMAGES.numpy(), LABELS.tolist()),
        Split(IMAGES, LABELS),
        DataLoader(TensorDataset(IMAGES, LABELS), batch_size=2),
        TensorDataset(IMAGES, LABELS),
        [(IMAGES[:4], LABELS[:4]), (IMAGES[4:], LABELS[4:])],
        ((images, labels) for images, labels in [(IMAGES, LABELS)]),
    ],
    ids=["a pair", "a split", "a DataLoader", "a data set", "a list of batches", "a generator"],
)
def test_data_is_read_into_one_split(data):
    split = Split.of(data)
    assert torch.equal(split.images, IMAGES)
    assert torch.equal(split.labels, LABELS)


def test_a_list_of_samples_is_a_data_set():
    samples = [(torch.full((1, 2, 2), float(number)), number % 2) for number in range(3)]
    for data in (samples, [{"x": images, "labels": label} for images, label in samples]):
        split = Split.of(data)
        assert split.labels.tolist() == [0, 1, 0]
        images = split.images if isinstance(split.images, Tensor) else split.images["x"]
        assert torch.equal(images, torch.stack([images for images, _ in samples]))


def test_a_split_and_a_data_set_show_themselves_in_a_line(numbered: Dataset) -> None:
    split = Split((torch.zeros(2, 3), torch.zeros(2, dtype=torch.uint8)), [0, 1])
    assert repr(split) == "<Split: images (2, 3) float32, (2,) uint8, labels (2,) int64, on cpu>"
    assert repr(numbered).startswith(f"<Dataset {numbered.name}: {len(numbered.train):,} train and ")


def test_batches_of_several_inputs_are_read():
    named = Split.of([{"ids": IMAGES[:2], "labels": LABELS[:2]}, {"ids": IMAGES[2:], "labels": LABELS[2:]}])
    assert list(named.images) == ["ids"]
    assert torch.equal(named.images["ids"], IMAGES)
    both = Split.of(DataLoader(TensorDataset(IMAGES, -IMAGES, LABELS), batch_size=3))
    assert torch.equal(both.images[0], IMAGES)
    assert torch.equal(both.images[1], -IMAGES)
    assert torch.equal(both.labels, LABELS)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (IMAGES, "the data is a Tensor; it must be (images, labels), a DataLoader or a Split"),
        (IMAGES.numpy(), "the data is a ndarray; it must be"),
        ("mnist", "the data is a str; it must be"),
        (None, "the data is a NoneType; it must be"),
        ((IMAGES,), "the data is a tuple of 1; it must be (images, labels)"),
        ([], "the data, a list, has no batches"),
        ([IMAGES], "a batch of the data is a Tensor; it must be (images, labels)"),
        ([(IMAGES, LABELS), (IMAGES[:, :1], LABELS)], "the batches of the data cannot be put together: "),
        ([({"a": IMAGES}, LABELS), ({"b": IMAGES}, LABELS)], "the batches of the data cannot be put together: 'a'"),
        (TensorDataset(IMAGES), "a batch of the data is a list; it must be (images, labels)"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_is_no_data_is_refused(data, words):
    with pytest.raises(SparsifyError) as caught:
        Split.of(data)
    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)
