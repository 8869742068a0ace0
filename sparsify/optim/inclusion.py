"""The inclusion path: when each grain entered the support, and ‖Γ‖ and ‖W‖ over training."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from sparsify.errors import SparsifyError, reason_given
from sparsify.files import regular, write_bytes
from sparsify.optim.base import SelectingOptimizer
from sparsify.optim.penalties import filter_norms, grain_norms
from sparsify.optim.slbi import SplitOptimizer

RECORDS = 500


def record_steps(total: int, records: int = RECORDS) -> np.ndarray:
    """Return at most `records` steps from 0 to `total`, dense at the start, where most filters enter."""
    return np.unique(np.rint(total * np.linspace(0, 1, records) ** 2).astype(np.int64))


def path_times(rates: np.ndarray) -> np.ndarray:
    """Return the path time T after 0, 1, …, n steps, the sum of `rates` so far.

    `rates` holds the path time of each of the n steps: α_p/μ in the SLBI family, else α.
    """
    return np.concatenate([[0.0], np.cumsum(rates)])


@torch.no_grad()
def predict_entry(model: nn.Module, optimizer: SplitOptimizer, time: float) -> dict[str, float]:
    """Return, by parameter, the fraction of grains that enter by the path time T = `time` if their norms do not change.

    A grain of norm r enters when ‖∫(W − Γ) dt‖ reaches λ. Γ is 0 before, so that this is when r·T ≥ λ.

    >>> layer = torch.nn.Linear(2, 1)
    >>> _ = torch.nn.init.constant_(layer.weight, 0.5)
    >>> sparsify.predict_entry(layer, sparsify.SLBI(layer.parameters()), 2.0)
    {'weight': 1.0}
    """
    threshold = optimizer.param_groups[0]["threshold"]
    fractions = {}
    for name, parameter in model.named_parameters():
        penalty = optimizer.penalty(parameter)
        if penalty:
            norms = grain_norms(parameter, penalty)
            fractions[name] = (norms * time >= threshold).float().mean().item()
    return fractions


@dataclass(frozen=True, repr=False)
class InclusionPath:
    """The path of one trained run.

    `entry[p]` is the step at which each grain of the parameter p entered, inf if it never did: (filters,), (filters,
    inputs) for kernels, or the weight's shape. A grain enters when its sparse copy is not 0 for the first time: at step
    0 if it starts like that. `gamma_norm[p]` and `weight_norm[p]` are (records, filters), also for kernels, or
    (records, 1) for the whole layer if the grains are single weights. Γ is W itself if the optimizer keeps no other
    sparse copy (linbreg, adabreg, prox-sgd). `steps` and `time` (T = Σ α_p/μ in the SLBI family, else Σ α) are those of
    the records.

    >>> path = run.inclusion_path
    >>> path.entry["conv3.weight"].shape, len(path.time) == len(path.steps)
    ((120,), True)
    """

    steps: np.ndarray
    time: np.ndarray
    entry: dict[str, np.ndarray]
    gamma_norm: dict[str, np.ndarray]
    weight_norm: dict[str, np.ndarray]

    def __repr__(self) -> str:
        entered = sum(int(np.isfinite(entry).sum()) for entry in self.entry.values())
        grains = sum(entry.size for entry in self.entry.values())
        what = f"{entered:,} of {grains:,} grains of {', '.join(self.entry)} entered"
        return f"<InclusionPath: {what} by T = {self.time[-1]:.3g}>"

    def of_filters(self, parameter: str) -> np.ndarray:
        """Return the step at which each filter entered, with its first kernel; `entry` itself of other grains.

        >>> run.inclusion_path.of_filters("conv3.weight").shape
        (120,)
        """
        entry = self.entry[parameter]
        kernels = entry.ndim == 2 and self.weight_norm[parameter].shape[1] == len(entry) > 1
        return entry.min(axis=1) if kernels else entry

    def save(self, path: Path) -> None:
        """Write the path as an npz file, in one step.

        >>> run.inclusion_path.save(Path("path.npz"))
        """
        arrays = {"steps": self.steps, "time": self.time}
        for kind in ("entry", "gamma_norm", "weight_norm"):
            arrays |= {f"{kind}/{name}": array for name, array in getattr(self, kind).items()}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # mypy sees allow_pickle=<array>
        write_bytes(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> InclusionPath:
        """Read what `save` wrote. Raises SparsifyError if the file is damaged.

        >>> run.inclusion_path.save(Path("path.npz"))
        >>> list(sparsify.InclusionPath.load(Path("path.npz")).entry)
        ['conv1.weight', 'conv2.weight', 'conv3.weight', 'fc1.weight', 'fc2.weight']
        """
        try:
            content = io.BytesIO(regular(path).read_bytes())  # in memory, because numpy leaves a damaged file open
            with np.load(content, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            kinds: dict[str, dict[str, np.ndarray]] = {kind: {} for kind in ("entry", "gamma_norm", "weight_norm")}
            for name, array in arrays.items():
                if "/" in name:
                    kind, parameter = name.split("/", 1)
                    kinds[kind][parameter] = array
            read = cls(arrays["steps"], arrays["time"], kinds["entry"], kinds["gamma_norm"], kinds["weight_norm"])
            if not read.entry.keys() == read.gamma_norm.keys() == read.weight_norm.keys():
                raise ValueError("a parameter's entry or norms are missing")
            return read
        except Exception as error:  # numpy and zipfile raise errors of many types
            raise SparsifyError(
                f"{path} is damaged: {reason_given(error)}; delete the folder and train it again"
            ) from error


class PathRecorder:
    """Records the path of an optimizer that selects, while it trains. Its tensors are on the parameters' device."""

    def __init__(self, model: nn.Module, optimizer: SelectingOptimizer, total_steps: int) -> None:
        names = {id(p): name for name, p in model.named_parameters()}
        self.optimizer = optimizer
        self._watched = [(names[id(p)], p, optimizer.penalty(p)) for p in optimizer.structured()]
        self._steps = record_steps(total_steps)
        self._row = {int(step): row for row, step in enumerate(self._steps)}
        self.tensors: dict[str, Tensor] = {}
        for name, p, _ in self._watched:
            self.tensors[f"entry/{name}"] = torch.full(optimizer.sizes(p).shape, math.inf, device=p.device)
            for kind in ("gamma_norm", "weight_norm"):
                width = 1 if optimizer.penalty(p) == "weight" else len(p)
                self.tensors[f"{kind}/{name}"] = torch.zeros(len(self._steps), width, device=p.device)
        self.record(0)

    def record(self, step: int) -> None:
        """Record the entries and the norms after `step` steps."""
        self._enter(step, frozenset())
        self.note(step)

    def advance(self, step: float | Tensor) -> None:
        """Do iteration `step` of the optimizer, counted from 1, and record the grains that enter. Waits for no device.

        A grain enters when it is in the support for the first time.
        """
        entries = {p: self.tensors[f"entry/{name}"] for name, p, _ in self._watched}
        self._enter(step, self.optimizer.step_noting(step, entries))

    @torch.no_grad()
    def _enter(self, step: float | Tensor, written: frozenset[Tensor]) -> None:
        left = [(name, p) for name, p, _ in self._watched if p not in written]
        if left:
            entries = [self.tensors[f"entry/{name}"] for name, _ in left]
            # later steps are larger ones, so that the least is the first
            torch._foreach_minimum_(entries, [torch.where(self.optimizer.support(p), step, math.inf) for _, p in left])

    @torch.no_grad()
    def note(self, step: int) -> None:
        """Record the norms, if `step` is one of the recorded steps."""
        row = self._row.get(step)
        if row is None:
            return
        for name, p, penalty in self._watched:
            sizes, single = self.optimizer.sizes(p), penalty == "weight"
            self.tensors[f"gamma_norm/{name}"][row] = torch.linalg.vector_norm(sizes) if single else filter_norms(sizes)
            norms = torch.linalg.vector_norm(p) if single else filter_norms(p)
            self.tensors[f"weight_norm/{name}"][row] = norms

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Restore the recorder from a saved copy of its `tensors`."""
        for name, tensor in self.tensors.items():
            tensor.copy_(tensors[name])

    def path(self, times: np.ndarray, steps: float = math.inf) -> InclusionPath:
        """Return the path of the first `steps` steps. `times` holds the path time after each step."""
        reached = self._steps[self._steps <= steps]
        kinds: dict[str, dict[str, np.ndarray]] = {"entry": {}, "gamma_norm": {}, "weight_norm": {}}
        for name, tensor in self.tensors.items():
            kind, parameter = name.split("/", 1)
            array = tensor.cpu().numpy()
            kinds[kind][parameter] = array if kind == "entry" else array[: len(reached)]
        return InclusionPath(reached, times[reached], kinds["entry"], kinds["gamma_norm"], kinds["weight_norm"])
