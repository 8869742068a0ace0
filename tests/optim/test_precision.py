"""Parameters of few bits: sums over steps are float32, so that their grains enter as those of float32 do."""

from __future__ import annotations

import copy
import functools
from typing import Any

import pytest
import torch
from problems import through_a_file
from torch import Tensor, nn
from torch.optim import Optimizer

from sparsify.optim.base import SelectingOptimizer
from sparsify.optim.bregman import AdaBreg, LinBreg
from sparsify.optim.prox_sgd import ProxSGD
from sparsify.optim.slbi import SLBI, SLBIAdam

OPTIONS: dict[type[SelectingOptimizer], dict[str, Any]] = {
    SLBI: {"lr": 0.001, "momentum": 0.9, "mu": 0.5},
    SLBIAdam: {"lr": 0.0005, "mu": 40.0, "threshold": 0.15},
    LinBreg: {"lr": 0.002, "strength": 0.4},
    AdaBreg: {"lr": 0.0005, "strength": 0.4},
    ProxSGD: {"lr": 0.0002, "strength": 0.1},
}
STEPS = {SLBI: 1500, SLBIAdam: 1500, LinBreg: 500, AdaBreg: 500, ProxSGD: 500}
"""After so many, some single weights have entered, and not all."""

ALL = pytest.mark.parametrize("kind", OPTIONS)
HALF = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])


