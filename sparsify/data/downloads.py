"""Downloads through torch and torchvision, given up in time."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator

from sparsify.errors import reason_given

DOWNLOAD_TIMEOUT = 10.0  # seconds without an answer

FAILURES = (OSError, RuntimeError, http.client.HTTPException)
"""What a download raises that fails, or whose file does not have its sum."""


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """Give up connections that are silent for DOWNLOAD_TIMEOUT; torch and torchvision set no limit for theirs."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def unreachable(url: str) -> str | None:
    """Return why the host of `url` does not answer within DOWNLOAD_TIMEOUT, or None if it does."""
    answers: list[str | None] = []

    def ask() -> None:
        try:
            request = urllib.request.Request(url, method="HEAD")
            # the addresses are torchvision's own
            urllib.request.urlopen(request, timeout=DOWNLOAD_TIMEOUT).close()  # nosec B310
            answers.append(None)
        except urllib.error.HTTPError as error:
            error.close()
            answers.append(None)  # the host answers; if something is wrong, the download will say so
        except (OSError, ValueError, http.client.HTTPException) as error:
            answers.append(reason_of(error))

    # in a thread, because looking up a host's name has no time limit
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(DOWNLOAD_TIMEOUT)
    return answers[0] if answers else f"no answer within {DOWNLOAD_TIMEOUT:g} seconds"


def reason_of(error: Exception) -> str:
    """Return what an error of a download says, in one line."""
    return " ".join(reason_given(cause_of(error)).split()) or type(error).__name__


def cause_of(error: Exception) -> BaseException:
    """Return the error that urllib has wrapped, or else the error itself."""
    if type(error) is urllib.error.URLError:
        return error.reason if isinstance(error.reason, BaseException) else Exception(error.reason)
    return error
