"""Ranking: the order in which the grains of a set of layers are removed, by the scores of a criterion."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from sparsify.devices import enough_memory, generator
from sparsify.errors import SparsifyError, SparsifyWarning, unknown
from sparsify.nets.evaluation import loss_gradients, squared_gradients
from sparsify.nets.layers import Layer
from sparsify.nets.mask import lowest, removed_count
from sparsify.nets.units import Unit
from sparsify.pruning.criteria import CRITERIA, PATH, SPLIT_PATH, PathState, Scored, in_support, ordered
from sparsify.pruning.plan import PointPlan, SweepPlan
from sparsify.pruning.ratios import SUPPORT
from sparsify.pruning.subject import Subject, require_loss


@dataclass(frozen=True)
class Ranking:
    """The order in which the grains of a set of layers are removed: by the scores of a criterion, the lowest first.

    - `scores`: the score of each grain, by unit: (grains,), or the weight's shape.
    - `scope`: "layer" removes round(ratio·n) of each unit's n grains. "global" removes round(ratio·N) of the N grains
      of all layers of the set together: it compares their scores as they are, and equal ones go by the layers' order,
      then by index. A layer may lose all of its grains.
    - `reverse`: remove the highest scores first, as a control.
    - `draw`: the number of the draw, for the criterion "random".
    - `like`: the ranking that this one is a control of; from each layer it removes as many grains as that one.
    - `strata`: by unit, a number of each grain, if each stratum of the unit loses equally many; they are equally large.
      A unit of s strata loses s times round(count / s) grains.
    - `first`: numbers, the highest of which are removed before any score counts; they mark the grains that were removed
      in earlier rounds.
    - `fixed`: how many grains of each unit go, whatever the ratio is.
    """

    criterion: str
    scores: Mapping[str, Tensor]
    scope: str = "layer"
    reverse: bool = False
    draw: int = 0
    like: Ranking | None = None
    first: Mapping[str, Tensor] | None = None
    fixed: Mapping[str, int] | None = None
    strata: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of the order: "magnitude", or "magnitude-reversed" if it is reversed."""
        return ordered(self.criterion, reverse=self.reverse)

    def counts(self, ratio: float) -> dict[str, int]:
        """Return the number of grains that a ratio removes from each unit."""
        if self.fixed is not None:
            return dict(self.fixed)
        if self.like is not None:
            return self.like.counts(ratio)
        counts = self._counts(ratio)
        for name, strata in self.strata.items():
            number = int(strata.max()) + 1
            counts[name] = number * round(counts[name] / number)
        return counts

    def _counts(self, ratio: float) -> dict[str, int]:
        sizes = {name: scores.numel() for name, scores in self.scores.items()}
        if self.scope == "layer":
            return {name: removed_count(ratio, size) for name, size in sizes.items()}
        together = torch.cat([scores.flatten() for scores in self.scores.values()])
        first = None if self.first is None else torch.cat([self.first[name].flatten() for name in sizes])
        drop = lowest(together, removed_count(ratio, len(together)), reverse=self.reverse, first=first)
        parts = drop.split(list(sizes.values()))
        return {name: int(part.sum()) for name, part in zip(sizes, parts, strict=True)}

    def drops(self, ratio: float) -> dict[str, Tensor]:
        """Return the grains that a ratio removes, by unit: bool, in the shape of its scores, True if removed."""
        return {name: self._drop(name, count) for name, count in self.counts(ratio).items()}

    def _drop(self, name: str, count: int) -> Tensor:
        scores, first = self.scores[name], None if self.first is None else self.first.get(name)
        if name not in self.strata:
            return lowest(scores, count, reverse=self.reverse, first=first)
        strata = self.strata[name].to(scores.device)
        drop = torch.zeros(scores.shape, dtype=torch.bool, device=scores.device)
        each = count // (int(strata.max()) + 1)
        for stratum in strata.unique():
            here = strata == stratum
            drop[here] = lowest(scores[here], each, reverse=self.reverse, first=None if first is None else first[here])
        return drop


def strata_of(units: Mapping[str, Unit]) -> dict[str, Tensor]:
    """Return the strata of the units that have some, by their names."""
    return {name: unit.strata for name, unit in units.items() if unit.strata is not None}


