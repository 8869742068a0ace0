"""Sweeps: against a loop that masks and evaluates by itself, and what is refused."""

from __future__ import annotations

import copy
import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from sweeps import Tiny, normalise, subject, sweep_of
from torch import Tensor, nn

from sparsify import evaluate
from sparsify.data.dataset import Split
from sparsify.errors import SparsifyError, SparsifyWarning
from sparsify.nets.evaluation import Evaluation
from sparsify.nets.mask import apply_mask
from sparsify.pruning.criteria import PathState
from sparsify.pruning.cuts import make_mask
from sparsify.pruning.measuring import prune
from sparsify.pruning.plan import SweepPlan
from sparsify.pruning.subject import Subject
from sparsify.pruning.sweep import LedgerRow, Sweep, SweepRow
from sparsify.report.tables import beyond_what_was_asked
from sparsify.runs import Run

pytestmark = pytest.mark.filterwarnings("ignore:the path may be too short")


def by_hand(given: Subject, layers: str, ratio: float, grain: str = "auto") -> tuple[int, dict[str, int]]:
    """The number of right answers without the smallest grains, and how many grains went; plain loops, no mask."""
    model, gone = copy.deepcopy(given.model), {}
    for name in layers.split(","):
        layer = model.get_submodule(name)
        with torch.no_grad():
            if grain == "weight" or (grain == "auto" and name.startswith("fc")):
                flat = layer.weight.view(-1)
                order = sorted(range(len(flat)), key=lambda index: (abs(flat[index].item()), index))
                gone[name] = round(ratio * len(order))
                for index in order[: gone[name]]:
                    flat[index] = 0
            else:
                norms = [row.pow(2).sum().sqrt().item() for row in layer.weight]
                order = sorted(range(len(norms)), key=lambda index: (norms[index], index))
                gone[name] = round(ratio * len(order))
                for index in order[: gone[name]]:
                    layer.weight[index] = 0
                    layer.bias[index] = 0
    with torch.no_grad():
        right = int((model(normalise(given.split.images)).argmax(1) == given.split.labels).sum())
    return right, gone


def bits(model: nn.Module) -> dict[str, bytes]:
    return {name: value.contiguous().numpy().tobytes() for name, value in model.state_dict().items()}


# against a loop by hand ----------------------------------------------------------------------------------------------

SETS = ["conv2", "conv1,fc1", "fc2"]


@pytest.mark.parametrize("grain", ["auto", "neuron", "weight"])
def test_counts_are_those_of_a_loop_by_hand(grain):
    given = subject()
    sweep = prune(given, layers=SETS, ratios="0:1:0.25", grain=grain)
    assert len(sweep.rows) == 15
    seen = set()
    for row in sweep.rows:
        correct, gone = by_hand(given, row.layers, row.ratio, grain)
        assert (row.correct, row.count) == (correct, 200)
        assert row.accuracy == correct / 200
        ledger = [entry for entry in sweep.ledger if (entry.layers, entry.ratio) == (row.layers, row.ratio)]
        assert {entry.layer: entry.removed for entry in ledger} == gone
        seen.add(correct)
    assert len(seen) > 5


def test_rows_come_in_the_order_of_the_sets_and_then_of_the_ratios():
    sweep = prune(subject(), layers=["fc1", "conv2,conv1", "fc1"], ratios="0.5,0,0.25")
    assert [(row.layers, row.ratio) for row in sweep.rows] == [
        (layers, ratio) for layers in ("fc1", "conv2,conv1") for ratio in (0.0, 0.25, 0.5)
    ]
    assert sweep.plan.layers == ("fc1", "conv2,conv1")
    assert sweep.plan.ratios == (0.0, 0.25, 0.5)
    assert {(row.criterion, row.grain, row.scope, row.draw) for row in sweep.rows} == {
        ("magnitude", "auto", "layer", 0)
    }


def test_one_text_is_one_set_and_a_list_is_as_many_sets():
    assert prune(subject(), layers="conv1,fc1", ratios=[0]).plan.layers == ("conv1,fc1",)
    assert prune(subject(), layers=["conv1", "fc1"], ratios=[0]).plan.layers == ("conv1", "fc1")


def test_the_same_set_written_differently_is_swept_once():
    assert len(prune(subject(), layers=["conv1,fc1", " conv1 , fc1", "conv1,fc1,conv1"], ratios=[0]).rows) == 1


