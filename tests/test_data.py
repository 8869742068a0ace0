"""Data sets: what is read, in which order it is looked for, and that damage is named by file."""

from __future__ import annotations

import collections
import errno
import gc
import gzip
import hashlib
import http.client
import http.server
import io
import os
import pickle
import shutil
import struct
import threading
import time
import urllib.error
import urllib.request
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision import datasets

import sparsify.data
from sparsify.data import DATASETS, DataNotFoundError, Roots, folder, load_dataset, vision
from sparsify.data.augmentation import crop_and_flip, draw
from sparsify.data.dataset import Dataset, Normalise, Split, make_dataset
from sparsify.data.digits import embedded_digits
from sparsify.errors import SparsifyError, SparsifyWarning
from sparsify.seeds import permutation

RAW_FILES = list(vision.RAW_BYTES)
KINDS = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST"}


@pytest.fixture(autouse=True)
def roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Roots:
    """Empty folders in every place that is searched, and nothing in memory."""
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda *_, **__: tmp_path / "cache")
    monkeypatch.setenv("SPARSIFY_DATA", str(tmp_path / "variable"))
    for name in ("cache", "variable", "data"):
        (tmp_path / name).mkdir()
    sparsify.data._load.cache_clear()
    return Roots.of(tmp_path / "data")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every connection is refused; the addresses that were asked for."""
    asked = []

    def refuse(request: urllib.request.Request | str, *_: object, **__: object) -> None:
        asked.append(request if isinstance(request, str) else request.full_url)
        raise urllib.error.URLError(ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"))

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    return asked


def error_of(name: str, data_dir: Path | None = None, kind: type[SparsifyError] = SparsifyError) -> str:
    """The one line with which loading fails."""
    with pytest.raises(SparsifyError) as caught:
        load_dataset(name, data_dir)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    return str(caught.value)


def files_in(path: Path) -> list[Path]:
    return [file for file in path.rglob("*") if not file.is_dir()]


# ---- digits ----


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


# ---- MNIST ----


def test_real_mnist(mnist_root: Path) -> None:
    data = load_dataset("mnist", mnist_root)
    assert data.train.images.shape == (60_000, 1, 28, 28)
    assert data.test.images.shape == (10_000, 1, 28, 28)
    assert data.train.images.dtype == torch.uint8
    assert data.train.labels.dtype == torch.int64
    assert data.train.labels[:3].tolist() == [5, 0, 4]
    assert data.test.labels[:3].tolist() == [7, 2, 1]
    assert data.train.labels.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert data.normalise.mean == pytest.approx((33.3184,), abs=1e-4)
    assert data.normalise.std == pytest.approx((78.5675,), abs=1e-4)
    assert data.classes[0] == "zero"
    # ink in the middle, none at the border: neither shifted nor transposed bytes look so
    assert data.train.images[:, :, 0].float().mean() < 0.01
    assert data.train.images[data.train.labels == 1, 0, 14, 14].float().mean() > 128


def test_real_mnist_is_kept_in_memory(mnist_root: Path) -> None:
    assert load_dataset("mnist", mnist_root) is load_dataset("mnist", str(mnist_root))


def test_real_mnist_with_its_last_bytes_cut_off_is_named(mnist_root: Path, roots: Roots) -> None:
    raw = roots.download / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in RAW_FILES:
        (raw / file).symlink_to((mnist_root / "MNIST" / "raw" / file).resolve())
    damaged = raw / "t10k-images-idx3-ubyte"
    content = damaged.read_bytes()
    damaged.unlink()
    damaged.write_bytes(content[:-10])
    assert error_of("mnist", roots.download).startswith(
        f"{damaged} is truncated or corrupt: it has 7,840,006 bytes, not 7,840,016;"
    )


@pytest.fixture
def fake_raw(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, bytes]]:
    """Writes four small IDX files, which from then on are the true ones of their kind."""

    def make(root: Path | None, kind: str, labels: int = 3) -> dict[str, bytes]:
        content = {}
        for part, count in (("train", 5), ("t10k", 2)):
            pixels = (np.arange(count * 28 * 28) % 251).astype(np.uint8)
            content[f"{part}-images-idx3-ubyte"] = struct.pack(">IIII", 0x803, count, 28, 28) + pixels.tobytes()
            content[f"{part}-labels-idx1-ubyte"] = struct.pack(">II", 0x801, count) + bytes([labels] * count)
        monkeypatch.setattr(vision, "RAW_BYTES", {file: len(data) for file, data in content.items()})
        sums = {file: hashlib.md5(data).hexdigest() for file, data in content.items()}
        monkeypatch.setitem(vision.RAW_MD5, kind, sums)
        if root is not None:
            write_raw(root, kind, content)
        return content

    return make


def write_raw(root: Path, kind: str, content: dict[str, bytes]) -> None:
    for file, data in content.items():
        path = root / kind / "raw" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


@pytest.mark.parametrize("name", KINDS)
def test_the_raw_layout_is_read_in_place_by_the_same_road(
    name: str, roots: Roots, fake_raw: Callable, offline: list[str]
) -> None:
    fake_raw(roots.download, KINDS[name])
    before = sorted(roots.download.rglob("*"))
    data = load_dataset(name, roots.download)
    assert data.name == name
    assert data.train.images.shape == (5, 1, 28, 28)
    assert data.train.images.flatten()[:3].tolist() == [0, 1, 2]
    assert data.train.images[1, 0, 0, 0] == 28 * 28 % 251
    assert data.test.labels.tolist() == [3, 3]
    assert len(data.classes) == 10
    assert sorted(roots.download.rglob("*")) == before
    assert offline == []


def cut(content: bytes) -> bytes:
    return content[:-3]


def extended(content: bytes) -> bytes:
    return content + b"\0"


def empty(content: bytes) -> bytes:
    return b""


def flipped(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def wrong_magic(content: bytes) -> bytes:
    return b"\0\0\x0d" + content[3:]


def wrong_count(content: bytes) -> bytes:
    return content[:7] + b"\x63" + content[8:]


@pytest.mark.parametrize("damage", [cut, extended, empty, flipped, wrong_magic, wrong_count])
@pytest.mark.parametrize("file", RAW_FILES)
@pytest.mark.parametrize("name", KINDS)
def test_a_damaged_raw_file_is_named(
    name: str, file: str, damage: Callable[[bytes], bytes], roots: Roots, fake_raw: Callable, offline: list[str]
) -> None:
    content = fake_raw(roots.download, KINDS[name])
    path = roots.download / KINDS[name] / "raw" / file
    path.write_bytes(damage(content[file]))
    message = error_of(name, roots.download)
    assert message.startswith(f"{path} is ")
    assert "corrupt" in message
    assert message.endswith(f"delete the folder {path.parent} to download it again")
    assert offline == []


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("file", RAW_FILES)
def test_a_missing_raw_file_is_named(
    name: str, file: str, roots: Roots, fake_raw: Callable, offline: list[str]
) -> None:
    fake_raw(roots.download, KINDS[name])
    path = roots.download / KINDS[name] / "raw" / file
    path.unlink()
    assert error_of(name, roots.download).startswith(f"{path} is missing")
    assert offline == []


def test_fashion_mnist_of_another_size_is_refused_without_fakes(roots: Roots) -> None:
    write_raw(roots.download, "FashionMNIST", {RAW_FILES[0]: struct.pack(">IIII", 0x803, 1, 28, 28) + bytes(28 * 28)})
    message = error_of("fashion-mnist", roots.download)
    assert message.startswith(str(roots.download / "FashionMNIST" / "raw" / RAW_FILES[0]))
    assert "it has 800 bytes, not 47,040,016" in message


def test_a_raw_file_that_cannot_be_read_is_named(roots: Roots, fake_raw: Callable) -> None:
    fake_raw(roots.download, "MNIST")
    path = roots.download / "MNIST" / "raw" / RAW_FILES[1]
    path.unlink()
    path.mkdir()  # root may read everything, but not a folder
    assert error_of("mnist", roots.download).startswith(f"{path} cannot be read: ")


# ---- CIFAR-10 ----


@pytest.fixture
def fake_cifar(roots: Roots, monkeypatch: pytest.MonkeyPatch) -> Path:
    """CIFAR-10's folder with two images a part, whose MD5 sums are the true ones; the first image is red."""
    folder = roots.download / datasets.CIFAR10.base_folder
    folder.mkdir()
    image = np.arange(3072, dtype=np.uint16).astype(np.uint8)
    image[:1024] = 255
    image[1024:2048] = 7

    def write(file: str, values: dict[str, Any]) -> list[str]:
        content = pickle.dumps(values)
        (folder / file).write_bytes(content)
        return [file, hashlib.md5(content).hexdigest()]

    def part(number: int) -> dict[str, Any]:
        return {"data": np.stack([image, np.full(3072, number, np.uint8)]), "labels": [number, 9]}

    train = [write(f"data_batch_{number}", part(number)) for number in range(1, 6)]
    test = [write("test_batch", part(6))]
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    meta = write("batches.meta", {"label_names": names})
    monkeypatch.setattr(datasets.CIFAR10, "train_list", train)
    monkeypatch.setattr(datasets.CIFAR10, "test_list", test)
    monkeypatch.setattr(datasets.CIFAR10, "meta", {"filename": "batches.meta", "key": "label_names", "md5": meta[1]})
    return folder


