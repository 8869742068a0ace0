"""How a command is stopped from outside: SIGTERM and SIGHUP do what Ctrl-C does."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

AGAIN = 2.0
"""Seconds after which a signal is sent again, if the command has not ended."""


class Stopped(KeyboardInterrupt):
    """A signal other than Ctrl-C's, whose number is its argument.

    A class of its own, because Python ends a program by SIGINT, whatever status it returns, if KeyboardInterrupt itself
    has passed through an import of C code that runs Python.
    """


@contextlib.contextmanager
def stops_like_ctrl_c() -> Iterator[None]:
    """Within it SIGTERM and SIGHUP raise `Stopped`, a KeyboardInterrupt; Ctrl-C raises KeyboardInterrupt itself.

    So files are written as wholes, processes that train are ended, and one line is said. A signal that is ignored, as
    SIGHUP is under nohup, stays ignored. What is raised can be lost: Python drops it while it frees an object, and some
    libraries catch all that comes amid their imports, and fail later. So the signal is sent again after `AGAIN`
    seconds, and an error that comes after it counts as the stop. Nothing is changed outside of the main thread, where
    Python does not allow it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    stops: list[KeyboardInterrupt] = []
    timers: list[threading.Timer] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        timers.append(threading.Timer(AGAIN, _send, (number,)))
        timers[-1].daemon = True
        timers[-1].start()
        stops.append(KeyboardInterrupt() if number == signal.SIGINT else Stopped(number))
        raise stops[-1]

    def drop(dropped: UnraisableHookArgs) -> None:
        if not isinstance(dropped.exc_value, KeyboardInterrupt):  # which comes again
            before(dropped)

    before = sys.unraisablehook
    with contextlib.ExitStack() as stack:
        for number in (getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)):
            handler = signal.getsignal(number)
            if handler in (signal.SIG_DFL, signal.default_int_handler):
                stack.callback(signal.signal, number, handler)
                signal.signal(number, stop)
        stack.callback(setattr, sys, "unraisablehook", before)
        sys.unraisablehook = drop
        try:
            yield
        except Exception as error:
            if stops:
                raise stops[-1] from error
            raise
        finally:
            for timer in timers:
                timer.cancel()


def _send(number: int) -> None:
    """Send a signal to this process; on Windows, where that would end it at once, raise it in this thread."""
    if os.name == "posix":
        os.kill(os.getpid(), number)
    else:
        signal.raise_signal(number)