def test_a_set_does_not_remember_the_one_before():
    alone = prune(subject(), layers="fc2", ratios="0:1:0.25")
    after = prune(subject(), layers=["conv1,fc1", "fc2"], ratios="0:1:0.25")
    assert after.rows[5:] == alone.rows


def test_ratio_0_is_what_evaluate_says():
    given = subject()
    (row,) = prune(given, layers="conv1,fc1", ratios=[0]).rows
    assert (row.correct, row.count, row.accuracy) == (200, 200, 1.0)
    shifted = dataclasses.replace(given, split=Split(given.split.images, given.split.labels.roll(1)))
    (row,) = prune(shifted, layers="conv1,fc1", ratios=[0]).rows
    outcome = evaluate(given.model, shifted.split, normalise)
    assert (row.correct, row.count, row.accuracy) == (outcome.correct, outcome.count, outcome.accuracy)
    assert row.accuracy < 1


def test_what_is_left_and_what_it_saves():
    """Parameters 40 + 222 + 125 + 36, MACs 36·16 + 216·4 + 120 + 30; a filter of conv1 is 9 weights, a bias, and an
    input of 6 filters of 9 weights."""
    rows = prune(subject(), layers=["conv1"], ratios=[0, 0.5]).rows
    whole = (40 + 222 + 125 + 36, 36 * 16 + 216 * 4 + 120 + 30)
    left = (whole[0] - 2 * 10 - 2 * 54, whole[1] - 2 * 9 * 16 - 2 * 54 * 4)
    assert [(row.params, row.macs) for row in rows] == [whole, left]
    assert [(row.compression, row.speedup) for row in rows] == [(1, 1), (whole[0] / left[0], whole[1] / left[1])]


def test_ratio_1_is_measured():
    given = subject()
    row = prune(given, layers="conv1", ratios="1").rows[0]
    constant = given.model.fc2(given.model.fc1(given.model.conv2(torch.zeros(1, 4, 4, 4)).relu().flatten(1)).relu())
    assert row.correct == int((given.split.labels == constant.argmax()).sum()) > 0
    assert (row.params, row.macs) == (6 + 125 + 36, 150)
    (everything,) = prune(given, layers="conv1,conv2,fc1,fc2", ratios="1", grain="neuron").rows
    assert (everything.params, everything.macs) == (0, 0)
    assert everything.compression == everything.speedup == math.inf
    assert everything.correct == int((given.split.labels == 0).sum())  # all logits are 0, and the first is taken


# the ledger ----------------------------------------------------------------------------------------------------------


def test_the_ledger_says_what_went_from_which_layer():
    sweep = prune(subject(), layers=["conv1,fc1", "conv1"], ratios=[0, 0.5])
    assert sweep.ledger == (
        LedgerRow("magnitude", "conv1,fc1", 0.0, 0, "conv1", "filter", 0, 4, 0),
        LedgerRow("magnitude", "conv1,fc1", 0.0, 0, "fc1", "weight", 0, 120, 0),
        LedgerRow("magnitude", "conv1,fc1", 0.5, 0, "conv1", "filter", 2, 4, 0),
        LedgerRow("magnitude", "conv1,fc1", 0.5, 0, "fc1", "weight", 60, 120, 0),
        LedgerRow("magnitude", "conv1", 0.0, 0, "conv1", "filter", 0, 4, 0),
        LedgerRow("magnitude", "conv1", 0.5, 0, "conv1", "filter", 2, 4, 0),
    )


def test_the_ledger_adds_up_to_what_the_rows_lost():
    sweep = prune(subject(), layers="fc1,fc2", ratios="0:1:0.1")
    for row in sweep.rows:
        removed = sum(entry.removed for entry in sweep.ledger if entry.ratio == row.ratio)
        assert removed == round(row.ratio * 120) + round(row.ratio * 30)
        assert removed == sweep.rows[0].params - row.params == sweep.rows[0].macs - row.macs


def test_the_ledger_uses_the_name_that_was_asked_for():
    model = nn.Sequential(nn.Flatten(1), nn.Linear(36, 6))
    given = dataclasses.replace(subject(), model=model)
    assert [entry.layer for entry in prune(given, layers="fc1", ratios=[0]).ledger] == ["fc1"]
    assert [entry.layer for entry in prune(given, layers="1", ratios=[0]).ledger] == ["1"]


