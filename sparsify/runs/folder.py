"""RunFolder: the files in the folder of a run, each read whole and written in one step."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from sparsify.errors import SparsifyError
from sparsify.files import parse_json, write_bytes, write_text
from sparsify.runs.records import METRICS, Epoch

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, repr=False)
class RunFolder:
    """The folder of a run and its files. Raises SparsifyError if a file that is read is missing or damaged."""

    path: Path

    @property
    def name(self) -> str:
        """The folder's name.

        >>> run.name
        'lenet-digits-adabreg-s0-...'
        """
        return self.path.resolve().name

    def output(self, runs_dir: Path) -> Path:
        """Return the folder for measurements of this run: its own if it is in `runs_dir`, else `runs_dir/<name>`.

        Raises SparsifyError if its own is no longer there, so that it is not made anew for them.

        >>> run.output(Path("elsewhere"))
        PosixPath('elsewhere/lenet-digits-adabreg-s0-...')
        """
        inside = self.path.resolve().parent == Path(runs_dir).resolve()
        if inside and not self.path.is_dir():
            raise SparsifyError(f"{self.path} was deleted or moved; nothing is written")
        return self.path if inside else Path(runs_dir) / self.name

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Prevent other processes from writing this run. Raises SparsifyError if another process is writing it.

        >>> with run.lock():
        ...     run.verify()
        """
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.path / ".lock", timeout=0):
                yield
        except Timeout as error:
            raise SparsifyError(f"run {self.path} is being written by another process; wait for it to end") from error

    def write_json(self, file: str, values: Mapping[str, Any]) -> None:
        """Write one of the run's JSON files, in one step.

        >>> run.write_json("note.json", {"why": "a try"})
        """
        write_text(self.path / file, json.dumps(values, indent=2) + "\n")

    def write_metrics(self, rows: Sequence[Epoch]) -> None:
        """Write metrics.csv, in one step.

        >>> sparsify.Run(Path("copy")).write_metrics(run.metrics.to_dict("records"))
        """
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, METRICS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_bytes(self.path / "metrics.csv", buffer.getvalue().encode())

    def sha256(self, file: str) -> str:
        """Return the SHA-256 sum of one of the run's files, in hex digits.

        >>> run.sha256("model.safetensors") == run.summary["sha256"]["model.safetensors"]
        True
        """
        return hashlib.sha256((self.path / file).read_bytes()).hexdigest()

    def _damaged(self, file: str, reason: object) -> SparsifyError:
        return SparsifyError(f"{self.path / file} is damaged: {reason}; delete the folder and train it again")

    def _read(self, file: str) -> bytes:
        try:
            return (self.path / file).read_bytes()
        except FileNotFoundError as error:
            raise SparsifyError(f"{self.path / file} is missing; delete the folder and train it again") from error
        except OSError as error:
            raise self._damaged(file, error.strerror) from error

    def _json(self, file: str) -> dict[str, Any]:
        return self._parsed(file, dict[str, Any])

    def _parsed(self, file: str, kind: type[T]) -> T:
        content = self._read(file)
        try:
            return parse_json(content, kind)
        except SparsifyError as error:
            raise self._damaged(file, error) from error
