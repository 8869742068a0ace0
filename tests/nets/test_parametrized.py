"""Networks with weight_norm or spectral_norm: they are pruned as copies with plain weights, and this is said."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from probing import removed
from torch import Tensor, nn

from sparsify import Subject, make_mask, prunable, prune, shrink
from sparsify.errors import SparsifyWarning
from sparsify.nets.mask import masked
from sparsify.nets.parametrized import with_own_weights

X = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
NORMS: dict[str, Callable[[nn.Linear], nn.Module]] = {
    "weight_norm": nn.utils.parametrizations.weight_norm,
    "spectral_norm": nn.utils.parametrizations.spectral_norm,
    "old_spectral_norm": nn.utils.spectral_norm,
}


def build(norm: str) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(NORMS[norm](nn.Linear(6, 4)), nn.ReLU(), NORMS[norm](nn.Linear(4, 3)))
    return model.eval()


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("norm", NORMS)
def test_the_copy_computes_the_same_with_plain_weights(norm: str) -> None:
    model = build(norm)
    before, expected = weights(model), model(X)
    with pytest.warns(SparsifyWarning, match="the weights of 0, 2 are computed from others"):
        plain = with_own_weights(model)
    torch.testing.assert_close(plain(X), expected, rtol=1e-6, atol=1e-7)
    assert set(dict(plain.named_parameters())) == {"0.weight", "0.bias", "2.weight", "2.bias"}
    assert weights(model).keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in weights(model).items())


def test_a_plain_network_is_taken_as_it_is() -> None:
    model = nn.Linear(2, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert with_own_weights(model) is model


@pytest.mark.parametrize("norm", NORMS)
def test_masks_sweeps_and_shrinking_take_the_copy(norm: str) -> None:
    model = build(norm)
    said = "a copy with plain weights is taken"
    with pytest.warns(SparsifyWarning, match=said):
        mask = make_mask(model, X, layers="0", ratio=0.5, grain="neuron")
    with pytest.warns(SparsifyWarning, match=said):
        assert prunable(model, X, grain="neuron") == {"0": "", "2": "it makes the network's output"}
    with pytest.warns(SparsifyWarning, match=said):
        small = shrink(model, mask, X)
    with pytest.warns(SparsifyWarning, match=said):
        sweep = prune(Subject.of(model, (X, [0, 1, 2, 0])), layers="0", ratios=(0, 0.5), grain="neuron")
    with pytest.warns(SparsifyWarning, match=said):
        plain = with_own_weights(model)
    rows = plain[0].weight.norm(dim=1).argsort()[:2].sort().values.tolist()
    assert removed(mask) == {"0.weight": rows, "0.bias": rows}
    assert small[0].out_features == 2
    with masked(plain, mask):
        torch.testing.assert_close(small(X), plain(X))
    assert [row.params for row in sweep.rows] == [4 * 6 + 4 + 4 * 3 + 3, 2 * 6 + 2 + 2 * 3 + 3]
