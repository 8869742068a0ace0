"""One file of an image as pixels: the formats that are opened, the largest size, orientation and transparency."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from sparsify.errors import SparsifyError

FORMATS = {
    ".bmp": "BMP",
    ".gif": "GIF",
    ".jpeg": "JPEG",
    ".jpg": "JPEG",
    ".pgm": "PPM",
    ".png": "PNG",
    ".ppm": "PPM",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}
"""The format of each suffix. No file is opened as another: PIL would hand PostScript to a program that runs it."""

LARGEST = 2**26
"""The most pixels of an image; a file of some bytes can claim any number of them."""

GREY = ("1", "L", "LA", "La")


class Decoded(NamedTuple):
    """An image: its pixels, uint8 (channels, height, width), and whether some of them are transparent in the file."""

    pixels: np.ndarray
    transparent: bool


def decode(file: Path | BinaryIO, name: object, size: tuple[int, int] | None = None) -> Decoded:
    """Decode the first frame of an image, which messages call `name`: one channel if it is grey, else RGB.

    It is turned upright as its EXIF data say, and what is transparent is put on white. Raises SparsifyError, before
    pixels are decoded, if it has more than `LARGEST`, more than 8 bits a channel, or another (height, width) than
    `size`, that of the first image; and for a file that is no image of `FORMATS` or is damaged.
    """
    try:
        with Image.open(file, formats=sorted(set(FORMATS.values()))) as image:
            width, height = image.size
            if width * height > LARGEST:
                raise SparsifyError(f"{name} has {height}×{width} pixels; {LARGEST:,} is the most of an image")
            if size is not None and size not in ((height, width), (width, height)):  # it may lie on its side
                raise _unlike(name, (height, width), size)
            if _has_more_than_8_bits(image):  # a conversion would cut them off
                raise SparsifyError(f"{name} cannot be decoded: its pixels have more than 8 bits a channel")
            ImageOps.exif_transpose(image, in_place=True)
            if size is not None and size != (image.height, image.width):
                raise _unlike(name, (image.height, image.width), size)
            mode, transparent = "L" if image.mode in GREY else "RGB", False
            upright: Image.Image = image
            if image.has_transparency_data:
                upright = image.convert("RGBA")
                transparent = upright.getchannel("A").getextrema() != (255, 255)
                upright = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright)
            pixels = np.asarray(upright.convert(mode))
            return Decoded(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1), transparent)
    except SparsifyError:
        raise
    except UnidentifiedImageError as error:
        raise SparsifyError(f"{name} is truncated or is no image") from error
    except Image.DecompressionBombError as error:
        raise SparsifyError(f"{name} claims more than {LARGEST:,} pixels, the most of an image") from error
    except Exception as error:  # a decoder can raise anything for damaged bytes
        if isinstance(error, OSError) and error.strerror:  # the disk's, not a decoder's
            raise SparsifyError(f"{name} cannot be read: {error.strerror}") from error
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SparsifyError(f"{name} cannot be decoded: {reason}") from error


@contextlib.contextmanager
def without_warnings() -> Iterator[None]:
    """Within it PIL does not warn, in no thread.

    It warns of metadata that it cannot read, and then of nothing that the pixels depend on, and of images that are
    larger than `LARGEST`, which are refused.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def _unlike(name: object, found: tuple[int, int], first: tuple[int, int]) -> SparsifyError:
    return SparsifyError(
        f"{name} has {found[0]}×{found[1]} pixels, the first image {first[0]}×{first[1]}; all images must have one size"
    )


def _has_more_than_8_bits(image: Image.Image) -> bool:
    if image.mode.startswith(("I", "F")):
        return True
    tiles = getattr(image, "tile", [])  # how the file has its pixels: "RGB;16B", or of PPM the largest value
    # by their places, as before Pillow 11 they have no names
    return any(";16" in str(args) or (codec.startswith("ppm") and args[-1] > 255) for codec, _, _, args in tiles)
