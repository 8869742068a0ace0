"""Lottery tickets: a network trained again, from where it was early on, under the mask of what it became."""

from __future__ import annotations

import dataclasses
import warnings
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from sparsify.config import HERE, Places
from sparsify.devices import resolve_device
from sparsify.errors import SparsifyError, SparsifyWarning
from sparsify.nets.layers import find_layers
from sparsify.nets.mask import save_mask
from sparsify.pruning.cuts import cuts_in_rounds, restored
from sparsify.pruning.plan import PointPlan
from sparsify.pruning.ranking import Scorer, rankings
from sparsify.pruning.subject import subject_of
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
    run: Run, point: PointPlan, places: Places = HERE, *, rewind: int = 0, listener: Listener | None = None
) -> list[Ticket]:
    """The run's own ticket, and beside it a random one that keeps as many grains of each layer.

    A ticket is the run's Config trained again from the same initial weights under a mask (Frankle & Carbin 2019):
    that of what the `point` removes from the trained network. With "entry", DessiLBI's order of selection decides.
    `rewind`: from the weights after so many epochs instead (Frankle et al. 2020): these are trained again without the
    mask, to the same bits, and the others under it, at their own learning rates; where device, threads or torch are
    others, so that the bits can be, it warns. Each is a run of its own, resumed or returned as any. Raises
    SparsifyError for a run that was trained under a mask, and as `prune` does.
    """
    epochs = run.config.epochs
    if not 0 <= rewind < epochs:
        raise SparsifyError(f"--rewind is {rewind}; it must be from 0 to {epochs - 1}: {run.name} has {epochs} epochs")
    if run.config.mask is not None:
        raise SparsifyError(f"{run.name} was trained under a mask itself; take the run that the mask is of")
    changed = changed_bits(run.environment, resolve_device(places.device))
    if rewind and changed:
        warnings.warn(
            f"the first {rewind} epochs are trained again elsewhere than {run.name} was ({changed}): the weights after "
            "them can differ in the last bits",
            SparsifyWarning,
            stacklevel=2,
        )
    results = []
    for mask in masks_of(run, point, places, control=point.criterion != "random"):
        config = dataclasses.replace(run.config, mask=str(mask.path), mask_from=rewind)
        trained = train(config, places, listener=listener)
        results.append(Ticket(mask.criterion, mask.path, trained, mask.kept, mask.total))
    if run.output(places.runs_dir) == run.path:
        run.touch()  # the newest, rather than a ticket under a random mask
    return results


def masks_of(run: Run, point: PointPlan, places: Places = HERE, *, control: bool = False) -> list[KeptMask]:
    """The mask of what a point removes from a trained network, and with `control` a random one of its counts.

    Each is written where `mask_path` says. Raises SparsifyError as `prune` does.
    """
    subject = subject_of(run, places)
    found = find_layers(subject.model, point.layers, subject.name)
    chosen = rankings(Scorer(subject, point.grain), found, point.sweep(controls=control))
    results = []
    for ranking in chosen[:2]:  # without the opposite order
        with restored(subject.model):
            cuts = cuts_in_rounds(subject, found, ranking, point.ratio, grain=point.grain, rounds=point.rounds)
        mask, _ = subject.structure.remove(cuts)
        asked = dataclasses.replace(point, criterion=ranking.criterion, reverse=ranking.reverse)
        path = save_mask(mask_path(run, subject.model, asked, places.runs_dir), mask)
        kept, total = sum(int((~cut.drop).sum()) for cut in cuts), sum(cut.drop.numel() for cut in cuts)
        results.append(KeptMask(ranking.name, path, kept, total))
    return results


def mask_path(run: Run, model: nn.Module, point: PointPlan, runs_dir: Path) -> Path:
    """Where the mask of a run at a point is kept; `model` is any network of the run's kind."""
    names = tuple(find_layers(model, point.layers, run.config.model))
    identity = dataclasses.replace(point.sweep(), layers=names).id
    return run.output(runs_dir) / f"mask-{identity}.safetensors"
