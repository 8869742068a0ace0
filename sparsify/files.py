"""Files: written as a whole or not at all, read by the types of what they hold, and named safely everywhere."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import hashlib
import io
import os
import re
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, get_args, get_type_hints

import msgspec

from sparsify.errors import SparsifyError, quoted
from sparsify.folders import delete_leftovers, make_folder, suffix
from sparsify.limits import checked_values
from sparsify.text import printable

if TYPE_CHECKING:
    import pandas as pd
    from _typeshed import DataclassInstance
    from torch import Tensor

T = TypeVar("T")

NO_FILES = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
"""What stands in the place of a file, by its type, in words."""


def regular(path: Path) -> Path:
    """The path itself, if a regular file is there, or a link to one: `regular(path).read_bytes()`.

    To be asked before anything is opened for reading: a named pipe would be waited for, and a device never ends. Raises
    SparsifyError that says what is there instead, or where a link leads to nothing, and FileNotFoundError or another
    OSError if there is nothing.
    """
    try:
        kind = stat.S_IFMT(os.stat(path).st_mode)
    except FileNotFoundError as error:
        if os.path.islink(path):
            raise SparsifyError(f"{path} is a link to {os.readlink(path)}, which is not there") from error
        raise
    if kind != stat.S_IFREG:
        raise SparsifyError(f"{path} is {NO_FILES.get(kind, 'something else')}, not a file")
    return Path(path)


def no_link(path: Path) -> None:
    """Raise SparsifyError if a symbolic link is in the place of what is to be written."""
    if path.is_symlink():
        raise SparsifyError(f"{path} is a symbolic link, and nothing is written through links; move it away")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write, which takes the place of `path` in one step when all of it is written.

    After a crash `path` has the old or the new content, never a part of it. Missing folders are created. Temporary
    files that killed writers have left in the folder are deleted. Raises OSError if the disk is full or read-only;
    then, and after any other error within it, no temporary file is left. Raises SparsifyError if the path is a symbolic
    link, and as `make_folder`.
    """
    no_link(path)
    make_folder(path.parent)
    delete_leftovers(path.parent)
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=suffix())
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.chmod(beside, 0o644)  # mkstemp makes it 0600, which would hide a shared run from its readers
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException as error:
        Path(beside).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # a write to a full disk does not say which file it was
        raise
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        with contextlib.suppress(
            OSError
        ):  # some network file systems cannot do it; the content is complete all the same
            os.fsync(folder)  # so that the rename survives a crash, too
        os.close(folder)


def write_bytes(path: Path, content: bytes) -> None:
    """Replace the content of `path` in one step, as `replacing` does, and raise what it raises."""
    with replacing(path) as file:
        file.write(content)


def write_text(path: Path, content: str) -> None:
    """Write `content` as UTF-8, as `write_bytes` does."""
    write_bytes(path, content.encode())


