"""The family as torch's own optimizers: their options, what is refused, states old and foreign, and names."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from problems import Problem
from torch import nn
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import StepLR

from sparsify.errors import SparsifyError
from sparsify.optim.base import SelectingOptimizer
from sparsify.optim.bregman import AdaBreg, LinBreg
from sparsify.optim.prox_sgd import ProxSGD
from sparsify.optim.slbi import SLBI, SLBIAdam

OPTIONS: dict[type[SelectingOptimizer], dict[str, Any]] = {
    SLBI: {"lr": 0.05, "mu": 0.5},
    SLBIAdam: {"lr": 0.02, "mu": 4.0},
    LinBreg: {"lr": 0.05, "strength": 0.2},
    AdaBreg: {"lr": 0.05, "strength": 0.2},
    ProxSGD: {"lr": 0.01, "strength": 0.2},
}
ALL = pytest.mark.parametrize("kind", OPTIONS)
LATER = ("weight_decay", "maximize", "foreach", "capturable", "differentiable", "fused")


def equal(one: Problem, other: Problem) -> bool:
    return all(torch.equal(p, q) for p, q in zip(one.parameters, other.parameters, strict=True))


@ALL
def test_maximize_ascends(kind: type[SelectingOptimizer]) -> None:
    one, other = Problem(), Problem()
    down, up = kind(one.parameters, **OPTIONS[kind]), kind(other.parameters, **OPTIONS[kind], maximize=True)
    one.run(down, 5)
    for _ in range(5):
        up.zero_grad()
        (-other.loss()).backward()
        up.step()
    assert equal(one, other)
    assert not equal(one, Problem())


@pytest.mark.parametrize("foreach", [True, False])
@ALL
def test_foreach_is_how_many_parameters_a_step_takes_at_once(
    kind: type[SelectingOptimizer], foreach: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = Problem(), Problem()
    usual, asked = kind(one.parameters, **OPTIONS[kind]), kind(other.parameters, **OPTIONS[kind], foreach=foreach)
    taken: list[int] = []
    move = kind._move

    def counted(self: SelectingOptimizer, group: dict[str, Any], parts: list[Any]) -> None:
        taken.append(len(parts))
        move(self, group, parts)

    one.run(usual, 5)
    monkeypatch.setattr("sparsify.optim.updates.CACHED", 1)  # None would take each alone
    monkeypatch.setattr(kind, "_move", counted)
    other.run(asked, 5)
    assert taken == ([5] * 5 if foreach else [1] * 25)
    assert equal(one, other)


@ALL
def test_a_capturable_step_leaves_all_state_in_its_place(kind: type[SelectingOptimizer]) -> None:
    one, other = Problem(), Problem()
    usual, fixed = kind(one.parameters, **OPTIONS[kind]), kind(other.parameters, **OPTIONS[kind], capturable=True)
    other.run(fixed, 1)
    before = [value.data_ptr() for state in fixed.state.values() for value in state.values()]
    other.run(fixed, 4)
    assert [value.data_ptr() for state in fixed.state.values() for value in state.values()] == before
    one.run(usual, 5)
    assert equal(one, other)


@pytest.mark.cuda
@ALL
def test_a_captured_step_replays_as_the_eager_one(kind: type[SelectingOptimizer]) -> None:
    eager, captured = ([torch.ones(4, 3, device="cuda", requires_grad=True)] for _ in range(2))
    a, b = (kind(params, **OPTIONS[kind], capturable=True) for params in (eager, captured))
    for (p,) in (eager, captured):
        p.grad = torch.full_like(p, 0.1)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        b.step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        b.step()
    for _ in range(3):
        graph.replay()
    for _ in range(4):
        a.step()
    torch.testing.assert_close(eager[0], captured[0], rtol=0, atol=1e-6)


def in_the_constructor(kind: type[SelectingOptimizer], **options: Any) -> None:
    kind([nn.Parameter(torch.ones(2, 2))], **options)


def in_a_group(kind: type[SelectingOptimizer], **options: Any) -> None:
    kind([{"params": [nn.Parameter(torch.ones(2, 2))], **options}])


def in_a_group_that_is_added(kind: type[SelectingOptimizer], **options: Any) -> None:
    optimizer = kind([nn.Parameter(torch.ones(2, 2))])
    try:
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(2, 2))], **options})
    finally:
        assert len(optimizer.param_groups) == 1


WHERE = pytest.mark.parametrize("where", [in_the_constructor, in_a_group, in_a_group_that_is_added])


@WHERE
@ALL
def test_what_is_not_honoured_is_refused_by_name(kind: type[SelectingOptimizer], where: Callable[..., None]) -> None:
    adam = kind in (SLBIAdam, AdaBreg)
    with pytest.raises(SparsifyError, match=f"^differentiable is True, but a step of {kind.__name__} has no"):
        where(kind, differentiable=True)
    kernel = "always takes a fused kernel" if adam else "has no fused kernel"
    with pytest.raises(SparsifyError, match=f"^fused is {not adam}, but {kind.__name__} {kernel}; leave it None"):
        where(kind, fused=not adam)
    with pytest.raises(SparsifyError, match=r"^weight_decay is -0\.5; it must be"):
        where(kind, weight_decay=-0.5)
    with pytest.raises(SparsifyError, match=r"^lr is a tensor of shape \(2,\)"):
        where(kind, lr=torch.ones(2))
    in_the_constructor(kind, fused=adam)
    if adam:
        with pytest.raises(SparsifyError, match=r"^foreach and fused are True"):
            where(kind, foreach=True, fused=True)


@WHERE
@pytest.mark.parametrize(
    ("kind", "option", "value"),
    [
        (SLBI, "momentum", 1.0),
        (SLBI, "dampening", 1.5),
        (SLBIAdam, "betas", (0.9, 1.0)),
        (SLBIAdam, "eps", 0.0),
        (LinBreg, "momentum", math.nan),
        (AdaBreg, "betas", (-0.1, 0.9)),
        (ProxSGD, "momentum", -0.5),
    ],
)
def test_values_out_of_range_are_refused_wherever_they_are(
    kind: type[SelectingOptimizer], option: str, value: Any, where: Callable[..., None]
) -> None:
    with pytest.raises(SparsifyError, match=option):
        where(kind, **{option: value})


@pytest.mark.parametrize("steps", [0, 2])
@ALL
def test_what_a_group_is_set_to_later_is_refused_at_the_next_step(kind: type[SelectingOptimizer], steps: int) -> None:
    """Before anything moves, and again at the next step; set back, it goes on."""
    problem, other = Problem(), Problem()
    optimizer, usual = kind(problem.parameters, **OPTIONS[kind]), kind(other.parameters, **OPTIONS[kind])
    problem.run(optimizer, steps)
    other.run(usual, steps)
    (group,) = optimizer.param_groups
    wrong = {"differentiable": True, "fused": kind not in (SLBIAdam, AdaBreg), "penalty": "row", "weight_decay": -0.5}
    for name, value in wrong.items():
        before, group[name] = group[name], value
        for _ in range(2):
            with pytest.raises(SparsifyError, match=f"^(unknown )?{name}"):
                problem.run(optimizer, 1)
        assert equal(problem, other)
        group[name] = before
    group["maximize"] = usual.param_groups[0]["maximize"] = True
    problem.run(optimizer, 2)
    other.run(usual, 2)
    assert equal(problem, other)


def test_options_are_looked_at_again_only_where_one_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else each step would pay for it, and one with a rate on a GPU would wait."""
    looks, look = [], SLBI._check
    monkeypatch.setattr(SLBI, "_check", lambda self, options: (looks.append(options["lr"]), look(self, options)))
    problem = Problem()
    optimizer = SLBI(problem.parameters, lr=torch.tensor(0.1))
    looks.clear()
    for _ in range(3):
        problem.run(optimizer, 1)
        optimizer.param_groups[0]["lr"] = torch.tensor(0.2)
    assert looks == [0.0]
    optimizer.param_groups[0]["mu"] = 3.0
    problem.run(optimizer, 2)
    assert looks == [0.0] * 2
    copied = pickle.loads(pickle.dumps(optimizer))
    copied.step()
    assert looks == [0.0] * 3


