"""Errors and warnings for the user: one line with the value, the reason and the choices, whatever the value is."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterable

from sparsify.text import printable

LONGEST_VALUE = 80
"""The characters of a value that an error shows; what is longer is cut and ends in "…"."""

MOST_NAMES = 50
"""The choices or names that an error lists; of more, the rest is counted."""

_LONGEST_WORD = 160  # a run's folder is shorter, and so is almost every file: a path is shown whole, to be copied
_LONGEST_LINE = 10_000  # the longest list of names is shorter


PAGES = {
    "augmentation": "how-to/data.md",
    "cluster": "how-to/cluster.md",
    "collapse": "how-to/collapse.md",
    "coupled": "explanation/coupled.md",
    "criterion": "how-to/criterion.md",
    "data set": "how-to/data.md",
    "extra": "reference/extras.md",
    "layer": "how-to/network.md",
    "network": "how-to/network.md",
    "optimizer": "how-to/optimizer.md",
    "path": "explanation/dessilbi.md",
    "ship": "how-to/ship.md",
    "study": "how-to/study.md",
}
"""The pages of the documentation, in docs/, that explain what errors are about."""


class SparsifyError(ValueError):
    """An error that the user can correct. The command line prints it as one line and exits with status 2.

    Its text is one line (`one_line`), whatever the values in it hold. `about` is one of PAGES, if one explains it. If
    a name is unknown, `unknown` is what it was to be, such as "run", and the name.

    >>> sparsify.Config(opt="sgdd")
    Traceback (most recent call last):
        ...
    sparsify.errors.SparsifyError: unknown optimizer 'sgdd'; did you mean 'sgd'? choose from: ...
    """

    about: str | None = None
    unknown: tuple[str, object] | None = None

    def __init__(self, message: object = "", *, about: str | None = None) -> None:
        super().__init__(one_line(str(message)))
        self.about = about or self.about


class IgnoredOption(SparsifyError):
    """An option was given that the optimizer does not take."""

    about = "optimizer"


class SparsifyWarning(UserWarning):
    """A warning that the user should see; the program goes on."""


def see(about: str | BaseException | None) -> str:
    """Return the end of a line that names the page about something, or about an error or what it came from; or "".

    >>> from sparsify.errors import see
    >>> see("collapse")
    '; see docs/how-to/collapse.md'
    >>> see(sparsify.SparsifyError("a layer is unknown", about="layer"))
    '; see docs/how-to/network.md'
    """
    if isinstance(about, BaseException):
        return see(getattr(about, "about", None) or about.__cause__)
    return "" if about is None else f"; see docs/{PAGES[about]}"


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, for errors of libraries that go on for many; else its type."""
    return reason_given(error).strip().partition("\n")[0] or type(error).__name__


def reason_given(error: BaseException) -> str:
    """Return what an error says: of one by the system the reason alone, because its text repeats number and path.

    >>> from sparsify.errors import reason_given
    >>> reason_given(FileNotFoundError(2, "No such file or directory", "study.toml"))
    'No such file or directory'
    """
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def of_a_file(error: OSError) -> str:
    """Return what is said of an error by the system, with the file that it is about: a wrong path, a full disk.

    >>> from sparsify.errors import of_a_file
    >>> of_a_file(FileNotFoundError(2, "No such file or directory", "study.toml"))
    'study.toml cannot be read or written: No such file or directory'
    """
    return f"{error.filename or 'a file'} cannot be read or written: {reason_given(error)}"


def one_line(text: str) -> str:
    r"""Return a text as one line that a terminal shows as it stands.

    What cannot be printed is escaped: control characters, ends of lines, what turns the direction of writing, and lone
    surrogates ("\n", "\x1b", "\u202e", "\udcff"). Of a word or a part of a path of more than 160 characters the first
    80 are left, and of the whole the first 10,000.
    """
    text = text if len(text) <= _LONGEST_LINE else text[:_LONGEST_LINE] + "…"
    return re.sub(rf"[^\s/\\]{{{_LONGEST_WORD + 1},}}", lambda word: word[0][:LONGEST_VALUE] + "…", printable(text))


def shown(value: object) -> str:
    """Return a value as it stands in an error: at most 80 characters, of which a longer one ends in "…"; escaped.

    A text is shown without quotes, anything else as `repr` has it.
    """
    return printable(_cut(value if isinstance(value, str) else _represented(value)))


def quoted(value: object) -> str:
    """Return a value as `repr` has it, cut as `shown` does: 'a text', 3, ['a', 'list']."""
    return repr(_cut(value)) if isinstance(value, str) else shown(value)


def some(names: Iterable[str]) -> str:
    """Return names with commas between them, each as `one_line`: "a, b, c"; after 50, how many more there are."""
    every = list(names)
    rest = [f"and {len(every) - MOST_NAMES:,} more"] if len(every) > MOST_NAMES else []
    return ", ".join([one_line(name) for name in every[:MOST_NAMES]] + rest)


def unknown(kind: str, value: object, choices: Iterable[str], *, where: str = "") -> SparsifyError:
    """Return an error that lists the choices and names the nearest one: of those that hold the value, if any does."""
    names, text = list(choices), shown(value)
    nearest: list[str] = []
    # a name that was cut is like none; what is compared with very many names takes seconds
    if text and not text.endswith("…") and len(names) <= 1000:
        holding = [name for name in names if text in name]  # lenet-mnist is meant by "lenet", which is like alexnet
        nearest = difflib.get_close_matches(text, holding or names, n=1, cutoff=0.0 if holding else 0.6)
    hint = f"; did you mean '{nearest[0]}'?" if nearest else ";"
    place = f" in {where}" if where else ""
    message = f"unknown {kind} '{text}'{place}{hint} choose from: {some(names) or '(none)'}"
    error = SparsifyError(message, about=kind if kind in PAGES else None)
    error.unknown = kind, value
    return error


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_VALUE else text[:LONGEST_VALUE] + "…"


def _represented(value: object) -> str:
    try:
        return repr(value)
    except RecursionError:
        return f"a {type(value).__name__} that is nested very deep"
    except ValueError:  # Python does not write whole numbers of so many digits
        what = "a whole number" if isinstance(value, int) else f"a {type(value).__name__} with a whole number"
        return f"{what} of more than {sys.get_int_max_str_digits():,} digits"
