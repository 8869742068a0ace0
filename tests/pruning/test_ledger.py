"""Sweeps from before coupled layers were one unit: they are known, shown as such, and made again by a study."""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from sweeps import sweep_of
from torch import Tensor, nn

from sparsify.errors import SparsifyError, SparsifyWarning
from sparsify.nets.registry import network
from sparsify.pruning.ledger import LedgerRow, before_units
from sparsify.pruning.measuring import prune
from sparsify.pruning.sweep import Sweep, SweepRow
from sparsify.viz.figures import sweep as sweep_figure


class Sum(nn.Module):
    """Two convolutions whose outputs are added."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Conv2d(1, 4, 1), nn.Conv2d(1, 4, 1), nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Tensor:
        return self.last((self.first(images) + self.second(images)).mean((2, 3)))


IMAGES = torch.rand(6, 1, 2, 2), torch.arange(6) % 2
SAID = "was measured before coupled layers were one unit, and must be swept again to be compared"


def swept(folder: Path, layers: str = "first,second", ratios: str = "0,0.5") -> Path:
    return prune(Sum(), data=IMAGES, layers=layers, ratios=ratios, device="cpu").save(folder)


def as_of_0_2(path: Path) -> Path:
    """The plan's file as version 0.2 wrote it."""
    plan = path.with_suffix(".json")
    values = json.loads(plan.read_text())
    assert values.pop("units") is True
    (path.parent / "sums.json").unlink()
    plan.write_text(json.dumps(values))
    return path


def as_of_0_1(path: Path) -> Path:
    """Version 0.1 wrote no plan."""
    path.with_suffix(".json").unlink()
    (path.parent / "sums.json").unlink()
    return path


def test_the_union_in_a_ledger_is_that_of_an_old_sweep(tmp_path: Path) -> None:
    """As 0.2 wrote it: two of four go from each, and all four go from both."""
    row = ("l1", "a,b", 0.5, 0)
    ledger = (LedgerRow(*row, "a", "filter", 2, 4, 2), LedgerRow(*row, "b", "filter", 2, 4, 2))
    path = sweep_of([SweepRow("l1", "auto", "layer", "a,b", 0.5, 0, 3, 6, 0.5, 9, 9, 2.0, 2.0)], ledger).save(tmp_path)
    assert not Sweep.read(path).before_units  # it was saved by this version
    sweep = Sweep.read(as_of_0_2(path))
    assert sweep.before_units
    assert before_units(path)
    assert repr(sweep) == f"<Sweep {sweep.id}: l1, 50% of a,b, 1 point; it {SAID}>"
    assert SAID in sweep._repr_html_()


@pytest.mark.parametrize("older", [as_of_0_2, as_of_0_1])
def test_a_layer_that_was_named_alone_is_scored_otherwise_now(older: Callable[[Path], Path], tmp_path: Path) -> None:
    """It lost its own smallest grains, and now loses those that are the smallest in all layers that lose them."""
    path = swept(tmp_path, "first")
    lost = [(row.layer, row.removed, row.coupled) for row in Sweep.read(path).ledger if row.ratio]
    assert lost == [("first", 2, 0), ("second", 0, 2)]
    assert Sweep.read(older(path)).before_units


def test_a_sweep_of_this_version_is_not(tmp_path: Path) -> None:
    path = swept(tmp_path, "first")
    sweep = Sweep.read(path)
    assert any(row.coupled for row in sweep.ledger)
    assert not sweep.before_units
    assert "before" not in repr(sweep)


def test_an_old_sweep_stays_old_where_it_is_saved_again_and_a_new_one_takes_its_place(tmp_path: Path) -> None:
    old = Sweep.read(as_of_0_2(swept(tmp_path, "first")))
    assert Sweep.read(old.save(tmp_path)) == old
    assert old.before_units
    assert not Sweep.read(swept(tmp_path, "first")).before_units


def test_an_old_sweep_that_is_half_replaced_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its rows would be taken for new ones, by what the plan's new file says."""
    path = as_of_0_2(swept(tmp_path, "first"))
    new = dataclasses.replace(Sweep.read(path), before_units=False)

    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("sparsify.sums.write_bytes", full)
    with pytest.raises(OSError, match="no space left"):
        new.save(tmp_path)
    assert not path.exists()


@pytest.mark.parametrize(("layers", "ratios"), [("first", "0"), ("last", "0,0.5")])
def test_an_old_sweep_in_which_nothing_went_with_others_is_as_good_as_new(
    layers: str, ratios: str, tmp_path: Path
) -> None:
    sweep = Sweep.read(as_of_0_2(swept(tmp_path, layers, ratios)))
    assert not sweep.before_units


@pytest.mark.parametrize(("model", "shape"), [("lenet", (1, 28, 28)), ("vgg-a-light", (3, 32, 32))])
def test_sweeps_of_lenet_and_vgg_are_unaffected(model: str, shape: tuple[int, int, int], tmp_path: Path) -> None:
    """None of their layers is coupled."""
    images = torch.rand(2, *shape), torch.zeros(2, dtype=torch.long)
    sweep = prune(network(model, shape, 10), data=images, layers="all", ratios=[0.5], grain="neuron", device="cpu")
    assert {row.coupled for row in sweep.ledger} == {0}
    assert Sweep.read(as_of_0_2(sweep.save(tmp_path))) == sweep


def test_a_ledger_that_is_missing_is_said_to_be(tmp_path: Path) -> None:
    path = as_of_0_1(swept(tmp_path))
    path.with_name(f"{path.stem}-ledger.csv").unlink()
    with pytest.raises(SparsifyError, match=r"-ledger\.csv is damaged or missing .*; delete it and sweep again"):
        before_units(path)


def test_a_figure_of_an_old_sweep_warns(tmp_path: Path) -> None:
    path = swept(tmp_path, "first")
    new = Sweep.read(path)
    old = Sweep.read(as_of_0_2(path))
    with pytest.warns(SparsifyWarning, match=f"^sweep-{old.id} of then {SAID}$"):
        sweep_figure({"then": old, "now": new})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sweep_figure({"now": new})
