"""scikit-learn's handwritten digits: in the package, no network needed."""

from __future__ import annotations

import torch
from torch.nn.functional import interpolate

from sparsify.data.dataset import Dataset, Split, make_dataset

TEST_IMAGES = 360


def embedded_digits() -> Dataset:
    """1,437 training and 360 test images, stratified by class; 8×8 pixels of 0 to 16 become 28×28 of 0 to 255."""
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
