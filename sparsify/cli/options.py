"""Options that several commands share: places, layers, seeds, and the choice of the runs."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from sparsify.cli import console
from sparsify.config import OPTIONS, Places
from sparsify.errors import SparsifyError, shown
from sparsify.limits import MOST_SEEDS, SEED
from sparsify.pruning.plan import PointPlan

if TYPE_CHECKING:
    from torch import nn

    from sparsify.pruning.plan import SweepPlan
    from sparsify.pruning.subject import Subject
    from sparsify.runs import Run


Where = Annotated[Places, Parameter(name="*")]


def names_of(run: Run) -> list[str]:
    """Return the names that the layers of a run can be given by."""
    from sparsify.nets.layers import layer_names

    return list(layer_names(run.model()))


def announce(run: Run, subject: Subject, plan: SweepPlan, *, newest: bool) -> None:
    """Print which run is pruned, which layers are meant by the given names, and which layers are coupled with them.

    With "all" also which layers that leaves out, and why.
    """
    from sparsify.nets.layers import Layer, find_layers

    found: dict[str, Layer] = {}
    left_out = functools.partial(subject.structure.left_out, plan.grain)
    for names in plan.layers:
        found |= find_layers(subject.model, names, run.name, left_out)
    meanings = []
    for name, layer in found.items():
        own = f"{layer.name}, " if layer.name != name else ""
        kind = "convolution" if layer.is_convolution else "fully connected"
        meanings.append(f"{name} = {own}{kind} {'×'.join(map(str, layer.weight.shape))}")
    console.say(f"run: {run.name}{' (the newest)' if newest else ''}")
    console.say(f"layers: {'; '.join(meanings)}")
    taken = {layer.name for layer in found.values()}
    if any("all" in names.split(",") for names in plan.layers) and "all" not in taken:
        reasons = [f"{name} ({reason})" for name, reason in left_out().items() if name not in taken]
        console.say(f"all leaves out: {'; '.join(reasons) or 'nothing'}")
    for group in subject.structure.coupled_groups(
        layer for layer in found.values() if layer.grain(plan.grain) != "weight"
    ):
        console.say(f"coupled, so what goes from one goes from all: {', '.join(group)}")


def suggest(name: str, model: nn.Module) -> str:
    """Return a set of layers to prune first in the network of this name: what studies prune in it, if any do.

    Else the layer with the most weights, the first of several, but for the output layer if there are others.
    """
    from sparsify.nets.layers import layer_names, prunable_layers
    from sparsify.nets.registry import network_spec

    output = prunable_layers(model)[-1].name
    inner = {one: layer.weight.numel() for one, layer in layer_names(model).items() if layer.name != output}
    return network_spec(name).usual or max(inner, key=lambda one: inner[one], default=output)


def another(model: nn.Module, names: str) -> str:
    """Return another set to sweep: `names` and one more layer, or the first layer alone if there is no other."""
    from sparsify.nets.layers import layer_names

    asked, layers = names.split(","), layer_names(model)
    taken = {layers[name].name for name in asked}
    rest = [name for name, layer in list(layers.items())[:-1] if layer.name not in taken]
    return ",".join([*asked, rest[-1]]) if rest else asked[0]


RunsDir = Annotated[Path, Parameter(help="the folder of runs")]


def finished_run(name: str | None, runs_dir: Path) -> Run:
    """Return the finished run of that name, or the newest one. Raises SparsifyError if there is none."""
    from sparsify.runs import find_run, newest_run

    if name is None:
        return newest_run(runs_dir)
    run = find_run(name, runs_dir)
    run.require_finished()
    return run


def compared_runs(names: Sequence[str], runs_dir: Path) -> list[Run]:
    """Return the runs that are named, or else the newest run of each optimizer among those of the newest run's kind.

    Runs of the same kind share the network, the data set, the seed and the mask. The chosen runs are printed.
    """
    from sparsify.optim.registry import OPTIMIZERS
    from sparsify.runs import finished_runs, newest_run

    if names:
        return [finished_run(name, runs_dir) for name in names]
    newest = newest_run(runs_dir)
    found: dict[str, Run] = {}
    for run in finished_runs(runs_dir):
        if _kind(run) == _kind(newest):
            found.setdefault(run.config.opt, run)
    chosen = [found[opt] for opt in sorted(found, key=list(OPTIMIZERS).index)]
    console.say(f"runs: {', '.join(run.name for run in chosen)}")
    differ = differing(chosen, without=("opt", "lr", *OPTIONS))
    if differ:
        console.say(f"they differ in: {', '.join(differ)}")
    return chosen


def differing(runs: Sequence[Run], without: Sequence[str] = ()) -> list[str]:
    """Return the settings in which runs differ, with their values, as in "epochs (3, 40)"."""
    configs = [run.config.to_dict() for run in runs]
    found = {name: list(dict.fromkeys(config[name] for config in configs)) for name in configs[0]}
    return [
        f"{name} ({', '.join(map(str, values))})"
        for name, values in found.items()
        if len(values) > 1 and name not in without
    ]


def _kind(run: Run) -> tuple[object, ...]:
    """Return the settings that runs must share to be compared; the mask is one, so that tickets are apart."""
    names = ("model", "net", "data", "resize", "normalise", "seed", "mask")
    return tuple(getattr(run.config, name) for name in names)


def point_of(layers: str | None, ratio: float | None) -> PointPlan | None:
    """Return the point that --layers and --ratio ask for together, None without them. Raises SparsifyError for one."""
    if (layers is None) != (ratio is None):
        raise SparsifyError("--layers and --ratio belong together, as in --layers conv3,fc1 --ratio 0.6")
    return None if layers is None or ratio is None else PointPlan(layers=layers, ratio=ratio)


_LISTS = ("--layers", "--ratios", "--record", "--seeds", "--compare-criteria")
"""The flags whose value is a list with commas in it."""


def joined_by_commas(given: Sequence[str], wrong: Sequence[object], why: str) -> str:
    """Say how a list is written, if one of the given tokens that are wrong stands behind a list's value; else ""."""
    flag, values = "", list[str]()
    for token in given:
        if token.startswith("--"):
            flag, equals, value = token.partition("=")
            values = [value] if equals else []
            continue
        values.append(token)
        if token in wrong and flag in _LISTS and len(values) > 1:
            return f"'{shown(token)}' {why}; a list has commas and no spaces, as in {flag} {','.join(values)}"
    return ""


