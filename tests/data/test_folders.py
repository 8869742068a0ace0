"""Folders of images, and their decoded copy."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
import socket
import struct
import sys
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import pytest
import torch
from datafiles import cut, empty, error_of, files_in
from PIL import Image
from rich.console import Console
from torchvision.datasets import ImageFolder

from sparsify import Config, progress, prune, train
from sparsify.data import decoding, folder, pixels, registry
from sparsify.data.dataset import Dataset
from sparsify.data.registry import load_dataset
from sparsify.errors import SparsifyError, SparsifyWarning

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
    assert error_of(f"folder:{photos}").startswith(f"{file} is a link to ")


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
    (file,) = files_in(tmp_path / "cache" / "decoded")
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


def flipped(place: int) -> Callable[[bytes], bytes]:
    """One bit of a byte is another."""
    return lambda content: content[:place] + bytes([content[place] ^ 1]) + content[place + 1 or len(content) :]


@pytest.mark.parametrize(
    "damage",
    [cut, empty, lambda content: b"garbage" * 9, flipped(-1), flipped(-(8 * 6 * 4 + 1))],
    ids=["cut", "empty", "garbage", "a pixel", "a label"],
)
def test_a_damaged_copy_is_written_anew(damage: Callable[[bytes], bytes], photos: Path, tmp_path: Path) -> None:
    first = load(photos)
    file = decoded(tmp_path)
    content = file.read_bytes()
    file.unlink()  # not in place: a file that is mapped into memory must not shrink
    file.write_bytes(damage(content))
    with pytest.warns(SparsifyWarning, match=rf"{file} is damaged \(.+\); the images are decoded again"):
        again = load_again(photos)
    assert again.sha256() == first.sha256()
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


# the files of a folder -----------------------------------------------------------------------------------------------


def test_nested_folders_are_read_in_the_order_of_torchvision(tmp_path: Path) -> None:
    names = ["b", "a/1", "a b/1", "a-b/z/1", "a/B/1", "a/b/10", "a/b/9", "Z", "ä", "a/c.d/1", "10", "9"]
    for part in ("train", "test"):
        for label in ("y", "x 2", "X"):
            for number, name in enumerate(names):
                save(tmp_path / "p" / part / label / f"{name}.png", Image.new("L", (3, 3), 20 * len(label) + number))
    (tmp_path / "p" / "train" / "y" / "linked").symlink_to(tmp_path / "p" / "train" / "x 2" / "a")
    data = load(tmp_path / "p")
    for part, split in (("train", data.train), ("test", data.test)):
        oracle = ImageFolder(str(tmp_path / "p" / part), transform=lambda image: np.asarray(image)[0, 0, 0])
        assert list(data.classes) == oracle.classes
        assert split.labels.tolist() == oracle.targets
        assert split.images[:, 0, 0, 0].tolist() == [int(value) for value, _ in oracle]


def test_hidden_folders_within_a_class_are_passed_over(photos: Path) -> None:
    save(photos / "train" / "cat" / ".thumbnails" / "1.png", Image.new("L", (6, 4)))
    assert len(load(photos).train) == 6


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one, contextlib.chdir(path.parent):
        one.bind(path.name)  # the whole path may be too long for one


@pytest.mark.skipif(os.name != "posix", reason="such files are POSIX's")
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (os.mkfifo, " is a named pipe, not a file"),
        (make_socket, " is a socket, not a file"),
        (lambda path: path.symlink_to("/dev/zero"), " is a device, not a file"),
        (lambda path: path.symlink_to(path.parent), " is a folder, and its name is that of an image"),
        (Path.mkdir, " is a folder, and its name is that of an image"),
        (lambda path: path.symlink_to("gone"), " is a link to gone, which is not there"),
        (lambda path: path.symlink_to(path), " cannot be read: Too many levels of symbolic links"),
    ],
    ids=["pipe", "socket", "device", "link to a folder", "folder", "link to nowhere", "link to itself"],
)
def test_what_is_no_file_is_named_before_anything_is_opened(
    make: Callable[[Path], None], said: str, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "decode", lambda *_: pytest.fail("a file is opened"))
    file = photos / "train" / "dög 2" / "x.png"
    make(file)
    assert error_of(f"folder:{photos}") == f"{file}{said}"


def test_a_class_that_is_a_link_to_nowhere_is_named(photos: Path) -> None:
    for part in ("train", "test"):
        (photos / part / "cow").symlink_to("gone")
    assert error_of(f"folder:{photos}").startswith(f"{photos / 'train' / 'cow'} is a link to gone,")


def test_a_link_that_goes_round_in_a_circle_is_named(photos: Path) -> None:
    link = photos / "train" / "cat" / "again"
    link.symlink_to(photos / "train")
    assert error_of(f"folder:{photos}") == f"{link} is a link to a folder that it is in"


def test_an_image_of_too_many_pixels_is_named(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "LARGEST", 23)
    file = photos / "train" / "cat" / "imàge 0.png"
    assert error_of(f"folder:{photos}") == f"{file} has 4×6 pixels; 23 is the most of an image"


def test_what_was_put_on_white_is_said_once(photos: Path) -> None:
    for number in (0, 2):
        save(photos / "train" / "cat" / f"imàge {number}.png", Image.new("LA", (6, 4), (0, 0)))
    with pytest.warns(SparsifyWarning) as caught:
        data = load(photos)
    assert [str(one.message) for one in caught] == [
        f"2 images below {photos} have transparent pixels; they are put on white"
    ]
    assert data.train.images[:, 0, 0, 0].tolist() == [255, 1, 255, 10, 11, 12]
    load_again(photos)  # warnings are errors in these tests


# the file in the cache -----------------------------------------------------------------------------------------------


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Three classes, 40 and 20 images each of 28×28 pixels of noise."""
    values = np.random.default_rng(0)
    for part, count in (("train", 40), ("test", 20)):
        for label in "abc":
            for number in range(count):
                pixels = values.integers(0, 256, (28, 28), np.uint8)
                save(tmp_path / "many" / part / label / f"{number:02}.png", Image.fromarray(pixels))
    return tmp_path / "many"


