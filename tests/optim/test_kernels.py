"""The kernel of each input channel as a grain of its own: each is what a filter with one input channel is."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from torch import nn

from sparsify.config import Config
from sparsify.errors import SparsifyError
from sparsify.nets.layers import prunable_layers
from sparsify.optim.bregman import AdaBreg, LinBreg
from sparsify.optim.inclusion import PathRecorder
from sparsify.optim.penalties import grain_norms, make_sparse, parameter_groups, penalty_seen, prox
from sparsify.optim.prox_sgd import ProxSGD
from sparsify.optim.release import RandomRelease
from sparsify.optim.slbi import SLBI, SLBIAdam
from sparsify.pruning.criteria import PathState, Scored, entry, gamma, in_support

OUT, IN, SIDE = 4, 3, 2

OPTIMIZERS = {
    "slbi": functools.partial(SLBI, lr=0.1, mu=0.5, threshold=0.5, weight_decay=0.01),
    "slbi-adam": functools.partial(SLBIAdam, lr=0.1, mu=2.0, path_scale=5.0, threshold=0.5),
    "linbreg": functools.partial(LinBreg, lr=0.5, strength=0.2),
    "adabreg": functools.partial(AdaBreg, lr=0.2, strength=0.2),
    "prox-sgd": functools.partial(ProxSGD, lr=0.05, strength=0.1),
}


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_kernels_move_as_filters_of_one_input_channel_do(name):
    whole = nn.Parameter(0.05 * normal(OUT, IN, SIDE, SIDE))
    rows = nn.Parameter(whole.detach().reshape(OUT * IN, 1, SIDE, SIDE).clone())
    kernels = OPTIMIZERS[name]([{"params": [whole], "penalty": "kernel"}])
    filters = OPTIMIZERS[name]([{"params": [rows], "penalty": "filter"}])
    seen = set()
    for step in range(30):
        whole.grad = normal(OUT, IN, SIDE, SIDE, seed=step + 1)
        rows.grad = whole.grad.reshape(rows.shape)
        kernels.step()
        filters.step()
        torch.testing.assert_close(whole.detach().reshape(rows.shape), rows.detach(), rtol=1e-12, atol=1e-12)
        inside = kernels.support(whole)
        assert inside.shape == (OUT, IN)
        assert torch.equal(inside.flatten(), filters.support(rows))
        seen.add(int(inside.sum()))
    assert len(seen) > 1  # kernels of one filter are in the support and out of it, each by itself
    if name.startswith("slbi"):
        torch.testing.assert_close(kernels.gamma(whole).reshape(rows.shape), filters.gamma(rows))


def test_the_prox_of_kernels_is_that_of_each_alone():
    z = normal(OUT, IN, SIDE, SIDE)
    found = prox(z, 1.5, "kernel")
    for out in range(OUT):
        for channel in range(IN):
            kernel = z[out, channel]
            norm = float(sum(value**2 for value in kernel.flatten().tolist()) ** 0.5)
            torch.testing.assert_close(found[out, channel], kernel * max(0.0, 1 - 1.5 / norm))
    assert torch.equal(prox(normal(3, 4), 0.5, "kernel").sign(), prox(normal(3, 4), 0.5).sign())


@pytest.mark.parametrize("kind", [SLBI, SLBIAdam, LinBreg, AdaBreg, ProxSGD])
def test_the_structure_makes_kernels_of_convolutions_alone(kind):
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(3, 2))
    optimizer = kind(parameter_groups(model, structure="kernels"))
    assert [optimizer.penalty(name) for name in ("0", "2", "0.bias")] == ["kernel", "weight", None]
    left = kind(parameter_groups(model, structure="kernels", leave_out="0"))
    assert left.penalty("0") is None


def test_the_sparse_start_keeps_kernels():
    model = nn.Conv2d(4, 5, 3)
    make_sparse(model, 0.3, 0, "kernels")
    kept = grain_norms(model.weight, "kernel") > 0
    assert kept.sum() == 6  # of 20
    assert not kept.any(1).all() or not kept.all(1).any()


def test_a_random_release_lets_kernels_go():
    weight = nn.Parameter(torch.ones(2, 2, 2, 2))
    optimizer = RandomRelease([{"params": [weight], "param_names": ["weight"], "penalty": "kernel"}], lr=0.1, mu=1.0)
    optimizer.follow({"weight": torch.tensor([[2.0, torch.inf], [torch.inf, 1.0]])})
    supports = []
    for _ in range(2):
        weight.grad = torch.zeros_like(weight)
        optimizer.step()
        supports.append(optimizer.support("weight").tolist())
    assert supports == [[[False, False], [False, True]], [[True, False], [False, True]]]
    with pytest.raises(SparsifyError, match=r"its grains are \(2, 2\)"):
        optimizer.follow({"weight": torch.ones(2)})


def test_a_filter_enters_with_its_first_kernel():
    """In the path of filters, and in what prunes them; a single weight enters with its kernel."""
    model = nn.Conv2d(2, 2, 2, bias=False)
    model.weight.data = torch.tensor([[[0.1, 3.0], [1.0, 0.1]]]).view(2, 2, 1, 1).expand(2, 2, 2, 2).clone()
    optimizer = SLBI(parameter_groups(model, structure="kernels"), lr=0.1, mu=0.1, momentum=0.0)
    recorder = PathRecorder(model, optimizer, 3)
    for step in range(1, 4):
        model.weight.grad = torch.zeros_like(model.weight)
        optimizer.step()
        recorder.record(step)
    path = recorder.path(np.arange(4.0))
    inside = path.entry["weight"]
    assert inside.shape == (2, 2)
    assert (inside[0, 0], inside[1, 1]) == (np.inf, np.inf)
    assert path.of_filters("weight").tolist() == [inside[0, 1], inside[1, 0]]
    assert path.gamma_norm["weight"].shape[1] == 2
    state = PathState(torch.from_numpy(inside), optimizer.gamma("weight"), optimizer.state[model.weight]["z"])
    first, second = (
        Scored("conv", model.weight.detach(), grain, torch.Generator(), state) for grain in ("filter", "weight")
    )
    assert in_support(first).tolist() == [True, True]
    assert in_support(second)[0, 0].any().item() is False
    assert in_support(second)[0, 1].all()
    assert entry(first).shape == gamma(first).shape == (2,)
    assert entry(second).shape == (2, 2, 2, 2)


def test_shapes_tell_the_penalty():
    shapes = [((4,), (4, 3, 2, 2)), ((4, 3), (4, 3, 2, 2)), ((4, 3), (4, 3)), ((4,), (4,))]
    assert [penalty_seen(*pair) for pair in shapes] == ["filter", "kernel", "weight", "weight"]


def test_kernels_are_an_option_of_what_selects():
    for opt in ("slbi", "slbi-adam", "linbreg", "adabreg", "prox-sgd", "sgd-pull", "random-release"):
        release = {"release": "run"} if opt == "random-release" else {}
        assert Config(opt=opt, structure="kernels", **release).structure == "kernels"
    with pytest.raises(SparsifyError, match=r"--structure kernels has no effect with --opt sgd; .*linbreg.*prox-sgd"):
        Config(opt="sgd", structure="kernels")
    with pytest.raises(SparsifyError, match="--structure bn-scale has no effect with --opt prox-sgd"):
        Config(opt="prox-sgd", structure="bn-scale")


@pytest.mark.filterwarnings("ignore:the path may be too short")
def test_a_training_with_kernels_is_pruned_by_its_path(tmp_path):
    from sparsify.analysis.weights import TrainedNetwork
    from sparsify.pruning.measuring import prune
    from sparsify.training.launch import train

    config = Config(data="digits", opt="slbi", structure="kernels", epochs=1, lr=0.1, kappa=0.1, mu=0.1)
    run = train(config, runs_dir=tmp_path, device="cpu")
    inside = run.support("conv2.weight")
    assert inside.shape == (16, 6)
    counts = run.summary["support"]["conv2.weight"]
    assert (counts["in"], counts["of"]) == (int(inside.sum()), 96)
    (layer,) = (one for one in prunable_layers(run.model()) if one.name == "conv2")
    assert torch.equal(TrainedNetwork(run).support(layer.name), inside.any(1))
    sweep = prune(run, layers="conv2", ratios=[0, 0.5, "support"], criterion="entry", device="cpu")
    assert sweep.support("conv2").ratio == pytest.approx(1 - inside.any(1).float().mean().item())
    assert torch.equal(grain_norms(run.z["conv2.weight"], "kernel") > 1, inside)
