"""Pruning: a criterion's lowest grains go, in exact counts, and the sweep says what each ratio costs."""

from __future__ import annotations

import copy
import functools
import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from sparsify.cost import Cut, Structure
from sparsify.criteria import CRITERIA, PathState
from sparsify.data import load_dataset
from sparsify.data.dataset import Split
from sparsify.devices import resolve_device
from sparsify.errors import SparsifyError, SparsifyWarning, unknown
from sparsify.evaluation import batch_norms, evaluate, recalibrated
from sparsify.finetuning import Recipe, finetune
from sparsify.layers import GRAINS, Layer, find_layers, find_sets
from sparsify.mask import Mask, masked
from sparsify.onepass import predict_masked
from sparsify.optim.structure import penalty_of, shrink
from sparsify.outcomes import Outcomes
from sparsify.ratios import parse_ratios
from sparsify.runs import Run
from sparsify.scoring import scorer, selections
from sparsify.seeds import permutation
from sparsify.selection import SCOPES, Selection
from sparsify.sweep import LedgerRow, Sweep, SweepRow

RATIOS = "0:0.6:0.1"
SAMPLE = 5000
CONTROL_DRAWS = 5

Listener = Callable[[int, int], None]
"""Called with the number of points that are done and that there are, first with 0 when all input is checked.

A point that is measured again with BatchNorm's statistics re-estimated counts as two.
"""


@dataclass(frozen=True)
class Subject:
    """What is pruned and measured: a network, images, and the path of an SLBI run where there is one.

    `training` is what it is fine-tuned on; a seeded sample of it is what BatchNorm's statistics are re-estimated on and
    what the gradients of the criterion "taylor" come from.
    """

    model: nn.Module
    split: Split
    normalise: Callable[[Tensor], Tensor] = Tensor.float
    path: dict[str, PathState] | None = None
    training: Split | None = None
    seed: int = 0
    name: str = "the network"
    precision: str = "exact"

    @functools.cached_property
    def sample(self) -> Split | None:
        """5,000 training images, or all if there are fewer."""
        if self.training is None:
            return None
        chosen = permutation(len(self.training), self.seed, "sample")[:SAMPLE]
        return self.training[chosen.to(self.training.labels.device)]


def subject_of(run: Run, *, device: str = "auto", data_dir: Path | str | None = None) -> Subject:
    """A finished run and the images that it is measured on: the test split, or the held-out one if it has `val`."""
    where = resolve_device(device)
    run.require_finished()
    model, config = run.model(), run.config
    data = load_dataset(config.data, data_dir)
    if config.val:
        data = data.hold_out(config.val, permutation(len(data.train), config.seed, "val"))
    return Subject(
        model.to(where).to(memory_format=torch.channels_last),
        data.test.to(where),
        data.normalise,
        _path_states(run, model),
        data.train.to(where),
        config.seed,
        run.name,
        config.precision,
    )


def _path_states(run: Run, model: nn.Module) -> dict[str, PathState] | None:
    path, zs = run.inclusion_path, run.z
    if path is None:
        return None
    states = {}
    for name, parameter in model.named_parameters():
        if name in path.entry:
            known = {"entry": torch.from_numpy(path.entry[name])}
            if zs is not None:
                gamma = run.config.kappa * shrink(zs[name], 1.0, penalty_of(parameter, "auto"))
                known |= {"gamma": gamma, "z": zs[name]}
            states[name] = PathState(**{key: tensor.to(parameter.device) for key, tensor in known.items()})
    return states