_DIGITS = len(str(SEED.most))


def parse_seeds(text: str) -> tuple[int, ...]:
    """Return the seeds of a text: "32" means 0 to 31, "3,5" means these two.

    Raises SparsifyError for any other text, for too many or too large seeds, and for a seed that is named twice.
    """
    parts = [part.strip() for part in text.split(",")]
    named = f"--seeds '{shown(text)}'"
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise SparsifyError(f"{named} is malformed; write how many, as in 32, or a list, as in 3,5")
    parts = [part.lstrip("0") or "0" for part in parts]
    if len(parts) > MOST_SEEDS or (len(parts) == 1 and (len(parts[0]) > _DIGITS or int(parts[0]) > MOST_SEEDS)):
        raise SparsifyError(f"{named} are too many; at most {MOST_SEEDS:,}")
    if max(map(len, parts)) > _DIGITS or int(max(parts, key=len)) > SEED.most:
        raise SparsifyError(f"{named} has a seed that is too large; at most {SEED.most}")
    seeds = tuple(range(int(parts[0]))) if len(parts) == 1 else tuple(int(part) for part in parts)
    if not seeds or len(set(seeds)) < len(seeds):
        raise SparsifyError(f"{named} {'are none' if not seeds else 'names a seed twice'}")
    return seeds
