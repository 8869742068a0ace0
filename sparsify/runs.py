"""Run: the folder of one trained Config, and how it is found again."""

from __future__ import annotations

import contextlib
import csv
import functools
import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor, nn

from sparsify.config import Config
from sparsify.errors import SparsifyError, unknown
from sparsify.files import write_bytes, write_text
from sparsify.inclusion import InclusionPath
from sparsify.nets import NETS

METRICS = (
    "epoch",
    "step",
    "lr",
    "train_loss",
    "train_accuracy",
    "val_loss",
    "val_accuracy",
    "test_loss",
    "test_accuracy",
    "seconds",
)


@dataclass(frozen=True)
class Run:
    """One run's folder. It is finished when `summary.json` exists, which is written last."""

    path: Path

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def status(self) -> str:
        """ "finished", "diverged", or "unfinished"."""
        return self.summary["status"] if (self.path / "summary.json").exists() else "unfinished"

    @functools.cached_property
    def config(self) -> Config:
        """The Config that was trained."""
        return Config.from_dict(self._json("config.json"))

    @property
    def summary(self) -> dict[str, Any]:
        """Final metrics and status. Raises SparsifyError if it is missing or damaged."""
        summary = self._json("summary.json")
        if summary.get("status") not in ("finished", "diverged"):
            raise SparsifyError(f"{self.path / 'summary.json'} is damaged: it has no status; {_MEND}")
        return summary

    @property
    def environment(self) -> dict[str, Any]:
        """Versions, device, threads and git commit of the training."""
        return self._json("environment.json")

    @property
    def metrics(self) -> list[dict[str, float | None]]:
        """One row an epoch; empty cells are None."""
        with self._open("metrics.csv") as file:
            return [{k: float(v) if v else None for k, v in row.items()} for row in csv.DictReader(file)]

    @property
    def epochs_done(self) -> int:
        """How many epochs are trained; an interrupted run goes on after them."""
        return len(self.metrics) if (self.path / "metrics.csv").exists() else 0

    @property
    def inclusion_path(self) -> InclusionPath | None:
        """The inclusion path, or None if the optimizer has none."""
        file = self.path / "path.npz"
        return InclusionPath.load(file) if file.exists() else None

    @property
    def z(self) -> dict[str, Tensor] | None:
        """The final Z of each structured parameter, or None if the optimizer has none."""
        return self.tensors("z.safetensors") if (self.path / "z.safetensors").exists() else None

    def tensors(self, file: str) -> dict[str, Tensor]:
        """The tensors of one of the run's files, on the CPU; their sum is checked against summary.json."""
        path = self.path / file
        try:
            content = path.read_bytes()
            tensors = load_tensors(content)
        except (OSError, SafetensorError) as error:
            raise SparsifyError(f"{path} is damaged or missing ({error}); {_MEND}") from error
        if self.summary["sha256"].get(file) != hashlib.sha256(content).hexdigest():
            raise SparsifyError(f"{path} is damaged: its SHA-256 sum is not the one in summary.json; {_MEND}")
        return tensors

    def model(self) -> nn.Module:
        """The trained network, on the CPU, in evaluation mode. Raises SparsifyError unless the run is finished."""
        self.require_finished()
        summary = self.summary
        model = NETS[self.config.model](tuple(summary["shape"]), len(summary["classes"]))
        try:
            model.load_state_dict(self.tensors("model.safetensors"))
        except RuntimeError as error:
            raise SparsifyError(
                f"{self.path / 'model.safetensors'} does not fit {self.config.model}; {_MEND}"
            ) from error
        return model.eval()

    def require_finished(self) -> None:
        """Raise SparsifyError unless the run is a result."""
        if self.status == "unfinished":
            raise SparsifyError(
                f"run {self.path} is unfinished; the command that trained it goes on from its checkpoint"
            )
        if self.status == "diverged":
            raise SparsifyError(f"run {self.path} diverged (non-finite loss); train it with a lower --lr")

    def output(self, runs_dir: Path) -> Path:
        """Where what is measured on this run is written: its own folder if it lies in `runs_dir`, else one there."""
        inside = self.path.resolve().parent == Path(runs_dir).resolve()
        return self.path if inside else Path(runs_dir) / self.name

    def touch(self) -> None:
        """Make this the newest run: it was asked for again."""
        with contextlib.suppress(PermissionError):  # someone else's run is read all the same
            os.utime(self.path / "summary.json")

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep every other process from writing this run. Raises SparsifyError if one does already."""
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.path / ".lock", timeout=0):
                yield
        except Timeout as error:
            raise SparsifyError(f"run {self.path} is being written by another process; wait for it to end") from error

    def write_json(self, file: str, values: Mapping[str, Any]) -> None:
        """Write one of the run's JSON files, in one step."""
        write_text(self.path / file, json.dumps(values, indent=2) + "\n")

    def write_metrics(self, rows: list[dict[str, Any]]) -> None:
        """Write metrics.csv, in one step."""
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, METRICS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_bytes(self.path / "metrics.csv", buffer.getvalue().encode())

    def sha256(self, file: str) -> str:
        """The SHA-256 sum of one of the run's files, in hex digits."""
        return hashlib.sha256((self.path / file).read_bytes()).hexdigest()

    def _open(self, file: str) -> io.TextIOBase:
        try:
            return open(self.path / file, newline="", encoding="utf-8")
        except OSError as error:
            raise SparsifyError(f"{self.path} is damaged: {file} cannot be read ({error.strerror}); {_MEND}") from error

    def _json(self, file: str) -> dict[str, Any]:
        try:
            with self._open(file) as stream:
                values = json.load(stream)
        except ValueError as error:
            if isinstance(error, SparsifyError):
                raise
            raise SparsifyError(f"{self.path / file} is damaged: {error}; {_MEND}") from error
        if not isinstance(values, dict):
            raise SparsifyError(f"{self.path / file} is damaged: it holds no object; {_MEND}")
        return values