class Bowl:
    """(w − t)²/2 of filters, single weights and a bias, in any type; the gradient is rounded to that type.

    Targets and starts are multiples of 1/16, which every type holds.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        generator = torch.Generator().manual_seed(0)
        shapes = {"conv": (6, 2, 2, 2), "fc": (5, 7), "bias": (9,)}
        self.targets = {
            name: torch.randint(-12, 13, shape, generator=generator).to(dtype) / 16 for name, shape in shapes.items()
        }
        self.targets["conv"][::2] = 0
        self.named = {name: nn.Parameter(0.5 * target) for name, target in self.targets.items()}

    def run(self, optimizer: Optimizer, steps: int) -> None:
        for _ in range(steps):
            for name, p in self.named.items():
                p.grad = p.detach() - self.targets[name]
            optimizer.step()


@functools.cache
def in_full(kind: type[SelectingOptimizer]) -> tuple[Bowl, SelectingOptimizer]:
    """A bowl of float32 after all steps, which each half type is compared with; not to be changed."""
    bowl = Bowl(torch.float32)
    optimizer = kind(bowl.named.items(), **OPTIONS[kind])
    bowl.run(optimizer, STEPS[kind])
    return bowl, optimizer


@HALF
@ALL
def test_grains_enter_and_weights_arrive_as_those_of_float32_do(
    kind: type[SelectingOptimizer], dtype: torch.dtype
) -> None:
    half, (full, b) = Bowl(dtype), in_full(kind)
    a = kind(half.named.items(), **OPTIONS[kind])
    half.run(a, STEPS[kind])
    for name, p in full.named.items():
        torch.testing.assert_close(half.named[name].float(), p.data, rtol=0.01, atol=0.01)
    for name in ("conv", "fc"):
        ours, theirs = a.support(name), b.support(name)
        assert 0 < theirs.sum() < theirs.numel()
        near = (a.sizes(name) - b.sizes(name)).abs() < 0.01  # who is in by less than rounding may differ
        assert torch.equal(ours, theirs) or near[ours != theirs].all()
        assert (ours == theirs).float().mean() > 0.9
        torch.testing.assert_close(a.sizes(name), b.sizes(name), rtol=0.02, atol=0.02)


def test_z_of_a_bfloat16_goes_on_beyond_a_quarter():
    """1.3 = 1300 steps of 0.001, each less than half a unit in the last place of 0.25 in bfloat16."""
    z = {}
    for dtype in (torch.bfloat16, torch.float32):
        weight = nn.Parameter(torch.ones(1, 1, dtype=dtype))
        optimizer = SLBI([weight], 0.001, mu=1.0, kappa=1e-9)  # such a κ leaves W where it is
        for _ in range(1300):
            weight.grad = torch.zeros_like(weight)
            optimizer.step()
        z[dtype] = optimizer.state[weight]["z"]
        assert optimizer.support(weight).item()
    assert z[torch.bfloat16].dtype == torch.float32
    assert z[torch.bfloat16].item() == pytest.approx(1.3, rel=1e-3) == z[torch.float32].item()


def test_steps_below_the_last_place_of_a_weight_add_up():
    """100 steps of 0.001 from 1 reach 0.9; each alone is lost in bfloat16, whose last place at 1 is 1/256."""
    weight = nn.Parameter(torch.ones(3, dtype=torch.bfloat16))
    optimizer = SLBI([weight], 0.001, momentum=0.0)
    for _ in range(100):
        weight.grad = torch.ones_like(weight)
        optimizer.step()
    assert weight.tolist() == [pytest.approx(0.9, abs=0.002)] * 3
    assert torch.equal(optimizer.state[weight]["master"].to(torch.bfloat16), weight)


@ALL
def test_all_state_is_float32_and_a_master_is_kept_where_the_weights_are_sums(kind: type[SelectingOptimizer]) -> None:
    bowl = Bowl(torch.bfloat16)
    optimizer = kind(bowl.named.items(), **OPTIONS[kind])
    bowl.run(optimizer, 2)
    for name, p in bowl.named.items():
        state = optimizer.state[p]
        assert {value.dtype for value in state.values()} == {torch.float32}
        assert ("master" in state) == (name == "bias" or kind not in (LinBreg, AdaBreg))
        assert p.dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@ALL
def test_state_of_wider_types_is_their_own_without_a_master(kind: type[SelectingOptimizer], dtype: torch.dtype) -> None:
    bowl = Bowl(dtype)
    optimizer = kind(bowl.named.items(), **OPTIONS[kind])
    bowl.run(optimizer, 2)
    for p in bowl.named.values():
        assert "master" not in optimizer.state[p]
        assert {value.dtype for key, value in optimizer.state[p].items() if key != "step"} == {dtype}


@pytest.mark.parametrize("carry", [copy.deepcopy, through_a_file])
@HALF
@ALL
def test_a_state_dict_goes_on_bit_identically(kind: type[SelectingOptimizer], dtype: torch.dtype, carry: Any) -> None:
    whole, first, second = (Bowl(dtype) for _ in range(3))
    fast = OPTIONS[kind] | {"lr": 10 * OPTIONS[kind]["lr"]}
    uninterrupted, interrupted, resumed = (kind(b.named.items(), **fast) for b in (whole, first, second))
    whole.run(uninterrupted, 120)
    first.run(interrupted, 60)
    with torch.no_grad():
        for name, p in second.named.items():
            p.copy_(first.named[name])
    resumed.load_state_dict(carry(interrupted.state_dict()))
    second.run(resumed, 60)
    for name, p in whole.named.items():
        q = second.named[name]
        assert torch.equal(p, q)
        assert uninterrupted.state[p].keys() == resumed.state[q].keys()
        for key, value in uninterrupted.state[p].items():
            assert value.dtype == resumed.state[q][key].dtype
            assert torch.equal(value, resumed.state[q][key])
    assert uninterrupted.support("conv").any()


@pytest.mark.parametrize("kind", [SLBI, SLBIAdam, ProxSGD])
def test_weights_that_were_changed_from_outside_are_taken_as_they_are(kind: type[SelectingOptimizer]) -> None:
    weight = nn.Parameter(torch.full((2, 2), 0.5, dtype=torch.bfloat16))
    optimizer = kind([weight], lr=1e-4)
    for _ in range(3):
        weight.grad = torch.ones_like(weight)
        optimizer.step()
    kept = optimizer.state[weight]["master"].clone()
    with torch.no_grad():
        weight[0] = 0
    weight.grad = torch.zeros_like(weight)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    optimizer.step()
    assert weight[0].tolist() == [0, 0]
    assert torch.equal(optimizer.state[weight]["master"][1], kept[1])


def test_gamma_of_a_bfloat16_is_float32_before_and_after_the_first_step():
    weight = nn.Parameter(torch.ones(2, 2, dtype=torch.bfloat16))
    optimizer = SLBI([weight])
    assert optimizer.gamma(weight).dtype == torch.float32
    weight.grad = torch.zeros_like(weight)
    optimizer.step()
    assert isinstance(optimizer.gamma(weight), Tensor)
    assert optimizer.gamma(weight).dtype == torch.float32