@ALL
def test_complex_parameters_are_refused_at_construction(kind: type[SelectingOptimizer]) -> None:
    complex_ = nn.Parameter(torch.ones(2, 3, dtype=torch.complex64))
    with pytest.raises(SparsifyError, match=r"shape \(2, 3\) is torch\.complex64; .* takes real numbers only"):
        kind([nn.Parameter(torch.ones(2)), complex_])
    optimizer = kind([nn.Parameter(torch.ones(2))])
    with pytest.raises(SparsifyError, match="complex64"):
        optimizer.add_param_group({"params": [complex_]})
    assert len(optimizer.param_groups) == 1


@ALL
def test_a_sparse_gradient_is_refused_before_anything_moves(kind: type[SelectingOptimizer]) -> None:
    first, second = (nn.Parameter(torch.ones(3, 2)) for _ in range(2))
    optimizer = kind([{"params": [first]}, {"params": [second]}])
    first.grad = torch.ones(3, 2)
    second.grad = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]]).to_sparse()
    with pytest.raises(SparsifyError, match=r"shape \(3, 2\) is sparse, and .* takes dense gradients only"):
        optimizer.step()
    assert (first == 1).all()
    assert not optimizer.state


def older(state: dict[str, Any]) -> dict[str, Any]:
    """The state as version 0.2 would have written it."""
    state = copy.deepcopy(state)
    for group in state["param_groups"]:
        for name in LATER:
            if not (name == "weight_decay" and "dampening" in group):  # SLBI had it
                del group[name]
    return state


