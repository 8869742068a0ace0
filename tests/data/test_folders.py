"""Folders of images, and their decoded copy."""

from __future__ import annotations

import os
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import pytest
import torch
from datafiles import cut, empty, error_of, files_in
from PIL import Image

from sparsify.data import folder, registry
from sparsify.data.dataset import Dataset
from sparsify.data.registry import load_dataset
from sparsify.errors import SparsifyWarning

RED, GREY = (255, 0, 0), 128


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes, three images of 6×4 pixels each for training, one each for testing."""
    root = tmp_path / "my phôtos"
    for part, count in (("train", 3), ("test", 1)):
        for value, label in enumerate(("cat", "dög 2")):
            for number in range(count):
                save(root / part / label / f"imàge {number}.png", Image.new("L", (6, 4), 10 * value + number))
    return root


def save(path: Path, image: Image.Image, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)


def load(path: Path) -> Dataset:
    return load_dataset(f"folder:{path}")


def test_a_folder_is_read_in_the_order_of_its_names(photos: Path) -> None:
    data = load(photos)
    assert data.name == f"folder:{photos}"
    assert data.classes == ("cat", "dög 2")
    assert data.shape == (1, 4, 6)
    assert data.train.images.dtype == torch.uint8
    assert data.train.images[:, 0, 0, 0].tolist() == [0, 1, 2, 10, 11, 12]
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.test.images[:, 0, 0, 0].tolist() == [0, 10]
    assert data.test.labels.tolist() == [0, 1]


def test_colour_images_have_three_channels(tmp_path: Path) -> None:
    for part in ("train", "test"):
        save(tmp_path / "p" / part / "a" / "1.png", Image.new("RGB", (5, 5), (1, 2, 3)))
    data = load(tmp_path / "p")
    assert data.shape == (3, 5, 5)
    assert data.train.images[0, :, 0, 0].tolist() == [1, 2, 3]


def test_one_colour_image_makes_all_of_them_colour(photos: Path) -> None:
    save(photos / "test" / "cat" / "imàge 0.png", Image.new("RGB", (6, 4), RED))
    data = load(photos)
    assert data.train.images.shape == (6, 3, 4, 6)
    assert data.train.images[5, :, 0, 0].tolist() == [12, 12, 12]
    assert data.test.images[0, :, 0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    ("mode", "colour", "pixel"),
    [
        ("1", 1, [255]),
        ("L", GREY, [GREY]),
        ("LA", (GREY, 255), [GREY]),
        ("P", 0, [0, 0, 0]),
        ("RGBA", (*RED, 255), [255, 0, 0]),
        ("CMYK", (0, 255, 255, 0), [255, 0, 0]),
    ],
)
def test_every_8_bit_mode_becomes_grey_or_rgb(mode: str, colour: Any, pixel: list[int], tmp_path: Path) -> None:
    suffix = "tiff" if mode == "CMYK" else "png"
    for part in ("train", "test"):
        save(tmp_path / "p" / part / "a" / f"1.{suffix}", Image.new(mode, (5, 5), colour))
    assert load(tmp_path / "p").train.images[0, :, 2, 2].tolist() == pixel


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_pixels_of_more_than_8_bits_are_refused_rather_than_cut_off(dtype: type, photos: Path) -> None:
    file = photos / "train" / "cat" / "deep.tiff"
    save(file, Image.fromarray(np.full((4, 6), 3000, dtype)))
    message = error_of(f"folder:{photos}")
    assert message.startswith(str(file))
    assert "8 bits" in message


def test_an_image_of_another_size_is_named(photos: Path) -> None:
    file = photos / "test" / "cat" / "large.png"
    save(file, Image.new("L", (9, 7)))
    message = error_of(f"folder:{photos}")
    assert message.startswith(f"{file} has 7×9 pixels, the first image 4×6;")


def noise(size: tuple[int, int] = (24, 20)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), np.uint8))


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "gif", "webp", "tiff", "ppm"])
def test_a_truncated_image_is_named(suffix: str, tmp_path: Path) -> None:
    for part in ("train", "test"):
        for number in range(2):
            save(tmp_path / "p" / part / "a" / f"{number}.{suffix}", noise())
    file = tmp_path / "p" / "test" / "a" / f"1.{suffix}"
    content = file.read_bytes()
    for length in (0, 1, len(content) // 2, len(content) - 40):
        file.write_bytes(content[:length])
        assert error_of(f"folder:{tmp_path / 'p'}").startswith(f"{file} ")
    file.write_bytes(content)
    assert len(load(tmp_path / "p").test) == 2


def test_a_flipped_byte_in_a_png_is_named(tmp_path: Path) -> None:
    for part in ("train", "test"):
        save(tmp_path / "p" / part / "a" / "1.png", noise())
    file = tmp_path / "p" / "train" / "a" / "1.png"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 16
    file.write_bytes(content)
    assert error_of(f"folder:{tmp_path / 'p'}").startswith(f"{file} ")


def test_something_else_with_the_suffix_of_an_image_is_named(photos: Path) -> None:
    file = photos / "train" / "cat" / "page.jpg"
    file.write_text("<html>")
    assert error_of(f"folder:{photos}") == f"{file} is truncated or is no image"


def test_an_image_that_claims_to_be_huge_is_named(photos: Path) -> None:
    header = struct.pack(">IIBBBBB", 2**20, 2**20, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    file = photos / "train" / "cat" / "bomb.png"
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 10) + b"IDAT")
    assert error_of(f"folder:{photos}").startswith(f"{file} claims more than 67,108,864 pixels")


def test_a_link_to_nowhere_is_named(photos: Path) -> None:
    file = photos / "train" / "cat" / "gone.png"
    file.symlink_to(photos / "nowhere.png")
    assert error_of(f"folder:{photos}").startswith(f"{file} cannot be read: ")


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_missing_part_is_named_with_the_layout(part: str, photos: Path) -> None:
    shutil.rmtree(photos / part)
    message = error_of(f"folder:{photos}")
    assert message.startswith(f"{photos / part} is not a folder;")
    assert "PATH/train/<class>/*" in message


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_part_without_classes_is_an_error(part: str, photos: Path) -> None:
    shutil.rmtree(photos / part)
    (photos / part).mkdir()
    (photos / part / "image.png").touch()
    assert error_of(f"folder:{photos}").startswith(f"{photos / part} has no classes:")


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_class_without_images_is_named_with_the_known_suffixes(part: str, photos: Path) -> None:
    (photos / part / "cow").mkdir()
    (photos / part / "cow" / "1.heic").touch()
    message = error_of(f"folder:{photos}")
    assert message.startswith(f"{photos / part / 'cow'} holds no images;")
    assert ".png" in message


@pytest.mark.parametrize(("part", "other"), [("train", "test"), ("test", "train")])
def test_a_class_that_is_in_one_part_only_is_named(part: str, other: str, photos: Path) -> None:
    save(photos / part / "cow" / "1.png", Image.new("L", (6, 4)))
    assert error_of(f"folder:{photos}") == f"{photos}: class 'cow' is in {part}/, but not in {other}/"


def test_other_and_hidden_files_are_passed_over(photos: Path) -> None:
    (photos / "train" / "cat" / "notes.txt").write_text("not an image")
    (photos / "train" / "cat" / "._imàge 0.png").write_bytes(b"what macOS leaves behind")
    (photos / "train" / "readme.md").touch()
    (photos / "train" / ".git").mkdir()
    assert len(load(photos).train) == 6


def test_suffixes_in_capitals_are_images(photos: Path) -> None:
    (photos / "train" / "cat" / "imàge 0.png").rename(photos / "train" / "cat" / "imàge 0.PNG")
    assert len(load(photos).train) == 6


@pytest.mark.skipif(os.name != "posix", reason="names of bytes are POSIX's")
def test_a_name_that_is_not_utf8_is_read(photos: Path) -> None:
    try:
        save(photos / "train" / "cat" / os.fsdecode(b"caf\xe9.png"), Image.new("L", (6, 4)))
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert len(load(photos).train) == 7


def test_a_relative_path_is_that_of_the_current_folder(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos.parent)
    assert load(Path(photos.name)).name == f"folder:{photos}"
    (photos / "elsewhere").mkdir()
    monkeypatch.chdir(photos / "elsewhere")
    assert f"{photos / 'elsewhere' / photos.name / 'train'} is not a folder" in error_of(f"folder:{photos.name}")


def load_again(path: Path) -> Dataset:
    """As another process would."""
    registry._load.cache_clear()
    return load(path)


def decoded(tmp_path: Path) -> Path:
    (file,) = files_in(tmp_path / "cache")
    return file


def test_images_are_decoded_once(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(photos)
    with monkeypatch.context() as patch:
        patch.setattr(folder, "decode", lambda *_: pytest.fail("decoded again"))
        second = load_again(photos)
    assert second is not first
    assert second.normalise == first.normalise
    for a, b in ((first.train, second.train), (first.test, second.test)):
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.labels, b.labels)


def test_images_that_changed_are_decoded_again_and_replace_the_copy(photos: Path, tmp_path: Path) -> None:
    load(photos)
    file = photos / "train" / "cat" / "imàge 0.png"
    status = file.stat()
    save(file, Image.new("L", (6, 4), 99))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert load_again(photos).train.images[0, 0, 0, 0] == 99
    (photos / "train" / "cat" / "imàge 1.png").unlink()
    assert len(load_again(photos).train) == 5
    assert decoded(tmp_path).exists()


def test_two_folders_with_the_same_names_sizes_and_times_are_two(tmp_path: Path) -> None:
    for name, value in (("a", 1), ("b", 2)):
        for part in ("train", "test"):
            file = tmp_path / name / part / "x" / "1.ppm"
            save(file, Image.new("RGB", (6, 4), (value, 0, 0)))
            os.utime(file, (0, 0))
    assert load(tmp_path / "a").train.images[0, 0, 0, 0] == 1
    assert load(tmp_path / "b").train.images[0, 0, 0, 0] == 2
    assert len(files_in(tmp_path / "cache")) == 2


@pytest.mark.parametrize("damage", [cut, empty, lambda content: b"garbage" * 9], ids=["cut", "empty", "garbage"])
def test_a_damaged_copy_is_written_anew(damage: Callable[[bytes], bytes], photos: Path, tmp_path: Path) -> None:
    first = load(photos)
    file = decoded(tmp_path)
    content = file.read_bytes()
    file.unlink()  # not in place: a file that is mapped into memory must not shrink
    file.write_bytes(damage(content))
    assert torch.equal(load_again(photos).train.images, first.train.images)
    assert file.read_bytes() == content


def test_a_copy_that_cannot_be_written_is_a_warning(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda *_, **__: tmp_path / "file" / "cache")
    with pytest.warns(SparsifyWarning, match=f"could not be kept .*{tmp_path / 'file' / 'cache'}"):
        data = load(photos)
    assert len(data.train) == 6


def test_images_that_cannot_be_decoded_leave_no_copy(photos: Path, tmp_path: Path) -> None:
    (photos / "train" / "cat" / "page.jpg").write_text("<html>")
    error_of(f"folder:{photos}")
    assert files_in(tmp_path / "cache") == []
