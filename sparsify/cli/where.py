"""Where a command finds and puts things, and which layers it is about."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from sparsify import console

if TYPE_CHECKING:
    from sparsify.runs import Run
    from sparsify.sweep import Sweep


@dataclasses.dataclass(frozen=True, kw_only=True)
class Places:
    """Where things are and where they run."""

    device: Annotated[str, Parameter(help="auto (CUDA, then MPS, then the CPU), cpu, cuda[:N] or mps")] = "auto"
    runs_dir: Annotated[Path, Parameter(help="the folder of runs")] = Path("runs")
    data_dir: Annotated[Path | None, Parameter(help="a folder that is searched for data sets first")] = None


HERE = Places()

Where = Annotated[Places, Parameter(name="*")]
Layers = Annotated[
    tuple[str, ...],
    Parameter(
        name="--layers",
        help="one set of layers, as in conv3,fc1 or all or 'conv*'; give it again for another set",
        negative=(),
    ),
]


def keywords(where: Places) -> dict[str, Any]:
    """As keyword arguments."""
    return {field.name: getattr(where, field.name) for field in dataclasses.fields(where)}


def names_of(run: Run) -> list[str]:
    """What the layers of a run can be called."""
    from sparsify.layers import layer_names

    return list(layer_names(run.model()))


def announce(run: Run, layers: Sequence[str], *, newest: bool, grain: str = "weight") -> None:
    """Print which run is pruned, what each name of a layer means, and what loses outputs with it by that grain."""
    import torch

    from sparsify.cost import Structure
    from sparsify.layers import find_layers

    model = run.model()
    found = {name: layer for names in layers for name, layer in find_layers(model, names, run.name).items()}
    meanings = []
    for name, layer in found.items():
        own = f"{layer.name}, " if layer.name != name else ""
        kind = "convolution" if layer.is_convolution else "fully connected"
        meanings.append(f"{name} = {own}{kind} {'×'.join(map(str, layer.weight.shape))}")
    console.say(f"run: {run.name}{' (the newest)' if newest else ''}")
    console.say(f"layers: {'; '.join(meanings)}")
    structure = Structure(model, torch.zeros(1, *run.summary["shape"]))
    groups = [structure.coupled(layer) for layer in found.values() if layer.grain(grain) != "weight"]
    for group in dict.fromkeys(tuple(group) for group in groups if len(group) > 1):
        console.say(f"coupled, so what goes from one goes from all: {', '.join(group)}")


def suggest(run: Run) -> str:
    """A set of layers to prune first, without the output layer."""
    from sparsify.layers import layer_names

    layers = layer_names(run.model())
    output = list(layers.values())[-1].name
    inner = [name for name, layer in layers.items() if layer.name != output]
    return "conv3,fc1" if {"conv3", "fc1"} <= set(inner) else inner[-1] if inner else output


def another(run: Run, sweep: Sweep) -> str:
    """A set that was not swept: the first one and another layer, or, of a set of all layers, its first one alone."""
    from sparsify.layers import layer_names

    asked, layers = sweep.layer_sets[0].split(","), layer_names(run.model())
    taken = {layers[name].name for name in asked}
    rest = [name for name, layer in list(layers.items())[:-1] if layer.name not in taken]
    return ",".join([*asked, rest[-1]]) if rest else asked[0]
