"""The commands that train and sweep the runs of a study, one by one."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Sequence

from sparsify.config import Config
from sparsify.pruning.plan import FLAGS, SweepPlan
from sparsify.pruning.ratios import SUPPORT
from sparsify.runs import Run
from sparsify.runs.images import shared
from sparsify.study.results import StudyResult
from sparsify.text import percentage, shortest


def commands_of(result: StudyResult) -> list[tuple[str, str]]:
    """For each arm, stages included: its label and the commands that train and sweep its runs, one a line."""
    shown = {arm.label: arm for arm in result.arms}
    found = []
    for arm in result.study.arms:
        lines = []
        if arm.mask is not None:
            point = arm.mask.point
            part = f"{percentage(point.ratio)} of {point.layers}"
            gone = f"{part} that {point.criterion} removes from '{arm.mask.of}'"
            lines.append(f"# the study makes the mask, without the {gone}")
        runs = shown[arm.label].runs if arm.label in shown else ()
        lines += [shlex.join(train_command(run.config, _threads(run))) for run in runs]
        lines += [shlex.join(train_command(config)) for config in arm.configs if not runs]
        if arm.label in shown:
            swept = zip(*filter(None, shown[arm.label].sweeps), strict=True)  # those of each finished run
            for run, sweeps in zip(shown[arm.label].finished, swept, strict=True):
                lines += [shlex.join(prune_command(run, sweep.plan)) for sweep in sweeps]
        found.append((f"{arm.label} (a stage on the way)" if arm.stage else arm.label, "\n".join(lines)))
    return found


def _threads(run: Run) -> int | None:
    """The number of torch's threads in a training on the CPU; None on another device."""
    return run.environment.get("threads") if run.environment.get("device") == "cpu" else None


def train_command(config: Config, threads: int | None = None) -> list[str]:
    """The words of the command that trains this Config: the optimizer, and each field that is not at its default.

    `threads` is how many threads torch has on a CPU: their number changes the last bits, and so the trained network.
    """
    defaults = Config(opt=config.opt).to_dict()
    changed = {name: value for name, value in shared(config).items() if name == "opt" or value != defaults[name]}
    words = ["sparsify", "train", *(word for name, value in changed.items() for word in _flag(name, value))]
    return words if threads is None else [f"OMP_NUM_THREADS={threads}", *words]


def without_places(words: Sequence[str]) -> list[str]:
    """The words of a command as a report shows them: of a path from the root, or from someone's home, the last name.

    Windows' paths count, too, with their drive or their server. A path begins a word, or stands in it behind one of
    = : , [ or a quotation mark. It ends where a quotation ends, else with the word, whatever characters are in it.
    """
    begins, ends = r"(?:^|(?<=[=:,'\"\[]))(?:[A-Za-z]:)?[/\\~]", r"['\"]\s*(?:[,\]}]|$)"
    place = re.compile(rf"{begins}(?:(?!{ends}).)*[/\\](?!{ends})", re.DOTALL)
    return [place.sub("", word.rstrip("/\\")) for word in words]


_PLAN = SweepPlan()


def prune_command(run: Run, plan: SweepPlan) -> list[str]:
    """The words of the command that sweeps a run by a plan: each flag that is not at its default."""
    words = ["sparsify", "prune", run.name]
    for layers in plan.layers:
        words += _flag("layers", layers)
    # how often random is drawn by default depends on the criterion and the controls
    usual = dataclasses.replace(plan, draws=None).drawn
    asked = dataclasses.replace(plan, layers=(), draws=None if plan.drawn == usual else plan.drawn)
    for name, value in vars(asked).items():
        if value == getattr(_PLAN, name) and not (name == "ratios" and plan.support):
            continue
        if name == "support":
            continue  # it is among the ratios
        if name == "ratios":
            value = ",".join([*(shortest(ratio) for ratio in plan.ratios), *([SUPPORT] if plan.support else [])])
        words += _flag(FLAGS.get(name, name), value)
    return words


def _flag(name: str, value: object) -> list[str]:
    flag = "--" + name.replace("_", "-")
    if isinstance(value, bool):
        return [flag if value else f"--no-{name.replace('_', '-')}"]
    text = shortest(value) if isinstance(value, float) else str(value)
    return [f"{flag}={text}"] if text.startswith("-") else [flag, text]
