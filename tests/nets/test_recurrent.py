"""LSTM and GRU: their single weights can go, their outputs cannot, and layers before them are followed."""

from __future__ import annotations

import pytest
import torch
from probing import removed
from torch import Tensor, nn

from sparsify import SparsifyError, make_mask, prunable, shrink
from sparsify.nets.mask import masked

TOKENS = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0))


class Reader(nn.Module):
    def __init__(self, kind: type[nn.RNNBase] = nn.LSTM) -> None:
        super().__init__()
        self.embed = nn.Linear(5, 6)
        self.rnn = kind(6, 3, batch_first=True, bidirectional=True)
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(self.embed(x))[0][:, -1])


def build(kind: type[nn.RNNBase] = nn.LSTM) -> Reader:
    torch.manual_seed(0)
    return Reader(kind).eval()


def test_the_weights_are_layers_of_their_own() -> None:
    reasons = prunable(build(), TOKENS, grain="neuron")
    own = [f"rnn.weight_{which}_l0{way}" for way in ("", "_reverse") for which in ("ih", "hh")]
    assert list(reasons) == ["embed", *own, "head"]
    assert reasons["embed"] == ""
    assert all("its single weights can go" in reasons[name] for name in own)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_single_weights_go(kind: type[nn.RNNBase]) -> None:
    model = build(kind)
    mask = make_mask(model, TOKENS, layers="rnn.weight_hh_l0", ratio=1 / 3, grain="weight")
    weight = model.rnn.weight_hh_l0
    smallest = weight.abs().flatten().argsort()[: weight.numel() // 3]
    assert mask.keys() == {"rnn.weight_hh_l0"}
    assert set((~mask["rnn.weight_hh_l0"]).flatten().nonzero().flatten().tolist()) == set(smallest.tolist())


def test_all_weights_of_one_can_be_named_together() -> None:
    weights = ["rnn.weight_ih_l0", "rnn.weight_hh_l0", "rnn.weight_ih_l0_reverse"]
    mask = make_mask(build(), TOKENS, layers=",".join(weights), ratio=0.5, grain="weight")
    assert {name: int((~keep).sum()) for name, keep in mask.items()} == {
        "rnn.weight_ih_l0": 12 * 6 // 2,
        "rnn.weight_hh_l0": 12 * 3 // 2,
        "rnn.weight_ih_l0_reverse": 12 * 6 // 2,
    }


@pytest.mark.parametrize(("grain", "taken"), [("auto", 5), ("weight", 5), ("neuron", 1)])
def test_all_takes_them_where_single_weights_go(grain: str, taken: int) -> None:
    reasons = prunable(build(), TOKENS, grain)
    assert [name for name, reason in reasons.items() if not reason] == list(reasons)[:taken]
    mask = make_mask(build(), TOKENS, layers="all", ratio=0.5, grain=grain)
    assert sum(name.partition("_l0")[0].endswith(("weight", "weight_ih", "weight_hh")) for name in mask) == taken


def test_outputs_of_its_gates_are_refused() -> None:
    with pytest.raises(SparsifyError, match="the outputs of a layer of the LSTM go into its gates; its single weights"):
        make_mask(build(), TOKENS, layers="rnn.weight_ih_l0", ratio=0.5, grain="neuron")


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_a_layer_before_it_is_masked_and_shrunk(kind: type[nn.RNNBase]) -> None:
    model = build(kind)
    with torch.no_grad():
        model.embed.weight[2] *= 1e-3
    mask = make_mask(model, TOKENS, layers="embed", ratio=1 / 6, grain="neuron")
    assert removed(mask) == {"embed.weight": [2], "embed.bias": [2]}
    small = shrink(model, mask, TOKENS)
    assert (small.embed.out_features, small.rnn.input_size, small.rnn.weight_ih_l0_reverse.shape[1]) == (5, 5, 5)
    with masked(model, mask):
        torch.testing.assert_close(small(TOKENS), model(TOKENS))
