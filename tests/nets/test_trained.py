"""Trained weights of torchvision's networks: all but the last layer, from the disk or fetched, or one line."""

from __future__ import annotations

import hashlib
import io
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import torch
import torchvision.models
from torch import nn

from sparsify.data import downloads
from sparsify.errors import SparsifyError
from sparsify.nets.registry import network, network_spec
from sparsify.nets.zoo.torchvision import _OPTIONS
from sparsify.nets.zoo.trained import _last_layer, load_trained

NAME, FILE = "squeezenet1_1", "squeezenet1_1-b8a52dc0.pth"
MODEL = f"torchvision:{NAME}"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Torch's folder of downloads, empty, and no network."""

    def refuse(*_: object, **__: object) -> None:
        raise urllib.error.URLError(ConnectionRefusedError(111, "Connection refused"))

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


def fails(model: nn.Module) -> str:
    with pytest.raises(SparsifyError) as caught:
        load_trained(model, NAME)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def built() -> nn.Module:
    torch.manual_seed(1)
    return network(MODEL, (3, 64, 64), 10)


def imagenet() -> dict[str, torch.Tensor]:
    torch.manual_seed(2)
    return torchvision.models.get_model(NAME, weights=None).state_dict()


def test_all_but_the_last_layer_is_loaded_in_place(folder: Path) -> None:
    trained, model, before = imagenet(), built(), built().state_dict()
    torch.save(trained, folder / FILE)
    load = network_spec(MODEL).weights
    assert load is not None
    load(model)
    for name, value in model.state_dict().items():
        if name.startswith("classifier.1."):  # its last layer is a convolution
            assert torch.equal(value, before[name]), name
        else:
            assert torch.equal(value, trained[name]), name


def test_weights_that_are_neither_there_nor_to_be_fetched_are_one_line(folder: Path) -> None:
    message = fails(built())
    assert message == (
        f"--pretrained: the weights of {NAME} are not in {folder} and cannot be downloaded "
        f"([Errno 111] Connection refused); put https://download.pytorch.org/models/{FILE} there, or train without "
        "--pretrained"
    )
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04"])
def test_a_damaged_file_is_named(content: bytes, folder: Path) -> None:
    (folder / FILE).write_bytes(content)
    assert fails(built()).startswith(f"--pretrained: {folder / FILE} cannot be read (")


def test_weights_that_do_not_fit_are_refused_and_nothing_is_changed(folder: Path) -> None:
    trained, model = imagenet(), built()
    first = next(iter(trained))
    torch.save({**trained, first: trained[first][:3]}, folder / FILE)
    assert fails(model) == (
        f"--pretrained: torchvision's weights of {NAME} have another shape of {first}, and do not fit"
    )
    del trained[first]
    torch.save(trained, folder / FILE)
    assert fails(model) == f"--pretrained: torchvision's weights of {NAME} lack {first}, and do not fit"
    assert all(torch.equal(value, other) for value, other in zip(model.parameters(), built().parameters(), strict=True))


def test_what_is_fetched_must_have_its_sum(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch compares the first digits of the SHA-256 sum with those in the file's name."""
    asked = []

    def fetch(url: str, path: str, hash_prefix: str | None, **_: object) -> None:
        asked.append((url, hash_prefix))
        torch.save(imagenet(), path)

    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: io.BytesIO())
    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    model = built()
    load_trained(model, NAME)
    assert asked == [(f"https://download.pytorch.org/models/{FILE}", "b8a52dc0")]
    assert torch.equal(next(model.parameters()), next(iter(imagenet().values())))
    assert hashlib.sha256((folder / FILE).read_bytes()).hexdigest()[:8] != "b8a52dc0"  # it is ours
    assert downloads.DOWNLOAD_TIMEOUT == 10


@pytest.mark.parametrize("name", ["alexnet", "vgg11_bn", "resnet18", "densenet121", "googlenet", "mobilenet_v2"])
def test_the_last_layer_is_the_one_whose_shape_the_classes_change(name: str) -> None:
    with torch.device("meta"):
        ours = torchvision.models.get_model(name, weights=None, num_classes=10, **_OPTIONS.get(name, {}))
        theirs = torchvision.models.get_model(name, weights=None, num_classes=1000, **_OPTIONS.get(name, {}))
    other = {key for key, value in ours.state_dict().items() if value.shape != theirs.state_dict()[key].shape}
    assert other == {f"{_last_layer(ours)}.weight", f"{_last_layer(ours)}.bias"}