def test_blocks_are_written_in_order_and_a_colour_in_the_last_one_makes_all_of_them_colour(
    many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "BLOCK", 3 * 28 * 28)
    monkeypatch.setattr(folder, "THREADS", 3)
    paths = [many / part / label for part in ("train", "test") for label in "abc"]
    pixels = [np.asarray(Image.open(file)) for path in paths for file in sorted(path.iterdir())]
    data = load(many)
    assert np.array_equal(torch.cat([data.train.images, data.test.images])[:, 0].numpy(), pixels)
    save(many / "test" / "c" / "19.png", Image.new("RGB", (28, 28), RED))
    data = load_again(many)
    assert np.array_equal(torch.cat([data.train.images, data.test.images])[:-1].numpy(), np.stack([pixels] * 3, 1)[:-1])
    assert data.test.images[-1, :, 0, 0].tolist() == list(RED)
    assert decoded(tmp_path).exists()


@pytest.mark.parametrize(("size", "most"), [(28 * 28, 5), (10**9, 1)], ids=["small", "larger than what may wait"])
def test_no_more_bytes_wait_than_are_allowed(size: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = written = 0

    class Pool(ThreadPoolExecutor):
        def submit(self, *_: Any) -> Any:
            nonlocal taken
            taken += 1
            return super().submit(lambda: (np.zeros((1, 1, 1, 1), np.uint8), 0))

    class File:
        def write(self, _: bytes) -> None:
            nonlocal written
            written += 1
            waits.append(taken - written)

    waits: list[int] = []
    monkeypatch.setattr(folder, "ThreadPoolExecutor", Pool)
    monkeypatch.setattr(folder, "BLOCK", 28 * 28)
    monkeypatch.setattr(folder, "AHEAD", 5 * 28 * 28 + 1)
    folder._write(File(), (1, 1, size), folder._Files({"train": [Path()] * 99}, {}, ""))
    assert (written, max(waits) + 1) == (99, most)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="/proc is Linux's")
