"""Studies made small: what is changed, and that one of them runs."""

import dataclasses
from pathlib import Path

import pytest

from sparsify.nets.layers import find_sets
from sparsify.nets.registry import network_spec
from sparsify.settings import values_of
from sparsify.study.running import run_study
from sparsify.study.smoke import NARROW, smoke
from sparsify.study.structures import structures_of
from sparsify.study.toml import built_in_studies, load_study
from sparsify.viz.study import study_drawings


@pytest.mark.parametrize("name", built_in_studies())
def test_every_study_is_made_small_and_needs_no_files(name: str) -> None:
    whole, small = load_study(name), smoke(load_study(name))
    assert small.name == f"{name}-smoke"
    assert small.title == f"{whole.title} (smoke)"
    assert [arm.label for arm in small.arms] == [arm.label for arm in whole.arms]
    assert small.sweeps == whole.sweeps
    data = {config.data for arm in small.arms for config in arm.configs}
    assert len(data) == 1
    assert data <= {"digits", "colour-digits"}
    for arm in small.arms:
        (config,) = arm.configs
        assert arm.published is None
        assert (config.epochs, config.pretrained) == (1, False)
        values = values_of("--net", config.model, config.net, network_spec(config.model).settings)
        assert {name: values[name] for name in NARROW if name in values}.items() <= NARROW.items()


@pytest.mark.parametrize("name", built_in_studies())
def test_no_study_sweeps_an_output_layer_and_the_larger_set_holds_the_smaller(name: str) -> None:
    """Else a set of layers means one thing in one arm and another in the next."""
    small = smoke(load_study(name))
    for label, structure in structures_of(small).items():
        for plan in small.sweeps:
            asked = list(plan.layers)
            sets = find_sets(structure.model, asked, label, lambda found=structure: found.left_out("neuron"))
            layers = [{layer.name for layer in one.values()} for one in sets.values()]
            assert not set.union(*layers) & structure.left_out("neuron").keys(), label
            assert layers[0] <= layers[-1]


def test_the_candidates_of_a_choice_are_small_too() -> None:
    arms = smoke(load_study("lenet-control")).arms
    candidates = [one for arm in arms if arm.choice is not None for one in arm.choice.candidates]
    configs = [config for one in candidates for config in (*one.trials, *one.configs)]
    assert {(config.data, config.epochs) for config in configs} == {("digits", 1)}
    assert {config.val for config in configs} == {0.1, 0.0}


@pytest.mark.filterwarnings("ignore:the path may be too short")
def test_a_small_study_runs(tmp_path: Path) -> None:
    study = smoke(load_study("bn-landscape"))
    few = dataclasses.replace(
        study, arms=study.arms[:11:5], contrasts=()
    )  # VGG-A without and with BatchNorm, and DessiLBI
    result = run_study(few, device="cpu", runs_dir=tmp_path)
    assert [len(arm.finished) for arm in result.arms] == [1] * 3
    (drawing,) = (one for one in study_drawings(result) if one.name == "landscape")
    assert [text.get_text() for text in drawing.figure.legends[0].texts] == [
        "vgg-a, sgd",
        "vgg-a-bn, sgd",
        "vgg-a-bn, slbi",
    ]
    assert all(len(arm.sweeps[0][0].table()) == 14 for arm in result.arms)
    assert {name.partition("/")[0] for name in result.arms[0].runs[0].records} == {"loss", "gradients", "landscape"}
