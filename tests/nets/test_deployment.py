"""What a shrunk network buys: sizes are exact, latencies are measured beside the whole network's."""

from __future__ import annotations

import csv

import torch
from safetensors.torch import save
from torch import nn

from sparsify.nets.deployment import deploy, save_deployed
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
