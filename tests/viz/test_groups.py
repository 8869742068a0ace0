"""Which trainings are one group of a figure: those that differ in the learning rate only."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from sparsify.config import Config
from sparsify.viz.trainings import by_rate


def grouped(*options: dict[str, Any]) -> dict[str, list[float | None]]:
    """The rates of each group of trainings with these options."""
    runs: list[Any] = [SimpleNamespace(config=Config(data="digits", **one)) for one in options]
    return {label: [run.config.lr for run in group] for label, group in by_rate(runs).items()}


def test_rates_are_one_group() -> None:
    sgd, adam = {"opt": "sgd"}, {"opt": "adam"}
    found = grouped(sgd | {"lr": 0.1}, adam | {"lr": 0.1}, sgd | {"lr": 0.2, "seed": 3, "record": "loss"})
    assert found == {"sgd": [0.1, 0.2], "adam": [0.1]}


def test_one_group_has_a_name_too() -> None:
    assert grouped({"opt": "sgd", "lr": 0.1}) == {"lenet, sgd": [0.1]}


def test_rates_with_one_path_are_one_group() -> None:
    """0.1·2 and 0.2·1 advance the path alike; a twelfth digit, as of 0.3·(0.2/0.3), is not another path."""
    slbi = [{"opt": "slbi", "lr": lr, "path_scale": scale} for lr, scale in ((0.1, 2), (0.2, 1), (0.3, 0.2 / 0.3))]
    assert grouped({"opt": "sgd", "lr": 0.1}, *slbi) == {"sgd": [0.1], "slbi": [0.1, 0.2, 0.3]}


def test_unlike_paths_are_groups_and_named_by_nothing_else() -> None:
    slbi = [{"opt": "slbi", "lr": lr, "path_scale": scale} for lr, scale in ((0.1, 1), (0.2, 1), (0.1, 5))]
    found = grouped(*slbi, {"opt": "sgd", "lr": 0.1})
    assert found == {"slbi, path scale 1": [0.1, 0.2], "slbi, path scale 5": [0.1], "sgd": [0.1]}