_MEND = "delete the folder and train it again"


def list_runs(runs_dir: Path) -> list[Run]:
    """Every run of a folder, the newest (trained or asked for again last) first, unfinished ones at the end."""
    folders = [path for path in Path(runs_dir).glob("*/") if (path / "config.json").exists()]

    def age(path: Path) -> tuple[float, str]:
        summary = path / "summary.json"
        return (-summary.stat().st_mtime if summary.exists() else 0.0, path.name)

    return [Run(path) for path in sorted(folders, key=age)]


def newest_run(runs_dir: Path) -> Run:
    """The finished run that was trained, or asked for again, last. Raises SparsifyError if there is none."""
    for run in list_runs(runs_dir):
        if run.status == "finished":
            return run
    raise SparsifyError(f"no finished run in {runs_dir}; train one with: sparsify train")


def find_run(name: str, runs_dir: Path) -> Run:
    """The run whose folder is `name`, or whose name in `runs_dir` begins with it.

    Raises SparsifyError if there is none, or more than one.
    """
    for path in (Path(name), Path(runs_dir) / name):
        if (path / "config.json").exists():
            return Run(path)
    runs = list_runs(runs_dir)
    found = [run for run in runs if name and run.name.startswith(name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise SparsifyError(f"'{name}' begins the names of {len(found)} runs: {', '.join(r.name for r in found)}")
    if Path(name).is_dir():
        raise SparsifyError(f"{name} is a folder, but no run: it has no config.json")
    raise unknown("run", name, [run.name for run in runs], where=str(runs_dir))


def load(run: Run | Path | str, runs_dir: Path | str = "runs") -> nn.Module:
    """The trained network of a run, given as a Run, a folder or the beginning of a name."""
    return (run if isinstance(run, Run) else find_run(str(run), Path(runs_dir))).model()
