"""Schedules: literal values."""

import pytest

from sparsify.optim.schedules import SCHEDULES


@pytest.mark.parametrize(
    ("name", "values"),  # at progress 0, 0.1, 0.2, 0.6 and just before the end
    [
        ("constant", (1, 1, 1, 1, 1)),
        ("step", (1, 1, 1, 1, 0.1)),
        ("cosine", (1, 0.97553, 0.90451, 0.34549, 0)),
        ("linear", (1, 0.9, 0.8, 0.4, 0)),
        ("one-cycle", (0.04, 0.52, 1, 0.5, 0)),
    ],
)
def test_values(name: str, values: tuple[float, ...]) -> None:
    progresses = (0, 0.1, 0.2, 0.6, 1 - 1e-9)
    assert [SCHEDULES[name](progress) for progress in progresses] == pytest.approx(values, abs=1e-5)


def test_every_schedule_is_tested() -> None:
    assert len(SCHEDULES) == 5
