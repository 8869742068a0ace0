"""Figures that need no run: the rates of schedules, and the paths of optimizers on a valley."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sparsify import viz
from sparsify.drawing.schedules import schedules_figure
from sparsify.drawing.style import looks
from sparsify.drawing.valley import MINIMUM, START, Walk, beale, valley_figure
from sparsify.errors import SparsifyError
from sparsify.optim.registry import OPTIMIZERS
from sparsify.optim.schedules import SCHEDULES


def drawn(axis: Axes) -> np.ndarray:
    """The rates of a panel, one a step."""
    (patch,) = axis.patches
    return patch.get_data().values


def panels(figure: Figure) -> dict[str, np.ndarray]:
    return {axis.get_title(): drawn(axis) for axis in figure.axes}


def test_every_schedule_has_a_panel_unless_some_are_named() -> None:
    assert list(panels(viz.schedule(steps_per_epoch=2))) == list(SCHEDULES)
    assert list(panels(viz.schedule("linear, step"))) == ["linear", "step"]
    assert list(panels(viz.schedule(["step", "step"]))) == ["step"]


def test_the_rates_of_a_schedule_are_drawn_over_its_epochs() -> None:
    figure = viz.schedule("linear", lr=0.5, epochs=2, steps_per_epoch=2)
    (axis,) = figure.axes
    assert drawn(axis).tolist() == [0.5, 0.375, 0.25, 0.125]
    assert axis.patches[0].get_data().edges.tolist() == [0, 0.5, 1, 1.5, 2]
    assert figure.get_suptitle() == "Learning rate over 2 epochs of 2 steps, α = 0.5"


def test_an_option_goes_to_the_schedules_that_have_it() -> None:
    figure = viz.schedule("step-lr,exponential,cosine", options="gamma=0.5,step_size=1", epochs=3, steps_per_epoch=1)
    assert list(panels(figure)) == ["step-lr,\nstep_size=1,gamma=0.5", "exponential, gamma=0.5", "cosine"]
    assert [values.tolist()[:3] for values in panels(figure).values()][:2] == [[1, 0.5, 0.25]] * 2


def test_of_very_many_steps_only_so_many_are_drawn() -> None:
    """matplotlib takes a minute for a few hundred thousand."""
    (axis,) = viz.schedule("step-lr", options="step_size=10", epochs=100, steps_per_epoch=301).axes
    (stairs,) = axis.patches
    values, edges, _ = stairs.get_data()
    assert 1_000 < len(values) <= 2_000
    assert (edges[0], edges[-1], values[0]) == (0, 100, 1.0)
    dropped = edges[1:-1][values[1:] < values[:-1]]
    assert dropped == pytest.approx(np.arange(10, 100, 10), abs=0.06), "within the steps that are left out"


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({"names": "cosin"}, "unknown schedule 'cosin'; did you mean 'cosine'? choose from: constant, step"),
        (
            {"names": "cosine,step-lr", "options": "T_0=3"},
            "unknown option of cosine, step-lr 'T_0' in --schedule-options",
        ),
        (
            {"names": "step-lr", "options": "gamma=-1"},
            "--schedule-options gamma is -1; it must be a number of at least 0",
        ),
        ({"lr": 0.0}, "--lr is 0; it must be above 0"),
        ({"epochs": 0}, "--epochs is 0"),
        (
            {"steps_per_epoch": 0},
            "--steps-per-epoch is 0; with --epochs 20 it must give 1 to 153,846 steps for each of 13",
        ),
        (
            {"names": "cosine", "steps_per_epoch": 1_000_000},
            "--steps-per-epoch is 1000000; with --epochs 20 it must give 1 to 2,000,000 steps",
        ),
        (
            {"names": "exponential", "options": "gamma=1e200"},
            "--schedule-options gamma=1e+200: the rates of exponential are not",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused(asked: dict[str, object], error: str) -> None:
    with pytest.raises(SparsifyError) as refused:
        viz.schedule(**asked)  # type: ignore[arg-type]
    assert str(refused.value).startswith(error)


def test_the_valley_has_its_minimum_where_it_is_marked() -> None:
    place = torch.tensor(MINIMUM, dtype=torch.float64, requires_grad=True)
    value = beale(*place)
    value.backward()
    assert value.item() == 0
    assert place.grad is not None
    assert place.grad.tolist() == [0, 0]
    assert beale(*torch.tensor([0.0, 0.0])).item() == pytest.approx(1.5**2 + 2.25**2 + 2.625**2)


def lines(figure: Figure) -> dict[str, np.ndarray]:
    return {str(line.get_label()): line.get_xydata() for axis in figure.axes for line in axis.lines}


@pytest.fixture(scope="module")
def every() -> Figure:
    return viz.optimizers()


def test_every_optimizer_has_its_path_and_comes_near_the_minimum(every: Figure) -> None:
    names = [label.split()[0] for label in lines(every) if label[-1].isdigit()]
    assert sorted(names) == sorted(OPTIMIZERS.keys() - {"random-release", "slimming"})
    for label, path in lines(every).items():
        if label[-1].isdigit():
            assert path[0].tolist() == list(START)
            assert len(path) == 251
            assert np.linalg.norm(path[-1] - MINIMUM) < 0.7, label  # sgd-pull and prox-sgd end before it


def test_gamma_starts_at_0_and_the_larger_weight_enters_first(every: Figure) -> None:
    paths = {label: path for label, path in lines(every).items() if label.endswith("Γ")}
    assert list(paths) == ["slbi: Γ", "slbi-adam: Γ"]
    for path in paths.values():
        entered = [int(np.flatnonzero(path[:, weight])[0]) for weight in (0, 1)]
        assert 0 < entered[0] < entered[1]
        assert path[-1, 0] > path[-1, 1] > 0


def test_few_paths_are_in_one_panel_and_look_as_everywhere() -> None:
    figure = viz.optimizers("sgd,adam,slbi", steps=3, lr=0.01)
    (axis,) = figure.axes
    assert list(lines(figure)) == ["sgd 0.01", "adam 0.01", "slbi 0.01", "slbi: Γ", "start", "minimum"]
    assert [line.get_color() for line in axis.lines[:2]] == [looks([opt])[opt]["color"] for opt in ("sgd", "adam")]
    assert axis.lines[0].get_xydata()[1].tolist() != axis.lines[1].get_xydata()[1].tolist()


def test_a_path_that_leaves_all_bounds_ends_there() -> None:
    path = lines(viz.optimizers("sgd", lr=1.0))["sgd 1"]
    assert len(path) < 20
    assert np.isfinite(path).all()


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({"names": "adams"}, "unknown optimizer 'adams'; did you mean 'adam'?"),
        ({"names": "sgd", "steps": 0}, "--steps is 0; it must be from 1 to 35,000"),
        ({"names": "sgd,adam", "steps": 20_000}, "--steps is 20000; it must be from 1 to 17,500 for each of 2 opt"),
        ({"lr": -1.0}, "--lr is -1; it must be above 0"),
        ({"names": "slbi", "lr": 0.0}, "--lr is 0; it must be above 0"),
    ],
)
def test_what_cannot_be_walked_is_refused(asked: dict[str, object], error: str) -> None:
    with pytest.raises(SparsifyError) as refused:
        viz.optimizers(**asked)  # type: ignore[arg-type]
    assert str(refused.value).startswith(error)


def test_figures_of_nothing_are_refused() -> None:
    with pytest.raises(SparsifyError, match="no schedule to draw"):
        schedules_figure({}, per_epoch={}, title="")
    with pytest.raises(SparsifyError, match="no optimizer to draw"):
        valley_figure({"": {}}, title="")


def test_what_takes_few_steps_has_the_marks_that_it_reaches() -> None:
    walk = Walk(0.1, np.array([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]]))
    (axis,) = valley_figure({"": {"mine": walk}}, title="").axes
    assert axis.lines[0].get_markevery() == [2]