class Residual(nn.Module):
    """4 filters added to 4 others; then a pooling and 3 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3, padding=1)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)
        self.fc1 = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        return self.fc1((x + self.conv2(x)).mean((2, 3)))


def residual(*, first: list[float], second: list[float]) -> Subject:
    """Each filter of conv1 and conv2 is constant, of that value."""
    model = Residual().eval()
    with torch.no_grad():
        for layer, values in ((model.conv1, first), (model.conv2, second)):
            layer.weight[:] = torch.tensor(values).view(-1, 1, 1, 1)
            layer.bias.zero_()
    given = subject()
    return dataclasses.replace(given, model=model, split=Split(given.split.images, given.split.labels % 3))


def test_the_ledger_counts_what_goes_with_coupled_layers():
    """Filters are added, so that those of both layers are one grain, with a square of 9a² + 36b²: 144 + 576, 9 + 324,
    36 + 144 and 576 + 36. Filter 1 of conv1 and filter 3 of conv2 are the smallest, and filter 2 is that of both."""
    given = residual(first=[4, 1, 2, 8], second=[4, 3, 2, 1])
    sweep = prune(given, layers=["conv1,conv2", "conv1"], ratios=[0, 0.25])
    both = [row for row in sweep.ledger if row.layers == "conv1,conv2"]
    alone = [row for row in sweep.ledger if row.layers == "conv1"]
    point = ("magnitude", "conv1,conv2", 0.25, 0)
    assert both[2:] == [
        LedgerRow(*point, "conv1", "filter", 1, 4, 0),
        LedgerRow(*point, "conv2", "filter", 1, 4, 0),
    ]
    assert alone == [
        LedgerRow("magnitude", "conv1", 0.0, 0, "conv1", "filter", 0, 4, 0),
        LedgerRow("magnitude", "conv1", 0.25, 0, "conv1", "filter", 1, 4, 0),
        LedgerRow("magnitude", "conv1", 0.25, 0, "conv2", "filter", 0, 4, 1),
    ]
    for layers in ("conv1,conv2", "conv1", "conv2"):
        mask = make_mask(given.model, given.example, layers=layers, ratio=0.25)
        for name in ("conv1", "conv2"):
            assert mask[f"{name}.bias"].tolist() == [True, True, False, True]
            assert mask[f"{name}.weight"].flatten(1).any(1).tolist() == [True, True, False, True]


class Fed(nn.Module):
    """Each of 2 filters feeds 2 of a depthwise convolution, all of a single weight."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1, bias=False)
        self.depthwise = nn.Conv2d(2, 4, 1, groups=2, bias=False)
        self.fc1 = nn.Linear(4, 3)
        with torch.no_grad():
            self.conv.weight.view(-1)[:] = torch.tensor([1.0, 10])
            self.depthwise.weight.view(-1)[:] = torch.tensor([5.0, 6, 7, 8])

    def forward(self, x: Tensor) -> Tensor:
        return self.fc1(self.depthwise(self.conv(x)).relu().mean((2, 3)))


def test_the_ledger_counts_what_a_layer_loses_beyond_what_was_asked_of_it():
    """Of 1, 10, 5, 6, 7 and 8 the 1 and the 5 go, and with the 1 all that is computed from it: the 5 and the 6."""
    given = residual(first=[1] * 4, second=[1] * 4)
    sweep = prune(dataclasses.replace(given, model=Fed().eval()), layers="conv,depthwise", ratios=[0.3])
    point = ("magnitude", "conv,depthwise", 0.3, 0)
    assert sweep.ledger == (
        LedgerRow(*point, "conv", "filter", 1, 2, 0),
        LedgerRow(*point, "depthwise", "filter", 1, 4, 1),
    )
    assert beyond_what_was_asked(sweep) == [
        "coupled layers lose what is asked of any of them, more than 30%: depthwise 50.0%"
    ]


def test_coupled_layers_that_lose_more_than_was_asked_are_named():
    rows = tuple(SweepRow("l1", "auto", "layer", "a,b", r, 0, 0, 100, 0.1, 10, 10, 1.0, 1.0) for r in (0.0, 0.5))
    ledger = [("a", 2, 4, 1), ("b", 2, 8, 3), ("c", 0, 4, 3), ("d", 2, 4, 0)]  # c was not named
    sweep = sweep_of(rows, tuple(LedgerRow("l1", "a,b", 0.5, 0, name, "filter", *counts) for name, *counts in ledger))
    assert beyond_what_was_asked(sweep) == [
        "coupled layers lose what is asked of any of them, more than 50%: a 75.0% at most, of 2"
    ]
    assert beyond_what_was_asked(dataclasses.replace(sweep, ledger=sweep.ledger[2:])) == []