@ALL
def test_an_older_state_goes_on_with_what_it_lacks_filled_in(kind: type[SelectingOptimizer]) -> None:
    whole, second = Problem(), Problem()
    before = kind(whole.parameters, **OPTIONS[kind])
    whole.run(before, 10)
    with torch.no_grad():
        for p, q in zip(second.parameters, whole.parameters, strict=True):
            p.copy_(q)
    after = kind(second.parameters, lr=0.7, maximize=True, weight_decay=0.0)
    after.load_state_dict(older(before.state_dict()))
    assert {name: after.param_groups[0][name] for name in LATER} == {
        "weight_decay": 0.0,
        "maximize": False,
        "foreach": None,
        "capturable": False,
        "differentiable": False,
        "fused": None,
    }
    whole.run(before, 10)
    second.run(after, 10)
    assert equal(whole, second)


@ALL
def test_an_older_pickle_takes_new_groups(kind: type[SelectingOptimizer]) -> None:
    optimizer = kind(Problem().parameters, **OPTIONS[kind])
    for options in (optimizer.defaults, *optimizer.param_groups):
        for name in LATER:
            del options[name]
    loaded = pickle.loads(pickle.dumps(optimizer))
    weight = nn.Parameter(torch.ones(2, 2))
    loaded.add_param_group({"params": [weight]})
    weight.grad = torch.ones(2, 2)
    loaded.step()
    assert (weight != 1).all()
    assert all(group["maximize"] is False for group in loaded.param_groups)


@ALL
def test_a_state_of_another_optimizer_says_so_and_changes_nothing(kind: type[SelectingOptimizer]) -> None:
    for other in (SGD, Adam, *OPTIONS):
        if other is kind:
            continue
        foreign, own = Problem(), Problem()
        theirs = other(foreign.parameters, **OPTIONS.get(other, {"lr": 0.1}))
        ours = kind(own.parameters, **OPTIONS[kind])
        foreign.run(theirs, 2)
        own.run(ours, 2)
        before = copy.deepcopy(ours.state_dict())
        with pytest.raises(SparsifyError, match=f"^this is not a state of {kind.__name__}: its param"):
            ours.load_state_dict(theirs.state_dict())
        after = ours.state_dict()
        assert after["param_groups"] == before["param_groups"]
        for number, state in before["state"].items():
            assert all(torch.equal(value, after["state"][number][key]) for key, value in state.items())


def test_a_state_of_no_optimizer_says_so() -> None:
    weight = nn.Linear(2, 1)
    with pytest.raises(SparsifyError, match="this is not a state of SLBI: it has no state and param_groups"):
        SLBI(weight.parameters()).load_state_dict(weight.state_dict())


def test_a_state_of_another_network_says_so() -> None:
    one, other = (nn.Parameter(torch.ones(shape)) for shape in ((2, 3), (3, 2)))
    a, b = SLBI([one]), SLBI([other])
    one.grad = torch.ones(2, 3)
    a.step()
    with pytest.raises(SparsifyError, match=r"another network: .* of parameter 0 has the shape \(2, 3\), .* \(3, 2\)"):
        b.load_state_dict(a.state_dict())


