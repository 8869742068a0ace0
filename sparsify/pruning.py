"""Pruning: a criterion's lowest grains go, in exact counts, and the sweep says what each ratio costs."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from sparsify.cost import Cut, Structure
from sparsify.criteria import CRITERIA, PathState
from sparsify.data import AUGMENTATIONS
from sparsify.data.augmentation import draw
from sparsify.data.dataset import Split
from sparsify.devices import enough_memory, keep_freed_memory, resolve_device
from sparsify.errors import SparsifyError, SparsifyWarning, unknown
from sparsify.evaluation import RECALIBRATION_BATCH, batch_norms, require_batches
from sparsify.finetuning import Recipe
from sparsify.iterative import cuts_in_rounds, restored
from sparsify.layers import GRAINS, Layer, find_layers, find_sets
from sparsify.mask import Mask
from sparsify.measuring import Listener, SweepPoint, Visitor, measure
from sparsify.optim.structure import THRESHOLD, penalty_of, shrink
from sparsify.ratios import parse_ratios
from sparsify.runs import Run
from sparsify.scoring import scorer, selections
from sparsify.seeds import permutation
from sparsify.selection import SCOPES, Selection
from sparsify.starting import data_of
from sparsify.sweep import Sweep

RATIOS = "0:0.6:0.1"
SAMPLE = 5000
CONTROL_DRAWS = 5


@dataclass(frozen=True)
class Subject:
    """What is pruned and measured: a network, images, and the path of a run that selects where there is one.

    `training` is what it is fine-tuned on; a seeded sample of it, augmented as in the training (`augment`), is what
    BatchNorm's statistics are re-estimated on and what the gradients of the criterion "taylor" come from.
    """

    model: nn.Module
    split: Split
    normalise: Callable[[Tensor], Tensor] = Tensor.float
    path: dict[str, PathState] | None = None
    training: Split | None = None
    seed: int = 0
    name: str = "the network"
    precision: str = "exact"
    augment: str = "none"

    @functools.cached_property
    def sample(self) -> Split | None:
        """5,000 training images, or all if there are fewer, as the network saw them: its statistics are of such."""
        if self.training is None:
            return None
        chosen = permutation(len(self.training), self.seed, "sample")[:SAMPLE]
        sample = self.training[chosen.to(self.training.labels.device)]
        draws = draw(len(sample), self.seed, 0).to(sample.labels.device)  # epochs count from 1
        return Split(AUGMENTATIONS[self.augment](sample.images, draws), sample.labels)


def subject_of(run: Run, *, device: str = "auto", data_dir: Path | str | None = None) -> Subject:
    """A finished run and the images that it is measured on: the test split, or the held-out one if it has `val`."""
    where = resolve_device(device)
    run.require_finished()
    model, config = run.model(), run.config
    data = data_of(config, data_dir)
    return Subject(
        model.to(where).to(memory_format=torch.channels_last),
        data.test.to(where),
        data.normalise,
        path_states(run, model),
        data.train.to(where),
        config.seed,
        run.name,
        config.precision,
        config.augment,
    )


def path_states(run: Run, model: nn.Module) -> dict[str, PathState] | None:
    """What a run's path says of each of its network's parameters that has one, by name; None if the run has no path."""
    path, zs = run.inclusion_path, run.z
    if path is None:
        return None
    states = {}
    for name, parameter in model.named_parameters():
        if name in path.entry:
            known = {"entry": torch.from_numpy(path.entry[name])}
            if zs is not None:
                gamma = run.config.kappa * shrink(zs[name], THRESHOLD, penalty_of(parameter, "auto"))
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
    rounds: int = 1,
) -> Mask:
    """The mask of one point: round(ratio·n) grains go in each of `layers`, the lowest scores first, ties by index.

    `example` is one normalised input with a batch dimension. Ratio 0 keeps everything. `scope` and `reverse` are those
    of `Selection`, `rounds` is that of `prune`.
    """
    subject = Subject(model, Split(example, torch.zeros(len(example), dtype=torch.long)))
    how = {"criterion": criterion, "grain": grain, "scope": scope, "reverse": reverse, "rounds": rounds}
    return Structure(model, example).remove(cuts_of(subject, example, layers=layers, ratio=ratio, **how))[0]


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
    rounds: int = 1,
) -> list[Cut]:
    """What one point removes from each of `layers`; as for `make_mask`, with the subject's path and seed."""
    (ratio,) = parse_ratios(ratio)
    found = find_layers(subject.model, layers, subject.name)
    check_scope(scope, [found], grain)
    check_rounds(rounds)
    structure = Structure(subject.model, example)
    selection = Selection(criterion, scorer(subject, structure, grain)(found, criterion), scope, reverse)
    with restored(subject.model):
        return cuts_in_rounds(subject, structure, found, selection, ratio, grain=grain, rounds=rounds)


