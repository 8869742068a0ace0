"""RunFolder: the files in the folder of a run, each read whole and written in one step."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from sparsify.errors import SparsifyError, of_a_file
from sparsify.files import no_link, parse_json, regular, typed, write_bytes
from sparsify.folders import is_run
from sparsify.runs.records import CONFIG_SUM, METRICS, TRAINED, Epoch
from sparsify.sums import OF_RUN, locked, sha256, unsealed, write_record

T = TypeVar("T")


def as_json(values: Mapping[str, Any]) -> bytes:
    """The text of one of a run's JSON files."""
    return (json.dumps(values, indent=2) + "\n").encode()


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

        Raises SparsifyError if it is a symbolic link, if its own is no longer there, so that it is not made anew, and
        if another run has this name in `runs_dir`, whose measurements are others.

        >>> run.output(Path("elsewhere"))
        PosixPath('elsewhere/lenet-digits-adabreg-s0-...')
        """
        folder = self._output(runs_dir)
        if folder == self.path and not folder.is_dir():
            raise SparsifyError(f"{folder} was deleted or moved; nothing is written")
        no_link(folder)
        if self._is_another(folder):
            beside = f"measurements of {self.path} go elsewhere: --runs-dir {self.path.parent}"
            raise SparsifyError(f"{folder} is a run of its own; {beside}")
        return folder

    def measured(self, runs_dir: Path) -> list[Path]:
        """Return the folders that may hold measurements of this run: its own, and that of `output` if there is one.

        >>> run.measured(Path("elsewhere"))
        [PosixPath('runs/lenet-digits-adabreg-s0-...'), PosixPath('elsewhere/lenet-digits-adabreg-s0-...')]
        """
        folder = self._output(runs_dir)
        return [self.path] if self._is_another(folder) else list(dict.fromkeys([self.path, folder]))

    def _output(self, runs_dir: Path) -> Path:
        inside = self.path.resolve().parent == Path(runs_dir).resolve()
        return self.path if inside else Path(runs_dir) / self.name

    def _is_another(self, folder: Path) -> bool:
        """Whether a folder is that of another run, which has the same name."""
        return folder != self.path and is_run(folder)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Prevent other processes from writing this run. Raises SparsifyError if another process is writing it.

        >>> with run.lock():
        ...     run.verify()
        """
        with locked(self.path):
            yield

    def write_json(self, file: str, values: Mapping[str, Any]) -> None:
        """Write one of the run's JSON files, in one step.

        >>> run.write_json("note.json", {"why": "a try"})
        """
        write_bytes(self.path / file, as_json(values))

    def write_begun(self, config: Mapping[str, Any], environment: Mapping[str, Any]) -> None:
        """Write environment.json and, last, config.json, which makes the folder that of a run.

        The name of the folder holds the digest of its settings. Where `without_place` has shortened them, as it does
        the path of a folder of images, nobody can compute it, so that environment.json has the sum of config.json, too.

        >>> sparsify.Run(Path("copy")).write_begun(run.config.to_dict(), run.environment)
        """
        content = as_json(config)
        kept = {} if environment.get("images_sha256") is None else {CONFIG_SUM: sha256(content)}
        self.write_json("environment.json", {**environment, **kept})
        write_bytes(self.path / "config.json", content)

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
        return sha256(regular(self.path / file).read_bytes())

    def write_summary(self, values: Mapping[str, Any], files: Sequence[str]) -> None:
        """Write summary.json, in one step, with the SHA-256 sums of these files and of itself.

        >>> sparsify.Run(Path("copy")).write_summary(run.summary, ["metrics.csv"])
        """
        write_record(self.path / OF_RUN, values, files)

    def _damaged(self, file: str, reason: object) -> SparsifyError:
        then = "delete the folder and train it again" if file in (OF_RUN, *TRAINED) else "delete it and make it again"
        return SparsifyError(f"{self.path / file} is damaged: {reason}; {then}")

    def _read(self, file: str) -> bytes:
        try:
            return regular(self.path / file).read_bytes()
        except FileNotFoundError as error:
            raise SparsifyError(f"{self.path / file} is missing; delete the folder and train it again") from error
        except OSError as error:
            raise SparsifyError(of_a_file(error)) from error
        except SparsifyError as error:
            raise SparsifyError(f"{error}; delete the folder and train it again") from error

    def _json(self, file: str) -> dict[str, Any]:
        return self._parsed(file, dict[str, Any])

    def _parsed(self, file: str, kind: type[T]) -> T:
        content = self._read(file)
        try:
            return typed(unsealed(file, content), kind) if file == OF_RUN else parse_json(content, kind)
        except SparsifyError as error:
            raise self._damaged(file, error) from error
