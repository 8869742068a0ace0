"""Schedules: literal values, formulas, and torch's own schedulers in a loop as its documentation has it."""

import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import Optimizer, lr_scheduler

from sparsify import Config
from sparsify.errors import SparsifyError
from sparsify.optim.schedules import SCHEDULES, decay_factors, learning_rates
from sparsify.optim.spec import Steps


@pytest.mark.parametrize(
    ("name", "values"),  # at progress 0, 0.1, 0.2, 0.6 and in the last of 10,000 steps
    [
        ("constant", (1, 1, 1, 1, 1)),
        ("step", (1, 1, 1, 1, 0.1)),
        ("cosine", (1, 0.97553, 0.90451, 0.34549, 0)),
        ("linear", (1, 0.9, 0.8, 0.4, 0)),
        ("one-cycle", (0.04, 0.52, 1, 0.5, 0)),
    ],
)
def test_values(name: str, values: tuple[float, ...]) -> None:
    rates = learning_rates(name, 2.0, Steps(10, 1000))
    assert len(rates) == 10_000
    assert rates[[0, 1000, 2000, 6000, 9999]] == pytest.approx([2 * value for value in values], abs=1e-3)


def test_every_schedule_is_tested() -> None:
    without = {"constant", "step", "cosine", "linear", "one-cycle"}
    assert set(SCHEDULES) == without | set(OF_TORCH) | {"noam", "sgdr", "cosine-restarts"}


STEPS = Steps(6, 2)
ALPHA = 0.5


def rates(name: str, options: str = "") -> list[float]:
    return list(learning_rates(name, ALPHA, STEPS, options))


def of_epochs(values: list[float]) -> list[float]:
    """The rate of each step, of factors of α that stay for an epoch."""
    return [ALPHA * value for value in values for _ in range(STEPS.per_epoch)]


def cosine(part: float) -> float:
    return (1 + math.cos(math.pi * part)) / 2


@pytest.mark.parametrize(
    ("name", "options", "values"),
    [
        ("step-lr", "step_size=2,gamma=0.5", of_epochs([1, 1, 0.5, 0.5, 0.25, 0.25])),
        ("step-lr", "", of_epochs([1] * 6)),
        ("multi-step", "milestones=1+4", of_epochs([1, 0.1, 0.1, 0.1, 0.01, 0.01])),
        ("multi-step", "milestones=5", of_epochs([1, 1, 1, 1, 1, 0.1])),
        ("exponential", "gamma=0.5", of_epochs([1, 0.5, 0.25, 0.125, 0.0625, 0.03125])),
        ("polynomial", "", [ALPHA * (1 - s / 12) for s in range(12)]),
        ("polynomial", "power=2", [ALPHA * (1 - s / 12) ** 2 for s in range(12)]),
        ("cosine-restarts", "T_0=2", [ALPHA * cosine(s % 4 / 4) for s in range(12)]),
        (
            "cosine-restarts",
            "T_0=2,T_mult=2,eta_min=0.1",
            [0.1 + 0.4 * cosine(s / 4 if s < 4 else (s - 4) / 8) for s in range(12)],
        ),
        ("cyclic", "step_size_up=3,top=4", [ALPHA * f for f in (1, 2, 3, 4, 3, 2, 1, 2, 3, 4, 3, 2)]),
        ("cyclic", "step_size_up=2,top=3,mode=triangular2", [ALPHA * f for f in (1, 2, 3, 2, 1, 1.5, 2, 1.5, 1)]),
        ("sgdr", "restarts=1+3", [ALPHA * f for f in (1, 0.5, *(cosine(s / 4) for s in range(4)))]),
        ("sgdr", "restarts=3+1", [ALPHA * f for f in (1, 0.5, *(cosine(s / 4) for s in range(4)))]),
        ("sgdr", "restarts=9,eta_min=0.1", [0.1 + 0.4 * cosine(s / 12) for s in range(12)]),
        ("noam", "dimension=4,warmup=4", [ALPHA / 2 * min(s**-0.5, s / 8) for s in range(1, 13)]),
    ],
)
def test_values_of_schedules_with_options(name: str, options: str, values: list[float]) -> None:
    """Each by its formula, of 6 epochs of 2 steps."""
    assert rates(name, options)[: len(values)] == pytest.approx(values)
    assert len(rates(name, options)) == STEPS.total


def test_noam_is_highest_at_the_end_of_its_warm_up() -> None:
    found = learning_rates("noam", 1.0, Steps(10, 1000), "dimension=256")
    assert found.argmax() == 3999
    assert found.max() == pytest.approx(1 / math.sqrt(256 * 4000))


