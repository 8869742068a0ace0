"""A shrunk network and its folder, which holds its weights and all that is needed to build the network again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor, nn

from sparsify.errors import SparsifyError
from sparsify.files import no_link, regular, tensors_as_bytes, typed, write_bytes
from sparsify.nets.layers import prunable_layers
from sparsify.nets.mask import Mask
from sparsify.nets.registry import NAMES, is_network, network
from sparsify.nets.shrinking import remaining_zeros, remove_outputs, shrink_by
from sparsify.nets.structure import Cut, Structure
from sparsify.pruning.cuts import cuts_of
from sparsify.pruning.measuring import SweepPoint
from sparsify.pruning.plan import PointPlan, SweepPlan
from sparsify.pruning.subject import Subject
from sparsify.runs import Run, find_run
from sparsify.sums import OF_SHRUNK, Record, unsealed, write_record

_WEIGHTS, _FACTS = "model.safetensors", OF_SHRUNK


@dataclass(frozen=True)
class Shrunk:
    """The facts of a shrunk network: it is `network(model, shape, len(classes), net)` without the outputs `removed`.

    `removed` holds, for each layer, the indices of the removed outputs in the original numbering. `run`, `layers`,
    `ratio`, `criterion`, `grain`, `scope`, `reverse` and `rounds` say how they were chosen; `finetune_epochs` and
    `recalibrate_bn`, whether the network was fine-tuned after each round or its BatchNorm statistics were re-estimated.
    `difference` is the measured difference between the masked and the shrunk network (see `output_difference`).
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
    net: str = ""

    def save(self, folder: Path, network: nn.Module) -> Path:
        """Write the network's weights and, last, shrunk.json, with the sums of both; return the folder."""
        no_link(folder)
        (folder / _FACTS).unlink(missing_ok=True)  # that of other weights
        write_bytes(folder / _WEIGHTS, tensors_as_bytes(network.state_dict()))
        write_record(folder / _FACTS, dataclasses.asdict(self), [_WEIGHTS])
        return folder

    @classmethod
    def read(cls, folder: Path) -> Shrunk:
        """Return what shrunk.json holds, without the weights. Raises SparsifyError if it is missing or damaged."""
        return _facts(folder)[0]


def is_shrunk(folder: Path) -> bool:
    """Return whether the folder is that of a shrunk network."""
    return (folder / _FACTS).is_file()


def load_shrunk(folder: Path) -> nn.Module:
    """Return the shrunk network of a folder, on the CPU, in evaluation mode. Raises SparsifyError if it is damaged."""
    facts, sums = _facts(folder)
    try:
        content = Record(_FACTS, sums, every=True).read(folder / _WEIGHTS)
    except OSError as error:
        raise _damaged(folder / _WEIGHTS, error.strerror) from error
    except SparsifyError as error:
        raise _damaged(folder / _WEIGHTS, error) from error
    try:
        whole = network(facts.model, facts.shape, len(facts.classes), facts.net).eval()
        small = remove_outputs(Structure(whole, torch.zeros(1, *facts.shape)), facts.removed)
        small.load_state_dict(load_tensors(content))
    except (SparsifyError, SafetensorError, RuntimeError) as error:
        raise _damaged(folder, str(error)) from error
    return small


class _Sums(TypedDict):
    """The part of shrunk.json that is not in `Shrunk`: the SHA-256 sum of each file of the folder."""

    sha256: dict[str, str]


def _facts(folder: Path) -> tuple[Shrunk, dict[str, str]]:
    """Return the content of shrunk.json, and the SHA-256 sums of the files beside it.

    Raises SparsifyError if the file is missing or damaged.
    """
    try:
        values = unsealed(_FACTS, regular(folder / _FACTS).read_bytes())
        facts, sums = typed(values, Shrunk), typed(values, _Sums)
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


IMAGES = 64
"""The number of images on which the masked and the shrunk network are compared."""


def the_point(plan: SweepPlan) -> PointPlan:
    """Return the only point of a plan with a ratio above 0.

    Raises SparsifyError unless the plan has one such ratio, one set of layers and one draw.
    """
    if plan.support:
        raise SparsifyError("--shrink needs one ratio above 0, as in --ratios 0.6; support is none")
    above = [ratio for ratio in plan.ratios if ratio > 0]
    if len(above) != 1:
        listed = ", ".join(f"{ratio:g}" for ratio in above) or "none"
        raise SparsifyError(f"--shrink needs one ratio above 0, as in --ratios 0.6; these are: {listed}")
    if len(set(plan.layers)) != 1:
        sets = f"{len(plan.layers)}: {'; '.join(plan.layers)}"
        raise SparsifyError(f"--shrink needs one set of layers; these are {sets}")
    if plan.draws not in (None, 1) and not plan.controls:
        raise SparsifyError(f"--shrink needs one draw; --draws is {plan.draws}")
    return next(point for point in plan.points if point.ratio > 0)


