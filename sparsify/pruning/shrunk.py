"""A shrunk network's folder: its weights, and what was removed from which network; enough to build it again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import nn

from sparsify.errors import SparsifyError
from sparsify.files import parse_json, write_tensors, write_text
from sparsify.nets.registry import NAMES, is_network, network
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
        return _facts(folder)[0]


def is_shrunk(folder: Path) -> bool:
    """Whether the folder is a shrunk network's."""
    return (folder / _FACTS).is_file()


def load_shrunk(folder: Path) -> nn.Module:
    """The shrunk network of a folder, on the CPU, in evaluation mode. Raises SparsifyError if the folder is damaged."""
    facts, sums = _facts(folder)
    try:
        content = (folder / _WEIGHTS).read_bytes()
    except OSError as error:
        raise _damaged(folder / _WEIGHTS, error.strerror) from error
    if hashlib.sha256(content).hexdigest() != sums.get(_WEIGHTS):
        raise _damaged(folder / _WEIGHTS, f"its SHA-256 sum is not the one in {_FACTS}")
    try:
        whole = network(facts.model, facts.shape, len(facts.classes)).eval()
        small = remove_outputs(whole, facts.removed, torch.zeros(1, *facts.shape))
        small.load_state_dict(load_tensors(content))
    except (SparsifyError, SafetensorError, RuntimeError) as error:
        raise _damaged(folder, str(error)) from error
    return small


class _Sums(TypedDict):
    """What shrunk.json holds beside the fields of `Shrunk`."""

    sha256: dict[str, str]


def _facts(folder: Path) -> tuple[Shrunk, dict[str, str]]:
    """What shrunk.json says, and the SHA-256 sums of the files beside it."""
    try:
        content = (folder / _FACTS).read_bytes()
        facts, sums = parse_json(content, Shrunk), parse_json(content, _Sums)
    except OSError as error:
        raise _damaged(folder / _FACTS, error.strerror) from error
    except SparsifyError as error:
        raise _damaged(folder / _FACTS, error) from error
    if not is_network(facts.model):
        raise _damaged(folder / _FACTS, f"model is {facts.model!r}; it must be one of: {', '.join(NAMES)}")
    if not facts.classes:
        raise _damaged(folder / _FACTS, "classes is empty; it must name each class")
    return facts, sums["sha256"]


def _damaged(path: Path, reason: object) -> SparsifyError:
    return SparsifyError(f"{path} is damaged: {reason}; delete the folder and shrink again")


def load(run: Run | Path | str, runs_dir: Path | str = "runs") -> nn.Module:
    """The trained network of a run, given as a Run, a folder or the beginning of a name; or a shrunk one, by folder."""
    if isinstance(run, Run):
        return run.model()
    for folder in (Path(run), Path(runs_dir) / run):
        if is_shrunk(folder):
            return load_shrunk(folder)
    return find_run(str(run), Path(runs_dir)).model()