def test_a_ledger_from_before_coupled_layers_were_counted_is_read(tmp_path):
    sweep = prune(subject(), layers="conv1", ratios=[0.5])
    path = sweep.save(tmp_path)
    (tmp_path / "sums.json").unlink()
    ledger = tmp_path / f"sweep-{sweep.id}-ledger.csv"
    ledger.write_text("".join(line.rsplit(",", 1)[0] + "\n" for line in ledger.read_text().splitlines()))
    assert Sweep.read(path).ledger == (LedgerRow("magnitude", "conv1", 0.5, 0, "conv1", "filter", 2, 4),)
    assert Sweep.read(path).ledger[0].coupled is None


@pytest.mark.parametrize(
    ("grain", "expected"),
    [
        ("auto", {"conv1": ("filter", 4), "fc1": ("weight", 120)}),
        ("filter", {"conv1": ("filter", 4), "fc1": ("neuron", 5)}),
        ("neuron", {"conv1": ("filter", 4), "fc1": ("neuron", 5)}),
        ("weight", {"conv1": ("weight", 36), "fc1": ("weight", 120)}),
    ],
)
def test_grains(grain, expected):
    sweep = prune(subject(), layers="conv1,fc1", ratios=[0.25], grain=grain)
    assert {entry.layer: (entry.grain, entry.total) for entry in sweep.ledger} == expected
    assert all(entry.removed == round(entry.total / 4) for entry in sweep.ledger)
    assert sweep.rows[0].grain == grain


# draws ---------------------------------------------------------------------------------------------------------------


def test_random_is_drawn_anew_for_each_draw():
    sweep = prune(subject(), layers=["conv2", "fc1"], ratios="0,0.5", criterion="random", draws=6)
    assert [(row.layers, row.draw, row.ratio) for row in sweep.rows] == [
        (layers, draw, ratio) for layers in ("conv2", "fc1") for draw in range(6) for ratio in (0.0, 0.5)
    ]
    assert [(e.layers, e.draw, e.ratio) for e in sweep.ledger] == [(r.layers, r.draw, r.ratio) for r in sweep.rows]
    halves = [row.correct for row in sweep.rows if row.ratio == 0.5]
    assert len(set(halves)) > 3
    assert {row.correct for row in sweep.rows if row.ratio == 0} == {200}
    assert sweep.accuracy("conv2", 0.5) == pytest.approx(sum(halves[:6]) / 6 / 200)


def test_random_repeats_for_the_same_seed_and_only_for_it():
    first, again, other = (
        prune(subject(seed=seed), layers="fc1", ratios="0.5", criterion="random", draws=4) for seed in (0, 0, 1)
    )
    assert first == again
    assert [row.correct for row in first.rows] != [row.correct for row in other.rows]


def test_more_draws_begin_with_the_same_ones():
    few, many = (prune(subject(), layers="fc1", ratios="0.25,0.5", criterion="random", draws=draws) for draws in (2, 3))
    assert many.rows[:4] == few.rows


# scope, order and controls -------------------------------------------------------------------------------------------


def test_global_counts_are_those_of_a_loop_by_hand():
    """5 + 4 filters and neurons of two layers, by one sorted list of their norms."""
    given = subject()
    sweep = prune(given, layers="conv2,fc1", ratios="0:1:0.25", grain="neuron", scope="global")
    layers = {name: given.model.get_submodule(name) for name in ("conv2", "fc1")}
    norms = [(row.norm().item(), name, i) for name, m in layers.items() for i, row in enumerate(m.weight.detach())]
    for row in sweep.rows:
        model, gone = copy.deepcopy(given.model), {"conv2": 0, "fc1": 0}
        for _, name, index in sorted(norms, key=lambda grain: grain[0])[: round(row.ratio * 11)]:
            gone[name] += 1
            with torch.no_grad():
                model.get_submodule(name).weight[index] = 0
                model.get_submodule(name).bias[index] = 0
        assert row.correct == evaluate(model, given.split, normalise).correct
        assert row.scope == "global"
        assert {e.layer: e.removed for e in sweep.ledger if e.ratio == row.ratio} == gone
    assert len({e.removed / e.total for e in sweep.ledger if e.ratio == 0.5}) == 2


def test_a_layer_may_lose_everything_globally():
    given = subject()
    with torch.no_grad():
        given.model.conv1.weight.mul_(1e-3)
    (row,) = prune(given, layers="conv1,conv2", ratios=[0.4], scope="global").rows
    (alone,) = prune(given, layers="conv1", ratios=[1]).rows
    assert (row.correct, row.params, row.macs) == (alone.correct, alone.params, alone.macs)


