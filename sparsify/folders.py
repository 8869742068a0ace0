"""Folders: what killed writers left there, those that must not be made anew, and the order of runs."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from sparsify.errors import SparsifyError

_TEMPORARY = re.compile(r"\..+\.([0-9a-f]{8})-([0-9]+)\.tmp")
_SAFE = 24 * 3600.0  # seconds after which no write can still go on, for writers that cannot be asked


def suffix() -> str:
    """Return the end of the names of this process's temporary files and folders: its machine and its number."""
    return f".{_machine()}-{os.getpid()}.tmp"


def delete_leftovers(folder: Path, before: re.Pattern[str] | None = None) -> None:
    """Delete what writers that live no more have left; where that is not known, what is a day old.

    Temporary files and folders have names that end in `suffix`. It is not known of other machines and containers, which
    may share the disk, on systems that are not POSIX, and of names of older versions, which match `before`.
    """
    for path in folder.glob(".*" if before else ".*.tmp"):
        match = _TEMPORARY.fullmatch(path.name)
        if match is None and not (before and before.fullmatch(path.name)):
            continue
        ended = match is not None and match[1] == _machine() and not _alive(int(match[2]))
        with contextlib.suppress(OSError):  # its writer, or another one, was faster
            status = path.lstat()
            if ended or time.time() - status.st_mtime > _SAFE:
                shutil.rmtree(path) if stat.S_ISDIR(status.st_mode) else path.unlink()


def _machine() -> str:
    """Return 8 hex digits of where the number of a process means the same one: a name, a boot, a container.

    Containers can have the host's name, and each counts its processes from 1.
    """
    parts = [platform.node()]
    with contextlib.suppress(OSError):  # only Linux has them
        parts += [Path("/proc/sys/kernel/random/boot_id").read_text().strip(), os.readlink("/proc/self/ns/pid")]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]


def _alive(pid: int) -> bool:
    """Return whether a process of this machine may be alive."""
    if os.name != "posix":
        return True  # elsewhere `kill` has no signal 0 that only asks
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


_HELD: dict[Path, tuple[Path, os.stat_result]] = {}
"""The folders that are held, each with the file that stands for it, as it was."""


@contextlib.contextmanager
def held(folder: Path, sign: Path | None = None) -> Iterator[None]:
    """Within it no file is written to a folder that was deleted or moved, and the folder is not made anew.

    `sign` is a file in it that must stay, too, which shows a deletion that has only begun; without it, only the folder
    itself must stay. What `write_bytes` and its like raise then is a SparsifyError.
    """
    where, file = Path(os.path.abspath(folder)), Path(os.path.abspath(folder if sign is None else sign))
    _HELD[where] = file, file.stat()
    try:
        yield
    finally:
        del _HELD[where]


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, unless it is there. Raises SparsifyError if it is `held`, or in such a one."""
    where = Path(os.path.abspath(folder))
    holders = [one for one in list(_HELD) if where.is_relative_to(one)]  # other threads hold and let go
    for one in holders:
        sign, before = _HELD[one]
        try:
            same = os.path.samestat(sign.stat(), before)
        except (FileNotFoundError, NotADirectoryError):
            same = False
        if not same:
            raise SparsifyError(
                f"{one} was deleted or moved while it was written to; nothing more is written, and the same command "
                "begins again with what is there"
            )
    if where not in _HELD:
        where.mkdir(parents=not holders, exist_ok=True)


def is_run(folder: Path) -> bool:
    """Return whether a folder is that of a run, finished or not: it has a config.json."""
    return (folder / "config.json").exists()


def run_states(runs_dir: Path) -> dict[str, str]:
    """For the name of each run in a folder, a text that changes when its files do: their times and sizes.

    The run that was trained or asked for last is the first, unfinished ones are at the end, by name. The files are
    config.json (`is_run`), and summary.json, or metrics.csv of an unfinished run. Raises SparsifyError for what is no
    folder, and OSError for one that cannot be read; what is missing has no runs.
    """
    try:
        entries = list(os.scandir(runs_dir))
    except FileNotFoundError:
        return {}
    except NotADirectoryError as error:
        raise SparsifyError(f"{runs_dir} is not a folder; --runs-dir takes the folder of runs") from error
    found = []
    for entry in entries:
        config = _state(f"{entry.path}/config.json")
        if config is not None:
            summary = _state(f"{entry.path}/summary.json")
            rest = _state(f"{entry.path}/metrics.csv") if summary is None else None
            found.append((-summary[0] if summary else 0, entry.name, (summary, config, rest)))
    return {name: str(state) for _, name, state in sorted(found)}


def _state(path: str) -> tuple[int, int, int] | None:
    """The times and the size of a file; None if there is none, or it cannot be looked at."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size
