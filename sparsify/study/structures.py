"""The structures of a study's networks, with which its sweeps are planned before anything is trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from sparsify.config import Config
from sparsify.data.dataset import Dataset
from sparsify.data.resizing import resized
from sparsify.nets.structure import Structure
from sparsify.study.design import Study
from sparsify.training.starting import build, dataset_of

Structures = Mapping[str, Structure]
"""The structure of each arm's untrained network, by the arm's label; arms with the same network and data share it."""


DataOf = Callable[[Config, Path | str | None], Dataset]
"""Gives the data set of a Config, as `dataset_of` does, with a folder that is searched first."""


def structures_of(study: Study, data_dir: Path | str | None = None, data: DataOf = dataset_of) -> Structures:
    """Return the structure of each arm's untrained network. Each network is built once for images of one shape."""
    built: dict[Config, Structure] = {}
    found = {}
    for arm in study.arms:
        first = arm.configs[0]
        # nothing else changes the structure, and no trained weights are fetched for it
        config = Config(model=first.model, net=first.net, data=first.data, resize=first.resize)
        if config not in built:
            dataset = _one_image_of_each_split(config, data_dir, data)
            built[config] = Structure(build(config, dataset), torch.zeros(1, *dataset.shape))
        found[arm.label] = built[config]
    return found


def _one_image_of_each_split(config: Config, data_dir: Path | str | None, data: DataOf) -> Dataset:
    """The Config's data set as far as a network's shapes depend on it; resizing all images would take minutes."""
    whole = data(dataclasses.replace(config, resize=None), data_dir)
    few = dataclasses.replace(whole, train=whole.train[:1], test=whole.test[:1])
    return few if config.resize is None else resized(few, config.resize)