OF_TORCH: dict[str, tuple[str, Callable[[Optimizer], Any], bool]] = {
    "step-lr": ("step_size=2,gamma=0.3", lambda o: lr_scheduler.StepLR(o, 2, 0.3), False),
    "multi-step": ("milestones=1+2+5", lambda o: lr_scheduler.MultiStepLR(o, [1, 2, 5]), False),
    "exponential": ("gamma=0.7", lambda o: lr_scheduler.ExponentialLR(o, 0.7), False),
    "polynomial": ("power=0.9", lambda o: lr_scheduler.PolynomialLR(o, STEPS.total, 0.9), True),
    "cyclic": (
        "top=3,step_size_up=5,mode=exp_range,gamma=0.9",
        lambda o: lr_scheduler.CyclicLR(o, ALPHA, 3 * ALPHA, 5, mode="exp_range", gamma=0.9, cycle_momentum=False),
        True,
    ),
}


@pytest.mark.parametrize("name", OF_TORCH)
def test_the_rates_are_those_of_a_training_with_the_scheduler(name: str) -> None:
    options, make, every_step = OF_TORCH[name]
    optimizer = torch.optim.SGD([torch.zeros(2, requires_grad=True)], ALPHA)
    scheduler = make(optimizer)
    found = []
    for _ in range(STEPS.epochs):
        for _ in range(STEPS.per_epoch):
            optimizer.step()
            found.append(optimizer.param_groups[0]["lr"])
            if every_step:
                scheduler.step()
        if not every_step:
            scheduler.step()
    assert rates(name, options) == found


@pytest.mark.parametrize(
    ("name", "options", "error"),
    [
        ("cosine", "T_0=2", "--schedule-options T_0: cosine has no options"),
        (
            "step-lr",
            "every=2",
            "unknown option of step-lr 'every' in --schedule-options; choose from: step_size, ",
        ),
        ("step-lr", "step_size=0", "--schedule-options step_size is 0; it must be a whole number of at least 1"),
        (
            "multi-step",
            "milestones=1+0",
            "--schedule-options milestones is 1+0; it must be one or more whole numbers",
        ),
        (
            "sgdr",
            "restarts=9999999",
            "--schedule-options restarts is 9999999; it must be one or more whole numbers",
        ),
        ("exponential", "gamma=-1", "--schedule-options gamma is -1; it must be a number of at least 0"),
        ("cyclic", "mode=square", "--schedule-options mode is square; it must be one of triangular, triangular2, exp_"),
        ("cyclic", "top=0", "--schedule-options top is 0; it must be a number above 0"),
        (
            "polynomial",
            "total_iters=3",
            "unknown option of polynomial 'total_iters' in --schedule-options; choose from",
        ),
        ("noam", "warmup=0.5", "--schedule-options warmup is 0.5; it must be a whole number of at least 1"),
    ],
)
def test_what_a_schedule_does_not_take_is_refused_by_the_config(name: str, options: str, error: str) -> None:
    with pytest.raises(SparsifyError) as refused:
        Config(opt="sgd", schedule=name, schedule_options=options)
    assert str(refused.value).startswith(error)


def test_a_config_without_options_of_its_schedule_needs_no_torch() -> None:
    code = "import sys; from sparsify import Config; Config(schedule='step-lr').digest(); print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == "False\n"


def test_restarts_behind_the_end_do_not_count() -> None:
    rates = learning_rates("sgdr", 1.0, Steps(20, 100), "restarts=10+30")
    assert rates[999] == pytest.approx(0, abs=1e-4)
    assert rates[1000] == 1
    assert rates[-1] == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("options", ["mode=exp_range,gamma=10", "mode=exp_range,gamma=1e10"])
def test_rates_that_no_number_holds_are_refused(options: str) -> None:
    with pytest.raises(SparsifyError, match=r"^--schedule-options .*(not finite|gamma is 1e10; it must be )"):
        learning_rates("cyclic", 1.0, Steps(10, 500), options)


@pytest.mark.parametrize(
    ("name", "options", "values"),  # of 6 epochs of 2 steps
    [
        ("constant", "", [1, 1, 1, 1, 1, 1]),
        ("multi-step", "milestones=1+4,gamma=0.5", [1, 0.5, 0.5, 0.5, 0.25, 0.25]),
        ("cosine", "", [cosine(e / 6) for e in range(6)]),
        ("sgdr", "restarts=2,eta_min=0.1", [0.1 + 0.9 * f for f in (1, 0.5, 1, cosine(1 / 4), 0.5, cosine(3 / 4))]),
        ("noam", "dimension=1,warmup=4", [1 / 8, 3 / 8, 5**-0.5, 7**-0.5, 9**-0.5, 11**-0.5]),  # counted in steps
    ],
)
def test_factors_of_the_weight_decay_are_a_schedules_at_the_first_step_of_each_epoch(
    name: str, options: str, values: list[float]
) -> None:
    assert list(decay_factors(name, STEPS, options)) == pytest.approx(values)


def test_factors_that_no_number_holds_are_refused_by_their_own_flag() -> None:
    error = r"^--decay-schedule-options gamma=1e6: the factors of exponential are not finite"
    with pytest.raises(SparsifyError, match=error):
        decay_factors("exponential", Steps(100, 1), "gamma=1e6")