def test_reversed_the_largest_go():
    given = subject()
    model = copy.deepcopy(given.model)
    with torch.no_grad():
        largest = model.conv2.weight.flatten(1).norm(dim=1).argmax()
        model.conv2.weight[largest] = model.conv2.bias[largest] = 0
    (row,) = prune(given, layers="conv2", ratios=[1 / 6], reverse=True).rows
    assert row.criterion == "magnitude-reversed"
    assert row.correct == evaluate(model, given.split, normalise).correct


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_controls_are_rows_of_the_same_sweep_with_identical_counts(scope, tmp_path):
    options = {"layers": ["conv2,fc1", "conv1"], "ratios": "0.3,0.5", "grain": "neuron", "scope": scope}
    plain = prune(subject(), **options)
    sweep = prune(subject(), controls=True, **options)
    kinds = [("magnitude", 0), *(("random", draw) for draw in range(5)), ("magnitude-reversed", 0)]
    assert [(row.layers, row.criterion, row.draw, row.ratio) for row in sweep.rows] == [
        (layers, *kind, ratio) for layers in ("conv2,fc1", "conv1") for kind in kinds for ratio in (0.3, 0.5)
    ]
    assert [row for row in sweep.rows if row.criterion == "magnitude"] == list(plain.rows)
    counts = {(e.layers, e.ratio, e.layer): e.removed for e in plain.ledger}
    assert len(sweep.ledger) == 7 * len(plain.ledger)
    assert all(e.removed == counts[e.layers, e.ratio, e.layer] for e in sweep.ledger)
    assert sweep.plan.control_orders == ("random", "magnitude-reversed")
    assert plain.plan.control_orders == ()
    assert sweep.accuracy("conv1", 0.5) == plain.accuracy("conv1", 0.5)
    assert [row.draw for row in sweep.points("conv1", 0.5, "random")] == [0, 1, 2, 3, 4]
    assert Sweep.read(sweep.save(tmp_path)) == sweep
    asked = {"layers": plain.plan.layers, "ratios": [0.3, 0.5], "grain": "neuron", "scope": scope}
    assert sweep.id == SweepPlan(**asked, draws=5, controls=True).id == SweepPlan(**asked, controls=True).id
    assert len({sweep.id, plain.id, prune(subject(), controls=True, draws=2, **options).id}) == 3


def test_controls_are_what_the_same_criteria_are_by_themselves():
    options = {"layers": "conv2,fc1", "ratios": "0.25,0.75"}
    rows = prune(subject(), controls=True, draws=2, **options).rows
    alone = [
        *prune(subject(), **options).rows,
        *prune(subject(), criterion="random", draws=2, **options).rows,
        *prune(subject(), reverse=True, **options).rows,
    ]
    assert list(rows) == alone


def test_the_controls_of_a_reversed_order_are_random_and_the_order_itself():
    sweep = prune(subject(), layers="fc1", ratios="0.5", reverse=True, controls=True, draws=1)
    assert [row.criterion for row in sweep.rows] == ["magnitude-reversed", "random", "magnitude"]
    assert (sweep.plan.order, sweep.plan.control_orders) == ("magnitude-reversed", ("random", "magnitude"))


def test_filters_and_single_weights_together_are_compared_with_a_warning():
    with pytest.warns(SparsifyWarning, match="--scope global compares whole filters of conv2,fc1 with single weights"):
        (row,) = prune(subject(), layers="conv2,fc1", ratios=[0.5], scope="global").rows
    assert row.params < 423


# gradients -----------------------------------------------------------------------------------------------------------


def test_taylor_takes_the_gradients_of_training_images_once():
    """(g·w)² of each filter by torch's own backward pass; the labels of the test images could be anything."""
    given, seen = subject(), []

    def noting(images: Tensor) -> Tensor:
        seen.append(images)
        return normalise(images)

    training = torch.randint(0, 256, (50, 1, 6, 6), dtype=torch.uint8), torch.arange(50) % 6
    given = dataclasses.replace(given, normalise=noting, training=Split(*training))
    model = copy.deepcopy(given.model)
    F.cross_entropy(model(normalise(training[0])), training[1]).backward()
    change = (model.conv2.weight * model.conv2.weight.grad).flatten(1).sum(1).square()
    with torch.no_grad():
        for index in change.argsort()[:3]:
            model.conv2.weight[index] = model.conv2.bias[index] = 0
    sweep = prune(given, layers=["conv2", "conv1,fc1"], ratios="0.5", criterion="taylor")
    assert sweep.rows[0].correct == evaluate(model, given.split, normalise).correct
    assert sorted(len(images) for images in seen) == [1, 1, 50, 200]  # both points in one pass