class PointShrinker:
    """A visitor of `prune` that shrinks a run at one point of its sweep; the result is `facts` and `network`.

    It shrinks the trained network when it is made, so that errors come before the sweep. If the point is fine-tuned or
    recalibrated, it shrinks the network again in the sweep, in the state that was measured last. `say` is called with
    what is removed. Raises SparsifyError as `shrink` does.
    """

    def __init__(self, run: Run, subject: Subject, point: PointPlan, say: Callable[[str], None]) -> None:
        self._run, self._subject, self._point, self._say = run, subject, point, say
        self._waits = point.finetune_epochs > 0 or point.recalibrate_bn
        # training between rounds decides what is removed, so that it is not known yet
        first = _silent if point.trained_between else say
        self.facts, self.network = shrink_run(run, subject, point, cuts_of(subject, point), first)

    def __call__(self, point: SweepPoint, mask: Mask) -> None:
        """Shrink the network as it is now, if this is the first point with a ratio above 0; later ones are controls."""
        if self._waits and point.ratio:
            self._waits = False
            say = self._say if self._point.trained_between else _silent
            self.facts, self.network = shrink_run(self._run, self._subject, self._point, mask, say)


def _silent(text: str) -> None:
    """Ignore the text."""


def shrink_run(
    run: Run, subject: Subject, point: PointPlan, what: Mask | Sequence[Cut], say: Callable[[str], None] = _silent
) -> tuple[Shrunk, nn.Module]:
    """Return the network of a run without what a mask or cuts remove from it, and the facts about it.

    The network is taken as it is now, and its logits are compared with those of the masked one on 64 images. `subject`
    is that of the run (`subject_of`); `point` says how the removed parts were chosen. `say` is called with each step.
    Raises SparsifyError as `shrink` does.
    """
    structure, model = subject.structure, subject.model
    images = subject.prepared(subject.split[:IMAGES].images)
    assert isinstance(images, Tensor)  # a run has a data set of images
    shrinking = shrink_by(structure, what, images)
    small, removal = shrinking.network, shrinking.removal
    weights = {layer.name: layer.weight for layer in prunable_layers(model)}
    for group in removal.coupled:
        loses = (f"{name} ({len(removal.outputs[name])} of {len(weights[name])})" for name in group)
        say(f"coupled, so their channels go together: {', '.join(loses)}")
    sides = {"outputs": (removal.outputs, 0), "inputs": (removal.inputs, 1)}
    for side, (indices, axis) in sides.items() if removal.outputs else ():
        sizes = {name: weights[name].shape[axis] for name in indices}
        say(f"{side} that go: {', '.join(f'{name} ({len(indices[name])} of {sizes[name]})' for name in sizes)}")
    before, after = (sum(p.numel() for p in network.parameters()) for network in (model, small))
    say(f"shrunk: {before:,} → {after:,} parameters")
    for name, (zeros, total) in remaining_zeros(structure, removal).items():
        say(f"  {name}: {zeros:,} of {total:,} stay as zeros, because they are not removed as whole outputs")
    say(
        f"checked on {len(images)} images: masked and shrunk logits differ by no more than "
        f"{shrinking.difference:.1e} of the largest"
    )
    summary = run.summary
    facts = Shrunk(
        model=run.config.model,
        net=run.config.net,
        shape=summary["shape"],
        classes=tuple(summary["classes"]),
        removed=removal.outputs,
        run=run.name,
        layers=point.layers,
        ratio=point.ratio,
        criterion=point.criterion,
        grain=point.grain,
        scope=point.scope,
        reverse=point.reverse,
        params_before=before,
        params_after=after,
        difference=shrinking.difference,
        rounds=point.rounds,
        finetune_epochs=point.finetune_epochs,
        recalibrate_bn=point.recalibrate_bn,
    )
    return facts, small


def load(run: Run | Path | str, runs_dir: Path | str = "runs") -> nn.Module:
    """Return the trained network of a run, or a shrunk network, on the CPU, in evaluation mode.

    `run` is a Run, its folder, or the beginning of its name in `runs_dir`; or the folder of a shrunk network. Raises
    SparsifyError if there is no such run, if it is not finished, and if its files are damaged.

    >>> sparsify.load(run)(torch.zeros(1, 1, 28, 28)).shape
    torch.Size([1, 10])
    """
    if isinstance(run, Run):
        return run.model()
    for folder in (Path(run), Path(runs_dir) / run):
        if is_shrunk(folder):
            return load_shrunk(folder)
    return find_run(str(run), Path(runs_dir)).model()
