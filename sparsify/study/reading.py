"""Reading TOML that a person wrote, in files and in settings of the command line: within limits, in a short time."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sparsify.errors import SparsifyError, shown
from sparsify.files import regular
from sparsify.limits import MOST_BYTES, MOST_DEPTH, MOST_DIGITS, at_most, checked_text, checked_values

_STRINGS = re.compile(
    r'''"""(?:[^\\]|\\.)*?(?:"""|\Z)|'{3}.*?(?:'{3}|\Z)|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+'|#[^\n]*+''', re.DOTALL
)
"""The texts and the comments of TOML. One of several lines that does not end goes to the end: it is searched once."""


def toml_text(path: Path) -> str:
    """Return the text of a file. Raises SparsifyError unless it is a file that is not too large, and as `read_text`."""
    at_most(regular(path).stat().st_size, MOST_BYTES, f"bytes in {path}")
    return path.read_text(encoding="utf-8-sig")  # some editors begin a file with a mark that says UTF-8


def parse_toml(text: str) -> dict[str, Any]:
    """Return what TOML holds. Raises TOMLDecodeError, and SparsifyError for what is nested or written too long."""
    _check_keys(text)
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except RecursionError as error:
        raise SparsifyError(f"its lists and tables are nested more than {MOST_DEPTH} deep") from error
    except ValueError as error:  # Python reads no whole number of so many digits
        raise SparsifyError(f"it holds a whole number of more than {MOST_DIGITS} digits") from error
    checked_values(values)
    return values


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """Return settings such as "epochs=5" as {"epochs": 5}. A value that is no TOML is a string without quotes."""
    changed = {}
    for setting in settings:
        key, equals, value = checked_text("--set", setting).partition("=")
        if not (key.strip() and equals):
            raise SparsifyError(f"--set {shown(setting)} is no setting; write KEY=VALUE, as in epochs=5")
        try:
            read = parse_toml(f"value = {value}")
        except tomllib.TOMLDecodeError:
            read = {}
        except SparsifyError as error:
            raise SparsifyError(f"--set {shown(setting)}: {error}") from error
        # a text with an end of line in it could hold more keys
        changed[key.strip().replace("-", "_")] = read["value"] if list(read) == ["value"] else value
    return changed


def _check_keys(toml: str) -> None:
    """Raise SparsifyError for TOML with a key of more than `MOST_DEPTH` parts, as a.a.a, before it is parsed.

    The standard library's parser takes a time that grows with the square of the parts of a key.
    """
    bare = _STRINGS.sub("s", toml)
    if re.search(rf"(?<![\w-])(?:[\w-]++[ \t]*+\.[ \t]*+){{{MOST_DEPTH}}}", bare):
        raise SparsifyError(f"a key has more than {MOST_DEPTH} parts; its tables are nested as deep")
