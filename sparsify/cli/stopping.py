"""How a command is stopped from outside: SIGTERM and SIGHUP do what Ctrl-C does."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class Stopped(KeyboardInterrupt):
    """A signal other than Ctrl-C's, whose number is its argument.

    A class of its own, because Python ends a program by SIGINT, whatever status it returns, if KeyboardInterrupt itself
    has passed through an import of C code that runs Python.
    """


@contextlib.contextmanager
def stops_like_ctrl_c() -> Iterator[None]:
    """Within it SIGTERM and SIGHUP raise `Stopped`, a KeyboardInterrupt.

    So files are written as wholes, processes that train are ended, and one line is said. A signal that is ignored, as
    SIGHUP is under nohup, stays ignored. Nothing is changed outside of the main thread, where Python allows it not.
    """
    with contextlib.ExitStack() as stack:
        if threading.current_thread() is threading.main_thread():
            for number in (getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)):
                if signal.getsignal(number) == signal.SIG_DFL:
                    signal.signal(number, _stop)
                    stack.callback(signal.signal, number, signal.SIG_DFL)
        yield


def _stop(number: int, _frame: FrameType | None) -> None:
    raise Stopped(number)