def make_mask(
    model: nn.Module,
    example: Tensor,
    *,
    layers: str | Sequence[str],
    ratio: float,
    criterion: str = "magnitude",
    grain: str = "auto",
    scope: str = "layer",
    reverse: bool = False,
) -> Mask:
    """The mask of one point: round(ratio·n) grains go in each of `layers`, the lowest scores first, ties by index.

    `example` is one normalised input with a batch dimension. Ratio 0 keeps everything. `scope` and `reverse` are those
    of `Selection`.
    """
    subject = Subject(model, Split(example, torch.zeros(len(example), dtype=torch.long)))
    how = {"layers": layers, "ratio": ratio, "criterion": criterion, "grain": grain, "scope": scope, "reverse": reverse}
    return Structure(model, example).remove(cuts_of(subject, example, **how))[0]


def cuts_of(
    subject: Subject,
    example: Tensor,
    *,
    layers: str | Sequence[str],
    ratio: float,
    criterion: str = "magnitude",
    grain: str = "auto",
    scope: str = "layer",
    reverse: bool = False,
) -> list[Cut]:
    """What one point removes from each of `layers`; as for `make_mask`, with the subject's path and seed."""
    (ratio,) = parse_ratios(ratio)
    found = find_layers(subject.model, layers, subject.name)
    check_scope(scope, [found], grain)
    structure = Structure(subject.model, example)
    selection = Selection(criterion, scorer(subject, structure, grain)(found, criterion), scope, reverse)
    return _cuts(found, selection, ratio, grain)


def _cuts(layers: Mapping[str, Layer], selection: Selection, ratio: float, grain: str) -> list[Cut]:
    drops = selection.drops(ratio)
    return [Cut(layer, layer.grain(grain), drops[name]) for name, layer in layers.items()]


def check_scope(scope: str, sets: Iterable[Mapping[str, Layer]], grain: str) -> None:
    """Raise SparsifyError for an unknown scope; warn where "global" compares grains of different kinds."""
    if scope not in SCOPES:
        raise unknown("scope", scope, SCOPES)
    for layers in sets if scope == "global" else ():
        kinds = {"weight" if layer.grain(grain) == "weight" else "output" for layer in layers.values()}
        if len(kinds) > 1:
            reason = f"--scope global compares whole filters of {','.join(layers)} with single weights"
            warnings.warn(f"{reason}; --grain neuron or weight makes them alike", SparsifyWarning, stacklevel=3)


def check_draws(draws: int | None, criterion: str, controls: bool) -> int:
    """How often random is drawn. Raises SparsifyError where it is not, and for fewer than one."""
    if controls and criterion == "random":
        raise SparsifyError("--controls with random: it is a control itself; take another criterion, or --draws")
    if draws is None:
        return CONTROL_DRAWS if controls else 1
    if draws < 1 or (draws > 1 and criterion != "random" and not controls):
        reason = "it must be at least 1" if draws < 1 else f"only random has draws, {criterion} has one result"
        raise SparsifyError(f"--draws is {draws}; {reason}")
    return draws


