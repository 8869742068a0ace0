"""What a fuzzer calls for files of data sets: any bytes are read, or refused in one line; nothing else is raised."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import numpy as np

from sparsify.data.decoding import decode, without_warnings
from sparsify.data.places import Roots
from sparsify.data.vision import RAW_BYTES, mnist_like
from sparsify.errors import SparsifyError


def image(data: bytes) -> None:
    """Decode the bytes of an image's file."""
    try:
        with without_warnings():
            pixels = decode(io.BytesIO(data), "the image").pixels
    except SparsifyError as error:
        _one_line(error)
    else:
        assert pixels.dtype == np.uint8, pixels.dtype
        assert pixels.ndim == 3, pixels.shape
        assert len(pixels) in (1, 3), pixels.shape


def idx(data: bytes) -> None:
    """Read the bytes as each of MNIST's files. They are refused, because their MD5 sums are those of other bytes."""
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder, "MNIST", "raw")
        raw.mkdir(parents=True)
        for file in RAW_BYTES:
            (raw / file).write_bytes(data)
        try:
            mnist_like("MNIST", Roots((Path(folder),), Path(folder), Path(folder)))
        except SparsifyError as error:
            _one_line(error)
        else:
            raise AssertionError("bytes that are not MNIST's were read")


def _one_line(error: SparsifyError) -> None:
    text = str(error)
    assert len(text.splitlines()) == 1, text
