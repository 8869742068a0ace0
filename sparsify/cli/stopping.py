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


class Stopped(KeyboardInterrupt):
    """A signal other than Ctrl-C's, whose number is its argument.

    A class of its own, because Python ends a program by SIGINT, whatever status it returns, if KeyboardInterrupt itself
    has passed through an import of C code that runs Python.
    """


@contextlib.contextmanager
def stops_like_ctrl_c() -> Iterator[None]:
    """Within it SIGTERM and SIGHUP raise `Stopped`, a KeyboardInterrupt.

    So files are written as wholes, processes that train are ended, and one line is said. A signal that is ignored, as
    SIGHUP is under nohup, stays ignored. Python drops what is raised while it frees an object or calls back for one,
    and goes on: then the signal, Ctrl-C's too, is sent again. Nothing is changed outside of the main thread, where
    Python does not allow it.
    """
    with contextlib.ExitStack() as stack:
        if threading.current_thread() is threading.main_thread():
            for number in (getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)):
                if signal.getsignal(number) == signal.SIG_DFL:
                    signal.signal(number, _stop)
                    stack.callback(signal.signal, number, signal.SIG_DFL)
            before = sys.unraisablehook
            stack.callback(setattr, sys, "unraisablehook", before)

            def send_again(dropped: UnraisableHookArgs) -> None:
                error = dropped.exc_value
                if isinstance(error, KeyboardInterrupt):
                    number = error.args[0] if error.args else signal.SIGINT
                    # later, because what is raised in here is dropped, too
                    threading.Timer(0.05, os.kill, (os.getpid(), number)).start()
                else:
                    before(dropped)

            sys.unraisablehook = send_again
        yield


def _stop(number: int, _frame: FrameType | None) -> None:
    raise Stopped(number)
