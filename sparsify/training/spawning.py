"""Spawned processes: they must not run again the script or notebook that starts them."""

from __future__ import annotations

import contextlib
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path


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
