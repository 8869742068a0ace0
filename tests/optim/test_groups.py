"""Param groups: names, and what is left out of the structure."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sparsify import SLBI, SparsifyError, parameter_groups
from sparsify.optim.penalties import decay_groups


class Reader(nn.Module):
    """An embedding, a body with a LayerNorm of two dimensions, and a head, which can be tied to the embedding."""

    def __init__(self, *, tied: bool = False) -> None:
        super().__init__()
        self.words = nn.Embedding(10, 4)
        self.bags = nn.EmbeddingBag(6, 4)
        self.body = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm([2, 4]), nn.Linear(4, 4))
        self.head = nn.Linear(4, 10)
        self.last = nn.LayerNorm([2, 4])
        if tied:
            self.head.weight = self.words.weight


def structure(model: nn.Module, **how: object) -> set[str]:
    """The names of the structured parameters."""
    optimizer = SLBI(parameter_groups(model, **how))
    return {name for name, _ in model.named_parameters() if optimizer.penalty(name)}


ALL = {"words.weight", "bags.weight", "body.0.weight", "body.2.weight", "head.weight"}


@pytest.mark.parametrize(
    ("leave_out", "left"),
    [
        ((), set()),
        ("embeddings", {"words.weight", "bags.weight"}),
        ("output", {"head.weight"}),
        (("embeddings", "output"), {"words.weight", "bags.weight", "head.weight"}),
        (["body"], {"body.0.weight", "body.2.weight"}),
        (["body.2", "words"], {"body.2.weight", "words.weight"}),
    ],
)
def test_what_is_left_out_has_no_structure(leave_out: object, left: set[str]) -> None:
    assert structure(Reader(), leave_out=leave_out) == ALL - left


@pytest.mark.parametrize("word", ["embeddings", "output"])
def test_an_output_layer_that_is_tied_to_an_embedding_leaves_together_with_it(word: str) -> None:
    assert "words.weight" not in structure(Reader(tied=True), leave_out=word)


def test_a_module_of_that_name_comes_before_the_word() -> None:
    model = nn.ModuleDict({"output": nn.Linear(2, 2), "other": nn.Linear(2, 2)})
    assert structure(model, leave_out="output") == {"other.weight"}


def test_an_unknown_module_is_refused_with_the_nearest() -> None:
    with pytest.raises(SparsifyError, match=r"unknown module 'boddy'; did you mean 'body'\? choose from: embeddings"):
        parameter_groups(Reader(), leave_out=["boddy"])
    with pytest.raises(SparsifyError, match="unknown structure 'filters'; choose from: grains, bn-scale"):
        parameter_groups(Reader(), structure="filters")


def test_what_is_left_out_decays_and_normalisation_layers_do_not() -> None:
    groups = parameter_groups(Reader(), weight_decay=0.1, leave_out=("embeddings", "output"))
    decays = {name: group["weight_decay"] for group in groups for name in group["param_names"]}
    assert {name for name, decay in decays.items() if not decay} == {
        "body.1.weight",
        "body.1.bias",
        "last.weight",
        "last.bias",
    }


def test_every_parameter_is_in_one_group_under_its_name() -> None:
    model = Reader()
    for groups in (parameter_groups(model, leave_out="embeddings"), decay_groups(model, 0.1)):
        named = [pair for group in groups for pair in zip(group["param_names"], group["params"], strict=True)]
        assert sorted(name for name, _ in named) == sorted(name for name, _ in model.named_parameters())
        assert all(p is model.get_parameter(name) for name, p in named)


def test_scales_of_modules_that_are_left_out_have_no_structure() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 2), nn.BatchNorm2d(2), nn.Conv2d(2, 2, 2), nn.BatchNorm2d(2))
    assert structure(model, structure="bn-scale") == {"1.weight", "3.weight"}
    assert structure(model, structure="bn-scale", leave_out=["3"]) == {"1.weight"}


def test_what_is_left_out_is_trained_without_a_pull() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    optimizer = SLBI(parameter_groups(model, leave_out="output"), lr=0.1, mu=1.0)
    before = [p.detach().clone() for p in model.parameters()]
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    moved = [not torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True)]
    assert moved == [True, False, False, False]