def test_other_criteria_need_no_gradients(monkeypatch):
    monkeypatch.setattr("sparsify.pruning.ranking.loss_gradients", None)
    given = dataclasses.replace(subject(), training=Split(torch.zeros(2, 1, 6, 6), torch.zeros(2, dtype=torch.long)))
    prune(given, layers="conv2", ratios="0.5", criterion="fpgm")


# nothing is left behind ----------------------------------------------------------------------------------------------


def test_the_network_is_left_as_it_was_to_the_bit():
    given = subject()
    with torch.no_grad():
        given.model.fc1.weight[0, :3] = torch.tensor([-0.0, 1e-45, -1e-39])
    before = bits(given.model)
    prune(given, layers=SETS, ratios="0:1:0.5", grain="neuron")
    assert bits(given.model) == before


def modes(model: nn.Module) -> dict[str, bool]:
    return {name: module.training for name, module in model.named_modules()}


def test_every_module_is_left_in_its_mode():
    given = subject()
    given.model.train()
    given.model.conv2.eval()  # as people freeze a BatchNorm
    before = modes(given.model)
    assert set(before.values()) == {True, False}
    sweep = prune(given, layers="conv1", ratios=[0, 0.5])
    assert modes(given.model) == before
    assert sweep.rows[0].correct == 200  # measured without dropout all the same


def test_an_interrupted_sweep_leaves_the_network_as_it_was():
    class Stop(Exception):
        pass

    given = subject()
    given.model.train()
    calls = []

    def interrupt(_module: nn.Module, inputs: tuple[Tensor]) -> None:
        calls.append(len(inputs[0]))
        if calls.count(200) == 3:  # in the midst of the third whole evaluation
            raise Stop

    before, before_modes = bits(given.model), modes(given.model)
    handle = given.model.fc2.register_forward_pre_hook(interrupt)
    with pytest.raises(Stop):
        prune(given, layers="conv1,fc1", ratios="0,0.5,1")
    handle.remove()
    assert bits(given.model) == before
    assert modes(given.model) == before_modes


def test_the_listener_hears_of_every_point():
    heard = []
    prune(subject(), layers=["conv1", "fc1"], ratios="0,0.5", listener=lambda *point: heard.append(point))
    assert heard == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]


