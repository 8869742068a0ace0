"""LinBreg, AdaBreg and ProxSGD: by hand, against a plain reference, and as what they are without a penalty."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from problems import Problem, through_a_file
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR

from benchmarks.reference import ReferenceBregman, ReferenceProxSGD
from sparsify.errors import SparsifyError
from sparsify.optim.base import PenalizedOptimizer
from sparsify.optim.bregman import AdaBreg, LinBreg
from sparsify.optim.penalties import prox, prox_factor, subgradient
from sparsify.optim.prox_sgd import ProxSGD

ALL = pytest.mark.parametrize("optimizer", [LinBreg, AdaBreg, ProxSGD])
OPTIONS: dict[type[Optimizer], dict[str, float]] = {
    LinBreg: {"lr": 0.05, "strength": 0.2},
    AdaBreg: {"lr": 0.05, "eps": 1.0, "strength": 0.6},
    ProxSGD: {"lr": 0.01, "strength": 0.2},
}


class Sparse(Problem):
    """The same, but every other grain starts at 0."""

    def __init__(self, **how: Any) -> None:
        super().__init__(**how)
        for p in self.parameters:
            if p.ndim >= 3:
                p.data[::2] = 0
            elif p.ndim == 2:
                p.data[:, ::2] = 0

    def groups(self) -> list[dict[str, Any]]:
        """Groups with values of their own: rows of a matrix as grains, and a part without structure."""
        conv, bias, fc, bias_fc, conv1d = self.parameters
        return [
            {"params": [conv, bias, conv1d], "lr": 0.04, "strength": 0.3},
            {"params": [fc], "lr": 0.02, "strength": 0.1, "penalty": "filter"},
            {"params": [bias_fc], "lr": 0.01, "penalty": None},
        ]


def weight_of(*values: float) -> nn.Parameter:
    return nn.Parameter(torch.tensor([values], dtype=torch.float64))


def filters_of(*rows: tuple[float, ...]) -> nn.Parameter:
    """(filters, 1, 1, n)"""
    return nn.Parameter(torch.tensor(rows, dtype=torch.float64)[:, None, None, :].clone())


def step_of(optimizer: Optimizer, parameter: Tensor, *gradient: Any) -> list:
    parameter.grad = torch.tensor(gradient, dtype=parameter.dtype).view(parameter.shape)
    optimizer.step()
    return parameter.flatten(1).tolist()


class TestByHand:
    def test_linbreg_of_single_weights(self):
        weight, bias = weight_of(1, 0, -1), nn.Parameter(torch.ones(1, dtype=torch.float64))
        optimizer = LinBreg([weight, bias], 0.5, momentum=0.5, strength=0.25, delta=2.0)
        bias.grad = torch.ones(1, dtype=torch.float64)
        # v = (0.5 + 0.25, 0, −0.5 − 0.25); m = 0.5·0.5·g = (0, −0.5, 0.25)
        assert step_of(optimizer, weight, 0, -2, 1) == [[1.0, 0.5, -1.5]]  # 2·prox(0.75, 0.5, −1)
        assert optimizer.state[weight]["v"].tolist() == [[0.75, 0.5, -1.0]]
        assert bias.item() == 0.5  # 1 − 2·0.25
        # m = 0.5·m + 0.25·g = (0.625, −0.25, 0.125): v = (0.125, 0.75, −1.125), and the first weight leaves
        assert step_of(optimizer, weight, 2.5, 0, 0) == [[0.0, 1.0, -1.75]]
        assert optimizer.support(weight).tolist() == [[False, True, True]]
        assert optimizer.sizes(weight).tolist() == [[0, 1, 1.75]]
        assert bias.item() == 0.5 - 2 * (0.125 + 0.25)
        assert set(optimizer.state[weight]) == {"v", "momentum_buffer"}
        assert set(optimizer.state[bias]) == {"momentum_buffer"}

    def test_linbreg_of_filters(self):
        """Four weights a filter: the threshold is λ·√4."""
        weight = filters_of((3, 0, 4, 0), (0, 0, 0, 0), (0, 0, 0, 0))
        optimizer = LinBreg([weight], 1.0, momentum=0.0, strength=0.5)
        # v = (3.6, 0, 4.8, 0) at the start: its norm is 5 + 1
        gradient = [(1.8, 0, 2.4, 0), (0, -1, 0, 0), (0, -1.5, 0, 2)]  # v of norms 3, 1 and 2.5
        found = step_of(optimizer, weight, *gradient)
        assert found == [pytest.approx([1.2, 0, 1.6, 0]), [0, 0, 0, 0], pytest.approx([0, 0.9, 0, -1.2])]
        assert optimizer.support(weight).tolist() == [True, False, True]
        assert optimizer.sizes(weight).tolist() == [pytest.approx(2), 0, pytest.approx(1.5)]
        assert list(optimizer.state[weight]) == ["v"]

    def test_adabreg(self):
        weight = weight_of(1, 0, 0)
        optimizer = AdaBreg([weight], 0.5, eps=1.0, strength=0.25, delta=2.0)
        # m̂ = g and ŝ = g²: v = (0.75, 0, 0) − 0.5·g/(|g| + 1)
        assert step_of(optimizer, weight, 3, 1, -3) == [[pytest.approx(0.25, abs=1e-9), 0.0, pytest.approx(0.25)]]
        assert optimizer.state[weight]["v"].tolist() == [pytest.approx([0.375, -0.25, 0.375], abs=1e-9)]

    def test_adabreg_of_filters(self):
        weight = filters_of((3, 4, 0, 0), (0, 0, 0, 0))
        optimizer = AdaBreg([weight], 1.0, eps=1.0, strength=0.5)
        # v = (3.6, 4.8, 0, 0) and 0, less g/(|g| + 1)
        found = step_of(optimizer, weight, (0, 0, 0, 0), (-4, 0, -4, 0))  # v of norms 6 and 0.8·√2 = 1.131
        entered = 0.8 * (1 - 1 / (0.8 * math.sqrt(2)))
        assert found == [pytest.approx([3, 4, 0, 0]), pytest.approx([entered, 0, entered, 0], abs=1e-9)]

    def test_prox_sgd_of_single_weights(self):
        weight, bias = weight_of(1, 0.1, -1), nn.Parameter(torch.ones(1, dtype=torch.float64))
        optimizer = ProxSGD([weight, bias], 0.25, momentum=0.5, strength=0.5)  # the threshold is 0.25/(1 − 0.5)·0.5
        bias.grad = torch.ones(1, dtype=torch.float64)
        assert step_of(optimizer, weight, 1, 0, -1) == [[0.5, 0.0, -0.5]]
        assert step_of(optimizer, weight, 0, 0, 0) == [[0.125, 0.0, -0.125]]  # V = 0.5·V
        assert bias.item() == 1 - 0.25 - 0.25 * 1.5
        assert set(optimizer.state[weight]) == {"momentum_buffer"}
        assert optimizer.support(weight).tolist() == [[True, False, True]]

    def test_prox_sgd_of_filters(self):
        weight = filters_of((3, 0, 4, 0), (0.3, 0, 0.4, 0))
        optimizer = ProxSGD([weight], 1.0, momentum=0.0, strength=0.5)
        found = step_of(optimizer, weight, (0, 0, 0, 0), (0, 0, 0, 0))
        assert found == [pytest.approx([2.4, 0, 3.2, 0]), [0, 0, 0, 0]]
        assert not optimizer.state[weight]

    def test_rows_of_a_fully_connected_layer_as_grains(self):
        weight = nn.Parameter(torch.tensor([[3.0, 0, 4, 0], [0.3, 0, 0.4, 0]], dtype=torch.float64))
        optimizer = ProxSGD([{"params": [weight], "penalty": "filter"}], 1.0, momentum=0.0, strength=0.5)
        assert step_of(optimizer, weight, [0] * 4, [0] * 4) == [pytest.approx([2.4, 0, 3.2, 0]), [0, 0, 0, 0]]
        assert optimizer.support(weight).tolist() == [True, False]


def test_what_is_0_enters_once_its_gradients_have_added_up_to_the_threshold_and_not_before():
    weight = weight_of(0, 0)
    optimizer = LinBreg([weight], 0.25, momentum=0.0, strength=1.0)
    history = [step_of(optimizer, weight, -1, -0.5)[0] for _ in range(9)]
    assert [first for first, _ in history] == [0, 0, 0, 0, 0.25, 0.5, 0.75, 1.0, 1.25]
    assert [second for _, second in history] == [0, 0, 0, 0, 0, 0, 0, 0, 0.125]


def test_the_start_of_v_is_a_subgradient_of_the_elastic_net_whose_prox_gives_the_weights_back():
    problem = Sparse()
    before = [p.detach().clone() for p in problem.parameters]
    optimizer = LinBreg(problem.parameters, 0.1, strength=0.3, delta=0.5)
    for p in problem.parameters:
        p.grad = torch.zeros_like(p)
    optimizer.step()
    for p, old in zip(problem.parameters, before, strict=True):
        torch.testing.assert_close(p, old, rtol=0, atol=1e-14)
        assert torch.equal(p == 0, old == 0)
        if optimizer.penalty(p) == "weight":
            rest = optimizer.state[p]["v"] - old / 0.5  # in ∂λ‖·‖₁: λ·sign, and in [−λ, λ] at 0
            torch.testing.assert_close(rest, 0.3 * old.sign(), rtol=0, atol=1e-14)
        elif optimizer.penalty(p) == "filter":
            rest = (optimizer.state[p]["v"] - old / 0.5).flatten(1).norm(dim=1)
            expected = old.flatten(1).any(1) * torch.tensor(0.3 * math.sqrt(old[0].numel()), dtype=torch.float64)
            torch.testing.assert_close(rest, expected, rtol=0, atol=1e-14)


def test_a_subgradient_and_shrink_are_inverse():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(20, 3, 2, 2, generator=generator, dtype=torch.float64)
    weight[::3] = 0
    for penalty in ("filter", "weight"):
        for threshold in (0.0, 0.7):
            back = prox(weight + subgradient(weight, threshold, penalty), threshold, penalty)
            torch.testing.assert_close(back, weight, rtol=0, atol=1e-14)
    assert subgradient(torch.tensor([[3.0, 4.0], [0.0, 0.0]]), 10.0, "filter").tolist() == [[6, 8], [0, 0]]
    assert subgradient(torch.tensor([-3.0, 0.0, 0.5]), 2.0, "weight").tolist() == [-2, 0, 2]


def test_without_a_threshold_shrink_changes_nothing_and_filters_of_zeros_stay():
    z = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    assert prox_factor(z, 0.0).flatten().tolist() == [1, 0]
    assert prox(z, 0.0, "filter").tolist() == z.tolist()
    assert prox(z, 0.0, "weight").tolist() == z.tolist()


def test_a_threshold_that_is_a_tensor_is_the_same_threshold():
    z = torch.tensor([[3.0, 4.0], [-0.3, 0.4], [0.0, -0.0]])
    for penalty in ("filter", "weight"):
        for threshold in (0.0, 0.4, 1.0):
            found = prox(z, torch.tensor(threshold), penalty)
            torch.testing.assert_close(found, prox(z, threshold, penalty), rtol=0, atol=0)
    assert prox(torch.tensor([math.nan]), torch.tensor(1.0)).isnan().all()


def compare(
    shipped: type[PenalizedOptimizer],
    *,
    channels_last: bool = False,
    groups: Callable[[Problem], Any] = lambda problem: problem.parameters,
    schedule: Callable[[Optimizer], Any] | None = None,
    steps: int = 60,
    **options: Any,
) -> None:
    """Many steps of it and of its reference from one start: equal weights, and supports neither empty nor full."""
    plain = {} if shipped is not AdaBreg else {"adam": True}
    reference = ReferenceProxSGD if shipped is ProxSGD else ReferenceBregman
    one, other = Sparse(channels_last=channels_last), Sparse()
    a, b = shipped(groups(one), **options), reference(groups(other), **options, **plain)
    rates = [] if schedule is None else [schedule(a), schedule(b)]
    for _ in range(steps):
        one.run(a, 1)
        other.run(b, 1)
        for rate in rates:
            rate.step()
    shares = []
    for p, q in zip(one.parameters, other.parameters, strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=1e-9)
        assert torch.equal(p == 0, q == 0)
        if a.penalty(p):
            inside = a.support(p)
            assert torch.equal(inside, q.flatten(1).any(1) if a.penalty(p) == "filter" else q != 0)
            assert torch.equal(inside, a.sizes(p) > 0)
            shares.append(inside.double().mean().item())
        if "dual" in b.state[q] and a.penalty(p):
            torch.testing.assert_close(a.state[p]["v"], b.state[q]["dual"], rtol=0, atol=1e-9)
    assert len(shares) == 3
    assert all(share > 0 for share in shares)
    assert any(share < 1 for share in shares)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("delta", [1.0, 0.5])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_linbreg_equals_the_reference(momentum: float, delta: float, channels_last: bool) -> None:
    compare(LinBreg, channels_last=channels_last, lr=0.05, momentum=momentum, strength=0.2, delta=delta)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("delta", [1.0, 0.5])
def test_adabreg_equals_the_reference(delta: float, channels_last: bool) -> None:
    compare(AdaBreg, channels_last=channels_last, lr=0.05, betas=(0.8, 0.99), eps=1.0, strength=0.6, delta=delta)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_prox_sgd_equals_the_reference(momentum: float, channels_last: bool) -> None:
    compare(ProxSGD, channels_last=channels_last, lr=0.05 * (1 - momentum), momentum=momentum, strength=0.2)


@pytest.mark.parametrize(
    ("optimizer", "options"),
    [(LinBreg, {"momentum": 0.0}), (LinBreg, {}), (AdaBreg, {}), (ProxSGD, {"momentum": 0.0}), (ProxSGD, {})],
)
def test_weight_decay_equals_the_reference(optimizer: type[PenalizedOptimizer], options: dict[str, float]) -> None:
    compare(optimizer, weight_decay=0.3, **OPTIONS[optimizer] | options)


@ALL
def test_weight_decay_without_a_penalty_is_that_of_torch(optimizer: type[PenalizedOptimizer]) -> None:
    """δ = 1 and λ = 0: LinBreg is SGD at (1 − β)·lr, AdaBreg AdamW and ProxSGD SGD; biases do not decay."""
    one, other = Sparse(), Sparse()
    weights, rest = ([p for p in other.parameters if (p.ndim >= 2) == wide] for wide in (True, False))
    groups = [{"params": weights, "weight_decay": 0.3}, {"params": rest, "weight_decay": 0.0}]
    theirs: Optimizer
    if optimizer is AdaBreg:
        theirs = AdamW(groups, 0.02)
    else:
        theirs = SGD(groups, 0.02 * (0.1 if optimizer is LinBreg else 1), momentum=0.9)
    ours = optimizer(one.parameters, 0.02, strength=0.0, weight_decay=0.3)
    agree(one, ours, other, theirs, atol=1e-12)


@ALL
def test_mixed_groups_equal_the_reference(optimizer: type[PenalizedOptimizer]) -> None:
    compare(optimizer, groups=Sparse.groups, **OPTIONS[optimizer])


@pytest.mark.parametrize(
    "schedule",
    [lambda o: CosineAnnealingLR(o, T_max=60), lambda o: OneCycleLR(o, max_lr=0.05, total_steps=61)],
    ids=["cosine", "one-cycle"],  # the second moves momentum or β₁ as well
)
@ALL
def test_schedules_equal_the_reference(optimizer: type[PenalizedOptimizer], schedule: Callable) -> None:
    compare(optimizer, schedule=schedule, **OPTIONS[optimizer])


def agree(one: Problem, a: Optimizer, other: Problem, b: Optimizer, *, atol: float) -> None:
    one.run(a, 60)
    other.run(b, 60)
    for p, q in zip(one.parameters, other.parameters, strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=atol)


def test_linbreg_without_penalty_and_momentum_is_sgd_to_the_bit():
    one, other = Sparse(), Sparse()
    agree(one, LinBreg(one.parameters, 0.05, momentum=0.0, strength=0.0), other, SGD(other.parameters, 0.05), atol=0)


def test_linbreg_without_a_penalty_is_sgd_with_dampening_at_a_rate_times_delta():
    """The paper's momentum starts from m = 0, torch's from m = g: an undampened buffer at a lower rate is the same."""
    one, other = Sparse(), Sparse()
    a = LinBreg(one.parameters, 0.05, momentum=0.9, strength=0.0, delta=3.0)
    agree(one, a, other, SGD(other.parameters, 0.05 * 0.1 * 3, momentum=0.9), atol=1e-12)


def test_adabreg_without_a_penalty_is_adam_to_the_bit():
    one, other = Sparse(), Sparse()
    a = AdaBreg(one.parameters, 0.02, betas=(0.8, 0.99), strength=0.0)
    agree(one, a, other, Adam(other.parameters, 0.02, betas=(0.8, 0.99), fused=True), atol=0)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_prox_sgd_without_a_penalty_is_sgd_with_momentum(momentum: float) -> None:
    one, other = Sparse(), Sparse()
    a = ProxSGD(one.parameters, 0.01, momentum=momentum, strength=0.0)
    agree(one, a, other, SGD(other.parameters, 0.01, momentum=momentum), atol=1e-12)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_prox_sgd_stands_still_at_the_lasso_whatever_the_momentum(momentum: float) -> None:
    """Of (w − t)²/2 + λ|w| the minimum is the soft threshold of t at λ."""
    target = torch.tensor([[1.5, -0.2, 0.31, -2.0]], dtype=torch.float64)
    weight = nn.Parameter(torch.ones_like(target))
    optimizer = ProxSGD([weight], 0.02, momentum=momentum, strength=0.3)
    for _ in range(2000):
        weight.grad = weight.detach() - target
        optimizer.step()
    torch.testing.assert_close(weight.detach(), prox(target, 0.3), rtol=0, atol=1e-10)
    assert weight[0, 1] == 0


@pytest.mark.parametrize("carry", [copy.deepcopy, through_a_file])
@ALL
def test_a_state_dict_goes_on_bit_identically(optimizer: type[PenalizedOptimizer], carry: Callable) -> None:
    whole, first, second = (Sparse(dtype=torch.float32, channels_last=True) for _ in range(3))
    uninterrupted = optimizer(whole.parameters, **OPTIONS[optimizer])
    whole.run(uninterrupted, 40)
    interrupted = optimizer(first.parameters, **OPTIONS[optimizer])
    first.run(interrupted, 20)
    resumed = optimizer(second.parameters, lr=0.7, strength=0.7)  # the saved values replace these
    resumed.load_state_dict(carry(interrupted.state_dict()))
    with torch.no_grad():
        for p, q in zip(second.parameters, first.parameters, strict=True):
            p.copy_(q)
    second.run(resumed, 20)
    for p, q in zip(whole.parameters, second.parameters, strict=True):
        assert torch.equal(p, q)
        assert uninterrupted.state[p].keys() == resumed.state[q].keys()
        assert all(torch.equal(value, resumed.state[q][key]) for key, value in uninterrupted.state[p].items())
    shares = [uninterrupted.support(p).float().mean() for p in uninterrupted.structured()]
    assert 0 < min(shares) < 1


@ALL
def test_weights_are_updated_in_place_and_keep_their_memory_format(optimizer: type[PenalizedOptimizer]) -> None:
    problem = Sparse(channels_last=True)
    instance = optimizer(problem.parameters, **OPTIONS[optimizer])
    before = [p.data_ptr() for p in problem.parameters]
    problem.run(instance, 3)
    assert [p.data_ptr() for p in problem.parameters] == before
    tensors = [problem.parameters[0], *instance.state[problem.parameters[0]].values()]
    assert all(t.is_contiguous(memory_format=torch.channels_last) for t in tensors if t.ndim == 4)


@ALL
def test_parameters_without_a_gradient_are_skipped(optimizer: type[PenalizedOptimizer]) -> None:
    with_grad, without = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    both = optimizer([with_grad, without])
    with_grad.grad = torch.ones(2, 2)
    both.step()
    assert (with_grad != 1).all()
    assert (without == 1).all()
    assert list(both.state) == [with_grad]
    assert both.support(without).all()


@ALL
@pytest.mark.filterwarnings("ignore:Guards may run slower:RuntimeWarning")
def test_a_traced_step_equals_the_eager_one(optimizer: type[PenalizedOptimizer]) -> None:
    eager, traced = Sparse(), Sparse()
    a, b = (optimizer(problem.parameters, **OPTIONS[optimizer]) for problem in (eager, traced))
    eager.run(a, 4)
    traced.run(b, 2)  # the state is made before, as with torch's own optimizers
    step = torch.compile(b.step, backend="aot_eager")
    for _ in range(2):
        b.zero_grad()
        traced.loss().backward()
        step()
    for p, q in zip(eager.parameters, traced.parameters, strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=1e-12)


@ALL
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lr", -0.25),
        ("lr", math.nan),
        ("strength", -0.5),
        ("strength", math.inf),
        ("strength", math.nan),
        ("penalty", "filters"),
    ],
)
def test_values_out_of_range_are_refused_by_name(
    optimizer: type[PenalizedOptimizer], name: str, value: float | str
) -> None:
    with pytest.raises(SparsifyError) as error:
        optimizer([nn.Parameter(torch.ones(2, 2))], **{name: value})
    assert name in str(error.value)
    assert str(value) in str(error.value)


@pytest.mark.parametrize(
    ("optimizer", "name", "value"),
    [
        (LinBreg, "momentum", 1.0),
        (LinBreg, "delta", 0.0),
        (LinBreg, "delta", math.inf),
        (AdaBreg, "delta", -1.0),
        (AdaBreg, "betas", (0.9, 1.0)),
        (AdaBreg, "eps", 0.0),
        (ProxSGD, "momentum", -0.5),
        (ProxSGD, "momentum", math.nan),
    ],
)
def test_options_of_one_optimizer_out_of_range_are_refused_by_name(
    optimizer: type[PenalizedOptimizer], name: str, value: Any
) -> None:
    with pytest.raises(SparsifyError) as error:
        optimizer([nn.Parameter(torch.ones(2, 2))], **{name: value})
    assert name in str(error.value)
    assert str(value) in str(error.value)


def test_adabreg_refuses_a_parameter_with_gaps_in_memory():
    columns = torch.ones(4, 6)[:, ::2].requires_grad_()
    with pytest.raises(SparsifyError, match=r"gaps in memory \(strides \(6, 2\)\); .* before AdaBreg takes it"):
        AdaBreg([columns])


@ALL
def test_what_has_no_structure_has_no_support(optimizer: type[PenalizedOptimizer]) -> None:
    bias = nn.Parameter(torch.ones(3))
    instance = optimizer([bias])
    assert list(instance.structured()) == []
    with pytest.raises(SparsifyError, match="not part of the optimizer's structure"):
        instance.support(bias)
