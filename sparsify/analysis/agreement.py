"""Agreement: how alike two criteria order the grains of a network, and how much of what they remove is the same."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from scipy.stats import kendalltau
from torch import Tensor

from sparsify.errors import SparsifyError
from sparsify.nets.layers import find_sets
from sparsify.nets.structure import Structure
from sparsify.pruning.criteria import CRITERIA
from sparsify.pruning.plan import RATIOS, check_scope, parse_ratios
from sparsify.pruning.ranking import Ranking, scorer
from sparsify.pruning.subject import Subject, subject_of
from sparsify.runs import Run


@dataclass(frozen=True)
class Agreement:
    """Of two criteria on `grains` grains of `layers`: Kendall's τ of their scores, and `overlaps`, at each ratio the
    Jaccard overlap of what they remove."""

    layers: str
    grains: int
    first: str
    second: str
    tau: float
    overlaps: Mapping[float, float]


def kendall(first: Tensor, second: Tensor) -> float:
    """Kendall's τ-b of two score vectors, from −1 (opposite orders) to 1 (the same); nan if one of them is constant."""
    return float(kendalltau(first.flatten().cpu().numpy(), second.flatten().cpu().numpy()).statistic)


def jaccard(first: Tensor, second: Tensor) -> float:
    """|A ∩ B| / |A ∪ B| of two bool tensors; 1 if both are empty."""
    union = int((first | second).sum())
    return int((first & second).sum()) / union if union else 1.0


def compare_criteria(
    target: Run | Subject,
    *,
    layers: str | Sequence[str],
    criteria: str | Sequence[str],
    ratios: str | Sequence[float] = RATIOS,
    grain: str = "auto",
    scope: str = "layer",
    device: str = "auto",
    data_dir: Path | str | None = None,
) -> tuple[Agreement, ...]:
    """Every pair of `criteria` on each layer of each set or, with scope "global", on each set as a whole.

    Nothing is measured: only scores and what they remove are compared. Raises SparsifyError as `prune` does, and for
    fewer than two criteria.
    """
    names = criteria.split(",") if isinstance(criteria, str) else criteria
    names = list(dict.fromkeys(name.strip() for name in names))
    if len(names) < 2:
        choices = ", ".join(CRITERIA)
        raise SparsifyError(f"--compare-criteria '{', '.join(names)}' is no pair; name two or more of: {choices}")
    points = parse_ratios(ratios)
    subject = target if isinstance(target, Subject) else subject_of(target, device=device, data_dir=data_dir)
    sets = find_sets(subject.model, layers, subject.name)
    check_scope(scope, sets.values(), grain)
    structure = Structure(subject.model, subject.normalise(subject.split.images[:1]))
    score = scorer(subject, structure, grain)
    if scope == "global":
        units = sets
    else:
        units = {name: {name: layer} for found in sets.values() for name, layer in found.items()}
    agreements = []
    for unit, found in units.items():
        chosen = {name: Ranking(name, score(found, name), scope) for name in names}
        scores = {name: _together(selection.scores) for name, selection in chosen.items()}
        removed = {name: [_together(selection.drops(ratio)) for ratio in points] for name, selection in chosen.items()}
        for a, b in itertools.combinations(names, 2):
            overlaps = map(jaccard, removed[a], removed[b])
            tau = kendall(scores[a], scores[b])
            agreements.append(Agreement(unit, len(scores[a]), a, b, tau, dict(zip(points, overlaps, strict=True))))
    return tuple(agreements)


def _together(parts: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([part.flatten() for part in parts.values()])
