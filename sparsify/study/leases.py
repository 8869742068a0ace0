"""Leases: which worker has claimed what, where several machines share a disk.

A lease is a file that is made by a hard link, and whose time says until when it holds; its worker moves that time on
while it works. This holds on shared file systems, too, which do not keep the locks of the kernel (flock). The clocks of
the machines may differ by up to ten seconds.
"""

from __future__ import annotations

import contextlib
import datetime
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sparsify.errors import SparsifyError
from sparsify.files import no_link

if TYPE_CHECKING:
    from flufl.lock import Lock

LIFETIME = 30.0
"""Seconds that a lease holds without a sign of life."""

SLOP = datetime.timedelta(seconds=10)
"""By how much clocks may differ (flufl.lock's CLOCK_SLOP): so much later another worker takes a lease over."""

TAKING_OVER = 5.0
"""Seconds to try to take over a lease that nobody holds any more."""


class LeaseLostError(SparsifyError):
    """Another worker has taken over what this one had claimed, because it gave no sign of life."""


class Lease:
    """What `claim` gives to the one who has it. It is kept alive by a thread, a sign each tenth of its life."""

    def __init__(self, path: Path, lock: Lock) -> None:
        self.path = path
        self._lock, self._lifetime = lock, lock.lifetime.total_seconds()
        self._ended, self._lost = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True, name=f"lease of {path.name}")

    @property
    def lost(self) -> bool:
        """Whether another worker has it now, as far as is known."""
        return self._lost.is_set()

    def require(self) -> None:
        """Raise LeaseLostError if it is lost."""
        if self.lost:
            raise LeaseLostError(f"{self.path.name} was claimed by another worker while this one was silent")

    def _keep(self) -> None:
        from flufl.lock import NotLockedError

        seen = time.monotonic()
        while not self._ended.wait(self._lifetime / 10):
            try:
                self._lock.refresh()
            except NotLockedError:
                self._lost.set()
                return
            except OSError:  # a shared disk can be away for a moment; the lease holds for some signs more
                if time.monotonic() - seen > self._lifetime:
                    self._lost.set()
                    return
            else:
                seen = time.monotonic()

    def __enter__(self) -> Lease:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        from flufl.lock import NotLockedError

        self._ended.set()
        self._thread.join()
        with contextlib.suppress(NotLockedError):  # another worker has it: there is nothing to give back
            self._lock.unlock()


@contextlib.contextmanager
def claim(folder: Path, name: str, lifetime: float = LIFETIME) -> Iterator[Lease | None]:
    """Claim the `name` in a folder of leases; gives None if another worker has it.

    Within it the lease is kept alive; in the end it is given back. One that has had no sign of life for `lifetime`
    seconds, and ten more for clocks that differ, is taken over. Raises SparsifyError if flufl.lock is not installed,
    and if the folder's file system has no hard links.
    """
    try:
        from flufl.lock import Lock, NotLockedError, TimeOutError
    except ImportError as error:
        raise SparsifyError(
            "workers need flufl.lock; install it with: pip install 'sparsify-study[cluster]'", about="cluster"
        ) from error
    no_link(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    lock = Lock(str(path), lifetime=datetime.timedelta(seconds=lifetime))
    try:
        abandoned = lock.expiration + SLOP < datetime.datetime.now()
    except (NotLockedError, OSError):  # nobody has it
        abandoned = False
    try:
        lock.lock(timeout=datetime.timedelta(seconds=TAKING_OVER if abandoned else 0))
    except TimeOutError:
        yield None
        return
    except OSError as error:
        raise SparsifyError(f"{folder} has no hard links ({error.strerror}), by which workers claim runs") from error
    with Lease(path, lock) as held:
        yield held


def clear(folder: Path) -> None:
    """Delete what workers have left in a folder of leases that were killed while they asked for one.

    It is a file by which a lease would have been made, and which does no harm. One that another worker has just made
    stays, and so does that of a lease, which has two links.
    """
    for path in folder.glob("*|*"):
        with contextlib.suppress(FileNotFoundError):  # another worker clears, too
            found = path.stat()
            if found.st_nlink == 1 and datetime.datetime.fromtimestamp(found.st_mtime) + SLOP < datetime.datetime.now():
                path.unlink()
