"""Lottery tickets: a network is trained again from its early weights, under a mask of the trained network."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparsify.config import HERE, OPTIONS, Config, Places
from sparsify.devices import resolve_device
from sparsify.errors import SparsifyError, SparsifyWarning, unknown
from sparsify.nets.layers import find_layers
from sparsify.nets.mask import save_mask
from sparsify.nets.structure import Structure
from sparsify.optim.registry import OPTIMIZERS
from sparsify.optim.spec import STRUCTURES, taken
from sparsify.pruning.cuts import cuts_in_rounds, restored, units_by_name
from sparsify.pruning.plan import PointPlan
from sparsify.pruning.ranking import Scorer, rankings
from sparsify.pruning.subject import subject_of
from sparsify.runs import Run
from sparsify.runs.images import config_here
from sparsify.sums import Record
from sparsify.training.environment import changed_bits
from sparsify.training.launch import train_side_by_side
from sparsify.training.trainer import Listener


@dataclass(frozen=True)
class Ticket:
    """The run that was trained under a mask, by one criterion, of the run `whole`.

    The file `mask` keeps `kept` of `total` grains.
    """

    whole: Run
    criterion: str
    mask: Path
    run: Run
    kept: int
    total: int


@dataclass(frozen=True)
class KeptMask:
    """The file of a mask by one criterion, made from a run; it keeps `kept` of `total` grains."""

    criterion: str
    path: Path
    kept: int
    total: int


def retrained(config: Config, opt: str | None = None, *, rewind: int = 0) -> Config:
    """Return the Config of a run as its tickets are trained: with the optimizer `opt`, all else as it was.

    Without `opt` it is the run's own, but "sgd" in the place of one that pulls the weights towards Γ: as in the code of
    DessiLBI, and because the pull that is right for the whole network can be too hard for what is left of it. A ticket
    that rewinds keeps the run's optimizer, with which its first epochs are trained again. Of the options that both
    optimizers take another optimizer has the run's, and where both take steps of SGD, or both of Adam, also κ, μ and
    path_scale, and the learning rate at which the weights move: α, times κ if it has none. Else it has its defaults.

    Raises SparsifyError for an unknown optimizer, and for another one than the run's if the ticket rewinds.
    """
    of = OPTIMIZERS[config.opt]
    if opt is None:
        opt = "sgd" if of.couples and not rewind else config.opt
    if opt not in OPTIMIZERS:
        raise unknown("optimizer", opt, OPTIMIZERS)
    if opt == config.opt:
        return config
    if rewind:
        reason = f"its first epochs are trained again as the run was, with {config.opt}"
        raise SparsifyError(f"--opt {opt} with --rewind {rewind}: {reason}; leave one of them out")
    to = OPTIMIZERS[opt]
    shared: dict[str, Any] = {
        name: getattr(config, name) for name in OPTIONS if name in of.defaults.keys() & to.defaults
    }
    if (of.steps_as or config.opt) == (to.steps_as or opt):
        shared["lr"] = taken(config.lr) * (1 if "kappa" in shared else config.kappa or 1)
    else:  # they are relative to a learning rate of the other kind
        shared = {name: value for name, value in shared.items() if name not in ("kappa", "mu", "path_scale")}
    without: dict[str, Any] = dict.fromkeys(("lr", *OPTIONS)) | {"opt_options": ""}
    if config.structure not in to.structures:
        without["structure"] = STRUCTURES[0]
    if not to.follows:
        without["release"] = None
    if "weight_decay" not in to.defaults:
        without |= {"decay_schedule": "constant", "decay_schedule_options": ""}
    return dataclasses.replace(config, opt=opt, **{**without, **shared})


def of_seeds(run: Run, seeds: Sequence[int], places: Places = HERE, *, listener: Listener | None = None) -> list[Run]:
    """Return the runs with a run's settings and these seeds; those that are missing are trained.

    In the order of age these come after the run.
    """
    config = config_here(run.config, places.data_dir)
    return [
        run if seed == config.seed else _trained(dataclasses.replace(config, seed=seed), run, places, listener)
        for seed in seeds
    ]


def _trained(config: Config, run: Run, places: Places, listener: Listener | None) -> Run:
    """Return the run of a Config that is trained for the sake of another run."""
    return train_side_by_side([config], places, listener=listener, after=run)[0]


def tickets(
    run: Run,
    point: PointPlan,
    places: Places = HERE,
    *,
    rewind: int = 0,
    opt: str | None = None,
    listener: Listener | None = None,
) -> list[Ticket]:
    """Train the ticket of a run, and a random ticket that keeps as many grains of each layer; return both.

    A ticket is the run's Config trained again from the same initial weights, under the mask without what the `point`
    removes from the trained network (Frankle & Carbin 2019). With the criterion "entry" the mask follows DessiLBI's
    order of selection. There is no random ticket if the criterion is "random" itself. `opt` is the optimizer, as
    `retrained` has it.

    `rewind` starts from the weights after so many epochs instead (Frankle et al. 2020). These epochs are trained again
    without the mask and give the same bits; the other epochs are trained under it, at their own learning rates. Warns
    (SparsifyWarning) if the device, the threads or torch differ from the run's, so that the bits may differ.

    Each ticket is a run of its own: it is resumed if it was interrupted, and only returned if it is finished. In the
    order of age the tickets come after their run, so that they change nothing in which run is the newest. Raises
    SparsifyError for a run that was itself trained under a mask, for a `rewind` outside the run's epochs, and as
    `retrained` and `prune` do.
    """
    epochs = run.config.epochs
    if not 0 <= rewind < epochs:
        raise SparsifyError(f"--rewind is {rewind}; it must be from 0 to {epochs - 1}: {run.name} has {epochs} epochs")
    if run.config.mask is not None:
        raise SparsifyError(f"{run.name} was trained under a mask itself; take the run that the mask is of")
    again = retrained(config_here(run.config, places.data_dir), opt, rewind=rewind)
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
        config = dataclasses.replace(again, mask=str(mask.path), mask_from=rewind)
        trained = _trained(config, run, places, listener)
        results.append(Ticket(run, mask.criterion, mask.path, trained, mask.kept, mask.total))
    return results


def masks_of(run: Run, point: PointPlan, places: Places = HERE, *, control: bool = False) -> list[KeptMask]:
    """Write the mask of what a point removes from a trained network, to the file that `mask_path` gives.

    With `control` also write a random mask that keeps as many grains of each layer. Return them in this order. Raises
    SparsifyError as `prune` does.
    """
    subject = subject_of(run, places)
    left_out = functools.partial(subject.structure.left_out, point.grain)
    found = find_layers(subject.model, point.layers, subject.name, left_out)
    units = units_by_name(subject, found, point.grain)
    chosen = rankings(Scorer(subject), units, point.sweep(controls=control))
    results = []
    for ranking in chosen[:2]:  # without the opposite order
        with restored(subject.model):
            cuts = cuts_in_rounds(subject, units, ranking, point.ratio, rounds=point.rounds)
        mask, _ = subject.structure.remove(cuts)
        asked = dataclasses.replace(point, layers=",".join(found), criterion=ranking.criterion, reverse=ranking.reverse)
        path = save_mask(mask_path(run, asked, places.runs_dir), mask)
        kept, total = sum(int((~cut.drop).sum()) for cut in cuts), sum(cut.drop.numel() for cut in cuts)
        results.append(KeptMask(ranking.name, path, kept, total))
    return results


def mask_path(run: Run, point: PointPlan, runs_dir: Path) -> Path:
    """Return the file of the mask of a run at a point, whose layers are names and no patterns."""
    identity = dataclasses.replace(point.sweep(), layers=tuple(point.layers.split(","))).id
    return run.output(runs_dir) / f"mask-{identity}.safetensors"


def mask_is_there(path: Path, structure: Structure, point: PointPlan) -> bool:
    """Return whether the mask of a point, of which `mask_path` is the file, is saved there as it would come out now.

    Before 0.3 coupled layers that were named together lost the union of what each would lose, and the file does not say
    by which version it was written. But since 0.4 each mask has its sum in the record of its folder: one of coupled
    layers without a sum may be from before, so that it has to be made again.
    """
    if not path.exists():
        return False
    layers = find_layers(structure.model, point.layers).values()
    whole = [layer for layer in layers if layer.grain(point.grain) != "weight"]
    return path.name in Record.of(path.parent).sums or not structure.coupled_groups(whole)