def test_cifar10_is_channels_first_in_the_order_of_its_parts(fake_cifar: Path, offline: list[str]) -> None:
    data = load_dataset("cifar10", fake_cifar.parent)
    assert data.name == "cifar10"
    assert data.train.images.shape == (10, 3, 32, 32)
    assert data.train.images.dtype == torch.uint8
    assert data.train.images.is_contiguous()
    assert data.train.labels.tolist() == [1, 9, 2, 9, 3, 9, 4, 9, 5, 9]
    assert data.test.labels.tolist() == [6, 9]
    assert data.train.images[0, 0].unique().tolist() == [255]
    assert data.train.images[0, 1].unique().tolist() == [7]
    assert data.train.images[0, 2].flatten()[:3].tolist() == [0, 1, 2]
    assert data.classes[9] == "truck"
    assert offline == []


CIFAR_FILES = ["data_batch_1", "data_batch_5", "test_batch", "batches.meta"]


@pytest.mark.parametrize("file", CIFAR_FILES)
@pytest.mark.parametrize("damage", [cut, empty, flipped])
def test_a_damaged_part_of_cifar10_is_named(
    file: str, damage: Callable[[bytes], bytes], fake_cifar: Path, offline: list[str]
) -> None:
    path = fake_cifar / file
    path.write_bytes(damage(path.read_bytes()))
    message = error_of("cifar10", fake_cifar.parent)
    assert message.startswith(f"{path} is corrupt")
    assert message.endswith(f"delete the folder {fake_cifar} to download it again")
    assert offline == []


