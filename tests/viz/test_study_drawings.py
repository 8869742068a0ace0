"""What a study draws of schedules and of pictures, with the data where its places say."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from sparsify.config import Config, Places
from sparsify.data.registry import load_dataset
from sparsify.drawing.style import looks
from sparsify.errors import SparsifyError
from sparsify.pruning.measuring import prune
from sparsify.pruning.plan import SweepPlan
from sparsify.pruning.predicting import probabilities
from sparsify.pruning.subject import subject_of
from sparsify.study.design import Arm, Study
from sparsify.study.results import ArmResult, StudyResult
from sparsify.training.launch import train
from sparsify.viz.study import Drawing, study_drawings

SGD = {"opt": "sgd", "data": "digits", "batch_size": 128, "epochs": 2}
DECAYS = {"weight_decay": 0.5, "decay_schedule": "multi-step", "decay_schedule_options": "milestones=1,gamma=0.5"}
ARMS: dict[str, Config] = {
    "none": Config(**SGD, lr=1e-9, schedule="constant"),
    "constant": Config(**SGD, lr=0.02, schedule="constant"),
    "decaying": Config(**SGD, lr=0.02, schedule="constant", **DECAYS),
    "decaying too": Config(**SGD, lr=0.02, schedule="constant", momentum=0.5, **DECAYS),
    "halved": Config(**(SGD | {"batch_size": 256}), schedule="step-lr", schedule_options="step_size=1,gamma=0.5"),
}


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    folder = tmp_path_factory.mktemp("runs")
    runs = {label: train(config, device="cpu", runs_dir=folder) for label, config in ARMS.items()}
    study = Study("made", "Made", tuple(Arm(label, (config,)) for label, config in ARMS.items()), ())
    return StudyResult(study, tuple(ArmResult(label, (run,), ()) for label, run in runs.items()), folder)


def drawn(result: StudyResult, *draw: str, places: Places | None = None) -> dict[str, Drawing]:
    asked = dataclasses.replace(result, study=dataclasses.replace(result.study, draw=draw))
    return {one.name: one for one in study_drawings(asked, places or Places(device="cpu"))}


def panels(drawing: Drawing) -> dict[str, tuple[list[float], list[float]]]:
    """The values of each panel and the epochs between which they are, by its title."""
    found = {}
    for axis in drawing.figure.axes:
        values, edges, _ = axis.patches[0].get_data()
        found[axis.get_title()] = (list(values), list(edges))
    return found


def test_the_rates_of_arms_are_drawn_once_each_with_its_own_steps(result: StudyResult) -> None:
    drawings = drawn(result, "schedules")
    assert list(drawings) == ["rates", "decays"]
    rates = panels(drawings["rates"])
    assert list(rates) == ["none", "constant and 2 more", "halved"]
    assert rates["constant and 2 more"][0] == [0.02] * 24
    assert rates["halved"][0] == [0.02] * 6 + [0.01] * 6
    assert rates["halved"][1] == pytest.approx(np.arange(13) / 6)
    assert "The same of: constant; decaying; decaying too." in drawings["rates"].caption
    decays = panels(drawings["decays"])
    assert decays == {"decaying and 1 more": ([0.5, 0.25], [0, 1, 2])}
    assert [axis.get_ylabel() for axis in drawings["decays"].figure.axes] == ["weight decay"]


def test_decays_that_stay_are_not_drawn(result: StudyResult) -> None:
    assert list(drawn(dataclasses.replace(result, arms=result.arms[:2]), "schedules")) == ["rates"]


def test_the_pictures_are_those_of_the_most_accurate_arm(result: StudyResult) -> None:
    """Of DIGITS, whose first panel is the most confident error."""
    best = max(result.arms, key=lambda arm: arm.runs[0].summary["accuracy"])
    assert best.label != "none"
    (drawing,) = drawn(result, "predictions").values()
    assert drawing.section == "predictions"
    assert f"the answers of {best.label}, the arm with the highest accuracy, seed 0" in drawing.caption
    test = load_dataset("digits").test
    found = probabilities(subject_of(best.runs[0], Places(device="cpu")), test.images)
    confidence, answers = found.max(1)
    first = int(torch.where(answers != test.labels, confidence, 0).argmax())
    said = f"{test.labels[first]},\nnot {answers[first]}\n{confidence[first]:.1%}"
    assert drawing.figure.axes[0].get_title() == said
    shown = np.asarray(drawing.figure.axes[0].images[0].get_array())
    assert np.array_equal(shown, test.images[first, 0].numpy())
    assert len([axis for axis in drawing.figure.axes if axis.images]) == 32


def test_the_pictures_are_looked_for_where_the_data_is(result: StudyResult, tmp_path: Path) -> None:
    with pytest.raises(SparsifyError, match="is not a folder"):
        drawn(result, "predictions", places=Places(device="cpu", data_dir=tmp_path / "nowhere"))


def test_usual_drawings_have_neither(result: StudyResult) -> None:
    assert not {"rates", "decays", "predictions"} & set(drawn(result, "curves"))


def test_an_arm_has_one_look_in_all_figures_of_a_study(tmp_path: Path) -> None:
    """The second of two arms: the first neither recorded anything nor was swept, and is drawn in the curves alone."""
    data = {"data": "digits", "batch_size": 128, "epochs": 1}
    configs = {"first": Config(opt="sgd", **data), "second": Config(opt="adam", record="loss,gradients", **data)}
    runs = {label: train(config, device="cpu", runs_dir=tmp_path) for label, config in configs.items()}
    plan = SweepPlan(layers=("conv3",), ratios=(0.0, 0.5))
    swept = prune(runs["second"], plan, device="cpu")
    arms = (ArmResult("first", (runs["first"],), ((),)), ArmResult("second", (runs["second"],), ((swept,),)))
    designed = tuple(Arm(label, (config,)) for label, config in configs.items())
    result = StudyResult(Study("made", "Made", designed, (plan,), swept=(("second",),)), arms, tmp_path)
    found = drawn(result, "curves", "losses", "landscape", "sweep")
    first, second = (look["color"] for look in looks(configs).values())
    colours = {
        name: {first, second} & {line.get_color() for axis in one.figure.axes for line in axis.lines}
        for name, one in found.items()
    }
    assert colours.pop("curves") == {first, second}
    assert found["losses"].caption.endswith("each point the mean of 10 steps.")
    assert found["losses"].figure.axes[0].get_ylabel().endswith("mean of 10 steps")
    assert list(colours) == ["losses", "landscape", "sweep", "compression", "speedup", "classes-1-1"]
    assert all(one == {second} for one in colours.values())
