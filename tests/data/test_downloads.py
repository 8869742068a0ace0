"""Downloads: kept whole or not at all, and given up in time."""

from __future__ import annotations

import errno
import gc
import gzip
import hashlib
import http.client
import http.server
import io
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import platformdirs
import pytest
import torch
from datafiles import RAW_FILES, error_of, files_in
from torchvision import datasets

from sparsify.data import downloads, registry
from sparsify.data.dataset import stand_in
from sparsify.data.places import DataNotFoundError, Roots
from sparsify.data.registry import DATASETS, load_dataset, to_download


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10"])
def test_without_files_and_network_the_error_names_the_ways_out(
    name: str, tmp_path: Path, roots: Roots, offline: list[str]
) -> None:
    before = sorted(tmp_path.rglob("*"))
    message = error_of(name, roots.download, DataNotFoundError)
    assert "(Connection refused)" in message
    assert all(str(root) in message for root in roots.search)
    assert "--data-dir" in message
    assert "digits needs no network" in message
    assert len(offline) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_what_would_be_fetched_is_known_and_stood_in_for_without_fetching_it(
    tmp_path: Path, roots: Roots, offline: list[str]
) -> None:
    download = to_download("cifar10", roots.download)
    assert download == DATASETS["cifar10"].download
    assert download is not None
    small = stand_in("cifar10", download, 8)
    assert (len(small.train), len(small.test), small.shape, len(small.classes)) == (50_000, 10_000, (3, 8, 8), 10)
    assert small.train.labels.unique().tolist() == list(range(10))
    assert stand_in("cifar10", download).shape == (3, 32, 32)
    (roots.download / "cifar-10-batches-py").mkdir()
    assert to_download("cifar10", roots.download) is None
    assert to_download("digits") is to_download("folder:any") is None
    assert offline == []


def test_a_name_server_that_hangs_is_given_up_after_the_time_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: released.wait(30) and io.BytesIO())
    monkeypatch.setattr(downloads, "DOWNLOAD_TIMEOUT", 0.2)
    before = sorted(tmp_path.rglob("*"))
    try:
        assert "no answer within 0.2 seconds" in error_of("mnist", kind=DataNotFoundError)
    finally:
        released.set()
    assert sorted(tmp_path.rglob("*")) == before


def test_the_time_limit_is_10_seconds() -> None:
    assert downloads.DOWNLOAD_TIMEOUT == 10


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
    registry._load.cache_clear()
    server.files = {}
    assert torch.equal(load_dataset("mnist", roots.download).train.images, data.train.images)


def test_what_a_killed_download_has_left_is_deleted_by_the_next_one(server: Server, roots: Roots) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from sparsify.data import vision\n"
        "def killed(*_, **__): os.kill(os.getpid(), signal.SIGKILL)\n"
        "vision._fetch(killed, Path(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", code, str(roots.download)], check=False)
    (left,) = roots.download.iterdir()
    assert left.name.startswith(".download-")
    older, newer, other = (roots.download / name for name in (".download-a_b1c2d3", ".download-abcdefgh", ".downloads"))
    for folder in (older, newer, other):  # as version 0.3 named them, and a folder of someone else
        (folder / "MNIST").mkdir(parents=True)
    for folder in (older, other):
        os.utime(folder, (0, 0))
    load_dataset("mnist", roots.download)
    assert sorted(path.name for path in roots.download.iterdir()) == [newer.name, other.name, "MNIST"]


def test_a_download_without_data_dir_goes_to_the_cache_folder(server: Server, tmp_path: Path) -> None:
    load_dataset("mnist")
    assert (tmp_path / "cache" / "MNIST" / "raw" / RAW_FILES[0]).exists()
    assert list((tmp_path / "variable").iterdir()) == []


@pytest.mark.parametrize("mode", ["half", "404", "hang"])
def test_a_download_that_fails_leaves_nothing_and_says_why(
    mode: str, server: Server, tmp_path: Path, roots: Roots, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.mode = mode
    monkeypatch.setattr(downloads, "DOWNLOAD_TIMEOUT", 0.3)
    before = sorted(tmp_path.rglob("*"))
    message = error_of("mnist", roots.download, DataNotFoundError)
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
