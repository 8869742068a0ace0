"""The sparse start: exact counts, the size of the signal, keyed by the seed, and only where it is asked for."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sparsify import Config
from sparsify.errors import SparsifyError
from sparsify.nets.registry import NETS, network, network_spec
from sparsify.optim.penalties import kept_count, make_sparse
from sparsify.training.starting import initial_model


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(72, 20), nn.LayerNorm([4, 5])
    )


@pytest.mark.parametrize(
    ("density", "count", "kept"),
    [(0.1, 120, 12), (0.1, 10_080, 1008), (0.1, 6, 1), (0.01, 6, 1), (0.5, 3, 2), (0.5, 5, 2), (1, 7, 7)],
)
def test_round_of_the_density_times_n_but_at_least_1_stay(density: float, count: int, kept: int) -> None:
    assert kept_count(density, count) == kept


@pytest.mark.parametrize("density", [0.25, 0.5, 0.9])
def test_whole_filters_and_single_weights_go_and_the_rest_is_scaled(density: float) -> None:
    sparse, dense = model(), model()
    make_sparse(sparse, density, seed=3)
    filters, weights = sparse[0].weight, sparse[4].weight
    kept = filters.flatten(1).any(1)
    assert kept.sum() == round(density * 8)
    assert torch.equal((filters != 0).flatten(1).all(1), kept)
    assert (weights != 0).sum() == round(density * 1440)
    torch.testing.assert_close(filters[kept], dense[0].weight[kept] * (8 / round(density * 8)) ** 0.5)
    inside = weights != 0
    torch.testing.assert_close(weights[inside], dense[4].weight[inside] * (1440 / round(density * 1440)) ** 0.5)


def test_the_variance_of_the_weights_is_kept():
    torch.manual_seed(1)
    layer = nn.Linear(1000, 1000)
    before = layer.weight.var().item()
    make_sparse(layer, 0.1, seed=0)
    assert layer.weight.var().item() == pytest.approx(before, rel=0.02)


def test_biases_beside_them_are_not_negative_and_normalisation_layers_stay():
    sparse, dense = model(), model()
    make_sparse(sparse, 0.5, seed=0)
    assert (dense[0].bias < 0).any()
    for index in (0, 4):
        assert torch.equal(sparse[index].bias, dense[index].bias.abs())
    for index in (1, 5):
        assert torch.equal(sparse[index].weight, dense[index].weight)
        assert torch.equal(sparse[index].bias, dense[index].bias)


def test_which_grains_stay_is_keyed_by_the_seed_and_the_layer():
    def kept(seed: int) -> list[torch.Tensor]:
        net = nn.Sequential(nn.Linear(30, 30), nn.Linear(30, 30))
        make_sparse(net, 0.5, seed)
        return [layer.weight != 0 for layer in net]

    assert all(torch.equal(a, b) for a, b in zip(kept(0), kept(0), strict=True))
    assert not torch.equal(kept(0)[0], kept(1)[0])
    assert not torch.equal(*kept(0))


def test_density_1_changes_nothing_to_the_bit():
    sparse, dense = model(), model()
    make_sparse(sparse, 1.0, seed=0)
    assert all(torch.equal(p, q) for p, q in zip(sparse.parameters(), dense.parameters(), strict=True))


def test_a_tied_weight_is_made_sparse_once():
    net = nn.Sequential(nn.Linear(10, 10), nn.Linear(10, 10))
    net[1].weight = net[0].weight
    before = net[0].weight.detach().clone()
    make_sparse(net, 0.5, seed=0)
    inside = net[0].weight != 0
    assert inside.sum() == 50
    torch.testing.assert_close(net[0].weight[inside], before[inside] * 2**0.5)


@pytest.mark.parametrize("density", [0.0, -0.5, 1.5, float("nan")])
def test_what_is_no_fraction_is_refused(density: float) -> None:
    with pytest.raises(SparsifyError, match=f"density is {density}"):
        make_sparse(model(), density, seed=0)


@pytest.mark.parametrize("name", NETS)
def test_every_network_starts_with_so_many_grains(name: str) -> None:
    narrow = "width=0.25" if "width" in network_spec(name).settings else ""
    net = network(name, (3, 64, 64) if name == "alexnet" else (3, 32, 32), 10, narrow)
    make_sparse(net, 0.1, seed=0)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            filters = module.weight.flatten(1).any(1)
            assert filters.sum() == max(1, round(0.1 * len(filters)))
        elif isinstance(module, nn.Linear):
            assert (module.weight != 0).sum() == round(0.1 * module.weight.numel())


def test_a_run_starts_as_its_config_says_and_other_optimizers_start_as_before():
    sparse = initial_model(Config(opt="linbreg", data="digits", density=0.25, seed=5))
    assert {name: int(p.flatten(1).any(1).sum()) for name, p in sparse.named_parameters() if p.ndim == 4} == {
        "conv1.weight": 2,
        "conv2.weight": 4,
        "conv3.weight": 30,
    }
    same = initial_model(Config(opt="adabreg", data="digits", density=0.25, seed=5))
    dense = initial_model(Config(opt="linbreg", data="digits", density=1, seed=5))
    others = [initial_model(Config(opt=opt, data="digits", seed=5)) for opt in ("sgd", "slbi", "prox-sgd")]
    assert all(torch.equal(p, q) for p, q in zip(sparse.parameters(), same.parameters(), strict=True))
    for other in others:
        assert all(torch.equal(p, q) for p, q in zip(dense.parameters(), other.parameters(), strict=True))
