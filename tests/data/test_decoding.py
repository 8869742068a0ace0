"""One file of an image: what is opened, how it is turned, what is put on white, and any bytes at all."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from PIL import EpsImagePlugin, Image

from benchmarks.fuzzing import data as fuzzing
from sparsify.data import decoding
from sparsify.data.decoding import Decoded, decode
from sparsify.errors import SparsifyError

RGB = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def decoded(content: bytes, size: tuple[int, int] | None = None) -> Decoded:
    return decode(io.BytesIO(content), "it", size)


def refusal(content: bytes, size: tuple[int, int] | None = None) -> str:
    with pytest.raises(SparsifyError) as caught:
        decoded(content, size)
    return str(caught.value)


def test_postscript_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("Ghostscript is run"))
    content = encoded(Image.fromarray(RGB), "EPS")
    assert Image.open(io.BytesIO(content)).format == "EPS"
    assert refusal(content) == "it is truncated or is no image"
    file = tmp_path / "1.png"
    file.write_bytes(content)
    with pytest.raises(SparsifyError, match="is no image"):
        decode(file, file)


TURNED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: lambda stored: np.rot90(stored),
}


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_an_image_is_turned_upright(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    upright = TURNED[orientation](RGB)
    found = decoded(encoded(Image.fromarray(RGB), kind, exif=exif, **options), upright.shape[:2])
    assert np.array_equal(found.pixels, upright.transpose(2, 0, 1))


def test_an_image_that_lies_on_its_side_has_another_size() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(Image.fromarray(RGB), exif=exif)
    assert refusal(content, (4, 6)) == "it has 6×4 pixels, the first image 4×6; all images must have one size"


def transparent_palette() -> bytes:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    return encoded(image, transparency=b"\x80\xff")


@pytest.mark.parametrize(
    ("content", "left", "right"),
    [
        (
            encoded(Image.fromarray(np.array([[[255, 0, 0, 128], [0, 0, 255, 255]]], np.uint8))),
            [255, 127, 127],
            [0, 0, 255],
        ),
        (encoded(Image.fromarray(np.array([[[255, 0, 0, 0], [0, 0, 255, 255]]], np.uint8))), [255] * 3, [0, 0, 255]),
        (encoded(Image.fromarray(np.array([[[0, 128], [9, 255]]], np.uint8), "LA")), [127], [9]),
        (encoded(Image.fromarray(np.array([[7, 9]], np.uint8)), transparency=7), [255], [9]),
        (transparent_palette(), [255, 127, 127], [0, 0, 255]),
    ],
    ids=["half", "none", "grey", "one value", "palette"],
)
def test_what_is_transparent_is_put_on_white(content: bytes, left: list[int], right: list[int]) -> None:
    pixels, transparent = decoded(content)
    assert pixels[:, 0].T.tolist() == [left, right]
    assert transparent


def test_an_image_whose_alpha_hides_nothing_is_not_called_transparent() -> None:
    pixels, transparent = decoded(encoded(Image.fromarray(RGB).convert("RGBA")))
    assert np.array_equal(pixels, RGB.transpose(2, 0, 1))
    assert not transparent


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_several_frames_the_first_is_taken(kind: str) -> None:
    frames = [Image.new("RGB", (5, 5), colour) for colour in ("white", "black", "red")]
    options = {"lossless": True} if kind == "WEBP" else {}
    content = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert Image.open(io.BytesIO(content)).n_frames == 3
    assert np.unique(decoded(content).pixels).tolist() == [255]


def png(width: int, height: int, depth: int, colour: int, rows: bytes = b"") -> bytes:
    """A PNG as its chunks: `colour` 2 is RGB."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def test_colours_of_16_bits_are_refused_rather_than_cut_off() -> None:
    assert decoded(png(1, 1, 8, 2, b"\0abc")).pixels.flatten().tolist() == [97, 98, 99]
    for content in (png(1, 1, 16, 2, b"\0aabbcc"), b"P6 1 1 65535\naabbcc"):
        assert refusal(content) == "it cannot be decoded: its pixels have more than 8 bits a channel"


@pytest.mark.parametrize("side", [2**13 + 1, 2**14, 2**20])
def test_a_header_that_claims_a_huge_size_is_refused_before_anything_is_decoded(
    side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image.core, "fill", lambda *_: pytest.fail("memory is taken"))
    monkeypatch.setattr(Image.core, "new", lambda *_: pytest.fail("memory is taken"))
    with decoding.without_warnings():
        assert "67,108,864" in refusal(png(side, side, 8, 2))


def test_the_most_pixels_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "LARGEST", 24)
    assert decoded(encoded(Image.fromarray(RGB))).pixels.shape == (3, 4, 6)
    monkeypatch.setattr(decoding, "LARGEST", 23)
    assert refusal(encoded(Image.fromarray(RGB))) == "it has 4×6 pixels; 23 is the most of an image"


def test_an_image_of_another_size_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image.core, "new", lambda *_: pytest.fail("memory is taken"))
    assert refusal(png(5000, 5000, 8, 2), (4, 6)).startswith("it has 5000×5000 pixels, the first image 4×6")


# any bytes -----------------------------------------------------------------------------------------------------------

KINDS = ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM"]
SEEDS = [encoded(Image.fromarray(RGB), kind) for kind in KINDS] + [transparent_palette()]
BOUNDED = settings(
    max_examples=150, deadline=10_000, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A file of an image with a few bytes replaced, and perhaps cut or continued."""
    content = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 4))):
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    return bytes(content[: draw(st.integers(len(content) // 2, len(content)))]) + draw(st.binary(max_size=8))


@BOUNDED
@given(damaged() | st.binary(max_size=300))
def test_any_bytes_are_an_image_or_an_error_of_one_line(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(decoding, "LARGEST", 2**20)
    fuzzing.image(content)


def test_the_fuzzed_files_are_images() -> None:
    for content in SEEDS:
        assert decoded(content).pixels.ndim == 3


@settings(max_examples=40, deadline=10_000, derandomize=True)
@given(st.binary(max_size=300))
@example(struct.pack(">IIII", 0x803, 2**31 - 1, 2**31 - 1, 2**31 - 1))
@example(struct.pack(">IIII", 0x803, 60_000, 28, 28))
@example(b"")
def test_any_bytes_in_the_place_of_mnist_are_an_error_of_one_line(content: bytes) -> None:
    tracemalloc.start()
    try:
        fuzzing.idx(content)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**20
