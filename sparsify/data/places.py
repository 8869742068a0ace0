"""Where the files of data sets are looked for, and where downloads and decoded copies go."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from sparsify.errors import SparsifyError


class DataNotFoundError(SparsifyError):
    """The files are nowhere to be found and could not be downloaded."""


@dataclass(frozen=True)
class Roots:
    """Folders: those that are searched, in order, the one that a download goes to, and the one for decoded copies."""

    search: tuple[Path, ...]
    download: Path
    cache: Path

    @classmethod
    def of(cls, data_dir: Path | str | None = None) -> Roots:
        """`data_dir`, $SPARSIFY_DATA, the user's cache folder; downloads go to the first if named, else the last."""
        import platformdirs

        cache = platformdirs.user_cache_path("sparsify")
        named = [absolute(data_dir)] if data_dir is not None else []
        variable = os.environ.get("SPARSIFY_DATA")
        search = (*named, *([absolute(variable)] if variable else []), cache)
        return cls(search, named[0] if named else cache, cache)


def absolute(path: Path | str) -> Path:
    """Return the path in full, with "~" and links resolved."""
    return Path(os.path.realpath(os.path.expanduser(path)))
