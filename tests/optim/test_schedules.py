"""Schedules: literal values."""

import pytest

from sparsify.optim.schedules import SCHEDULES, Steps, learning_rates


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
    assert len(SCHEDULES) == 5
