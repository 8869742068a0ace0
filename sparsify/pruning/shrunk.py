"""A shrunk network's folder: its weights, and what was removed from which network; enough to build it again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import nn

from sparsify.errors import SparsifyError
from sparsify.files import write_tensors, write_text
from sparsify.nets.registry import is_network, network
from sparsify.nets.shrinking import remove_outputs
from sparsify.runs import Run, find_run

_WEIGHTS, _FACTS = "model.safetensors", "shrunk.json"


@dataclass(frozen=True)
class Shrunk:
    """Where a shrunk network comes from: `network(model, shape, len(classes))` without the outputs `removed`.

    `removed` holds the indices of each layer's outputs in the original numbering. The rest says how they were chosen:
    the run, the set of layers, the criterion; and what was done then: `finetune_epochs` after each round, or else
    BatchNorm's statistics re-estimated. `difference` is the measured `agreement`.
    """

    model: str
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    removed: dict[str, list[int]]
    run: str
    layers: str
    ratio: float
    criterion: str
    grain: str
    scope: str
    reverse: bool
    params_before: int
    params_after: int
    difference: float
    rounds: int = 1
    finetune_epochs: int = 0
    recalibrate_bn: bool = False

    def save(self, folder: Path, network: nn.Module) -> Path:
        """Write the network's weights and, last, `shrunk.json`; returns the folder."""
        write_tensors(folder / _WEIGHTS, network.state_dict())
        sha256 = {_WEIGHTS: hashlib.sha256((folder / _WEIGHTS).read_bytes()).hexdigest()}
        write_text(folder / _FACTS, json.dumps({**dataclasses.asdict(self), "sha256": sha256}, indent=2) + "\n")
        return folder

    @classmethod
    def read(cls, folder: Path) -> Shrunk:
        """The inverse of `save`, but for the weights. Raises SparsifyError if it is missing or damaged."""
        values = _facts(folder)
        fields = {name: values[name] for name in _FITS}
        return cls(**{**fields, "shape": tuple(fields["shape"]), "classes": tuple(fields["classes"])})


def is_shrunk(folder: Path) -> bool:
    """Whether the folder is a shrunk network's."""
    return (folder / _FACTS).is_file()


def load_shrunk(folder: Path) -> nn.Module:
    """The shrunk network of a folder, on the CPU, in evaluation mode. Raises SparsifyError if the folder is damaged."""
    facts = Shrunk.read(folder)
    try:
        content = (folder / _WEIGHTS).read_bytes()
    except OSError as error:
        raise _damaged(folder / _WEIGHTS, error.strerror) from error
    if hashlib.sha256(content).hexdigest() != _facts(folder)["sha256"].get(_WEIGHTS):
        raise _damaged(folder / _WEIGHTS, f"its SHA-256 sum is not the one in {_FACTS}")
    try:
        whole = network(facts.model, facts.shape, len(facts.classes)).eval()
        small = remove_outputs(whole, facts.removed, torch.zeros(1, *facts.shape))
        small.load_state_dict(load_tensors(content))
    except (SparsifyError, SafetensorError, RuntimeError) as error:
        raise _damaged(folder, str(error)) from error
    return small


def _facts(folder: Path) -> dict[str, Any]:
    try:
        values = json.loads((folder / _FACTS).read_bytes())
    except OSError as error:
        raise _damaged(folder / _FACTS, error.strerror) from error
    except ValueError as error:
        raise _damaged(folder / _FACTS, error) from error
    if isinstance(values, dict):
        # files of before there were others lack some
        values = {"rounds": 1, "finetune_epochs": 0, "recalibrate_bn": False, **values}
    for name, fits in {**_FITS, "sha256": lambda value: isinstance(value, dict)}.items():
        if not isinstance(values, dict) or name not in values or not fits(values[name]):
            raise _damaged(folder / _FACTS, f"{name} is missing or wrong")
    return values


def _damaged(path: Path, reason: object) -> SparsifyError:
    return SparsifyError(f"{path} is damaged: {reason}; delete the folder and shrink again")


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, float) or _is_count(value)


def _is_list(of: Callable[[object], bool], value: object) -> bool:
    return isinstance(value, list) and all(map(of, value))


# what shrunk.json must hold to be believed
_FITS: dict[str, Callable[[Any], bool]] = {
    "model": is_network,
    "shape": lambda value: _is_list(_is_count, value) and len(value) == 3,
    "classes": lambda value: _is_list(_is_text, value) and bool(value),
    "removed": lambda value: (
        isinstance(value, dict) and all(_is_list(_is_count, indices) for indices in value.values())
    ),
    "run": _is_text,
    "layers": _is_text,
    "ratio": _is_number,
    "criterion": _is_text,
    "grain": _is_text,
    "scope": _is_text,
    "reverse": lambda value: isinstance(value, bool),
    "params_before": _is_count,
    "params_after": _is_count,
    "difference": _is_number,
    "rounds": _is_count,
    "finetune_epochs": _is_count,
    "recalibrate_bn": lambda value: isinstance(value, bool),
}


def load(run: Run | Path | str, runs_dir: Path | str = "runs") -> nn.Module:
    """The trained network of a run, given as a Run, a folder or the beginning of a name; or a shrunk one, by folder."""
    if isinstance(run, Run):
        return run.model()
    for folder in (Path(run), Path(runs_dir) / run):
        if is_shrunk(folder):
            return load_shrunk(folder)
    return find_run(str(run), Path(runs_dir)).model()
