"""Numbers, lists, durations, sizes and p values as text, and consoles that show text as it stands."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

JOINERS = "\u200c\u200d"
"""Persian words, other scripts and emoji need them: the zero-width non-joiner and joiner."""


def printable(text: str, *, keep: str = "") -> str:
    """The text with what a terminal would obey or not show as escapes, such as "\\x1b", "\\n", "\\u202e", "\\udcff".

    These are control characters, line ends, marks of direction, bytes of names that are no UTF-8, and characters
    without a meaning of their own. Those of `keep` stay, spaces of any width, and what joins letters or parts them.
    """
    if text.isprintable():
        return text
    return "".join(
        one
        if one.isprintable() or one in keep or one in JOINERS or unicodedata.category(one) == "Zs"
        else one.encode("unicode_escape").decode()
        for one in text
    )


def in_markdown(text: str) -> str:
    """The text as Markdown shows it in one line and in a cell of a table: no tag, no entity, no link, no end of a cell.

    A "<" that begins no tag stays, as in "p < 0.001".
    """
    text = re.sub(r"&(?=#?\w+;)", "&amp;", printable(unbroken(text)))
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text).replace("](", r"]\(").replace("|", r"\|")


NO_BREAK = "\N{NO-BREAK SPACE}"


def unbroken(text: str) -> str:
    """The text with no-break spaces in "p = 0.02", "n = 5", "< 0.001" and "Holm's p": no line ends within them."""
    text = re.sub(r"\b([pn]) ([=<]) (?=\d)", rf"\1{NO_BREAK}\2{NO_BREAK}", text)
    text = re.sub(r"(?<!\S)([<≥]) (?=\d)", rf"\1{NO_BREAK}", text)
    return re.sub(r"\b(Holm['’]s) p\b", rf"\1{NO_BREAK}p", text)


def listed(names: Iterable[str], word: str = "and") -> str:
    """ "a, b and c"; with another `word` "a, b or c"."""
    *first, last = list(names) or [""]
    return f"{', '.join(first)} {word} {last}" if first else last


def numbers_in_words(numbers: Iterable[int]) -> str:
    """ "0, 1 and 2", "100 to 109 and 200": of four numbers or more that follow each other only the ends are named."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return listed(text for run in runs for text in ([f"{run[0]} to {run[-1]}"] if len(run) > 3 else map(str, run)))


def named(label: str) -> str:
    """A label as it stands in a sentence: in quotation marks if its commas could be taken for the sentence's."""
    return f'"{label}"' if "," in label else label


def arms_in_words(labels: Iterable[str]) -> str:
    """Labels of arms as a sentence lists them: 'sgd, "adam, L2" and slbi'."""
    return listed(map(named, labels))


def capitalised(text: str) -> str:
    """The text with a capital first letter. The rest stays as it is: `str.capitalize` would lower it."""
    return text[:1].upper() + text[1:]


MISSING = "–"
"""What tables show where there is no value."""

UNLIMITED = 1_000_000  # columns: wider than any table


def plain_console(*, width: int, file: TextIO | None = None, no_color: bool | None = None) -> Console:
    """A Console that shows text as it stands: a label such as "slbi [ours]" or ":zap:" is neither markup nor emoji."""
    return Console(width=width, file=file, no_color=no_color, highlight=False, markup=False, emoji=False)


def width_of(table: Table) -> int:
    """The width of a table in columns of a terminal if no cell is cut or wrapped."""
    return plain_console(width=UNLIMITED).measure(table).maximum


def simple_table(heads: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]]) -> str:
    """Headings, each with its side ("left" or "right"), and rows as rich draws a simple table, but in linear time."""
    columns, total = [], -1
    for (heading, side), *texts in zip(heads, *rows, strict=True):
        cells = [heading, *texts]
        sizes = [len(text) if text.isascii() else cell_len(text) for text in cells]
        width = max(sizes)
        pads = [" " * (width - size) for size in sizes]
        both = (pads, cells) if side == "right" else (cells, pads)
        columns.append(["".join(one) for one in zip(*both, strict=True)])
        total += width + 3
    first, *lines = [f" {'   '.join(line)} " for line in zip(*columns, strict=True)]
    return "\n".join([" " * total, first, f" {'─' * (total - 2)} ", *lines, " " * total]) + "\n"


def duration(seconds: float) -> str:
    """ "12 s", "3 min", "1.5 h": an estimate is not more accurate than two digits."""
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"


def size(count: float) -> str:
    """Bytes as "340 kB", "12 MB", "1.5 GB"."""
    for unit in ("B", "kB", "MB"):
        if count < 999.5:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def layers_in_words(layers: str) -> str:
    """ "conv1, conv3 and fc1"; more than four are counted."""
    names = layers.split(",")
    return f"{len(names)} layers" if len(names) > 4 else listed(names)


def written(value: object, digits: int = 6) -> str:
    """A value of a setting: a float in up to `digits` digits, None as a dash, anything else as `str` has it."""
    if value is None:
        return MISSING
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def shortest(value: float) -> str:
    """The shortest text that reads back as the same float: "0.3", "0.3333333333333333", "1e+06"."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def percentage(fraction: float) -> str:
    """A fraction as "60%" or "12.5%", with as many digits as it has, up to ten."""
    return f"{100 * fraction:.10g}%"


def minus(text: str) -> str:
    """The text with "−" (U+2212) as the sign of numbers, as figures have it; hyphens and exponents stay as they are.

    >>> from sparsify.text import minus
    >>> minus("from -1.20 to +0.31, with slbi-2 at 1e-05")
    'from −1.20 to +0.31, with slbi-2 at 1e-05'
    """
    return re.sub(r"(?<![\w.)-])-(?=\.?\d)", "−", text)


def points(fraction: float) -> str:
    """A difference of two fractions in percentage points: "+0.31", "−1.20", and "0.00" without a sign."""
    text = minus(f"{100 * fraction:+.2f}")
    return "0.00" if text[1:] == "0.00" else text


def factor(value: float) -> str:
    """ "2.51×"."""
    return f"{value:.2f}×"


def thousands(count: int) -> str:
    """ "10,080"."""
    return f"{count:,}"


def p_value(p: float, form: str = ".3f") -> str:
    """ "0.020", or "< 0.001" for what is smaller; `form` is the format of the others."""
    return "< 0.001" if p < 0.001 else format(p, form)


def p_in_words(p: float) -> str:
    """ "p = 0.02", or "p < 0.001" for what is smaller."""
    text = p_value(p, ".2g")
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def called(value: object, default: object, *, always: Sequence[str] = ()) -> str:
    """A dataclass as the call that makes it: "Config(opt='sgd', epochs=2)", without what is as in `default`.

    The fields `always` are named in any case.
    """
    fields = {name: one for name, one in vars(value).items() if name in always or one != getattr(default, name)}
    return f"{type(value).__name__}({', '.join(f'{name}={one!r}' for name, one in fields.items())})"


def plural(count: int, noun: str) -> str:
    """ "1 epoch", "2 epochs"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
