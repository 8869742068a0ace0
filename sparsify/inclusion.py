"""The inclusion path: when each grain entered supp(Γ), and ‖Γ‖ and ‖W‖ over training."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from sparsify.errors import SparsifyError
from sparsify.files import write_bytes
from sparsify.optim.split import SplitOptimizer
from sparsify.optim.structure import filter_norms

RECORDS = 500


def record_steps(total: int, records: int = RECORDS) -> np.ndarray:
    """At most `records` steps from 0 to `total`, dense at the start: filters enter within the first epoch."""
    return np.unique(np.rint(total * np.linspace(0, 1, records) ** 2).astype(np.int64))


def path_times(rates: np.ndarray) -> np.ndarray:
    """Path time after 0, 1, …, n steps, T = Σ α_p/μ, from the n steps' rates α_p/μ."""
    return np.concatenate([[0.0], np.cumsum(rates)])


@torch.no_grad()
def predict_entry(model: nn.Module, optimizer: SplitOptimizer, time: float) -> dict[str, float]:
    """The fraction of each layer's grains that enter by `time` if their norms r stay as they are: those with r·T ≥ λ.

    A group enters when ‖∫(W − Γ) dt‖ passes λ, and before that Γ is 0.
    """
    threshold = optimizer.param_groups[0]["threshold"]
    fractions = {}
    for name, parameter in model.named_parameters():
        penalty = optimizer.penalty(parameter)
        if penalty:
            norms = filter_norms(parameter) if penalty == "filter" else parameter.abs()
            fractions[name] = (norms * time >= threshold).float().mean().item()
    return fractions


@dataclass(frozen=True)
class InclusionPath:
    """One trained run's path. `entry[p]`: step at which each grain entered, inf if never, (filters,) or weight's shape.

    `gamma_norm[p]`, `weight_norm[p]`: (records, filters), or (records, 1) for the layer as a whole where the grains
    are single weights. `steps` and `time` (T = Σ α_p/μ) are those of the records.
    """

    steps: np.ndarray
    time: np.ndarray
    entry: dict[str, np.ndarray]
    gamma_norm: dict[str, np.ndarray]
    weight_norm: dict[str, np.ndarray]

    def save(self, path: Path) -> None:
        """Write path.npz, in one step."""
        arrays = {"steps": self.steps, "time": self.time}
        for kind in ("entry", "gamma_norm", "weight_norm"):
            arrays |= {f"{kind}/{name}": array for name, array in getattr(self, kind).items()}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        write_bytes(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> InclusionPath:
        """Read path.npz. Raises SparsifyError if it is damaged."""
        try:
            with np.load(io.BytesIO(path.read_bytes())) as file:  # numpy leaves a damaged file open
                arrays = {name: file[name] for name in file.files}
            kinds = {kind: {} for kind in ("entry", "gamma_norm", "weight_norm")}
            for name, array in arrays.items():
                if "/" in name:
                    kind, parameter = name.split("/", 1)
                    kinds[kind][parameter] = array
            read = cls(arrays["steps"], arrays["time"], **kinds)
            if not read.entry.keys() == read.gamma_norm.keys() == read.weight_norm.keys():
                raise ValueError("a parameter's entry or norms are missing")
            return read
        except Exception as error:  # numpy and zipfile raise whatever the damage looks like to them
            raise SparsifyError(f"{path} is damaged: {error}; delete the folder and train it again") from error


class PathRecorder:
    """Watches an optimizer of the SLBI family while it trains; everything stays on the parameters' device."""

    def __init__(self, model: nn.Module, optimizer: SplitOptimizer, total_steps: int) -> None:
        names = {id(p): name for name, p in model.named_parameters()}
        self._optimizer = optimizer
        self._watched = [
            (names[id(p)], p, optimizer.penalty(p) == "filter", group)
            for group in optimizer.param_groups
            for p in group["params"]
            if optimizer.penalty(p)
        ]
        self._steps = record_steps(total_steps)
        self._row = {int(step): row for row, step in enumerate(self._steps)}
        self.tensors: dict[str, Tensor] = {}
        for name, p, filters, _ in self._watched:
            shape = (len(p),) if filters else p.shape
            self.tensors[f"entry/{name}"] = torch.full(shape, math.inf, device=p.device)
            for kind in ("gamma_norm", "weight_norm"):
                width = len(p) if filters else 1
                self.tensors[f"{kind}/{name}"] = torch.zeros(len(self._steps), width, device=p.device)
        self.record(0)

    def record(self, step: int) -> None:
        """Note what there is to note after `step` steps."""
        self.enter(step)
        self.note(step)

    @torch.no_grad()
    def enter(self, step: float | Tensor) -> None:
        """Note which grains are in the support after `step` steps; what entered before stays. Waits for no device."""
        for name, p, filters, group in self._watched:
            z = self._optimizer.state[p].get("z")
            if z is not None:
                entry = self.tensors[f"entry/{name}"]
                entry.masked_fill_((_sizes(z, filters) > group["threshold"]) & (entry > step), step)

    @torch.no_grad()
    def note(self, step: int) -> None:
        """Note the norms, if this step is one of the records."""
        row = self._row.get(step)
        if row is None:
            return
        for name, p, filters, group in self._watched:
            z = self._optimizer.state[p].get("z")
            if z is not None:
                gamma = group["kappa"] * (_sizes(z, filters) - group["threshold"]).clamp_(min=0)  # of each grain of Γ
                self.tensors[f"gamma_norm/{name}"][row] = gamma if filters else torch.linalg.vector_norm(gamma)
            norms = filter_norms(p) if filters else torch.linalg.vector_norm(p)
            self.tensors[f"weight_norm/{name}"][row] = norms

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Go on from what `tensors` held when it was saved."""
        for name, tensor in self.tensors.items():
            tensor.copy_(tensors[name])

    def path(self, times: np.ndarray, steps: float = math.inf) -> InclusionPath:
        """The path of the first `steps` steps (a diverged run has fewer); `times` is the path time after every step."""
        reached = self._steps[self._steps <= steps]
        kinds: dict[str, dict[str, np.ndarray]] = {"entry": {}, "gamma_norm": {}, "weight_norm": {}}
        for name, tensor in self.tensors.items():
            kind, parameter = name.split("/", 1)
            array = tensor.cpu().numpy()
            kinds[kind][parameter] = array if kind == "entry" else array[: len(reached)]
        return InclusionPath(reached, times[reached], **kinds)


def _sizes(z: Tensor, filters: bool) -> Tensor:
    """What passes λ when a grain enters: ‖Z_i‖₂ of each filter, |z| of each weight."""
    return filter_norms(z) if filters else z.abs()
