"""How alike criteria are on the networks of a study."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from rich.table import Table

from sparsify.agreement import Agreement, compare_criteria
from sparsify.arms import SweepPlan
from sparsify.cost import Structure
from sparsify.data.dataset import Split
from sparsify.layers import find_layers
from sparsify.pruning import Subject, path_states
from sparsify.runs import Run
from sparsify.scoring import path_of
from sparsify.study import StudyResult


def likeness_tables(result: StudyResult) -> list[Table]:
    """One table for each sweep and layer, one row a pair of criteria: Kendall's τ and Jaccard's overlap in each arm.

    The first run of each arm is looked at, and of the criteria those that need no images. The overlap is that of what
    goes at the sweep's largest ratio r below 1; that of two random choices is about r/(2 − r).
    """
    tables = []
    seen = set()
    for plan in result.study.sweeps:
        ratio = max((ratio for ratio in plan.ratios if 0 < ratio < 1), default=None)
        asked = (plan.layers, ratio, plan.grain, plan.scope)
        if ratio is None or asked in seen:  # sweeps by another criterion of the same layers
            continue
        seen.add(asked)
        found = {arm.label: _agreements(arm.finished[0], plan, ratio) for arm in result.arms if arm.finished}
        for layers in dict.fromkeys(one.layers for agreements in found.values() for one in agreements):
            tables.append(_table(layers, ratio, found))
    return tables


def _agreements(run: Run, plan: SweepPlan, ratio: float) -> tuple[Agreement, ...]:
    model = run.model()
    example = torch.zeros(1, *run.summary["shape"])
    split = Split(example, torch.zeros(1, dtype=torch.long))
    subject = Subject(model, split, path=path_states(run, model), seed=run.config.seed, name=run.name)
    how = {"layers": plan.layers, "ratios": (ratio,), "grain": plan.grain, "scope": plan.scope}
    return compare_criteria(subject, criteria=list(_criteria(subject, plan)), **how)


def _criteria(subject: Subject, plan: SweepPlan) -> Iterator[str]:
    """What this network can be ordered by without images."""
    yield from ("magnitude", "l1", "fpgm")
    if plan.scope == "global":  # within a layer it is the order of magnitude
        yield "lamp"
    layers = find_layers(subject.model, ",".join(plan.layers)).values()
    structure = Structure(subject.model, subject.split.images)
    outputs = [layer for layer in layers if layer.grain(plan.grain) != "weight"]
    if outputs and all(structure.scale(layer) is not None for layer in outputs):
        yield "bn-scale"
    states = [path_of(subject, layer, structure) for layer in layers]
    if None not in states:
        yield "entry"
        if all(state.gamma is not None for state in states):
            yield "gamma"


def _table(layers: str, ratio: float, found: dict[str, tuple[Agreement, ...]]) -> Table:
    pairs = {label: {(a.first, a.second): a for a in ones if a.layers == layers} for label, ones in found.items()}
    grains = next(one.grains for ones in pairs.values() for one in ones.values())
    chance = f"{ratio / (2 - ratio):.2f} by chance"
    what = f"τ of each pair, and overlap of what goes at {100 * ratio:.10g}% ({chance})"
    table = Table(title=f"Agreement on {layers} ({grains:,} grains): {what}")
    table.add_column("criteria")
    for label in pairs:
        table.add_column(f"{label}: τ")
        table.add_column(f"{label}: overlap")
    for pair in dict.fromkeys(pair for ones in pairs.values() for pair in ones):
        cells = []
        for ones in pairs.values():
            one = ones.get(pair)
            cells += ["–", "–"] if one is None else [_number(one.tau), _number(one.overlaps[ratio])]
        table.add_row(", ".join(pair), *cells)
    return table


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{round(value, 2) + 0.0:.2f}".replace("-", "−")
