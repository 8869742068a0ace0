"""Run: the folder of one trained Config."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import html
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor, nn

from sparsify.config import ADDED, Config
from sparsify.data.registry import FOLDER
from sparsify.errors import SparsifyError
from sparsify.files import parse_rows
from sparsify.nets.registry import network
from sparsify.optim.inclusion import InclusionPath
from sparsify.optim.penalties import THRESHOLD, Penalty, support
from sparsify.optim.registry import OPTIMIZERS
from sparsify.runs.folder import RunFolder
from sparsify.runs.images import remembered
from sparsify.runs.records import CONFIG_SUM, METRICS, TRAINED, Epoch, Summary, require_epoch, require_recorded
from sparsify.sums import Record
from sparsify.text import plural

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, repr=False)
class Run(RunFolder):
    """The folder of one run. The training has ended when `summary.json` exists, which is written last.

    >>> run
    <Run runs/lenet-digits-adabreg-s0-...: finished, test accuracy ...%>
    >>> sparsify.Run(run.path) == run
    True
    """

    _summaries: dict[tuple[int, ...], Summary] = dataclasses.field(default_factory=dict, init=False, compare=False)

    def __repr__(self) -> str:
        status, *rest = self._state().items()
        return f"<Run {self.path}: {', '.join([status[1], *map(' '.join, rest)])}>"

    def _repr_html_(self) -> str:
        """The run as notebooks show it: how it ended, and its settings."""
        try:
            settings = {"settings": repr(self.config)}
        except SparsifyError:
            settings = {}  # the state says that it is damaged
        rows = {"run": self.name, **self._state(), **settings}
        cells = "".join(f"<tr><th>{name}</th><td>{html.escape(text)}</td></tr>" for name, text in rows.items())
        return f"<table>{cells}</table>"

    def _state(self) -> dict[str, str]:
        """How far the training is, or how it ended, in words."""
        try:
            if self.status == "unfinished":
                return {"status": f"unfinished after {plural(self.epochs_done, 'epoch')}"}
            if self.status == "diverged":
                return {"status": f"diverged in epoch {self.summary['epochs']}"}
            return {"status": "finished", f"{self.summary['held_out']} accuracy": f"{self.summary['accuracy']:.2%}"}
        except SparsifyError:
            return {"status": "damaged"}

    @property
    def status(self) -> str:
        """ "finished", "diverged", or "unfinished". Raises SparsifyError if summary.json is damaged.

        >>> run.status
        'finished'
        """
        return self.summary["status"] if (self.path / "summary.json").exists() else "unfinished"

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

    @property
    def metrics(self) -> pd.DataFrame:
        """A pandas DataFrame with one row an epoch; its columns are those of metrics.csv (`Epoch`).

        The columns of a split that was not measured are missing values (NaN). Raises SparsifyError if metrics.csv is
        missing or damaged.

        >>> run.metrics[["epoch", "step"]]
           epoch  step
        0      1    12
        1      2    24
        2      3    36
        """
        import pandas as pd  # slow to import: only when it is needed

        kinds = {name: int if name in ("epoch", "step") else float for name in METRICS}
        return pd.DataFrame(self._epochs(), columns=list(METRICS)).astype(kinds)

    def plot(self, *, title: str | None = None) -> Figure:
        """Draw loss and accuracy against the epoch; return the matplotlib Figure.

        `sparsify.viz.curves` draws several runs together. Raises SparsifyError as `metrics` does.

        >>> run.plot().savefig("curves.png")
        """
        from sparsify.drawing.curves import curves_figure  # matplotlib is slow to import

        return curves_figure({self.config.opt: [self.metrics]}, title=self.name if title is None else title)

    def _epochs(self) -> list[Epoch]:
        """The rows of metrics.csv; empty cells are None."""
        content = self._read("metrics.csv")
        try:
            rows = parse_rows(content, Epoch)
            for number, row in enumerate(rows, 1):
                require_epoch(row, number)
        except SparsifyError as error:
            raise self._damaged("metrics.csv", error) from error
        return rows

    @property
    def epochs_done(self) -> int:
        """The number of epochs that are trained; an interrupted training continues after them.

        >>> run.epochs_done
        3
        """
        return len(self._epochs()) if (self.path / "metrics.csv").exists() else 0

    @property
    def inclusion_path(self) -> InclusionPath | None:
        """The inclusion path, or None if the optimizer has none. Raises SparsifyError if it is damaged.

        >>> run.inclusion_path.entry["conv3.weight"].shape
        (120,)
        """
        if not OPTIMIZERS[self.config.opt].selects:
            return None
        self._checked("path.npz")
        return InclusionPath.load(self.path / "path.npz")

    @property
    def z(self) -> dict[str, Tensor] | None:
        """The final Z of each structured parameter, or None if the optimizer has none.

        >>> run.z is None  # adabreg has no Z
        True
        """
        return self.tensors("z.safetensors") if "z.safetensors" in self.summary["sha256"] else None

    @property
    def records(self) -> dict[str, Tensor]:
        """What the training recorded because its Config's `record` asked for it, as in "loss/loss".

        `training.recording` says what each is. Raises SparsifyError if the file is missing or damaged.

        >>> run.records  # nothing was asked for
        {}
        """
        if not self.config.record:
            return {}
        found = self.tensors("records.safetensors")
        try:
            require_recorded(found, self.config.record, self.summary["steps"])
        except SparsifyError as error:
            raise self._damaged("records.safetensors", error) from error
        return found

    def support(self, parameter: str) -> Tensor | None:
        """Return a bool mask of the grains of a parameter that are in the support at the end of the training.

        The shape is (filters,), or the weight's if the grains are single weights. A grain is in the support if Γ ≠ 0,
        or, if the optimizer has no Γ, if W ≠ 0. Returns None if the optimizer does not select in this parameter.

        >>> run.support("conv3.weight").shape
        torch.Size([120])
        """
        path = self.inclusion_path
        if path is None or parameter not in path.entry:
            return None
        penalty: Penalty = "filter" if path.entry[parameter].ndim == 1 else "weight"
        zs = self.z
        if zs is None:
            return support(self.tensors("model.safetensors")[parameter], 0.0, penalty)
        return support(zs[parameter], THRESHOLD, penalty)

    def tensors(self, file: str) -> dict[str, Tensor]:
        """Return the tensors of a file of the run, on the CPU. Raises SparsifyError if it is missing or damaged.

        >>> run.tensors("model.safetensors")["conv3.weight"].shape
        torch.Size([120, 16, 5, 5])
        """
        try:
            return load_tensors(self._checked(file))
        except SafetensorError as error:
            raise self._damaged(file, error) from error

    def verify(self) -> None:
        """Check the files of a finished run against their SHA-256 sums. Raises SparsifyError if one is damaged.

        What is made of the run later, such as a sweep, may be missing.

        >>> run.verify()
        """
        for file in self.summary["sha256"]:
            if file in TRAINED or (file != "summary.json" and os.path.lexists(self.path / file)):
                self._checked(file)

    def model(self) -> nn.Module:
        """Return the trained network on the CPU, in evaluation mode. Raises SparsifyError unless it is finished.

        >>> run.model()(torch.zeros(1, 1, 28, 28)).shape
        torch.Size([1, 10])
        """
        self.require_finished()
        summary = self.summary
        model = network(self.config.model, summary["shape"], len(summary["classes"]), self.config.net)
        try:
            model.load_state_dict(self.tensors("model.safetensors"))
        except RuntimeError as error:
            raise self._damaged("model.safetensors", f"it does not fit {self.config.model}") from error
        return model.eval()

    def require_images(self, then: str | None, now: str | None) -> None:
        """Raise SparsifyError if the images of a data folder have changed.

        `then` is the SHA-256 sum of the images that the run was trained on, None if it is not known; `now` is the sum
        of the images as they are.

        >>> run.require_images(None, None)  # nothing is known of the images then
        """
        if then is not None and then != now:
            images = f"the images of {self.config.data}"
            raise SparsifyError(f"{images} are not those that {self.path} was trained on; delete it to train anew")

    def require_finished(self) -> None:
        """Raise SparsifyError if the run is unfinished or diverged.

        >>> run.require_finished()
        """
        if self.status == "unfinished":
            raise SparsifyError(
                f"run {self.path} is unfinished; the command that trained it goes on from its checkpoint"
            )
        if self.status == "diverged":
            raise SparsifyError(f"run {self.path} diverged (non-finite loss); train it with a lower --lr")

    def touch(self) -> None:
        """Make this the newest run, because it was asked for again.

        >>> run.touch()
        """
        with contextlib.suppress(OSError):  # someone else's run, or a read-only disk: it is read all the same
            os.utime(self.path / "summary.json", follow_symlinks=os.utime not in os.supports_follow_symlinks)

    def _has_sum(self, file: str) -> bool:
        return self.status != "unfinished" and file in self.summary["sha256"]

    def _read(self, file: str) -> bytes:
        """Return the content of a file. Raises SparsifyError unless it has its SHA-256 sum, once there are sums."""
        content = super()._read(file)
        if file != "summary.json" and self.status != "unfinished":
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
