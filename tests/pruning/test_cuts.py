"""Iterative pruning: against loops by hand; what is gone stays gone, and the network is left as it was."""

from __future__ import annotations

import copy
import functools
import itertools
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sparsify import evaluate, prune
from sparsify.data.dataset import Split
from sparsify.errors import SparsifyError
from sparsify.nets.layers import find_layers
from sparsify.nets.mask import Mask, apply_mask, lowest
from sparsify.nets.structure import Cut, Structure
from sparsify.pruning.cuts import cuts_in_rounds, make_mask, restored, units_by_name
from sparsify.pruning.ranking import Ranking, Scorer
from sparsify.pruning.subject import Subject
from sparsify.pruning.sweep import Sweep
from sparsify.training.finetuning import Recipe, finetune


def network() -> nn.Sequential:
    """1×4×4 images, 10 filters with BatchNorm, 6 filters, 8 neurons, 3 classes; trained a little."""
    return copy.deepcopy(_trained())


@functools.cache
def _trained() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        modules: OrderedDict[str, nn.Module] = OrderedDict()
        modules["conv1"], modules["bn1"], modules["relu1"] = nn.Conv2d(1, 10, 3), nn.BatchNorm2d(10), nn.ReLU()
        modules["conv2"], modules["relu2"], modules["flatten"] = nn.Conv2d(10, 6, 2), nn.ReLU(), nn.Flatten(1)
        modules["fc1"], modules["relu3"], modules["fc2"] = nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)
        model = nn.Sequential(modules).eval()
        nn.init.uniform_(model.bn1.weight)
    finetune(model, {}, images()[0], normalise, recipe=Recipe(epochs=40, lr=0.1, batch_size=20))
    return model