def test_the_images_are_mapped_from_the_copy(photos: Path, tmp_path: Path) -> None:
    for data in (load(photos), load_again(photos)):
        address = data.train.images.data_ptr()
        maps = [line for line in Path("/proc/self/maps").read_text().splitlines() if str(decoded(tmp_path)) in line]
        ranges = [[int(end, 16) for end in line.split()[0].split("-")] for line in maps]
        assert any(begin <= address < end for begin, end in ranges)


def test_a_disk_that_fills_up_is_a_warning_and_leaves_nothing(
    many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = load(many)
    decoded(tmp_path).unlink()
    write = folder._write

    def full(file: Any, *rest: Any) -> int:
        if isinstance(file, io.BufferedWriter):
            file.write(b"some")
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, *rest)

    monkeypatch.setattr(folder, "_write", full)
    with pytest.warns(SparsifyWarning, match=r"could not be kept \(No space left on device: "):
        data = load_again(many)
    assert data.sha256() == kept.sha256()
    assert data.normalise == kept.normalise
    assert files_in(tmp_path / "cache") == []


def test_a_terminal_shows_how_many_are_decoded(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = io.StringIO()
    monkeypatch.setattr(progress, "Console", lambda **_: Console(file=text, force_terminal=True, width=100))
    load(photos)
    assert "decoding images" in text.getvalue()
    assert "8/8" in text.getvalue()
    assert "left" in text.getvalue()


def test_a_folder_that_is_larger_than_the_memory_is_trained_on_with_the_same_numbers(
    many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config(data=f"folder:{many}", opt="sgd", val=0.25, epochs=1, batch_size=32, augment="crop-flip")
    monkeypatch.setattr(pixels, "CHUNK", 5 * 28 * 28)
    first = train(config, device="cpu", runs_dir=tmp_path / "kept")
    swept = prune(first, layers="conv3", ratios=(0, 0.5), criterion="taylor", device="cpu")
    registry._load.cache_clear()
    monkeypatch.setattr(pixels, "room_for_data", lambda _: 1000)
    with pytest.warns(
        SparsifyWarning, match=f"the images of {many} take 141 kB, too much for the memory: they stay in"
    ):
        second = train(config, device="cpu", runs_dir=tmp_path / "streamed")
    assert (second.path / "model.safetensors").read_bytes() == (first.path / "model.safetensors").read_bytes()
    times = {"seconds": 0.0}
    assert second.metrics.assign(**times).equals(first.metrics.assign(**times))
    again = prune(second, layers="conv3", ratios=(0, 0.5), criterion="taylor", device="cpu")
    assert again.table().equals(swept.table())
    assert [file.name for file in files_in(tmp_path / "cache" / "decoded")] == [decoded(tmp_path).name]


def test_links_between_folders_of_a_class_are_no_way_round(photos: Path) -> None:
    for one, other in (("a", "b"), ("b", "a")):
        (photos / "train" / "cat" / one).mkdir()
        (photos / "train" / "cat" / one / "link").symlink_to(photos / "train" / "cat" / other)
    with pytest.raises(SparsifyError, match="is a link to a folder that it is in"):
        load(photos)


@pytest.mark.skipif(sys.platform != "linux", reason="names there are UTF-8")
def test_a_class_whose_name_is_no_utf_8_is_refused_before_anything_is_decoded(photos: Path) -> None:
    os.rename(photos / "train" / "cat", os.fsencode(photos / "train") + b"/caf\xe9")
    with pytest.raises(SparsifyError, match=r"the class is 'caf.*; it must be text without NUL, and in UTF-8"):
        load(photos)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_pipe_in_the_place_of_the_decoded_images_is_not_waited_for(photos: Path, tmp_path: Path) -> None:
    first = load(photos)
    file = decoded(tmp_path)
    file.unlink()
    os.mkfifo(file)
    with pytest.warns(SparsifyWarning, match="is a named pipe, not a file"):
        assert torch.equal(load_again(photos).train.images, first.train.images)
