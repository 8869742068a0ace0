"""How far losses and gradients spread: literal records."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sparsify.analysis.landscapes import along_gradient, over_runs
from sparsify.config import Config
from sparsify.drawing.landscape import landscape_figure
from sparsify.errors import SparsifyError
from sparsify.runs import Run
from sparsify.training.recording import FACTORS
from sparsify.viz import landscape


class Recorded(Run):
    """A run that recorded these values."""

    def __init__(self, config: Config, **values: Any) -> None:
        super().__init__(Path("runs") / config.name)
        object.__setattr__(
            self, "_kept", (config, {name.replace("_in_", "/"): value for name, value in values.items()})
        )

    config = property(lambda self: self._kept[0])  # type: ignore[assignment]
    records = property(lambda self: {name: torch.tensor(v) for name, v in self._kept[1].items()})  # type: ignore[assignment]


def recorded(loss: list[float], change: list[float], distance: list[float]) -> Run:
    config = Config(opt="sgd", record="loss,gradients")
    return Recorded(config, loss_in_loss=loss, gradients_in_change=change, gradients_in_distance=distance)


def test_the_spread_over_runs_is_of_the_steps_that_all_took_without_the_first() -> None:
    first = recorded([3.0, 2.0, 1.0], [0.0, 4.0, 6.0], [0.0, 2.0, 0.0])
    second = recorded([3.0, 5.0, 4.0, 9.0], [0.0, 1.0, 2.0, 9.0], [0.0, 4.0, 4.0, 9.0])
    spread = over_runs([first, second])
    assert spread.steps.tolist() == [2, 3]
    assert spread.loss.tolist() == [[2, 1], [5, 4]]
    assert spread.change.tolist() == [[4, 6], [1, 2]]
    np.testing.assert_array_equal(spread.smoothness, [[2, np.nan], [0.25, 0.5]])  # where nothing moved it is not known


def test_the_spread_along_the_gradient_is_over_the_factors() -> None:
    values: dict[str, Any] = {"step": [1, 5], "rate": [0.1, 0.2], "gradient": [2.0, 0.0], "start": [1.0, 1.0]}
    values |= {"loss": [[1.0] * len(FACTORS)] * 2, "change": [[0.4] * len(FACTORS)] * 2}
    run = Recorded(Config(opt="sgd", record="landscape"), **{f"landscape_in_{k}": v for k, v in values.items()})
    spread = along_gradient(run)
    assert spread.steps.tolist() == [1, 5]
    assert spread.loss.shape == (len(FACTORS), 2)
    # 0.4 over η‖g‖ = f · 0.1 · 2
    assert spread.smoothness[:, 0].tolist() == pytest.approx([2 / factor for factor in FACTORS])
    assert np.isnan(spread.smoothness[:, 1]).all()


def test_what_was_not_recorded_is_refused() -> None:
    run = Recorded(Config(opt="sgd"))
    with pytest.raises(SparsifyError, match="has no record of its losses and gradients; train it with --record"):
        over_runs([run])
    with pytest.raises(SparsifyError, match="has no record of its landscape; train it with --record landscape"):
        along_gradient(run)
    with pytest.raises(SparsifyError, match="no training recorded"):
        landscape_figure({"over": {}}, title="")


def test_a_band_reaches_from_the_least_to_the_largest() -> None:
    spread = over_runs([recorded([3.0, 2.0], [0.0, 4.0], [0.0, 2.0]), recorded([3.0, 5.0], [0.0, 1.0], [0.0, 4.0])])
    figure = landscape_figure({"over the learning rates": {"sgd": spread}}, title="LeNet")
    loss, change, smoothness = figure.axes
    assert [line.get_ydata().tolist() for line in loss.lines] == [[2], [5]]
    assert [line.get_ydata().tolist() for line in change.lines] == [[1], [4]]
    assert [line.get_ydata().tolist() for line in smoothness.lines] == [[2]]
    assert loss.get_title() == "Loss\nover the learning rates"


def test_one_run_beside_groups_of_several_has_no_spread_over_the_rates() -> None:
    one = recorded([3.0, 2.0], [0.0, 4.0], [0.0, 2.0])
    beside = landscape({"several": [one, one], "one": [one], "none": []}, title="LeNet")
    assert [line.get_label() for line in beside.axes[2].lines] == ["several"]
    alone = landscape({"one": [one], "none": []}, title="LeNet")
    assert [line.get_label() for line in alone.axes[2].lines] == ["one"]