def images() -> tuple[Split, Split]:
    """Three classes, each brighter in another place; to train on and to measure on."""
    labels = torch.arange(120) % 3
    pixels = torch.randint(0, 100, (120, 1, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    pixels[torch.arange(120), 0, labels, labels] += 60
    return Split(pixels[:60], labels[:60]), Split(pixels[60:], labels[60:])


def subject(model: nn.Module | None = None) -> Subject:
    training, measured = images()
    return Subject(network() if model is None else model, measured, normalise, training=training)


def normalise(images: Tensor) -> Tensor:
    return images.float() / 100


def cuts(given: Subject, layers: str, ratio: float, criterion: str = "magnitude", **how: object) -> list[Cut]:
    units = units_by_name(given, find_layers(given.model, layers), how.pop("grain", "auto"))
    options = {"scope": how.pop("scope", "layer"), "reverse": how.pop("reverse", False)}
    scores = Scorer(given)(units, criterion)
    return cuts_in_rounds(given, units, Ranking(criterion, scores, **options), ratio, **how)


def bits(model: nn.Module) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in model.state_dict().items()}


def test_what_goes_first_goes_before_any_score() -> None:
    scores, first = torch.tensor([5.0, 1.0, 1.0, 9.0, 0.0]), torch.tensor([0, 0, 0, 2, 1])
    assert lowest(scores, 1, first=first).tolist() == [False, False, False, True, False]
    assert lowest(scores, 3, first=first).tolist() == [False, True, False, True, True]
    assert lowest(scores, 3, first=first, reverse=True).tolist() == [True, False, False, True, True]


@pytest.mark.filterwarnings("ignore:--scope global compares whole filters")
@settings(max_examples=30)
@given(
    st.integers(1, 7),
    st.floats(0, 1),
    st.sampled_from(["magnitude", "l1", "lamp", "random"]),
    st.sampled_from(["auto", "neuron", "weight"]),
    st.sampled_from(["layer", "global"]),
)
def test_without_training_an_order_that_stays_gives_the_mask_of_one_shot(
    rounds: int, ratio: float, criterion: str, grain: str, scope: str
) -> None:
    how = {"layers": "conv1,conv2,fc1", "ratio": ratio, "criterion": criterion, "grain": grain}
    if criterion != "lamp":  # what is left of a layer is scored anew against less than before
        how["scope"] = scope
    example = torch.zeros(1, 1, 4, 4)
    once, often = (make_mask(network(), example, **how, rounds=k) for k in (1, rounds))
    assert once.keys() == often.keys()
    assert all(torch.equal(once[name], often[name]) for name in once)


@pytest.mark.parametrize("grain", ["neuron", "weight"])
def test_every_round_scores_what_is_left_anew(grain: str) -> None:
    """By fpgm half of 1, 2, 6, 8, 10, 12 go: 6, 8 and 10 at once. In two rounds 6 and 8 go first; of the others 2 is
    nearest to the rest, and 1 would be if what has gone counted as 0."""
    model = nn.Sequential(OrderedDict(flatten=nn.Flatten(1), fc1=nn.Linear(1, 6, bias=False)))
    with torch.no_grad():
        model.fc1.weight[:, 0] = torch.tensor([1.0, 2, 6, 8, 10, 12])
    given = Subject(model, Split(torch.zeros(1, 1, 1, 1, dtype=torch.uint8), torch.zeros(1, dtype=torch.long)))
    for rounds, expected in ((1, [2, 3, 4]), (2, [1, 2, 3])):
        with restored(model):
            (cut,) = cuts(given, "fc1", 0.5, "fpgm", rounds=rounds, grain=grain)
        assert cut.drop.flatten().nonzero().flatten().tolist() == expected


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize("criterion", ["magnitude", "taylor", "fpgm", "lamp", "random", "bn-scale"])
def test_each_round_removes_the_exact_count_and_what_is_gone_stays_gone(
    criterion: str, scope: str, reverse: bool
) -> None:
    given = subject()
    layers = "conv1" if criterion == "bn-scale" else "conv1,conv2,fc1"
    sizes = {"conv1": 10} if criterion == "bn-scale" else {"conv1": 10, "conv2": 6, "fc1": 8}
    masks: list[Mask] = []

    def train(mask: Mask) -> None:
        masks.append(mask)
        for name, keep in mask.items():
            assert not given.model.get_parameter(name)[~keep].any()
        finetune(given.model, mask, given.training, normalise, recipe=Recipe(epochs=1, lr=0.5))

    with restored(given.model):
        how = {"grain": "neuron", "scope": scope, "reverse": reverse}
        final = cuts(given, layers, 0.7, criterion, rounds=4, train=train, **how)
    gone = [{name: ~mask[f"{name}.weight"].flatten(1).any(1) for name in sizes} for mask in masks]
    gone.append({cut.layer.name: cut.drop for cut in final})
    for number, drops in enumerate(gone, start=1):
        if scope == "layer":
            assert {n: int(d.sum()) for n, d in drops.items()} == {n: round(0.7 * number / 4 * sizes[n]) for n in sizes}
        else:
            assert sum(int(drop.sum()) for drop in drops.values()) == round(0.7 * number / 4 * sum(sizes.values()))
    for before, after in itertools.pairwise(gone):
        assert all((after[name] | ~before[name]).all() for name in sizes)


class Residual(nn.Module):
    """8 filters added to 8 others."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2, self.fc1 = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 1), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        return self.fc1((x + self.conv2(x)).mean((2, 3)))


@pytest.mark.parametrize("rounds", [4, 12])
@pytest.mark.parametrize("layers", ["conv1,conv2", "conv2"])
@pytest.mark.parametrize("criterion", ["magnitude", "random", "fpgm"])
def test_coupled_layers_lose_the_same_filters_in_every_round(criterion: str, layers: str, rounds: int) -> None:
    """Filter i of conv1 is 9 weights of i + 1, that of conv2 8 weights of 8 − i, together of a square of
    9(i + 1)² + 8(8 − i)²: 521, 428, 369, 344, 353, 396, 473, 584."""
    given, masks = subject(Residual().eval()), []
    with torch.no_grad():
        for layer, order in ((given.model.conv1, range(1, 9)), (given.model.conv2, range(8, 0, -1))):
            layer.weight[:] = torch.tensor(list(order), dtype=torch.float).view(-1, 1, 1, 1)
    with restored(given.model):
        final = cuts(given, layers, 0.5, criterion, rounds=rounds, train=masks.append)
    masks.append(given.structure.remove(final)[0])
    gone = [~mask["conv2.weight"].flatten(1).any(1) for mask in masks]
    assert [cut.layer.name for cut in final] == layers.split(",")
    assert all(torch.equal(cut.drop, gone[-1]) for cut in final)
    assert [int(drop.sum()) for drop in gone] == [round(4 * number / rounds) for number in range(1, rounds + 1)]
    for mask, drop in zip(masks, gone, strict=True):
        if drop.any():
            assert torch.equal(~mask["conv1.weight"].flatten(1).any(1), drop)
    for before, after in itertools.pairwise(gone):
        assert (after | ~before).all()
    if criterion == "magnitude":
        order = [3, 4, 2, 5]
        assert [set(drop.nonzero().flatten().tolist()) for drop in gone] == [set(order[: int(d.sum())]) for d in gone]


def test_the_network_is_left_as_it_was_also_when_training_fails() -> None:
    given = subject()
    given.model.conv1.weight.grad = torch.ones(10, 1, 3, 3)
    given.model.bn1.train()
    gradient, before = given.model.conv1.weight.grad, bits(given.model)

    def check() -> None:
        assert bits(given.model) == before
        assert given.model.conv1.weight.grad is gradient
        assert given.model.fc1.weight.grad is None
        assert [module.training for module in given.model.modules()] == [
            m is given.model.bn1 for m in given.model.modules()
        ]

    prune(given, layers=["conv1,fc1"], ratios="0,0.5", rounds=3, finetune_epochs=1)
    check()
    with pytest.raises(KeyboardInterrupt), restored(given.model) as model:  # noqa: PT012
        finetune(model, {}, given.training, normalise, recipe=Recipe(epochs=1))
        raise KeyboardInterrupt
    check()


@pytest.mark.parametrize("criterion", ["magnitude", "taylor", "bn-scale"])
def test_a_point_is_trained_on_between_the_rounds_and_after_the_last(criterion: str) -> None:
    """By hand on copies: score, mask, train, three times."""
    given, recipe = subject(), Recipe(epochs=20)
    sweep = prune(given, layers="conv1", ratios="0,0.5", criterion=criterion, rounds=3, finetune_epochs=20)
    for row in sweep.rows:
        model, gone = copy.deepcopy(given.model), torch.zeros(10, dtype=torch.bool)
        for number in (1, 2, 3):
            structure, layers = Structure(model, torch.zeros(1, 1, 4, 4)), find_layers(model, "conv1")
            copied = replace(given, model=model)
            scores = Scorer(copied)(units_by_name(copied, layers, "auto"), criterion)["conv1"]
            scores[gone] = -1
            gone[scores.argsort(stable=True)[: round(row.ratio * number / 3 * 10)]] = True
            mask, _ = structure.remove([Cut(layers["conv1"], "filter", gone)])
            apply_mask(model, mask)
            accuracy = evaluate(model, given.split, normalise).accuracy
            finetune(model, mask, given.training, normalise, recipe=recipe)
        assert row.accuracy == accuracy
        assert row.finetuned_accuracy == evaluate(model, given.split, normalise).accuracy
        assert (row.rounds, row.finetune_epochs) == (3, 20)
    once = prune(given, layers="conv1", ratios="0,0.5", criterion=criterion, finetune_epochs=20)
    assert [row.accuracy for row in once.rows] != [row.accuracy for row in sweep.rows]


def test_every_sweep_of_rounds_has_its_own_name_and_is_read_again(tmp_path: Path) -> None:
    sweeps = [prune(subject(), layers="conv1", ratios="0.5", criterion="fpgm", rounds=rounds) for rounds in (1, 2, 3)]
    for sweep in sweeps:
        assert Sweep.read(sweep.save(tmp_path)) == sweep
    assert len({sweep.id for sweep in sweeps}) == 3


def test_controls_go_in_as_many_rounds() -> None:
    sweep = prune(subject(), layers="conv1,fc1", ratios="0.5", rounds=2, controls=True, draws=2, finetune_epochs=1)
    kinds = [("magnitude", 0), ("random", 0), ("random", 1), ("magnitude-reversed", 0)]
    assert [(row.criterion, row.draw) for row in sweep.rows] == kinds
    assert {(row.layer, row.removed) for row in sweep.ledger} == {("conv1", 5), ("fc1", 24)}


@pytest.mark.parametrize(("rounds", "epochs", "total"), [(1, 0, 2), (1, 1, 4), (3, 0, 2), (3, 1, 8)])
def test_the_listener_hears_each_training_on(rounds: int, epochs: int, total: int) -> None:
    heard: list[tuple[int, int]] = []
    options = {"rounds": rounds, "finetune_epochs": epochs}
    prune(subject(), layers="fc1", ratios="0,0.5", listener=lambda *how: heard.append(how), **options)
    assert heard == [(done, total) for done in range(total + 1)]


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(SparsifyError, match="--rounds is 0; it must be a whole number of at least 1"):
        prune(subject(), layers="fc1", rounds=0)
    with pytest.raises(SparsifyError, match="--controls with --rounds 2 and --scope global"):
        prune(subject(), layers="fc1", rounds=2, controls=True, scope="global")
    with pytest.raises(SparsifyError, match="--rounds is -1"):
        make_mask(network(), torch.zeros(1, 1, 4, 4), layers="fc1", ratio=0.5, rounds=-1)
