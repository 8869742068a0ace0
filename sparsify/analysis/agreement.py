"""Agreement: how alike two criteria order the grains of a network, and how many grains both of them remove."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

import torch
from scipy.stats import kendalltau
from torch import Tensor, nn

from sparsify.config import Places
from sparsify.data.dataset import Data
from sparsify.errors import SparsifyError
from sparsify.nets.layers import find_sets
from sparsify.pruning.criteria import CRITERIA
from sparsify.pruning.cuts import units_by_name
from sparsify.pruning.plan import SweepOptions, SweepPlan
from sparsify.pruning.ranking import Ranking, Scorer, strata_of, warn_of_mixed_grains
from sparsify.pruning.subject import Subject, subject_for
from sparsify.runs import Run


@dataclass(frozen=True)
class Agreement:
    """The agreement of the criteria `first` and `second` on the `grains` grains of `layers`.

    `tau` is Kendall's τ of their scores. `overlaps` holds, for each ratio, the Jaccard overlap of the grains that they
    remove; it is NaN where `ties_decide` what one of them removes: it would be the agreement of indices.
    """

    layers: str
    grains: int
    first: str
    second: str
    tau: float
    overlaps: Mapping[float, float]


def kendall(first: Tensor, second: Tensor) -> float:
    """Return Kendall's τ-b of two tensors, from −1 (opposite orders) to 1 (the same order); NaN if one is constant."""
    return float(kendalltau(first.flatten().cpu().numpy(), second.flatten().cpu().numpy()).statistic)


def jaccard(first: Tensor, second: Tensor) -> float:
    """Return |A ∩ B| / |A ∪ B| of two bool tensors; 1 if both are empty."""
    union = int((first | second).sum())
    return int((first & second).sum()) / union if union else 1.0


def ties_decide(ranking: Ranking, ratio: float) -> bool:
    """Return whether other grains would go if equal scores went in the opposite order.

    So it is where the last grain that goes and the first that stays have the same score, as Γ = 0 or the entry of all
    that never entered.
    """
    asked = ranking.drops(ratio)
    scores = {name: _backwards(ranking.scores[name]) for name in reversed(list(ranking.scores))}
    strata = {name: _backwards(one) for name, one in ranking.strata.items()}
    mirrored = replace(ranking, scores=scores, strata=strata).drops(ratio)
    return any(not torch.equal(drop, _backwards(mirrored[name])) for name, drop in asked.items())


def _backwards(tensor: Tensor) -> Tensor:
    return tensor.flatten().flip(0).view(tensor.shape)


def compare_criteria(
    target: Run | Subject | nn.Module,
    plan: SweepPlan | None = None,
    *,
    criteria: str | Sequence[str],
    data: Data | None = None,
    training: Data | None = None,
    device: str = "auto",
    data_dir: Path | str | None = None,
    **asked: Unpack[SweepOptions],
) -> tuple[Agreement, ...]:
    """Return the agreement of every pair of `criteria` on each layer or, with the scope "global", on each set.

    `target` is a finished Run, a Subject, or any network with `data` and, for the criteria "taylor" and "obd",
    `training` data, as `prune` takes them.

    The plan, given as a `SweepPlan` or by its keywords, names the sets of layers, the ratios, the grain and the scope;
    its other fields are not used. No accuracy is measured: only the scores and the grains that they remove are
    compared. Raises SparsifyError as `prune` does, and for fewer than two criteria.

    >>> (found,) = sparsify.compare_criteria(run, layers="conv3", criteria="magnitude,l1", device="cpu")
    >>> found.first, found.second, found.grains
    ('magnitude', 'l1', 120)
    """
    names = criteria.split(",") if isinstance(criteria, str) else criteria
    names = list(dict.fromkeys(name.strip() for name in names))
    if len(names) < 2:
        choices = ", ".join(CRITERIA)
        raise SparsifyError(f"--compare-criteria '{', '.join(names)}' is no pair; name two or more of: {choices}")
    plan = SweepPlan.of(plan, **asked)
    target = subject_for(target, data, training, Places.of(None, device=device, data_dir=data_dir))
    sets = find_sets(target.model, plan.layers, target.name, functools.partial(target.structure.left_out, plan.grain))
    warn_of_mixed_grains(plan, sets.values())
    score = Scorer(target)
    found_units = {names: units_by_name(target, layers, plan.grain) for names, layers in sets.items()}
    if plan.scope == "global":
        units = found_units
    else:
        units = {name: {name: unit} for found in found_units.values() for name, unit in found.items()}
    agreements = []
    for unit, found in units.items():
        chosen = {name: Ranking(name, score(found, name), plan.scope, strata=strata_of(found)) for name in names}
        scores = {name: _together(ranking.scores) for name, ranking in chosen.items()}
        removed = {
            name: [None if ties_decide(one, ratio) else _together(one.drops(ratio)) for ratio in plan.ratios]
            for name, one in chosen.items()
        }
        for a, b in itertools.combinations(names, 2):
            tau = kendall(scores[a], scores[b])
            overlap = {
                ratio: math.nan if first is None or second is None else jaccard(first, second)
                for ratio, first, second in zip(plan.ratios, removed[a], removed[b], strict=True)
            }
            agreements.append(Agreement(unit, len(scores[a]), a, b, tau, overlap))
    return tuple(agreements)


def _together(parts: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([part.flatten() for part in parts.values()])
