"""Run: the folder of one trained Config."""

from __future__ import annotations

import contextlib
import dataclasses
import html
import os
from typing import TYPE_CHECKING

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor, nn

from sparsify.errors import SparsifyError
from sparsify.files import parse_rows
from sparsify.nets.registry import network
from sparsify.optim.inclusion import InclusionPath
from sparsify.optim.penalties import THRESHOLD, penalty_seen, support
from sparsify.optim.registry import OPTIMIZERS
from sparsify.runs.records import METRICS, TRAINED, Epoch, require_epoch, require_recorded
from sparsify.runs.state import RunState
from sparsify.text import plural

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_FOLLOWED = os.utime not in os.supports_follow_symlinks  # a link's own age is set where the system can do that
_BEHIND = 1_000  # nanoseconds, which the file systems of all systems can tell apart


@dataclasses.dataclass(frozen=True, repr=False)
class Run(RunState):
    """The folder of one run. The training has ended when `summary.json` exists, which is written last.

    >>> run
    <Run runs/lenet-digits-adabreg-s0-...: finished, test accuracy ...%>
    >>> sparsify.Run(run.path) == run
    True
    """

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
            if self.collapsed is not None:
                return {"status": f"collapsed ({self.collapsed})"}
            return {"status": "finished", f"{self.summary['held_out']} accuracy": f"{self.summary['accuracy']:.2%}"}
        except SparsifyError:
            return {"status": "damaged"}

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

        The shape is (filters,), (filters, inputs) for kernels, or the weight's if the grains are single weights. A
        grain is in the support if Γ ≠ 0, or, if the optimizer has no Γ, if W ≠ 0. Returns None if the optimizer does
        not select in this parameter.

        >>> run.support("conv3.weight").shape
        torch.Size([120])
        """
        path = self.inclusion_path
        if path is None or parameter not in path.entry:
            return None
        zs = self.z
        tensor = (self.tensors("model.safetensors") if zs is None else zs)[parameter]
        penalty = penalty_seen(path.entry[parameter].shape, tuple(tensor.shape))
        return support(tensor, 0.0 if zs is None else THRESHOLD, penalty)

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

        That of a collapsed run is returned, too: it shows what became of the weights.

        >>> run.model()(torch.zeros(1, 1, 28, 28)).shape
        torch.Size([1, 10])
        """
        if self.status != "collapsed":
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

    def touch(self) -> None:
        """Make this the newest run, because it was asked for again.

        >>> run.touch()
        """
        with contextlib.suppress(OSError):  # someone else's run, or a read-only disk: it is read all the same
            os.utime(self.path / "summary.json", follow_symlinks=_FOLLOWED)

    def come_after(self, other: Run) -> None:
        """Take the place behind another run, for whose sake this one was trained, in the order of age.

        >>> run.come_after(sparsify.Run(Path("copy")))
        """
        with contextlib.suppress(OSError):  # as in `touch`
            age = (other.path / "summary.json").stat()
            times = age.st_atime_ns, age.st_mtime_ns - _BEHIND
            os.utime(self.path / "summary.json", ns=times, follow_symlinks=_FOLLOWED)
