"""The structures with which a study is planned: of all that images are resized for, only the shape counts."""

import dataclasses

import pytest

from sparsify.config import Config
from sparsify.data import resizing
from sparsify.study.design import Arm, Study
from sparsify.study.structures import structures_of


def test_one_image_of_each_split_is_resized_for_a_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    before = resizing._resized

    def counted(images, size):
        seen.append((len(images), size))
        return before(images, size)

    monkeypatch.setattr(resizing, "_resized", counted)
    config = Config(model="convnet", data="digits", opt="sgd", resize=40)
    arms = (Arm("plain", (dataclasses.replace(config, resize=None),)), Arm("large", (config,)))
    found = structures_of(Study("made", "Made", arms, ()))
    assert seen == [(1, 40), (1, 40)]
    inputs = {label: structure.model.get_parameter("conv1.weight").shape[1] for label, structure in found.items()}
    assert inputs == {"plain": 1, "large": 1}
    macs = {label: structure.remove([])[1].macs for label, structure in found.items()}
    assert macs["large"] > macs["plain"]