def test_hooks_may_mend_a_state_before_it_is_looked_at_and_see_it_loaded() -> None:
    weight, loaded = nn.Parameter(torch.ones(2, 2, dtype=torch.bfloat16)), []
    optimizer = SLBI([weight])
    weight.grad = torch.full((2, 2), 0.3, dtype=torch.bfloat16)
    optimizer.step()
    state = optimizer.state_dict()
    state["state"] = {0: {"velocity" if key == "momentum_buffer" else key: t for key, t in state["state"][0].items()}}

    def rename(_: Any, given: dict[str, Any]) -> dict[str, Any]:
        found = {key.replace("velocity", "momentum_buffer"): value for key, value in given["state"][0].items()}
        return {**given, "state": {0: found}}

    fresh = SLBI([weight])
    with pytest.raises(SparsifyError, match="its parameters have velocity"):
        fresh.load_state_dict(state)
    fresh.register_load_state_dict_pre_hook(rename)
    fresh.register_load_state_dict_post_hook(lambda it: loaded.append(it.state[weight]["momentum_buffer"].dtype))
    fresh.load_state_dict(state)
    assert loaded == [torch.float32]
    assert torch.equal(fresh.state[weight]["z"], optimizer.state[weight]["z"])


@ALL
def test_a_learning_rate_that_is_a_tensor_is_that_number(kind: type[SelectingOptimizer]) -> None:
    one, other = Problem(), Problem()
    a = kind(one.parameters, **OPTIONS[kind])
    b = kind(other.parameters, **OPTIONS[kind] | {"lr": torch.tensor(OPTIONS[kind]["lr"], dtype=torch.float64)})
    for problem, optimizer in ((one, a), (other, b)):
        schedule = StepLR(optimizer, step_size=3)
        for _ in range(6):
            problem.run(optimizer, 1)
            schedule.step()
    for p, q in zip(one.parameters, other.parameters, strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=1e-7)


class TestNames:
    model = nn.Sequential(nn.Conv2d(1, 3, 2), nn.Flatten(), nn.Linear(4, 2))

    @ALL
    def test_support_sizes_and_penalty_go_by_the_names_of_parameters_and_modules(
        self, kind: type[SelectingOptimizer]
    ) -> None:
        model = copy.deepcopy(self.model)
        optimizer = kind(model.named_parameters(), **OPTIONS[kind])
        for p in model.parameters():
            p.grad = torch.ones_like(p)
        optimizer.step()
        for name, parameter in (("0", model[0].weight), ("2.weight", model[2].weight)):
            assert torch.equal(optimizer.support(name), optimizer.support(parameter))
            assert torch.equal(optimizer.sizes(name), optimizer.sizes(parameter))
            assert optimizer.penalty(name) == optimizer.penalty(parameter)
        assert (optimizer.penalty("0"), optimizer.penalty("2")) == ("filter", "weight")
        assert optimizer.penalty("2.bias") is None
        with pytest.raises(SparsifyError, match=r"'2\.bias' is not part of the optimizer's structure"):
            optimizer.support("2.bias")

    def test_gamma_goes_by_name(self) -> None:
        optimizer = SLBI(self.model.named_parameters())
        assert torch.equal(optimizer.gamma("0"), torch.zeros(3, 1, 2, 2))

    def test_an_unknown_name_lists_the_known_ones(self) -> None:
        optimizer = SLBI(self.model.named_parameters())
        with pytest.raises(SparsifyError, match=r"unknown parameter '2\.wait'; did you mean '2\.weight'\?"):
            optimizer.support("2.wait")

    def test_without_names_it_says_how_to_give_them(self) -> None:
        with pytest.raises(SparsifyError, match=r"SLBI knows no names, so not '0'; make it with model\.named_param"):
            SLBI(self.model.parameters()).support("0")

    @ALL
    def test_names_travel_with_the_state(self, kind: type[SelectingOptimizer]) -> None:
        optimizer, other = (kind(self.model.named_parameters()) for _ in range(2))
        state = optimizer.state_dict()
        assert state["param_groups"][0]["param_names"] == ["0.weight", "0.bias", "2.weight", "2.bias"]
        del state["param_groups"][0]["param_names"]
        other.load_state_dict(state)
        assert other.support("0").shape == (3,)
