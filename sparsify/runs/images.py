"""Folders of images: a run's files name them without their place, which stays on the machine that trained it."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path

from sparsify.config import Config, without_place
from sparsify.data.places import Roots
from sparsify.data.registry import FOLDER
from sparsify.errors import SparsifyError, SparsifyWarning
from sparsify.files import regular, write_text


def shared(config: Config) -> dict[str, object]:
    """The values of a Config as its run's files and reports show them, each `without_place`."""
    return {name: without_place(name, value) for name, value in config.to_dict().items()}


def remember(config: Config, images_sha256: str | None) -> None:
    """Note in the user's cache folder where the images with this SHA-256 sum are, if they are a folder's.

    Warns (SparsifyWarning) if that is not possible: commands on the run will then ask for --data-dir.
    """
    if images_sha256 is None or not config.data.startswith(FOLDER):
        return
    known, path = remembered(images_sha256), config.data.removeprefix(FOLDER)
    if path in known or "\n" in path:
        return
    try:
        write_text(_note(images_sha256), "".join(f"{one}\n" for one in (path, *known)))
    except OSError as error:
        warnings.warn(
            f"where {path} is could not be noted ({error.strerror}: {error.filename}); sweeps of the run take "
            f"--data-dir {Path(path).parent}",
            SparsifyWarning,
            stacklevel=2,
        )


def remembered(images_sha256: str) -> list[str]:
    """The folders that had images with this SHA-256 sum, the last one first."""
    try:
        return regular(_note(images_sha256)).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError, SparsifyError):
        return []  # a cache: what is lost is asked for


def _note(images_sha256: str) -> Path:
    return Roots.of().cache / "folders" / f"{images_sha256[:32]}.txt"


def config_here(config: Config, data_dir: Path | str | None = None) -> Config:
    """The Config with its folder of images where it is: at its path, or by its name in a folder that is searched.

    Those are the current folder, `data_dir`, $SPARSIFY_DATA and the cache. What is found by its name must be compared
    with the images' sum. Raises SparsifyError if it is nowhere.
    """
    path = Path(config.data.removeprefix(FOLDER))
    if not config.data.startswith(FOLDER) or path.is_dir():
        return config
    searched = [Path.cwd(), *Roots.of(data_dir).search]
    for folder in searched:
        if (folder / path.name).is_dir():
            return dataclasses.replace(config, data=f"{FOLDER}{folder / path.name}")
    places = ", ".join(map(str, dict.fromkeys(searched)))
    raise SparsifyError(f"folder:{path.name} is not in {places}; name the folder that it is in, with --data-dir")
