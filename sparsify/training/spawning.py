"""Spawned processes: they end with the one that starts them, and do not run again its script or notebook.

torch is not imported by this module, so that a process that has just begun notices at once if it is to end.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import signal
import sys
import threading
import types
from collections.abc import Iterator
from multiprocessing import connection
from pathlib import Path

_STOPPING = {getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)}


@contextlib.contextmanager
def starting_processes() -> Iterator[None]:
    """Within it processes can be started that call `set_up` or `end_with_parent` first.

    They do not run the script again (`without_running_the_script_again`), and Ctrl-C, which a terminal sends to all of
    them, waits in each until then, so that none is interrupted in its first imports and prints a traceback.
    """
    with without_running_the_script_again():
        if not hasattr(signal, "pthread_sigmask"):
            yield
            return
        from multiprocessing import resource_tracker

        resource_tracker.ensure_running()  # else its own start, amid the first process's, would unblock the signals
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def set_up(threads: int) -> None:
    """Set up a process that computes with so many threads, and ends with its parent."""
    end_with_parent()
    import torch

    torch.set_num_threads(threads)


def end_with_parent() -> None:
    """End this process when the one that started it has ended, however that was. Ctrl-C is left to that one."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # this process was started by multiprocessing

    def watch(sentinel: int) -> None:
        connection.wait([sentinel])
        os._exit(1)  # no matter what the other threads do

    threading.Thread(target=watch, args=(parent.sentinel,), daemon=True, name="end with parent").start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)


@contextlib.contextmanager
def without_running_the_script_again() -> Iterator[None]:
    """Within it new processes do not import the script or module that runs, unless it has `if __name__ == …`.

    A spawned process imports it for what is pickled from it, and nothing is here; without that line, all that it does
    would begin again in each process.
    """
    main = sys.modules["__main__"]
    file = getattr(main, "__file__", None)
    try:
        text = "" if file is None else Path(file).read_text(encoding="utf-8")  # a notebook has none
    except (OSError, UnicodeDecodeError):
        text = ""  # as of "<stdin>"
    if file is not None and not re.search(r"^if .*__name__", text, re.MULTILINE):
        sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