def prune(
    target: Run | Subject,
    *,
    layers: str | Sequence[str],
    ratios: str | Sequence[float] = RATIOS,
    criterion: str = "magnitude",
    grain: str = "auto",
    scope: str = "layer",
    reverse: bool = False,
    controls: bool = False,
    draws: int | None = None,
    recalibrate_bn: bool = False,
    finetune_epochs: int = 0,
    device: str = "auto",
    data_dir: Path | str | None = None,
    listener: Listener | None = None,
) -> Sweep:
    """Sweep the ratios over each set of `layers`: "conv3,fc1" is one set, ["conv3", "conv3,fc1"] are two.

    `target` is a finished Run, or a Subject: any network with the images to measure it on. The network is left as it
    was. `scope` and `reverse` are those of `Selection`. `controls` adds to each set, with as many grains of each layer,
    "random" and the reversed order of the criterion. `draws` repeats "random": once, or five times as a control.
    `recalibrate_bn` also measures each point with BatchNorm's statistics re-estimated on 5,000 training images,
    `finetune_epochs` after that many epochs of training on under its mask (`Recipe`). Raises SparsifyError for unknown
    layers, criteria, grains and scopes, for ratios outside 0 to 1, and for a criterion that needs a path, gradients or
    a normalisation where there is none.
    """
    if criterion not in CRITERIA:
        raise unknown("criterion", criterion, CRITERIA)
    if grain not in GRAINS:
        raise unknown("grain", grain, GRAINS)
    draws = check_draws(draws, criterion, controls)
    points = parse_ratios(ratios)
    subject = target if isinstance(target, Subject) else subject_of(target, device=device, data_dir=data_dir)
    found = find_sets(subject.model, layers, subject.name)
    check_scope(scope, found.values(), grain)
    if recalibrate_bn and not batch_norms(subject.model):
        raise SparsifyError(f"--recalibrate-bn: {subject.name} has no BatchNorm with statistics to re-estimate")
    if (recalibrate_bn or finetune_epochs) and subject.training is None:
        flag = "--recalibrate-bn" if recalibrate_bn else "--finetune"
        raise SparsifyError(f"{flag}: {subject.name} comes without training images")
    if finetune_epochs < 0:
        raise SparsifyError(f"--finetune is {finetune_epochs}; it must be a whole number of at least 0")
    structure = Structure(subject.model, subject.normalise(subject.split.images[:1]))
    scores = scorer(subject, structure, grain)
    tried = {"scope": scope, "reverse": reverse, "controls": controls, "draws": draws}
    asked_points = [
        (names, selection, ratio, _cuts(asked, selection, ratio, grain))
        for names, asked in found.items()
        for selection in selections(scores, asked, criterion, **tried)
        for ratio in points
    ]
    _, whole = structure.remove([])
    removed = [structure.remove(cuts) for *_, cuts in asked_points]
    masks = [mask for mask, _ in removed]
    images, how = subject.split.images, {"normalise": subject.normalise, "precision": subject.precision}
    total = len(masks) * (1 + recalibrate_bn + bool(finetune_epochs))
    recipe = Recipe(epochs=finetune_epochs)
    heard = (lambda done: None) if listener is None else (lambda done: listener(done, total))
    heard(0)
    predictions = predict_masked(subject.model, images, masks, listener=lambda done, _: heard(done), **how)
    outcomes = Outcomes.of(subject.split.labels.cpu().numpy(), predictions.cpu().numpy())
    rows: list[SweepRow] = []
    ledger: list[LedgerRow] = []
    done = len(masks)
    for (names, selection, ratio, cuts), (mask, cost), right in zip(asked_points, removed, outcomes.right, strict=True):
        again = tuned = None
        if recalibrate_bn:
            # from the start, because each mask gives other statistics to the layers that it does not touch as well
            with masked(subject.model, mask) as model, recalibrated(model, subject.sample.images, **how):
                again = evaluate(model, subject.split, **how).accuracy
            done += 1
            heard(done)
        if finetune_epochs:
            network = copy.deepcopy(subject.model)
            finetune(network, mask, subject.training, recipe=recipe, seed=subject.seed, **how)
            tuned = evaluate(network, subject.split, **how).accuracy
            done += 1
            heard(done)
        rows.append(
            SweepRow(
                criterion=selection.name,
                grain=grain,
                scope=scope,
                layers=names,
                ratio=ratio,
                draw=selection.draw,
                correct=int(right.sum()),
                count=len(right),
                accuracy=int(right.sum()) / len(right),
                params=cost.params,
                macs=cost.macs,
                compression=whole.params / cost.params if cost.params else math.inf,
                speedup=whole.macs / cost.macs if cost.macs else math.inf,
                recalibrated_accuracy=again,
                finetune_epochs=finetune_epochs,
                finetuned_accuracy=tuned,
            )
        )
        for name, cut in zip(found[names], cuts, strict=True):
            gone, count = int(cut.drop.sum()), cut.drop.numel()
            point = (selection.name, names, ratio, selection.draw)
            ledger.append(LedgerRow(*point, name, cut.grain, gone, count))
    return Sweep(tuple(rows), tuple(ledger), outcomes)
