"""What a training records of itself: literal values, the same bits without it, and after a resume."""

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import nn

from sparsify.config import Config
from sparsify.config.fields import RECORDS
from sparsify.errors import SparsifyError
from sparsify.runs import Run
from sparsify.runs.records import RECORDED, require_recorded
from sparsify.training.launch import train
from sparsify.training.recording import FACTORS, PLACES, RECORDERS, Gradients, Landscape, Losses

pytestmark = pytest.mark.filterwarnings("ignore:the path may be too short")  # of two epochs

TINY = Config(data="digits", epochs=2, batch_size=256, val=0.2)
ALL = ",".join(RECORDS)


def test_a_config_names_the_recorders_that_there_are() -> None:
    assert tuple(RECORDERS) == tuple(RECORDS)
    assert Config(record="landscape, loss").record == Config(record=["loss", "landscape"]).record == "loss,landscape"
    with pytest.raises(SparsifyError, match=r"^unknown record 'gradient'; did you mean 'gradients'\?"):
        Config(record="gradient")


def parabola() -> tuple[nn.Module, torch.optim.Optimizer]:
    """L(w) = Σ (1, 2)·w² / 2 of two weights that start at (4, 2), of which SGD at 0.5 takes (1/2, 0) each step."""
    model = nn.Linear(2, 1, bias=False, dtype=torch.float64)
    model.weight.data = torch.tensor([[4.0, 2.0]], dtype=torch.float64)
    return model, torch.optim.SGD(model.parameters(), lr=0.5)


def loss_of(model: nn.Module) -> torch.Tensor:
    """L at the weights, which the network shows by its output for unit vectors."""
    w = model(torch.eye(2, dtype=torch.float64)).squeeze(1)
    return (torch.tensor([1.0, 2.0], dtype=torch.float64) * w * w).sum() / 2


def test_loss_and_gradients_of_a_parabola() -> None:
    model, optimizer = parabola()
    losses, gradients = Losses(model, optimizer, 4), Gradients(model, optimizer, 4)
    for step in (1, 2, 3):
        optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        for one in (losses, gradients):
            one.see(step, loss)
        optimizer.step()
    # the weights are (4, 2), (2, 0), (1, 0); the gradients (4, 4), (2, 0), (1, 0)
    assert losses.results(3)["loss"].tolist() == [12, 2, 0.5]
    assert gradients.results(3)["change"].tolist() == pytest.approx([0, 20**0.5, 1])
    assert gradients.results(3)["distance"].tolist() == pytest.approx([0, 8**0.5, 1])


def test_a_step_can_be_a_tensor() -> None:
    model, optimizer = parabola()
    losses = Losses(model, optimizer, 3)
    losses.see(torch.tensor(2.0), torch.tensor(7.0))
    assert losses.tensors["loss"].tolist() == [0, 7, 0]


def test_the_landscape_of_a_parabola() -> None:
    model, optimizer = parabola()
    landscape = Landscape(model, optimizer, 1)
    landscape.look(1, 0.1, loss_of)
    found = landscape.results(1)
    w, g, curvature = (torch.tensor(pair) for pair in ((4.0, 2.0), (4.0, 4.0), (1.0, 2.0)))
    for column, factor in enumerate(FACTORS):
        there = w - factor * 0.1 * g
        assert found["loss"][0, column].item() == pytest.approx((curvature * there**2).sum().item() / 2)
        change = torch.linalg.vector_norm(curvature * (w - there)).item()
        assert found["change"][0, column].item() == pytest.approx(change)
    assert found["start"].tolist() == [12]
    assert found["gradient"].tolist() == pytest.approx([32**0.5])
    assert model.weight.tolist() == [[4, 2]]
    assert model.weight.grad is None


def test_the_landscape_is_looked_at_in_so_many_places() -> None:
    model, optimizer = parabola()
    steps = Landscape(model, optimizer, 7 * PLACES).tensors["step"]
    assert steps[:3].tolist() == [1, 8, 15]
    assert len(steps) == PLACES
    assert Landscape(model, optimizer, 3).tensors["step"].tolist() == [1, 2, 3]


