"""The folders where the files of data sets are searched, downloaded to, and kept in decoded form."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sparsify.errors import SparsifyError


class DataNotFoundError(SparsifyError):
    """The files are in none of the folders and could not be downloaded."""

    about = "data set"


@dataclass(frozen=True)
class Roots:
    """The folders that are searched, in order, the folder for downloads, and the one for decoded copies."""

    search: tuple[Path, ...]
    download: Path
    cache: Path

    @classmethod
    def of(cls, data_dir: Path | str | None = None) -> Roots:
        """Return the folders: `data_dir` if given, $SPARSIFY_DATA if set, and the user's cache folder are searched.

        Downloads go to `data_dir` if given, else to the cache folder.
        """
        import platformdirs

        cache = platformdirs.user_cache_path("sparsify")
        named = [absolute(data_dir)] if data_dir is not None else []
        variable = os.environ.get("SPARSIFY_DATA")
        search = (*named, *([absolute(variable)] if variable else []), cache)
        return cls(search, named[0] if named else cache, cache)


@dataclass(frozen=True)
class Download:
    """What is fetched of a data set that is in none of the folders, and what it holds then.

    `root` returns which of the folders holds it, None if none does; `size` is in bytes. `images` are the numbers of
    training and of test images, and `shape` is (channels, height, width) of each.
    """

    root: Callable[[Roots], Path | None]
    size: int
    images: tuple[int, int]
    shape: tuple[int, int, int]
    classes: int = 10


def absolute(path: Path | str) -> Path:
    """Return the path in full, with "~" and links resolved."""
    return Path(os.path.realpath(os.path.expanduser(path)))
