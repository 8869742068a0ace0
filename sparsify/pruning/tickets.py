"""Lottery tickets: a network trained again, from where it was early on, under the mask of what it became."""

from __future__ import annotations

import dataclasses
import warnings
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from sparsify.devices import resolve_device
from sparsify.errors import SparsifyError, SparsifyWarning
from sparsify.nets.layers import find_layers
from sparsify.nets.mask import save_mask
from sparsify.nets.structure import Structure
from sparsify.pruning.cuts import cuts_in_rounds
from sparsify.pruning.plan import parse_ratios
from sparsify.pruning.ranking import rankings, scorer
from sparsify.pruning.subject import subject_of
from sparsify.pruning.sweep import sweep_id
from sparsify.runs import Run
from sparsify.training.environment import changed_bits
from sparsify.training.launch import train
from sparsify.training.trainer import Listener


@dataclass(frozen=True)
class Ticket:
    """A mask by one criterion, kept at `mask`, and the run that was trained under it; `kept` of `total` grains."""

    criterion: str
    mask: Path
    run: Run
    kept: int
    total: int


@dataclass(frozen=True)
class KeptMask:
    """The file of a mask made from a run by one criterion; it keeps `kept` of `total` grains."""

    criterion: str
    path: Path
    kept: int
    total: int


def tickets(
    run: Run,
    *,
    layers: str,
    ratio: float,
    criterion: str = "magnitude",
    grain: str = "auto",
    rewind: int = 0,
    device: str = "auto",
    runs_dir: Path | str = "runs",
    data_dir: Path | str | None = None,
    listener: Listener | None = None,
) -> list[Ticket]:
    """The run's own ticket, and beside it a random one that keeps as many grains of each layer.

    A ticket is the run's Config trained again from the same initial weights under a mask (Frankle & Carbin 2019):
    that of the `ratio` that the criterion removes from the trained network. With "entry", DessiLBI's order of selection
    decides. `rewind`: from the weights after so many epochs instead (Frankle et al. 2020): these are trained again
    without the mask, to the same bits, and the others under it, at their own learning rates; where device, threads or
    torch are others, so that the bits can be, it warns. Each is a run of its own, resumed or returned as any. Raises
    SparsifyError for a run that was trained under a mask, and as `prune` does.
    """
    epochs = run.config.epochs
    if not 0 <= rewind < epochs:
        raise SparsifyError(f"--rewind is {rewind}; it must be from 0 to {epochs - 1}: {run.name} has {epochs} epochs")
    if run.config.mask is not None:
        raise SparsifyError(f"{run.name} was trained under a mask itself; take the run that the mask is of")
    changed = changed_bits(run.environment, resolve_device(device))
    if rewind and changed:
        warnings.warn(
            f"the first {rewind} epochs are trained again elsewhere than {run.name} was ({changed}): the weights after "
            "them can differ in the last bits",
            SparsifyWarning,
            stacklevel=2,
        )
    places = {"device": device, "runs_dir": runs_dir, "data_dir": data_dir}
    how = {"layers": layers, "ratio": ratio, "criterion": criterion, "grain": grain}
    results = []
    for mask in masks_of(run, **how, control=criterion != "random", **places):
        config = dataclasses.replace(run.config, mask=str(mask.path), mask_from=rewind)
        trained = train(config, **places, listener=listener)
        results.append(Ticket(mask.criterion, mask.path, trained, mask.kept, mask.total))
    if run.output(Path(runs_dir)) == run.path:
        run.touch()  # the newest, rather than a ticket under a random mask
    return results


def masks_of(
    run: Run,
    *,
    layers: str,
    ratio: float,
    criterion: str = "magnitude",
    grain: str = "auto",
    control: bool = False,
    device: str = "auto",
    runs_dir: Path | str = "runs",
    data_dir: Path | str | None = None,
) -> list[KeptMask]:
    """The mask of what a criterion removes from a trained network, and with `control` a random one of its counts.

    Each is written where `mask_path` says. Raises SparsifyError as `prune` does.
    """
    (ratio,) = parse_ratios(ratio)
    subject = subject_of(run, device=device, data_dir=data_dir)
    found = find_layers(subject.model, layers, subject.name)
    structure = Structure(subject.model, subject.normalise(subject.split.images[:1]))
    chosen = rankings(scorer(subject, structure, grain), found, criterion, controls=control)
    results = []
    for selection in chosen[:2]:  # without the reversed order
        cuts = cuts_in_rounds(subject, structure, found, selection, ratio, grain=grain)
        mask, _ = structure.remove(cuts)
        how = {"layers": layers, "ratio": ratio, "criterion": selection.name, "grain": grain}
        path = save_mask(mask_path(run, subject.model, **how, runs_dir=runs_dir), mask)
        kept, total = sum(int((~cut.drop).sum()) for cut in cuts), sum(cut.drop.numel() for cut in cuts)
        results.append(KeptMask(selection.name, path, kept, total))
    return results


def mask_path(
    run: Run, model: nn.Module, *, layers: str, ratio: float, criterion: str, grain: str, runs_dir: Path | str
) -> Path:
    """Where the mask of a run by these is kept; `model` is any network of the run's kind."""
    names = list(find_layers(model, layers, run.config.model))
    identity = sweep_id(layers=names, ratios=[ratio], criterion=criterion, grain=grain)
    return run.output(Path(runs_dir)) / f"mask-{identity}.safetensors"