@torch.no_grad()
def score(
    subject: Subject,
    unit: Unit,
    *,
    criterion: str,
    draw: int = 0,
    gradients: Callable[[], Mapping[str, Tensor]] = dict,
    fisher: Callable[[], Mapping[str, Tensor]] = dict,
    gone: Tensor | None = None,
) -> Tensor:
    """Return the score of every grain of one unit: (grains,), or the weight's shape if the grain is a single weight.

    If several layers' outputs go together, a grain is scored by all that goes: its weights, gradients and path in all
    of these layers stand side by side, as if they were one layer's. So its norm is the norm of the parts' norms, as in
    DepGraph (Fang et al. 2023).

    `gradients` returns the gradients of the training loss by parameter name, and `fisher` the mean squares of those of
    single images; they are called only if the criterion needs them. `gone` marks grains that are 0 already, whose
    scores mean nothing. Raises SparsifyError for an unknown criterion, for one that needs something that the subject
    lacks, and for scores that are not one number a grain.
    """
    if criterion not in CRITERIA:
        raise unknown("criterion", criterion, CRITERIA)
    asked = _scored(subject, unit, draw, gradients, fisher, gone)
    scores = CRITERIA[criterion].score(asked)
    _require_one_a_grain(scores, asked, criterion)
    return scores


def _require_one_a_grain(scores: object, asked: Scored, criterion: str) -> None:
    shape = tuple(asked.weight.shape if asked.grain == "weight" else asked.weight.shape[:1])
    if not isinstance(scores, Tensor):
        found = f"are of the type {type(scores).__name__}, not a tensor"
    elif tuple(scores.shape) != shape:
        found = f"have the shape {tuple(scores.shape)}, not {shape}"
    elif torch.isnan(scores[asked.left]).any():
        found = "are not numbers (NaN)"
    else:
        return
    raise SparsifyError(f"criterion {criterion}: the scores of {asked.name}, one for each {asked.grain}, {found}")


def _scored(
    subject: Subject,
    unit: Unit,
    draw: int = 0,
    gradients: Callable[[], Mapping[str, Tensor]] = dict,
    fisher: Callable[[], Mapping[str, Tensor]] = dict,
    gone: Tensor | None = None,
) -> Scored:
    """Return what a criterion may use of a unit, as `score` takes it."""
    layers, name = unit.layers, unit.layers[0].name

    def of_all(tensors: Callable[[], Mapping[str, Tensor]]) -> Tensor | None:
        found = tensors()
        known = {layer.name: found[layer.parameter] for layer in layers if layer.parameter in found}
        return unit.rows(known) if len(known) == len(layers) else None

    return Scored(
        name,
        unit.rows({layer.name: layer.weight.detach() for layer in layers}),
        layers[0].grain("neuron") if unit.grain == "head" else unit.grain,
        generator(subject.seed, "random", draw, name),
        path_of(subject, unit),
        scale=lambda: scale_of(subject, unit),
        gradient=lambda: of_all(gradients),
        fisher=lambda: of_all(fisher),
        left=... if gone is None else ~gone,
        lacking=lambda: _lacking(subject, unit),
    )


def _lacking(subject: Subject, unit: Unit) -> list[str]:
    """Return the criteria that need what a subject lacks for a unit: a path, its Γ, gradients, a scale."""
    path = path_of(subject, unit)
    met = {None: True, PATH: path is not None, SPLIT_PATH: path is not None and path.gamma is not None}
    gradients = subject.training is not None and (subject.score is None or subject.loss is not None)
    scaled = unit.grain == "weight" or scale_of(subject, unit) is not None
    return [
        name
        for name, one in CRITERIA.items()
        if not met[one.needs] or (one.gradients and not gradients) or (name == "bn-scale" and not scaled)
    ]


def of_support(subject: Subject, units: Mapping[str, Unit]) -> tuple[Ranking, float]:
    """Return the Ranking that removes what is outside the support of the subject's run, and the ratio that this is.

    Its criterion is "support", and it removes the same whatever the ratio. Raises SparsifyError without a path.
    """
    inside = {name: in_support(_scored(subject, unit)) for name, unit in units.items()}
    fixed = {name: int((~found).sum()) for name, found in inside.items()}
    total = sum(found.numel() for found in inside.values())
    ranking = Ranking(SUPPORT, {name: found.float() for name, found in inside.items()}, fixed=fixed)
    return ranking, sum(fixed.values()) / total


def scale_of(subject: Subject, unit: Unit) -> Tensor | None:
    """Return γ of the normalisation behind each grain, (grains,); None if there is none.

    If there are several, it is the mean of |γ| over them, each relative to its own mean, times the mean of all.
    """
    found = {layer.name: subject.structure.scale(layer) for layer in unit.layers}
    scales = {name: scale for name, scale in found.items() if scale is not None}
    if not scales or unit.is_one_layer:
        return unit.rows(scales) if scales else None
    means = {name: scale.abs().mean() for name, scale in scales.items()}
    relative = {
        name: scale.abs() / means[name].clamp_min(torch.finfo(scale.dtype).tiny) for name, scale in scales.items()
    }
    counts = unit.rows({name: torch.ones_like(scale) for name, scale in scales.items()}).sum(1)
    return unit.rows(relative).sum(1) / counts.clamp_min(1) * torch.stack(list(means.values())).mean()


