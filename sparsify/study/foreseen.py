"""What a study will fetch, and its plan without that: what is not on the disk is stood in for, nothing is fetched."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from sparsify.config import HERE, Config, Places
from sparsify.data.dataset import Dataset, stand_in
from sparsify.data.places import Download
from sparsify.data.registry import to_download
from sparsify.study.design import Study
from sparsify.study.planning import Planner, with_auto
from sparsify.training.starting import dataset_of


def data_or_stand_in(config: Config, data_dir: Path | str | None = None) -> Dataset:
    """Return the Config's data set as `dataset_of` does, or what stands in for it if it would be fetched."""
    download = to_download(config.data, data_dir)
    if download is None:
        return dataset_of(config, data_dir)
    found = stand_in(config.data, download, config.resize)
    return found if config.normalise else dataclasses.replace(found, normalise=found.normalise.off)


def foreseen(study: Study, places: Places = HERE) -> tuple[Planner, dict[str, Download]]:
    """Return a planner that fetches nothing, and what a run of the study fetches, by the names of data sets.

    "auto" is mnist: whether that can be fetched is not tried. Raises SparsifyError as `Planner` does.
    """
    study = with_auto(study, "mnist")
    names = dict.fromkeys(config.data for arm in study.arms for config in arm.configs)
    found = {name: to_download(name, places.data_dir) for name in names}
    return Planner(study, places, data_or_stand_in), {name: one for name, one in found.items() if one is not None}
