"""Errors and warnings for the user: one line with the value, the reason and the choices."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from sparsify.text import some_of


class SparsifyError(ValueError):
    """An error that the user can correct. The command line prints it as one line and exits with status 2.

    >>> sparsify.Config(opt="sgdd")
    Traceback (most recent call last):
        ...
    sparsify.errors.SparsifyError: unknown optimizer 'sgdd'; did you mean 'sgd'? choose from: ...
    """


class IgnoredOption(SparsifyError):
    """An option was given that the optimizer does not take."""


class SparsifyWarning(UserWarning):
    """A warning that the user should see; the program goes on."""


def unknown(kind: str, value: object, choices: Iterable[str], *, where: str = "") -> SparsifyError:
    """Return an error that lists the choices and names the nearest one."""
    names = list(choices)
    nearest = difflib.get_close_matches(str(value), names, n=1)
    hint = f"; did you mean '{nearest[0]}'?" if nearest else ";"
    place = f" in {where}" if where else ""
    return SparsifyError(f"unknown {kind} '{value}'{place}{hint} choose from: {some_of(names) or '(none)'}")