# what is refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"criterion": "magnitud"},
            "unknown criterion 'magnitud'; did you mean 'magnitude'? choose from: magnitude, l1",
        ),
        ({"grain": "channel"}, "unknown grain 'channel'; choose from: auto, filter, neuron, weight"),
        (
            {"layers": "conv1,fc3"},
            "unknown layer 'fc3' in mine; did you mean 'fc2'? choose from: conv1, conv2, fc1, fc2",
        ),
        ({"layers": ["conv1", ""]}, "layers are missing; mine has: conv1, conv2, fc1, fc2"),
        ({"layers": ""}, "layers are missing; mine has: conv1, conv2, fc1, fc2"),
        ({"layers": []}, "layers are missing; mine has: conv1, conv2, fc1, fc2"),
        ({"ratios": "0:0.6"}, "ratios '0:0.6' are malformed"),
        ({"ratios": [1.5]}, "ratio 1.5 is outside 0 to 1"),
        ({"ratios": []}, "is no number"),
        ({"draws": 0, "criterion": "random"}, "--draws is 0; it must be a whole number of at least 1"),
        ({"draws": 2}, "--draws is 2; only random has draws, magnitude has one result"),
        ({"draws": 0, "controls": True}, "--draws is 0; it must be a whole number of at least 1"),
        ({"criterion": "random", "controls": True}, "--controls with random: it is a control itself"),
        ({"scope": "globl"}, "unknown scope 'globl'; did you mean 'global'? choose from: layer, global"),
        ({"layers": "vonv*"}, "'vonv*' matches no layer in mine"),
        ({"criterion": "taylor"}, "criterion 'taylor' needs gradients on training images with labels"),
        ({"criterion": "bn-scale"}, "criterion 'bn-scale' needs a normalisation with a scale behind conv1"),
        ({"criterion": "entry"}, "criterion 'entry' needs the path of a run"),
        ({"criterion": "gamma"}, "criterion 'gamma' needs Γ and Z of a run"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_measured(options, message):
    measured = []
    with pytest.raises(SparsifyError) as caught:
        prune(subject(name="mine"), **{"layers": "conv1", "listener": lambda *_: measured.append(1), **options})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert measured == []


def test_a_run_that_is_no_result_is_refused(tmp_path):
    with pytest.raises(SparsifyError, match="is unfinished"):
        prune(Run(tmp_path), layers="conv1")


def test_a_path_orders_what_has_one():
    """Filter 2 never entered, then 0, then 3, then 1."""
    given = subject()
    zeros = torch.zeros_like(given.model.conv1.weight)
    state = PathState(torch.tensor([9.0, 1.0, math.inf, 4.0]), zeros, zeros)
    given = dataclasses.replace(given, path={"conv1.weight": state})
    for ratio, expected in ((0.25, [2]), (0.5, [0, 2]), (0.75, [0, 2, 3])):
        model = copy.deepcopy(given.model)
        with torch.no_grad():
            model.conv1.weight[expected] = 0
            model.conv1.bias[expected] = 0
        correct = evaluate(model, given.split, normalise).correct
        assert prune(given, layers="conv1", ratios=[ratio], criterion="entry").rows[0].correct == correct
    with pytest.raises(SparsifyError, match="none for conv2"):
        prune(given, layers="conv1,conv2", ratios=[0], criterion="entry")


def selected(gamma: bool = True) -> Subject:
    """Filters 0 and 2 of conv1 are outside the support, and all but 3 weights of fc1; without a Γ they are 0."""
    given = subject()
    path = {}
    for name, inside in (("conv1", [1, 3]), ("fc1", [0, 7, 11])):
        weight = getattr(given.model, name).weight
        kept = torch.zeros_like(weight)
        kept.view(len(weight) if name == "conv1" else weight.numel(), -1)[inside] = 1
        if not gamma:
            with torch.no_grad():
                weight.mul_(kept)
        entry = torch.zeros(len(weight)) if name == "conv1" else torch.zeros_like(weight)
        path[f"{name}.weight"] = PathState(entry, *([kept, kept] if gamma else []))
    return dataclasses.replace(given, path=path)


@pytest.mark.parametrize("gamma", [True, False])
def test_the_ratio_support_removes_what_is_outside_it_and_is_what_that_comes_to(gamma, tmp_path):
    given = selected(gamma)
    sweep = prune(given, layers=["conv1", "conv1,fc1"], ratios="0,0.5,support", controls=True)
    grains = given.model.fc1.weight.numel()
    assert [row.ratio for layers in sweep.plan.layers if (row := sweep.support(layers))] == [
        2 / 4,
        (2 + grains - 3) / (4 + grains),
    ]
    model = copy.deepcopy(given.model)
    with torch.no_grad():
        model.conv1.weight[[0, 2]] = 0
        model.conv1.bias[[0, 2]] = 0
    alone = sweep.support("conv1")
    assert alone.correct == evaluate(model, given.split, normalise).correct
    with torch.no_grad():
        model.fc1.weight[given.path["fc1.weight"].gamma == 0 if gamma else model.fc1.weight == 0] = 0
    assert sweep.support("conv1,fc1").correct == evaluate(model, given.split, normalise).correct
    ledger = [(row.layers, row.layer, row.removed, row.total) for row in sweep.ledger if row.criterion == "support"]
    assert ledger == [
        ("conv1", "conv1", 2, 4),
        ("conv1,fc1", "conv1", 2, 4),
        ("conv1,fc1", "fc1", grains - 3, grains),
    ]
    assert [row.ratio for row in sweep.points("conv1", 0.5)] == [0.5]  # it does not count as one of the ratios
    assert Sweep.read(sweep.save(tmp_path)) == sweep


def test_a_filter_of_which_a_weight_is_selected_is_in_the_support_as_a_neuron():
    given = selected()
    weight = given.model.fc1.weight
    inside = {int(place) // weight.shape[1] for place in (0, 7, 11)}
    sweep = prune(given, layers="fc1", ratios="support", grain="neuron")
    assert [row.removed for row in sweep.ledger if row.criterion == "support"] == [len(weight) - len(inside)]
    assert sweep.plan.ratios == (0.0,)


def test_the_ratio_support_of_what_has_no_path_is_refused_in_one_line():
    with pytest.raises(SparsifyError) as caught:
        prune(subject(), layers="conv1", ratios="0,support")
    assert str(caught.value) == (
        "ratio 'support' needs the path of a run trained with one of slbi, slbi-adam, random-release, linbreg, "
        "adabreg, prox-sgd; this one has none for conv1, so leave it out of --ratios"
    )


# make_mask -----------------------------------------------------------------------------------------------------------


def test_make_mask_is_the_mask_of_a_sweeps_point():
    given = subject()
    rows = prune(given, layers="conv2,fc1", ratios="0:1:0.25").rows
    for row in rows:
        model = copy.deepcopy(given.model)
        apply_mask(model, make_mask(model, normalise(given.split.images[:1]), layers="conv2,fc1", ratio=row.ratio))
        assert evaluate(model, given.split, normalise).correct == row.correct


def test_make_mask_knows_scope_and_order():
    model = Tiny()
    with torch.no_grad():
        model.conv1.weight.mul_(1e-3)
    options = {"layers": "conv1,conv2", "ratio": 0.4}
    mask = make_mask(model, torch.zeros(1, 1, 6, 6), scope="global", **options)
    assert not mask["conv1.weight"].any()
    assert mask["conv2.weight"].all()
    mask = make_mask(model, torch.zeros(1, 1, 6, 6), scope="global", reverse=True, **options)
    assert mask["conv1.weight"].all()
    assert int((~mask["conv2.bias"]).sum()) == 4


def test_make_mask_removes_exact_counts():
    mask = make_mask(Tiny(), torch.zeros(1, 1, 6, 6), layers=["conv2", "fc1"], ratio=0.6)
    assert {name: int((~keep).sum()) for name, keep in mask.items()} == {
        "conv2.weight": 4 * 36,
        "conv2.bias": 4,
        "fc1.weight": 72,
    }
    assert all(keep.dtype == torch.bool for keep in mask.values())


def test_make_mask_keeps_everything_at_ratio_0_and_leaves_the_network_alone():
    model = Tiny()
    before = bits(model)
    assert all(keep.all() for keep in make_mask(model, torch.zeros(1, 1, 6, 6), layers="conv1,fc1", ratio=0).values())
    make_mask(model, torch.zeros(1, 1, 6, 6), layers="conv1,fc1", ratio=1)
    assert bits(model) == before
    assert modes(model) == dict.fromkeys(modes(model), True)


@pytest.mark.parametrize("criterion", ["entry", "entry-norm", "gamma", "taylor", "obd", "bn-scale"])
def test_only_criteria_that_lack_nothing_are_offered(criterion: str) -> None:
    with pytest.raises(SparsifyError, match=r"; choose from: magnitude, l1, random, fpgm, lamp$"):
        make_mask(Tiny(), torch.zeros(1, 1, 6, 6), layers="conv1", ratio=0.5, criterion=criterion)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"criterion": "l3"}, "unknown criterion 'l3'"),
        ({"grain": "channel"}, "unknown grain 'channel'"),
        ({"layers": "conv9"}, "unknown layer 'conv9'"),
        ({"layers": []}, "layers are missing; "),
        ({"ratio": 1.01}, "outside 0 to 1"),
        ({"criterion": "entry"}, "needs the path"),
    ],
)
def test_make_mask_refuses_what_makes_no_sense(options, message):
    with pytest.raises(SparsifyError, match=message):
        make_mask(Tiny(), torch.zeros(1, 1, 6, 6), **{"layers": "conv1", "ratio": 0.5, **options})


# evaluate ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 7, 200, 1000])
def test_evaluate_counts_the_last_partial_batch(batch_size):
    given = subject()
    labels, model, pixels = given.split.labels.roll(1), given.model.double(), normalise(given.split.images).double()
    with torch.no_grad():
        logits = model(pixels)
    found = evaluate(model, Split(pixels, labels), Tensor.double, batch_size=batch_size)
    assert (found.correct, found.count) == (int((logits.argmax(1) == labels).sum()), 200)
    assert found.loss == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-6)  # sums of float32 logits


def test_accuracy_is_a_fraction():
    assert Evaluation(0.1, 3, 4).accuracy == 0.75


def test_a_gpu_whose_memory_is_not_enough_is_said_in_a_line(monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nSee documentation")

    monkeypatch.setattr("sparsify.pruning.measuring.measure", full)
    with pytest.raises(SparsifyError, match=r"^the GPU's memory is not enough for the sweep; take --device cpu$"):
        prune(subject(), layers="conv1", ratios="0.5")