def rows_as_bytes(kind: type[DataclassInstance], rows: Iterable[DataclassInstance]) -> bytes:
    """Dataclasses of the type `kind` as CSV, one column for each field."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, [field.name for field in dataclasses.fields(kind)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(dataclasses.asdict(row) for row in rows)
    return buffer.getvalue().encode()


def frame_as_csv(frame: pd.DataFrame) -> str:
    """A table as CSV that can be shown anywhere: what cannot be printed in its texts is escaped, as by `printable`."""

    import numpy as np

    def escaped(value: object) -> object:
        return printable(value) if isinstance(value, str) else value

    shown = frame.rename(columns=escaped)
    for place, kind in enumerate(frame.dtypes):
        if kind.kind not in "biuf":
            values = [escaped(value) for value in frame.iloc[:, place]]
            shown.isetitem(place, np.array(values, dtype=object))  # so that whole numbers beside None stay
    text: str = shown.to_csv(index=False, lineterminator="\n")
    return text


def parse_rows(content: bytes, kind: type[T]) -> list[T]:
    """The inverse of `rows_as_bytes`: the rows of CSV as a dataclass or a TypedDict, an empty cell being None.

    A column with a default may be missing; one that `kind` does not have is ignored. Raises SparsifyError if there is
    no row, and for a cell of another type; it names the line and the column.
    """
    try:
        header, *lines = csv.reader(io.StringIO(content.decode(), newline=""))
    except (ValueError, csv.Error) as error:  # no text, no header, or a quote that does not end
        raise SparsifyError(f"it is no CSV: {error}" if content else "it is empty") from error
    rows = []
    for number, cells in enumerate(lines, 2):
        if not cells:
            continue
        if len(cells) != len(header):
            raise SparsifyError(f"line {number} has {len(cells)} cells, and the header has {len(header)}")
        try:
            rows.append(typed({name: cell or None for name, cell in zip(header, cells, strict=True)}, kind, text=True))
        except SparsifyError as error:
            raise SparsifyError(f"line {number}: {error}") from error
    if not rows:
        raise SparsifyError("it has no rows")
    return rows


def parse_json(content: bytes, kind: type[T]) -> T:
    """JSON as a dataclass, a Struct or a TypedDict. Raises SparsifyError for what is no JSON, and as `typed`."""
    try:
        values = msgspec.json.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:  # numbers that are too large, too
        raise SparsifyError(f"it is no JSON: {error}") from error
    checked_values(values)
    return typed(values, kind)


def typed(values: object, kind: type[T], *, text: bool = False) -> T:
    """What JSON, TOML or CSV holds, as a dataclass, a Struct or a TypedDict; with `text` numbers are read from strings.

    Raises SparsifyError that names the key, its value and what it must be.
    """
    try:
        return msgspec.convert(values, kind, strict=not text)
    except msgspec.ValidationError as error:
        misfit = Misfit.of(error, values)
        if not misfit.expected and len(misfit.keys) == 1 and isinstance(kind, type):
            choices = get_args(get_type_hints(kind).get(str(misfit.keys[0])))
            if choices:  # of a Literal
                raise SparsifyError(f"{misfit.subject}; it must be one of: {', '.join(map(str, choices))}") from error
        raise SparsifyError(misfit.explained()) from error


KINDS = {
    "float": "a number",
    "int": "a whole number",
    "str": "a text",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "nothing",
}
"""What msgspec calls the kinds of values, in words."""


@dataclass(frozen=True)
class Misfit:
    """What does not fit in values that were read.

    `keys` lead to it; a key that msgspec does not name is "...". `unknown` and `missing` are a key that is too much, or
    too little, in the table there; else the value there is not of one of the kinds `expected`, those of `KINDS`, or it
    is refused for the reason `message`.
    """

    keys: tuple[str | int, ...]
    message: str
    value: object = None
    found: bool = True  # whether `value` is what stands there
    unknown: str = ""
    missing: str = ""
    expected: tuple[str, ...] = ()
    limits: str = ""  # as in " of length >= 3"

    @classmethod
    def of(cls, error: msgspec.ValidationError, values: object) -> Misfit:
        """What an error of msgspec says about these values."""
        message, _, path = str(error).partition(" - at `$")
        keys = tuple(
            name or (int(n) if n.isdigit() else n) for name, n in re.findall(r"\.([^.[`]+)|\[([^\]]+)\]", path)
        )
        value, found = _at(values, keys)
        kinds = re.match(r"Expected `([^`]+)`([^,]*)", message)
        unknown = re.match(r"Object contains unknown field `(.*)`$", message)
        missing = re.match(r"Object missing required field `(.*)`$", message)
        return cls(
            keys,
            message,
            value,
            found,
            unknown=unknown[1] if unknown else "",
            missing=missing[1] if missing else "",
            expected=tuple(kinds[1].split(" | ")) if kinds else (),
            limits=kinds[2] if kinds else "",
        )

    @property
    def place(self) -> str:
        """The keys as one: "arms[0].grid"."""
        return "".join(f"[{key}]" if isinstance(key, int) or key == "..." else f".{key}" for key in self.keys)[1:]

    @property
    def subject(self) -> str:
        """The key and its value: "epochs is 'two'"."""
        if not self.found:
            return f"{self.place} is something else"
        return f"{self.place or 'it'} is {quoted(self.value)}"

    def kinds(self, words: Mapping[str, str] = KINDS) -> str:
        """What is expected, in words: "a number or a list"."""
        kinds = [kind for kind in self.expected if kind != "int" or "float" not in self.expected]
        return " or ".join(words.get(kind, kind) for kind in kinds) + self.limits

    def explained(self) -> str:
        """The whole in one line."""
        if self.missing:
            return f"{'.'.join(filter(None, (self.place, self.missing)))} is missing"
        if self.unknown:
            return f"unknown key '{'.'.join(filter(None, (self.place, self.unknown)))}'"
        if self.expected:
            return f"{self.subject}; it must be {self.kinds()}"
        return f"{self.place}: {self.message}" if self.place else self.message


def _at(values: object, keys: Sequence[str | int]) -> tuple[object, bool]:
    """The value that keys lead to, and whether they do."""
    value: Any = values
    for key in keys:
        try:
            value = value[key]
        except (LookupError, TypeError):
            return None, False
    return value, True


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file, as `write_bytes` does. The tensors are stored in logical (contiguous) order."""
    write_bytes(path, tensors_as_bytes(tensors, metadata))


def tensors_as_bytes(tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """The content of the safetensors file that `write_tensors` writes."""
    import torch
    from safetensors.torch import save

    # clones, because safetensors refuses tensors that share memory, as tied weights do
    copies = {name: t.detach().cpu().clone(memory_format=torch.contiguous_format) for name, t in tensors.items()}
    content: bytes = save(copies, metadata)
    return content


def last_parts(path: str, count: int = 1) -> str:
    """Return the end of a path without what it is in, "root" if it has no name: the last part, or more of them."""
    parts = Path(path).parts[len(Path(path).anchor) > 0 :]
    return "/".join(parts[-count:]) or "root"


def sanitise(text: str) -> str:
    """Return `text` as a part of a file's name: at most 40 lower-case letters, digits, '.', '_' and '-'."""
    return re.sub(r"[^a-z0-9._]+", "-", text.lower())[:40].strip("-.") or "unnamed"


def shortened(text: str) -> str:
    """Return `text` as `sanitise` does. A long one is cut and ends in 8 hex digits of its sum."""
    if len(text) <= 32:
        return sanitise(text)
    return f"{sanitise(text[:32])}-{short_sum(text)}"


def short_sum(text: str) -> str:
    """Return the first 8 hex digits of the SHA-256 sum of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]
