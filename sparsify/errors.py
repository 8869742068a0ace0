"""What a person did wrong, in one line: the value, the reason, the choices."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SparsifyError(ValueError):
    """Something that the user can mend. The command line prints it as one line and exits with status 2."""


class IgnoredOption(SparsifyError):
    """An option is given that the optimizer does not take."""


class SparsifyWarning(UserWarning):
    """Something that the user should know, but that stops nothing."""


def unknown(kind: str, value: object, choices: Iterable[str], *, where: str = "") -> SparsifyError:
    """An error that lists the choices and names the nearest one."""
    names = list(choices)
    nearest = difflib.get_close_matches(str(value), names, n=1)
    hint = f"; did you mean '{nearest[0]}'?" if nearest else ";"
    place = f" in {where}" if where else ""
    return SparsifyError(f"unknown {kind} '{value}'{place}{hint} choose from: {', '.join(names) or '(none)'}")
