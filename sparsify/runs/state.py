"""RunState: how a run was asked for, where it was trained, and how its training has ended."""

from __future__ import annotations

import dataclasses
import functools
import re
from pathlib import Path
from typing import Any

from sparsify.config import ADDED, Config
from sparsify.data.registry import FOLDER
from sparsify.errors import SparsifyError
from sparsify.runs.collapse import AFTER_DIVERGENCE, NOT_FINITE, after_collapse, collapse_before
from sparsify.runs.folder import RunFolder
from sparsify.runs.images import remembered
from sparsify.runs.records import CONFIG_SUM, Summary
from sparsify.sums import Record


@dataclasses.dataclass(frozen=True, repr=False)
class RunState(RunFolder):
    """The settings of a run, its environment and its summary. What is read is compared with its SHA-256 sum."""

    _summaries: dict[tuple[int, ...], Summary] = dataclasses.field(default_factory=dict, init=False, compare=False)

    @property
    def status(self) -> str:
        """ "finished", "diverged", "collapsed", or "unfinished". Raises SparsifyError if summary.json is damaged.

        >>> run.status
        'finished'
        """
        if not self._ended:
            return "unfinished"
        status = self.summary["status"]
        return "collapsed" if status == "finished" and self.collapsed is not None else status

    @property
    def _ended(self) -> bool:
        return (self.path / "summary.json").exists()

    @property
    def collapsed(self) -> str | None:
        """How the training of a run collapsed, in words; None if it did not.

        That is a loss that stays at that of guessing, or weights that vanish (`sparsify.runs.collapse`). A run whose
        loss is not finite has diverged. Raises SparsifyError as `summary` does.

        >>> run.collapsed is None
        True
        """
        if self.summary["status"] == "diverged":
            return None  # its summary.json may say so under "collapsed"
        if "collapsed" in self.summary:
            return self.summary["collapsed"]
        return collapse_before(self.summary)

    @property
    def lost(self) -> str | None:
        """Why the network of a training that has ended is no result, in words; None if it is one.

        Raises SparsifyError as `summary` does.

        >>> run.lost is None
        True
        """
        return NOT_FINITE if self.status == "diverged" else self.collapsed

    @property
    def why_lost(self) -> str | None:
        """Why a run is no result, with the likely reason and what to do, in one line; None if it is one.

        >>> run.why_lost is None
        True
        """
        if self.lost is None:
            return None
        advice = AFTER_DIVERGENCE
        if self.collapsed is not None:
            advice = after_collapse(self.config.opt, masked=self.config.mask is not None)
        return f"{self.lost}; {advice}"

    @functools.cached_property
    def config(self) -> Config:
        """The Config that was trained. Raises SparsifyError if config.json is damaged.

        >>> run.config
        Config(model='lenet', data='digits', opt='adabreg', epochs=3)
        """
        values = self._json("config.json")
        missing = {field.name for field in dataclasses.fields(Config)} - set(values) - set(ADDED)
        if missing:
            raise self._damaged("config.json", f"it has no {', '.join(sorted(missing))}")
        try:
            config = Config.from_dict(values)
        except SparsifyError as error:
            raise self._damaged("config.json", str(error)) from error
        named = re.search(r"-s\d+-([0-9a-f]{8})$", self.name)  # runs can be given other names
        if config.data.startswith(FOLDER) and "/" not in values["data"]:
            kept = self.environment.get(CONFIG_SUM)
            if kept is not None and kept != self.sha256("config.json"):
                raise self._damaged("config.json", "its SHA-256 sum is not the one in environment.json")
            return self._with_folder(config, named[1] if named else "")
        if named and config.digest() != named[1] and not self._has_sum("config.json"):
            raise self._damaged("config.json", f"its settings give the digest {config.digest()}, not {named[1]}")
        return config

    def _with_folder(self, config: Config, digest: str) -> Config:
        """The Config with its folder of images where it was on this machine; one that gives the digest comes first."""
        name = Path(config.data.removeprefix(FOLDER)).name
        paths = remembered(str(self.environment.get("images_sha256")))
        known = [dataclasses.replace(config, data=FOLDER + path) for path in paths if Path(path).name == name]
        return next((one for one in known if one.digest() == digest), next(iter(known), config))

    @property
    def summary(self) -> Summary:
        """The content of summary.json, which is read again if the file has changed.

        Raises SparsifyError if it is missing or damaged.

        >>> run.summary["held_out"], run.summary["count"]
        ('test', 360)
        """
        file = "summary.json"
        try:
            stat = (self.path / file).stat()
            state: tuple[int, ...] = (stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino)
        except OSError:
            state = ()  # reading it says what is wrong
        if state not in self._summaries:
            summary = self._parsed(file, Summary)
            if "model.safetensors" not in summary["sha256"]:
                raise self._damaged(file, "sha256.model.safetensors is missing")
            self._summaries.clear()
            self._summaries[state] = summary
        return self._summaries[state]

    @property
    def environment(self) -> dict[str, Any]:
        """The content of environment.json: the versions, device, threads and git commit of the training.

        >>> run.environment["precision"]
        'exact'
        """
        return self._json("environment.json")

    def require_finished(self) -> None:
        """Raise SparsifyError if the run is unfinished, diverged, or collapsed.

        >>> run.require_finished()
        """
        if self.status == "unfinished":
            raise SparsifyError(
                f"run {self.path} is unfinished; the command that trained it goes on from its checkpoint"
            )
        if self.status == "diverged":
            raise SparsifyError(f"run {self.path} diverged (non-finite loss); train it with a lower --lr")
        if self.status == "collapsed":
            raise SparsifyError(f"run {self.path} collapsed and is no result: {self.why_lost}", about="collapse")

    def _has_sum(self, file: str) -> bool:
        return self._ended and file in self.summary["sha256"]

    def _read(self, file: str) -> bytes:
        """Return the content of a file. Raises SparsifyError unless it has its SHA-256 sum, once there are sums."""
        content = super()._read(file)
        if file != "summary.json" and self._ended:
            self._require(file, content, every="format" in self.summary)
        return content

    def _checked(self, file: str) -> bytes:
        """Return the content of a file of a finished run. Raises SparsifyError unless its SHA-256 sum is known."""
        content = super()._read(file)
        self._require(file, content, every=True)
        return content

    def _require(self, file: str, content: bytes, *, every: bool) -> None:
        try:
            Record("summary.json", self.summary["sha256"], every).require(file, content)
        except SparsifyError as error:
            raise self._damaged(file, error) from error
