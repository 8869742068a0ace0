"""Lottery tickets: a network trained again, from where it started, under the mask of what it became."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from sparsify.cost import Cut, Structure
from sparsify.errors import SparsifyError
from sparsify.layers import find_layers
from sparsify.mask import save_mask
from sparsify.pruning import subject_of
from sparsify.ratios import parse_ratios
from sparsify.runs import Run
from sparsify.scoring import scorer, selections
from sparsify.sweep import sweep_id
from sparsify.training import Listener, train


@dataclass(frozen=True)
class Ticket:
    """A mask by one criterion, kept at `mask`, and the run that was trained under it; `kept` of `total` grains."""

    criterion: str
    mask: Path
    run: Run
    kept: int
    total: int


def tickets(
    run: Run,
    *,
    layers: str,
    ratio: float,
    criterion: str = "magnitude",
    grain: str = "auto",
    device: str = "auto",
    runs_dir: Path | str = "runs",
    data_dir: Path | str | None = None,
    listener: Listener | None = None,
) -> list[Ticket]:
    """The run's own ticket, and beside it a random one that keeps as many grains of each layer.

    A ticket is the run's Config trained again from the same initial weights under a mask (Frankle & Carbin 2019):
    that of the `ratio` that the criterion removes from the trained network. With "entry", DessiLBI's order of selection
    decides. Each is a run of its own, resumed or returned as any. Raises SparsifyError for a run that was trained under
    a mask, and as `prune` does.
    """
    if run.config.mask is not None:
        raise SparsifyError(f"{run.name} was trained under a mask itself; take the run that the mask is of")
    (ratio,) = parse_ratios(ratio)
    subject = subject_of(run, device=device, data_dir=data_dir)
    found = find_layers(subject.model, layers, subject.name)
    structure = Structure(subject.model, subject.normalise(subject.split.images[:1]))
    controls = criterion != "random"
    chosen = selections(scorer(subject, structure, grain), found, criterion, controls=controls)
    results = []
    for selection in chosen[:2]:  # without the reversed order
        drops = selection.drops(ratio)
        mask, _ = structure.remove([Cut(layer, layer.grain(grain), drops[name]) for name, layer in found.items()])
        identity = sweep_id(layers=list(found), ratios=[ratio], criterion=selection.name, grain=grain)
        path = save_mask(run.output(Path(runs_dir)) / f"mask-{identity}.safetensors", mask)
        config = dataclasses.replace(run.config, mask=str(path))
        trained = train(config, device=device, runs_dir=runs_dir, data_dir=data_dir, listener=listener)
        total = sum(drop.numel() for drop in drops.values())
        results.append(Ticket(selection.name, path, trained, total - sum(int(d.sum()) for d in drops.values()), total))
    return results
