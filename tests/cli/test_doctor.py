"""`sparsify doctor`: versions, the device and its precisions, data, extras, and what is missing."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch
from commandline import Sparsify
from torchvision import datasets

from sparsify.data.registry import DATASETS
from sparsify.devices import arithmetic

WANTED = ["numpy>=2.0", "absent-package>=1", "onnx>=99; extra == 'onnx'", "pytest; extra == 'test'"]


def lines(text: str) -> dict[str, str]:
    """What stands behind each label."""
    return {line[:20].strip(): line[20:] for line in text.splitlines()}


@pytest.fixture
def wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that needs something that is not there, and has an extra whose version is too old."""

    class Described:
        def get_all(self, name: str) -> list[str]:
            return ["onnx", "test"]

    monkeypatch.setattr(metadata, "requires", lambda _: WANTED)
    monkeypatch.setattr(metadata, "metadata", lambda _: Described())


def test_what_is_installed_and_computes_is_said(sparsify: Sparsify, tmp_path: Path) -> None:
    answer = sparsify("doctor --device cpu")
    assert (answer.code, answer.err) == (0, "")
    found = lines(answer.out)
    for package in ("torch", "torchvision", "torch-pruning", "numpy", "scikit-learn"):
        assert found[package] == metadata.version(package)
    assert found["sparsify"] == metadata.version("sparsify-study")
    assert found["device"] == "cpu"
    assert found["fast"].startswith(arithmetic("fast", torch.device("cpu")))
    assert found["threads"].startswith(f"{torch.get_num_threads()} of ")
    assert list(tmp_path.iterdir()) == []


def test_data_are_found_in_the_first_folder_that_has_them(
    sparsify: Sparsify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "first" / "MNIST" / "raw").mkdir(parents=True)
    (tmp_path / "second" / "MNIST" / "raw").mkdir(parents=True)
    (tmp_path / "second" / "cifar-10-batches-py").mkdir()
    monkeypatch.setenv("SPARSIFY_DATA", str(tmp_path / "second"))
    found = lines(sparsify(f"doctor --device cpu --data-dir {tmp_path / 'first'}").out)
    assert found["data mnist"] == f"in {(tmp_path / 'first').resolve() / 'MNIST' / 'raw'}"
    assert found["data cifar10"] == f"in {(tmp_path / 'second').resolve() / 'cifar-10-batches-py'}"
    assert found["data fashion-mnist"].startswith("not found; it is downloaded to ")
    assert found["data digits"] == "comes with scikit-learn"


def test_a_folder_that_cannot_be_looked_at_is_said_and_what_follows_too(sparsify: Sparsify) -> None:
    answer = sparsify(f"doctor --device cpu --data-dir {'x' * 300}")
    assert (answer.code, answer.err) == (0, "")
    found = lines(answer.out)
    assert found["data mnist"].endswith("/MNIST/raw cannot be read or written: File name too long")
    assert "extra test" in found


def test_the_folders_of_data_sets_are_those_of_torchvision() -> None:
    assert {name: spec.folder for name, spec in DATASETS.items()} == {
        "mnist": f"{datasets.MNIST.__name__}/raw",
        "fashion-mnist": f"{datasets.FashionMNIST.__name__}/raw",
        "cifar10": datasets.CIFAR10.base_folder,
        "digits": None,
        "colour-digits": None,
    }


@pytest.mark.usefixtures("wanted")
def test_what_is_missing_is_said_with_the_line_that_installs_it(sparsify: Sparsify) -> None:
    answer = sparsify("doctor --device cpu")
    found = lines(answer.out)
    assert answer.code == 1
    assert found["numpy"] == metadata.version("numpy")
    assert found["absent-package"] == "missing"
    assert found["extra onnx"].endswith("and >=99 is needed: pip install 'sparsify-study[onnx]'") or found[
        "extra onnx"
    ] == ("onnx is missing: pip install 'sparsify-study[onnx]'")
    assert found["extra test"] == "is there"
    assert answer.err == "error: absent-package is missing; pip install 'absent-package>=1'\n"


def test_a_torchvision_that_was_built_for_another_torch_is_said(
    sparsify: Sparsify, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)  # so that its import fails
    answer = sparsify("doctor --device cpu")
    assert answer.code == 1
    assert answer.err.startswith("error: torchvision cannot be imported with this torch: ")
    assert answer.err.endswith("; install both anew, from one place: pip install --force-reinstall torch torchvision\n")


def test_a_device_that_is_absent_is_said(sparsify: Sparsify) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    answer = sparsify("doctor --device cuda")
    assert "--device 'cuda' is absent" in lines(answer.out)["device"]