def test_recorders_leave_statistics_and_random_numbers_as_they_are() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5), nn.Flatten(), nn.Linear(8, 3))
    optimizer = torch.optim.SGD(network.parameters())
    landscape = Landscape(network, optimizer, 1)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state = torch.get_rng_state()
    landscape.look(1, 0.1, lambda net: net(torch.ones(4, 1, 4, 4)).square().mean())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert landscape.tensors["gradient"].item() > 0


@pytest.mark.parametrize("opt", ["sgd", "slbi-adam"])
def test_a_training_that_is_recorded_has_the_same_bits(opt: str, tmp_path: Path) -> None:
    config = dataclasses.replace(TINY, opt=opt, lr=None, momentum=None, kappa=None, mu=None, path_scale=None)
    plain, recorded = (
        train(one, device="cpu", runs_dir=tmp_path) for one in (config, dataclasses.replace(config, record=ALL))
    )
    assert plain.name != recorded.name
    assert plain.records == {}
    for file in ("model.safetensors", *(["z.safetensors", "path.npz"] if opt != "sgd" else [])):
        assert (plain.path / file).read_bytes() == (recorded.path / file).read_bytes()
    found = recorded.records
    steps = recorded.summary["steps"]
    assert {name: len(tensor) for name, tensor in found.items()} == dict.fromkeys(found, steps)
    assert all(tensor.isfinite().all() for tensor in found.values())
    # the mean loss of an epoch's batches, weighted by their sizes, is that of metrics.csv
    half = found["loss/loss"][: steps // 2].double()
    count = round(1437 * 0.8)
    sizes = torch.tensor([256] * (steps // 2 - 1) + [count - 256 * (steps // 2 - 1)])
    mean = float((half * sizes).sum() / count)
    assert mean == pytest.approx(recorded.metrics["train_loss"][0], rel=1e-3)


def test_a_recorded_training_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    config = dataclasses.replace(TINY, record=ALL)
    whole = train(config, device="cpu", runs_dir=tmp_path / "whole")

    def stop(progress: object) -> None:
        if getattr(progress, "row", None) is not None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, device="cpu", runs_dir=tmp_path / "stopped", listener=stop)
    resumed = train(config, device="cpu", runs_dir=tmp_path / "stopped")
    assert isinstance(resumed, Run)
    assert (whole.path / "records.safetensors").read_bytes() == (resumed.path / "records.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss/loss": None}, "it has no loss/loss"),
        ({"loss/loss": torch.zeros(2, dtype=torch.bfloat16)}, "loss/loss holds bfloat16, not float32"),
        ({"gradients/change": torch.zeros(3)}, r"gradients/change has the shape \(3,\), not \(2,\)"),
        ({"landscape/step": torch.zeros(1)}, "landscape/step holds float32, not int64"),
        ({"landscape/loss": torch.zeros(1, 6)}, r"landscape/loss has the shape \(1, 6\), not \(1, 8\)"),
        ({"landscape/rate": torch.zeros(())}, r"landscape/rate has the shape \(\), not \(1,\)"),
        ({"landscape/step": torch.zeros(0, dtype=torch.int64)}, "landscape/step is empty"),
    ],
)
def test_records_that_no_training_leaves_are_named(changes: dict[str, torch.Tensor | None], message: str) -> None:
    """They can have the right sum, in a run of someone else; a figure would end in a traceback."""
    shapes = {"steps": (2,), "places": (1,), "places factors": (1, 8)}
    tensors = {
        f"{record}/{name}": torch.zeros(shapes[" ".join(of)], dtype=torch.int64 if name == "step" else torch.float32)
        for record, names in RECORDED.items()
        for name, of in names.items()
    }
    require_recorded(tensors, ALL, 2)
    changed = {name: tensor for name, tensor in (tensors | changes).items() if tensor is not None}
    with pytest.raises(SparsifyError, match=f"{message}$"):
        require_recorded(changed, ALL, 2)