def check_scope(scope: str, sets: Iterable[Mapping[str, Layer]], grain: str) -> None:
    """Raise SparsifyError for an unknown scope; warn where "global" compares grains of different kinds."""
    if scope not in SCOPES:
        raise unknown("scope", scope, SCOPES)
    for layers in sets if scope == "global" else ():
        kinds = {"weight" if layer.grain(grain) == "weight" else "output" for layer in layers.values()}
        if len(kinds) > 1:
            reason = f"--scope global compares whole filters of {','.join(layers)} with single weights"
            warnings.warn(f"{reason}; --grain neuron or weight makes them alike", SparsifyWarning, stacklevel=3)


def check_rounds(rounds: int, controls: bool = False, scope: str = "layer") -> None:
    """Raise SparsifyError for fewer than one round, and where controls could not know how many grains go in each."""
    if rounds < 1:
        raise SparsifyError(f"--rounds is {rounds}; it must be a whole number of at least 1")
    if rounds > 1 and controls and scope == "global":
        reason = "how many grains of a layer go in a round is not known to the controls"
        raise SparsifyError(f"--controls with --rounds {rounds} and --scope global: {reason}; take --scope layer")


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
    rounds: int = 1,
    device: str = "auto",
    data_dir: Path | str | None = None,
    listener: Listener | None = None,
    visit: Visitor | None = None,
) -> Sweep:
    """Sweep the ratios over each set of `layers`: "conv3,fc1" is one set, ["conv3", "conv3,fc1"] are two.

    `target` is a finished Run, or a Subject: any network with the images to measure it on. The network is left as it
    was. `scope` and `reverse` are those of `Selection`. `controls` adds to each set, with as many grains of each layer,
    "random" and the reversed order of the criterion. `draws` repeats "random": once, or five times as a control.
    `recalibrate_bn` also measures each point with BatchNorm's statistics re-estimated on 5,000 training images
    augmented as in the training, `finetune_epochs` after that many epochs of training on under its mask (`Recipe`).
    `rounds`: the grains of a point go in so many (`cuts_in_rounds`), with that many epochs after each; its accuracy is
    that after the last round, before the epochs that follow it. `visit` is called at each point with what is removed (a
    SweepPoint) and its mask, while the network is masked and as it was measured last: fine-tuned, or else recalibrated,
    where that is asked for; what it keeps of it, it copies, as `shrink` does. Raises SparsifyError for unknown layers,
    criteria, grains and scopes, for ratios outside 0 to 1, and for a criterion that needs a path, gradients or a
    normalisation where there is none.
    """
    if criterion not in CRITERIA:
        raise unknown("criterion", criterion, CRITERIA)
    if grain not in GRAINS:
        raise unknown("grain", grain, GRAINS)
    draws = check_draws(draws, criterion, controls)
    parsed = parse_ratios(ratios)
    subject = target if isinstance(target, Subject) else subject_of(target, device=device, data_dir=data_dir)
    if subject.split.images.device.type == "cpu":
        keep_freed_memory()
    found = find_sets(subject.model, layers, subject.name)
    check_scope(scope, found.values(), grain)
    if recalibrate_bn and not batch_norms(subject.model):
        raise SparsifyError(f"--recalibrate-bn: {subject.name} has no BatchNorm with statistics to re-estimate")
    if (recalibrate_bn or finetune_epochs) and subject.training is None:
        flag = "--recalibrate-bn" if recalibrate_bn else "--finetune"
        raise SparsifyError(f"{flag}: {subject.name} comes without training images")
    if finetune_epochs and not any(p.requires_grad for p in subject.model.parameters()):
        raise SparsifyError(
            f"--finetune: no parameter of {subject.name} requires a gradient, so that nothing can train"
        )
    if finetune_epochs < 0:
        raise SparsifyError(f"--finetune is {finetune_epochs}; it must be a whole number of at least 0")
    check_rounds(rounds, controls, scope)
    image = subject.normalise(subject.split.images[:1])
    if recalibrate_bn:
        require_batches(subject.model, image, len(subject.sample), RECALIBRATION_BATCH, "--recalibrate-bn")
    if finetune_epochs:
        require_batches(subject.model, image, len(subject.training), Recipe.batch_size, "--finetune")
    with enough_memory("the sweep", "take --device cpu"):
        structure = Structure(subject.model, image)
        scores = scorer(subject, structure, grain)
        tried = {"scope": scope, "reverse": reverse, "controls": controls, "draws": draws}
        points = [
            SweepPoint(names, asked, selection, ratio)
            for names, asked in found.items()
            for selection in selections(scores, asked, criterion, **tried)
            for ratio in parsed
        ]
        how = {"grain": grain, "rounds": rounds, "finetune_epochs": finetune_epochs, "recalibrate_bn": recalibrate_bn}
        return measure(subject, structure, points, **how, listener=listener, visit=visit)
