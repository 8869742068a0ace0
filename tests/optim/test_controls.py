"""The controls of DessiLBI, against torch's own optimizers and by hand, and network slimming."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from sparsify import SLBI, Config, RandomRelease
from sparsify.errors import SparsifyError
from sparsify.optim.registry import OPTIMIZERS
from sparsify.optim.release import permuted

INF = torch.inf


def step(model: nn.Module, optimizer: torch.optim.Optimizer, number: int) -> None:
    for place, p in enumerate(model.parameters()):
        values = torch.arange(p.numel(), dtype=p.dtype).view_as(p)
        p.grad = torch.sin(values + 3 * place + number)
    optimizer.step()


def twins() -> tuple[nn.Module, nn.Module]:
    one, other = (nn.Linear(3, 2, bias=False).double() for _ in range(2))
    other.load_state_dict(one.state_dict())
    return one, other


def test_adam_pull_is_adamw() -> None:
    """With decay path_scale·κ/μ, as of lr·κ: at κ = 1."""
    ours, theirs = twins()
    pull = OPTIMIZERS["adam-pull"].build(ours, Config(opt="adam-pull", lr=0.01, mu=5, path_scale=2))
    adamw = torch.optim.AdamW(theirs.parameters(), lr=0.01, weight_decay=2 / 5)
    for number in range(20):
        step(ours, pull, number)
        step(theirs, adamw, number)
    torch.testing.assert_close(ours.weight, theirs.weight, rtol=0, atol=1e-12)


def test_adam_pull_with_the_coupling_in_the_gradient_is_adam_with_l2() -> None:
    """Its L2 is path_scale/μ; κ = 1."""
    ours, theirs = twins()
    options = {"lr": 0.01, "mu": 5, "path_scale": 2, "opt_options": "coupling=gradient"}
    pull = OPTIMIZERS["adam-pull"].build(ours, Config(opt="adam-pull", **options))
    adam = torch.optim.Adam(theirs.parameters(), lr=0.01, weight_decay=2 / 5)
    for number in range(20):
        step(ours, pull, number)
        step(theirs, adam, number)
    torch.testing.assert_close(ours.weight, theirs.weight, rtol=0, atol=1e-12)


def test_sgd_pull_is_sgd_with_decoupled_weight_decay() -> None:
    ours, theirs = twins()
    pull = OPTIMIZERS["sgd-pull"].build(ours, Config(opt="sgd-pull", lr=0.1, mu=5, path_scale=2))
    sgd = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9)
    for number in range(20):
        with torch.no_grad():
            decayed = 0.1 * 2 / 5 * theirs.weight
            step(theirs, sgd, number)
            theirs.weight.sub_(decayed)
        step(ours, pull, number)
    torch.testing.assert_close(ours.weight, theirs.weight, rtol=0, atol=1e-12)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(4, 3))


def test_a_grain_is_let_go_at_its_step_and_not_before() -> None:
    """Without a gradient: W is pulled by 1 − α/μ a step, until Γ starts at about 0 and follows it."""
    model = network()
    optimizer = RandomRelease(model.named_parameters(), lr=0.1, mu=1.0)
    fc = torch.full((3, 4), INF)
    fc[0, 1] = 1
    optimizer.follow({"0.weight": torch.tensor([2.0, INF, 3.0, INF]), "2.weight": fc})
    start = model[2].weight.detach().clone()
    found = []
    for _ in range(3):
        for p in model.parameters():
            p.grad = torch.zeros_like(p)
        optimizer.step()
        found.append(optimizer.support("0.weight").tolist())
        assert optimizer.support("2.weight").nonzero().tolist() == [[0, 1]]
    assert found == [[False] * 4, [True, False, False, False], [True, False, True, False]]
    assert model[2].weight[1, 1].item() == pytest.approx(0.9**3 * start[1, 1].item(), rel=1e-6)
    weight, gamma = start[0, 1].item(), 0.0
    for number in range(3):
        apart = weight - gamma
        weight -= 0.1 * apart
        gamma = gamma + 0.1 * apart if number else 1e-5 * (1 if weight > 0 else -1)  # at the edge of the support
    assert model[2].weight[0, 1].item() == pytest.approx(weight, rel=1e-3)
    assert optimizer.gamma("2.weight")[0, 1].item() == pytest.approx(gamma, rel=1e-3)


def test_without_a_path_and_with_one_that_is_slbis_own_it_is_as_these() -> None:
    """All that enters as in SLBI moves as in SLBI, but for where Γ is in its first step in the support."""
    (ours, theirs), pulled = (network() for _ in range(2)), network()
    slbi = SLBI(theirs.named_parameters(), lr=0.1, mu=0.5)
    pull = SLBI(pulled.named_parameters(), lr=0.1, mu=0.5, threshold=INF)
    alone = RandomRelease(ours.named_parameters(), lr=0.1, mu=0.5)
    entry = {name: torch.full((4,) if name == "0.weight" else (3, 4), INF) for name in ("0.weight", "2.weight")}
    for number in range(1, 30):
        for model, optimizer in ((ours, alone), (theirs, slbi), (pulled, pull)):
            step(model, optimizer, number)
        for name, steps in entry.items():
            steps[slbi.support(name) & (steps == INF)] = number
    for one, other in zip(ours.parameters(), pulled.parameters(), strict=True):
        assert torch.equal(one, other)
    assert any((steps < INF).any() for steps in entry.values())
    again = network()
    followed = RandomRelease(again.named_parameters(), lr=0.1, mu=0.5)
    followed.follow(entry)
    for number in range(1, 30):
        step(again, followed, number)
    for name, steps in entry.items():
        assert torch.equal(followed.support(name), steps < INF)
    for one, other in zip(again.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0.1, atol=0.1)


def test_a_copy_goes_on_as_the_optimizer_does() -> None:
    layer = nn.Linear(2, 1)
    optimizer = RandomRelease(layer.named_parameters(), lr=0.1, mu=1.0)
    optimizer.follow({"weight": torch.tensor([[1.0, torch.inf]])})
    for ours, theirs in (copy.deepcopy((layer, optimizer)), pickle.loads(pickle.dumps((layer, optimizer)))):
        ours.weight.grad = torch.zeros_like(ours.weight)
        theirs.step()
        assert theirs.support(ours.weight).tolist() == [[True, False]]


def test_a_permuted_path_has_as_many_entries_at_each_step_in_each_layer() -> None:
    entry = {"a": torch.tensor([3.0, 3.0, 7.0, INF, INF, 9.0]), "b": torch.arange(12.0).view(3, 4)}
    found = permuted(entry, 0)
    for name, steps in entry.items():
        assert found[name].shape == steps.shape
        assert sorted(found[name].flatten().tolist()) == sorted(steps.flatten().tolist())
        assert not torch.equal(found[name], steps)
        assert torch.equal(found[name], permuted(entry, 0)[name])
        assert not torch.equal(found[name], permuted(entry, 1)[name])


@pytest.mark.parametrize(
    ("release", "said"),
    [
        ({"0.weight": torch.zeros(4)}, "1 parameters have no steps of release"),
        ({"0.weight": torch.zeros(5), "2.weight": torch.zeros(3, 4)}, r"0.weight has \(5,\) steps .* are \(4,\)"),
        ({"3.weight": torch.zeros(4)}, "unknown parameter '3.weight'"),
    ],
)
def test_a_path_that_does_not_fit_is_refused(release, said) -> None:
    with pytest.raises(SparsifyError, match=said):
        RandomRelease(network().named_parameters()).follow(release)


def test_slimming_adds_the_subgradient_of_the_lasso_to_the_scales_alone() -> None:
    """γ = (2, −1, 0) with gradients 0.5: V = 0.5 + 0.1·(1, −1, 0), and γ⁺ = γ − 0.1·V."""
    model = nn.Sequential(nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3))
    model[1].weight.data = torch.tensor([2.0, -1.0, 0.0])
    before = [p.detach().clone() for p in (model[0].weight, model[1].bias)]
    optimizer = OPTIMIZERS["slimming"].build(model, Config(opt="slimming", lr=0.1, momentum=0.5, strength=0.1))
    for p in model.parameters():
        p.grad = torch.full_like(p, 0.5)
    optimizer.step()
    torch.testing.assert_close(model[1].weight.data, torch.tensor([2 - 0.06, -1 - 0.04, -0.05]))
    for p, was in zip((model[0].weight, model[1].bias), before, strict=True):
        torch.testing.assert_close(p.detach(), was - 0.05)
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()  # V = 0.5·(0.6, 0.4, 0.5) + 0.1·(1, −1, −1) = (0.4, 0.1, 0.15)
    torch.testing.assert_close(model[1].weight.data, torch.tensor([1.90, -1.05, -0.065]))
    with pytest.raises(SparsifyError, match="--opt slimming: the network has no BatchNorm with scales"):
        OPTIMIZERS["slimming"].build(nn.Linear(1, 1), Config(opt="slimming"))
