"""The entries of OPTIMIZERS: what figures and studies read of them."""

from __future__ import annotations

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
    }


def test_a_control_takes_the_same_options_and_does_not_select() -> None:
    controls = {name: spec.control for name, spec in OPTIMIZERS.items() if spec.control is not None}
    assert controls == {"slbi": "sgd-pull"}
    for name, control in controls.items():
        assert OPTIMIZERS[name].selects
        assert not OPTIMIZERS[control].selects
        assert OPTIMIZERS[name].defaults == OPTIMIZERS[control].defaults
