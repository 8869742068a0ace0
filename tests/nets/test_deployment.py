"""What a shrunk network buys: exact sizes, latencies beside the whole network's, and an ONNX form that is the same."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch import Tensor, nn

from sparsify.errors import SparsifyError
from sparsify.nets import deployment
from sparsify.nets.deployment import deploy, save_deployed, to_onnx
from sparsify.nets.layers import find_layers
from sparsify.nets.structure import Cut, Structure


def network(filters: int) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, filters, 3, padding=1), nn.ReLU(), nn.Flatten(1), nn.Linear(filters * 64, 4))


def test_rows_hold_exact_sizes_and_ratios_and_are_written(tmp_path) -> None:
    model = network(8)
    layer = find_layers(model, "0")["0"]
    half, none = (Cut(layer, "filter", torch.arange(8) < count) for count in (4, 0))
    rows = deploy(
        Structure(model, torch.rand(1, 3, 8, 8)),
        [("0", 0.0, [none]), ("0", 0.5, [half])],
        device="cpu",
        batches=(1, 2),
        repetitions=3,
    )
    assert [(row.ratio, row.batch, row.n) for row in rows] == [(0.0, 1, 3), (0.0, 2, 3), (0.5, 1, 3), (0.5, 2, 3)]
    whole, shrunk = (len(save({n: t.clone() for n, t in network(k).state_dict().items()})) for k in (8, 4))
    assert {(row.size_whole, row.size) for row in rows[:2]} == {(whole, whole)}
    assert {(row.size_whole, row.size) for row in rows[2:]} == {(whole, shrunk)}
    assert [row.theoretical for row in rows] == [1, 1, 2, 2]
    for row in rows:
        assert row.whole_low <= row.whole <= row.whole_high
        assert row.measured == row.whole / row.shrunk
        assert row.faster == (row.shrunk_high < row.whole_low)
    with open(save_deployed(tmp_path / "sweep-0-latency.csv", rows), newline="") as file:
        assert [float(row["shrunk"]) for row in csv.DictReader(file)] == [row.shrunk for row in rows]


# ONNX ----------------------------------------------------------------------------------------------------------------

ANOTHER = "the ONNX form computes another function: its outputs differ by {} of the largest, more than 0.0001"


@pytest.fixture
def _onnx() -> None:
    for package in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(package)


class Otherwise(nn.Module):
    """Returns its inputs, but 1.001 of them where it is exported."""

    def forward(self, x: Tensor) -> Tensor:
        return 1.001 * x if torch.compiler.is_exporting() else 1 * x


@pytest.mark.usefixtures("_onnx")
def test_a_network_whose_exported_form_computes_another_function_is_refused() -> None:
    with pytest.raises(SparsifyError) as caught:
        to_onnx(Otherwise(), torch.tensor([[1.0, -2.0], [0.5, 0.25]]))
    assert str(caught.value) == ANOTHER.format("1.0e-03")


def off_by(difference: float, wrong: Callable[[int], bool]) -> type:
    """An onnxruntime.InferenceSession whose answers to so many inputs are too large by a part of them."""

    class Session:
        def __init__(self, *_: object, **__: object) -> None: ...

        def run(self, _: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
            (images,) = inputs.values()
            return [images + np.float32(difference) if wrong(len(images)) else images]

    return Session


@pytest.mark.usefixtures("_onnx")
@pytest.mark.parametrize("wrong", [lambda n: n == 1, lambda n: n > 2], ids=["of one image", "of more than two"])
@pytest.mark.parametrize(("difference", "said"), [(2e-4, "2.0e-04"), (np.nan, "nan"), (np.inf, "inf")])
def test_the_onnx_form_is_checked_on_one_image_and_on_all(
    wrong: Callable[[int], bool], difference: float, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deployment, "_exported", lambda *_: b"")
    monkeypatch.setattr("onnxruntime.InferenceSession", off_by(difference, wrong))
    with pytest.raises(SparsifyError, match=f"^{re.escape(ANOTHER.format(said))}$"):
        to_onnx(nn.Identity(), torch.ones(8, 3))


@pytest.mark.usefixtures("_onnx")
def test_the_order_of_onnxruntimes_sums_is_no_other_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployment, "_exported", lambda *_: b"a file")
    monkeypatch.setattr("onnxruntime.InferenceSession", off_by(5e-5, lambda _: True))
    content, difference = to_onnx(nn.Identity(), torch.ones(8, 3))
    assert content == b"a file"
    assert difference == pytest.approx(5e-5, rel=1e-2)
