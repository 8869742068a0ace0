"""The commands that give each number again: `sparsify train` and `sparsify prune` with every flag that matters."""

from __future__ import annotations

import dataclasses

from sparsify.arms import SweepPlan
from sparsify.config import Config
from sparsify.pruning import RATIOS
from sparsify.ratios import parse_ratios
from sparsify.runs import Run


def train_command(config: Config, threads: int | None = None) -> list[str]:
    """The words of the command that trains this Config: the optimizer, and each field that is not at its default.

    `threads` of torch on a CPU change the last bits, and with them, a little, what is trained.
    """
    defaults = Config(opt=config.opt).to_dict()
    changed = {name: value for name, value in config.to_dict().items() if name == "opt" or value != defaults[name]}
    words = ["sparsify", "train", *(word for name, value in changed.items() for word in _flag(name, value))]
    return words if threads is None else [f"OMP_NUM_THREADS={threads}", *words]


def prune_command(run: Run, plan: SweepPlan) -> list[str]:
    """The words of the command that sweeps this run as a study does."""
    asked = plan.keywords(run.model())
    defaults = SweepPlan().keywords(run.model())
    words = ["sparsify", "prune", run.name]
    for layers in plan.layers:
        words += _flag("layers", layers)
    if plan.ratios != parse_ratios(RATIOS):
        words += _flag("ratios", ",".join(_number(ratio) for ratio in plan.ratios))
    for field in dataclasses.fields(SweepPlan):
        name, value = field.name, asked[field.name]
        # how often random is drawn by default depends on the criterion and the controls
        usual = plan.draws is None if name == "draws" else value == defaults[name]
        if name in ("layers", "ratios") or usual:
            continue
        words += _flag("finetune" if name == "finetune_epochs" else name, value)
    return words


def _flag(name: str, value: object) -> list[str]:
    flag = "--" + name.replace("_", "-")
    if value is True:
        return [flag]
    text = _number(value) if isinstance(value, float) else str(value)
    return [f"{flag}={text}"] if text.startswith("-") else [flag, text]


def _number(value: float) -> str:
    short = f"{value:g}"
    return short if float(short) == value else repr(value)
