"""The data set digits as tests see it: so few images that a training takes a tenth of a second."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sparsify.data import registry
from sparsify.data.dataset import Dataset, make_dataset
from sparsify.data.places import Roots

TRAIN, TEST = 200, 100
ALL = registry.DATASETS["digits"]
"""All of them, as users have them."""


def _few(roots: Roots) -> Dataset:
    every = ALL.load(roots)
    return make_dataset("digits", every.train[:TRAIN], every.test[:TEST], every.classes)


FEW = dataclasses.replace(ALL, load=_few)
"""The first 200 of the training and 100 of the test images."""


@contextmanager
def digits_of(spec: registry.DatasetSpec) -> Iterator[None]:
    """Within it digits is read as that says."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.DATASETS, "digits", spec)
        forget()
        yield
    forget()


def forget() -> None:
    """Have every data set read anew, as in another process."""
    registry._load.cache_clear()
    registry._load_resized.cache_clear()