@pytest.mark.parametrize("file", CIFAR_FILES)
def test_a_missing_part_of_cifar10_is_named(file: str, fake_cifar: Path) -> None:
    (fake_cifar / file).unlink()
    assert error_of("cifar10", fake_cifar.parent).startswith(f"{fake_cifar / file} is missing")


class Touch:
    """Its pickle makes a file when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_a_foreign_pickle_is_never_opened(fake_cifar: Path, tmp_path: Path) -> None:
    (fake_cifar / "batches.meta").write_bytes(pickle.dumps(Touch(tmp_path / "opened")))
    assert "batches.meta is corrupt" in error_of("cifar10", fake_cifar.parent)
    assert not (tmp_path / "opened").exists()


# ---- where files are looked for ----


def test_the_roots_are_data_dir_then_the_variable_then_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, variable, cache = tmp_path / "data", tmp_path / "variable", tmp_path / "cache"
    assert Roots.of(data) == Roots((data, variable, cache), download=data, cache=cache)
    assert Roots.of() == Roots((variable, cache), download=cache, cache=cache)
    monkeypatch.delenv("SPARSIFY_DATA")
    assert Roots.of() == Roots((cache,), download=cache, cache=cache)
    monkeypatch.setenv("SPARSIFY_DATA", "")
    assert Roots.of().search == (cache,)


def test_a_root_may_begin_with_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("SPARSIFY_DATA", "~/variable")
    assert Roots.of("~/data").search[:2] == (tmp_path / "data", tmp_path / "variable")


def test_files_are_taken_from_the_first_root_that_has_any(tmp_path: Path, fake_raw: Callable) -> None:
    content = fake_raw(None, "MNIST")
    read_from = []
    for place in ("cache", "variable", "data"):  # each found before the one that was there
        write_raw(tmp_path / place, "MNIST", {**content, RAW_FILES[0]: place.encode()})
        message = error_of("mnist", tmp_path / "data")
        read_from.append(Path(message.split(" is truncated")[0]).relative_to(tmp_path).parts[0])
    assert read_from == ["cache", "variable", "data"]
    assert str(tmp_path / "variable") in error_of("mnist")


def test_a_data_dir_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "missing", tmp_path / "file"):
        assert error_of("digits", path) == f"--data-dir {path} is not a folder"


def test_an_unknown_name_is_refused_with_the_choices_and_the_nearest() -> None:
    assert error_of("minst") == (
        f"unknown data set 'minst'; did you mean 'mnist'? choose from: {', '.join(DATASETS)}, folder:PATH"
    )


# ---- downloads ----


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10"])
def test_without_files_and_network_the_error_names_the_ways_out(
    name: str, tmp_path: Path, roots: Roots, offline: list[str]
) -> None:
    before = sorted(tmp_path.rglob("*"))
    began = time.monotonic()
    message = error_of(name, roots.download, DataNotFoundError)
    assert time.monotonic() - began < 2
    assert "Connection refused" in message
    assert all(str(root) in message for root in roots.search)
    assert "--data-dir" in message
    assert "digits needs no network" in message
    assert len(offline) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_name_server_that_hangs_is_given_up_after_the_time_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: released.wait(30) and io.BytesIO())
    monkeypatch.setattr(vision, "DOWNLOAD_TIMEOUT", 0.2)
    before = sorted(tmp_path.rglob("*"))
    began = time.monotonic()
    try:
        assert "no answer within 0.2 seconds" in error_of("mnist", kind=DataNotFoundError)
    finally:
        released.set()
    assert 0.2 <= time.monotonic() - began < 2
    assert sorted(tmp_path.rglob("*")) == before


def test_the_time_limit_is_10_seconds() -> None:
    assert vision.DOWNLOAD_TIMEOUT == 10


@pytest.mark.parametrize("error", [http.client.BadStatusLine("<html>"), ValueError("unknown url type: proxy")])
def test_an_answer_that_is_none_is_the_reason(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    assert f"({error})" in error_of("mnist", kind=DataNotFoundError)


class Server(http.server.ThreadingHTTPServer):
    """Answers with `files`, whole or cut in the middle, or with 404, or never."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.mode = "whole"
        self.released = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/"

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is no error."""


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_HEAD(self) -> None:
        self.send_response(200 if self.server.mode != "404" else 404)
        self.end_headers()

    def do_GET(self) -> None:
        content = self.server.files.get(self.path[1:])
        if self.server.mode == "hang":
            self.server.released.wait(30)
        if content is None or self.server.mode == "404":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content if self.server.mode == "whole" else content[: len(content) // 2])

    def log_message(self, *_: object) -> None:
        """Not on the terminal."""


ONLINE = urllib.request.urlopen


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, fake_raw: Callable, offline: list[str]) -> Iterator[Server]:
    """A mirror of MNIST on this machine, with four small files."""
    monkeypatch.setattr(urllib.request, "urlopen", ONLINE)
    monkeypatch.setenv("no_proxy", "*")
    content = {f"{file}.gz": gzip.compress(data) for file, data in fake_raw(None, "MNIST").items()}
    sums = [(file, hashlib.md5(data).hexdigest()) for file, data in content.items()]
    monkeypatch.setattr(datasets.MNIST, "resources", sums)
    with Server() as mirror:
        mirror.files = content
        monkeypatch.setattr(datasets.MNIST, "mirrors", [mirror.url])
        thread = threading.Thread(target=mirror.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield mirror
        mirror.released.set()
        mirror.shutdown()
        thread.join()
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        gc.collect()  # torchvision leaves the sockets of failed downloads to the garbage collector


def test_a_download_is_kept_in_torchvisions_layout_and_used_again(
    server: Server, roots: Roots, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = load_dataset("mnist", roots.download)
    assert data.train.labels.tolist() == [3] * 5
    assert sorted(files_in(roots.download)) == sorted(roots.download / "MNIST" / "raw" / file for file in RAW_FILES)
    assert [path.name for path in roots.download.iterdir()] == ["MNIST"]
    sparsify.data._load.cache_clear()
    server.files = {}
    assert torch.equal(load_dataset("mnist", roots.download).train.images, data.train.images)


def test_a_download_without_data_dir_goes_to_the_cache_folder(server: Server, tmp_path: Path) -> None:
    load_dataset("mnist")
    assert (tmp_path / "cache" / "MNIST" / "raw" / RAW_FILES[0]).exists()
    assert list((tmp_path / "variable").iterdir()) == []


@pytest.mark.parametrize("mode", ["half", "404", "hang"])
def test_a_download_that_fails_leaves_nothing_and_says_why(
    mode: str, server: Server, tmp_path: Path, roots: Roots, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.mode = mode
    monkeypatch.setattr(vision, "DOWNLOAD_TIMEOUT", 0.3)
    before = sorted(tmp_path.rglob("*"))
    began = time.monotonic()
    message = error_of("mnist", roots.download, DataNotFoundError)
    assert time.monotonic() - began < 5
    assert {"half": "corrupted", "404": "404", "hang": "timed out"}[mode] in message
    assert "digits needs no network" in message
    assert sorted(tmp_path.rglob("*")) == before


def test_a_download_whose_second_file_fails_leaves_nothing_and_is_done_again(
    server: Server, roots: Roots, tmp_path: Path
) -> None:
    second = f"{RAW_FILES[1]}.gz"
    content = server.files.pop(second)
    before = sorted(tmp_path.rglob("*"))
    assert second in error_of("mnist", roots.download, DataNotFoundError)
    assert sorted(tmp_path.rglob("*")) == before
    server.files[second] = content
    assert len(load_dataset("mnist", roots.download).train) == 5


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_full_disk_or_an_interrupt_in_a_download_leaves_nothing(
    error: BaseException, server: Server, roots: Roots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_a_part(self: Any) -> None:
        os.makedirs(self.raw_folder)
        Path(self.raw_folder, RAW_FILES[0]).write_bytes(b"a part")
        raise error

    monkeypatch.setattr(datasets.MNIST, "download", write_a_part)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DataNotFoundError if isinstance(error, OSError) else KeyboardInterrupt):
        load_dataset("mnist", roots.download)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_download_leaves_the_default_time_limit_of_sockets_as_it_was(server: Server, roots: Roots) -> None:
    import socket

    socket.setdefaulttimeout(77.0)
    try:
        load_dataset("mnist", roots.download)
        assert socket.getdefaulttimeout() == 77.0
    finally:
        socket.setdefaulttimeout(None)


def test_a_folder_that_cannot_be_written_is_the_reason(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda *_, **__: tmp_path / "file" / "cache")
    assert str(tmp_path / "file" / "cache") in error_of("mnist", kind=DataNotFoundError)


# ---- folders of images ----

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
    assert error_of(f"folder:{photos}").startswith(f"{file} cannot be decoded: ")


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


# ---- the decoded copy ----


def load_again(path: Path) -> Dataset:
    """As another process would."""
    sparsify.data._load.cache_clear()
    return load(path)


def decoded(tmp_path: Path) -> Path:
    (file,) = files_in(tmp_path / "cache")
    return file


def test_images_are_decoded_once(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(photos)
    with monkeypatch.context() as patch:
        patch.setattr(folder, "_open", lambda _: pytest.fail("decoded again"))
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


# ---- Dataset, Split, Normalise ----


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


def test_crop_and_flip_is_a_padded_crop_and_a_mirror_image() -> None:
    images = torch.randint(0, 256, (5, 3, 6, 7), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    draws = torch.tensor([[4, 4, 0], [0, 8, 0], [8, 0, 1], [4, 4, 1], [3, 5, 1]])
    found = crop_and_flip(images, draws)
    padded = torch.nn.functional.pad(images, (4, 4, 4, 4))
    for image, (row, column, mirrored), result in zip(padded, draws.tolist(), found, strict=True):
        crop = image[:, row : row + 6, column : column + 7]
        assert torch.equal(result, crop.flip(-1) if mirrored else crop)
    assert torch.equal(found[0], images[0])


def test_draws_of_the_augmentation_are_keyed_and_cover_their_range() -> None:
    draws = draw(2000, 3, 1)
    assert torch.equal(draws, draw(2000, 3, 1))
    assert not torch.equal(draws, draw(2000, 3, 2))
    assert not torch.equal(draws, draw(2000, 4, 1))
    assert [sorted(set(column.tolist())) for column in draws.T] == [list(range(9)), list(range(9)), [0, 1]]