def path_of(subject: Subject, unit: Unit) -> PathState | None:
    """Return the path of a unit's grains; None if there is none.

    A grain of several layers enters with the first part that does; its Γ and Z are those of all parts side by side.
    """
    found = {layer.name: _path_of_layer(subject, layer) for layer in unit.layers}
    states = {name: state for name, state in found.items() if state is not None}
    if not states or unit.is_one_layer:
        return next(iter(states.values()), None)
    gammas = {name: state.gamma for name, state in states.items() if state.gamma is not None}
    zs = {name: state.z for name, state in states.items() if state.z is not None}
    entry = unit.least({name: state.entry for name, state in states.items()})
    per_epoch = next(iter(states.values())).per_epoch
    gamma, z = (unit.rows(tensors) if tensors else None for tensors in (gammas, zs))
    return PathState(entry, gamma, z, per_epoch)


def _path_of_layer(subject: Subject, layer: Layer) -> PathState | None:
    """Return the path of a layer, or of the BatchNorm scales that select its filters; None if there is none."""
    if subject.path is None:
        return None
    found = subject.structure.selected_by(layer, subject.path)
    if found is None:
        return None
    parameter, grains = found
    state = subject.path[parameter]
    gamma, z = (None if tensor is None else tensor[grains] for tensor in (state.gamma, state.z))
    return PathState(state.entry[grains], gamma, z, state.per_epoch)


class Scorer:
    """Scores units of layers by any criterion. Gradients are computed once, when a criterion first needs them."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject

    @functools.cached_property
    def _gradients(self) -> dict[str, Tensor]:
        return self._of_sample(loss_gradients)

    @functools.cached_property
    def _fisher(self) -> dict[str, Tensor]:
        return self._of_sample(squared_gradients)

    def _of_sample(self, gradients: Callable[..., dict[str, Tensor]]) -> dict[str, Tensor]:
        subject = self._subject
        if subject.sample is None:
            return {}
        require_loss(subject, "gradients")
        with enough_memory("the gradients", "take --device cpu"):
            return gradients(subject.model, subject.sample, subject.normalise, loss=subject.loss)

    def __call__(
        self,
        units: Mapping[str, Unit],
        criterion: str,
        *,
        draw: int = 0,
        gone: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Return the scores of each unit by its name; `gone` marks the grains of each unit that are 0 already."""
        return {
            name: score(
                self._subject,
                unit,
                criterion=criterion,
                draw=draw,
                gradients=lambda: self._gradients,
                fisher=lambda: self._fisher,
                gone=None if gone is None else gone[name],
            )
            for name, unit in units.items()
        }


def rankings(scores: Scorer, units: Mapping[str, Unit], plan: SweepPlan) -> list[Ranking]:
    """Return the rankings that a sweep measures on one set: first that of its criterion, then its controls.

    There is one ranking for each draw of "random". The controls are the draws of "random", then the opposite order of
    the criterion; from each layer they remove as many grains as the criterion does.
    """
    criterion, scope, reverse, draws = plan.criterion, plan.scope, plan.reverse, range(plan.drawn)
    strata = strata_of(units)
    if criterion == "random":
        return [Ranking(criterion, scores(units, criterion, draw=k), scope, reverse, k, strata=strata) for k in draws]
    base = Ranking(criterion, scores(units, criterion), scope, reverse, strata=strata)
    if not plan.controls:
        return [base]
    control = replace(base, criterion="random", reverse=False, like=base)
    randoms = [replace(control, scores=scores(units, "random", draw=k), draw=k) for k in draws]
    return [base, *randoms, replace(base, reverse=not reverse, like=base)]


def warn_of_mixed_grains(plan: SweepPlan | PointPlan, sets: Iterable[Mapping[str, Layer]]) -> None:
    """Warn (SparsifyWarning) if the scope "global" compares whole filters with single weights."""
    for layers in sets if plan.scope == "global" else ():
        kinds = {"weight" if layer.grain(plan.grain) == "weight" else "output" for layer in layers.values()}
        if len(kinds) > 1:
            reason = f"--scope global compares whole filters of {','.join(layers)} with single weights"
            warnings.warn(f"{reason}; --grain neuron or weight makes them alike", SparsifyWarning, stacklevel=3)
