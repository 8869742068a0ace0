"""The entries of OPTIMIZERS: what figures and studies read of them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sparsify.config import Config
from sparsify.optim.registry import OPTIMIZERS


def test_colours_stay_and_no_two_optimizers_share_one() -> None:
    assert {name: spec.colour for name, spec in OPTIMIZERS.items()} == {
        "sgd": 0,
        "sgd-pull": 1,
        "slbi": 2,
        "slbi-adam": 3,
        "linbreg": 4,
        "adabreg": 5,
        "prox-sgd": 6,
        "adam": 7,
        "adamw": 8,
        "rmsprop": 9,
        "adagrad": 10,
        "adadelta": 11,
        "adamax": 12,
        "nadam": 13,
        "radam": 14,
        "adafactor": 15,
        "asgd": 16,
        "rprop": 17,
        "adam-pull": 18,
        "random-release": 19,
        "slimming": 20,
    }


def test_a_control_takes_the_same_options_and_does_not_select() -> None:
    controls = {name: spec.control for name, spec in OPTIMIZERS.items() if spec.control is not None}
    assert controls == {"slbi": "sgd-pull", "slbi-adam": "adam-pull"}
    for name, control in controls.items():
        assert OPTIMIZERS[name].selects
        assert not OPTIMIZERS[control].selects
        assert OPTIMIZERS[name].defaults == OPTIMIZERS[control].defaults
        assert OPTIMIZERS[name].settings() == OPTIMIZERS[control].settings()


DECAYED = {
    "sgd": 1.9,  # 2 − 0.5·0.1·2
    "sgd-pull": 1.85,  # and 0.5/20·2 less: the pull towards Γ = 0
    "slbi": 1.85,
    "slbi-adam": 0.9,  # its path is 20 times as fast, and so is the pull
    "adam-pull": 0.9,
    "random-release": 1.85,
    "linbreg": 1.99,  # a tenth of 0.5·0.1·2, as the momentum has it; v − λ = 2 − 0.01
    "adabreg": 1.9,
    "prox-sgd": 1.8985,  # and 0.5/(1 − 0.9)·0.0003 less: the lasso's threshold
}
"""A weight of 2 after the first step at α = 0.5 with a weight decay of 0.1, where the loss has no gradient."""


def test_those_of_torch_that_take_weight_decay_are_held_to_torch_itself() -> None:
    assert {opt for opt in DECAYED if OPTIMIZERS[opt].settings()} == {"sgd", "slbi-adam", "adam-pull"}
    assert all(spec.settings() for opt, spec in OPTIMIZERS.items() if opt not in DECAYED)


@pytest.mark.parametrize("opt", DECAYED)
def test_weight_decay_reaches_every_optimizer(opt: str) -> None:
    model = nn.Linear(1, 1)
    for p, value in ((model.weight, 2.0), (model.bias, 1.0)):
        p.data.fill_(value)
        p.grad = torch.zeros_like(p)
    OPTIMIZERS[opt].build(model, Config(opt=opt, lr=0.5, weight_decay=0.1)).step()
    assert model.weight.item() == pytest.approx(DECAYED[opt], abs=1e-6)
    assert model.bias.item() == 1  # only weights of two or more dimensions decay


@pytest.mark.parametrize("opt", DECAYED)
def test_a_run_from_before_an_optimizer_took_weight_decay_keeps_its_name(opt: str) -> None:
    """Its config.json has null there; it was trained without."""
    config = Config(opt=opt, lr=0.5)
    before = Config.from_dict({**config.to_dict(), "weight_decay": None})
    assert before == config == Config(opt=opt, lr=0.5, weight_decay=0)
    assert before.name == config.name != Config(opt=opt, lr=0.5, weight_decay=0.1).name
