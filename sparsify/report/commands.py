"""The commands that train and sweep the runs of a study, one by one, so that each number can be made by itself."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Iterator, Sequence

from sparsify.config import Config
from sparsify.pruning.plan import FLAGS, PointPlan, SweepPlan
from sparsify.pruning.ratios import SUPPORT
from sparsify.runs import Run
from sparsify.runs.images import shared
from sparsify.study.design import Arm
from sparsify.study.results import ArmResult, StudyResult
from sparsify.text import shortest


def commands_of(result: StudyResult) -> list[tuple[str, str]]:
    """For each arm that is shown: its label and the commands that make its numbers, one a line.

    They run by themselves in an empty folder: those that train the runs that the arm starts from come first, then those
    of the masks that it is trained under, of the trials by which its settings were selected, of its own trainings, and
    of their sweeps. The trials of a stage, which has no commands of its own, are among those of the arms that start
    from it or come near to its support.
    """
    shown = {arm.label: arm for arm in result.arms}
    asked = {arm.label: arm for arm in result.study.arms}
    runs: dict[str, Sequence[Run]] = {}
    trained: dict[str, list[str]] = {}
    tried: dict[str, list[str]] = {}  # the trials of stages
    for label in result.study.in_order:  # each arm after those that it starts from
        arm = asked[label]
        runs[label] = shown[label].runs if label in shown else _runs(result, arm.configs)
        before = [line for other in arm.awaited for line in (trained if other in arm.parents else tried)[other]]
        tried[label] = list(_trials(arm, result)) if arm.stage else []
        masked = arm.mask
        masks = [] if masked is None else [mask_command(run, masked.point) for run in runs[masked.of]]
        own = [train_command(run.config, _threads(run)) for run in runs[label]]
        trained[label] = [*before, *_others(arm, runs[label]), *tried[label], *map(shlex.join, (*masks, *own))]
    found = (
        (arm.label, _lines(arm, shown[arm.label], trained[arm.label], result))
        for arm in result.study.arms
        if arm.label in shown
    )
    return [(label, "\n".join(dict.fromkeys(lines))) for label, lines in found]


def _runs(result: StudyResult, configs: Sequence[Config]) -> list[Run]:
    """The runs of these Configs that were trained."""
    every = [Run(result.folder.parent.parent / config.name) for config in configs]
    return [run for run in every if run.status != "unfinished"]


def _others(arm: Arm, runs: Sequence[Run]) -> Iterator[str]:
    """A remark on each run, and file of a mask, that the arm starts from and that no arm of the study makes."""
    for name, own in (("init", arm.init), ("mask", arm.mask), ("release", arm.release)):
        if own is None:
            given = dict.fromkeys(getattr(run.config, name) for run in runs)
            yield from (f"# {one} was there before the study, which does not make it" for one in given if one)


def _lines(arm: Arm, shown: ArmResult, trained: Sequence[str], result: StudyResult) -> list[str]:
    """The commands of one arm: its trials, what is `trained`, and the sweeps of its finished runs."""
    pruned = [
        shlex.join(prune_command(run, sweep.plan))
        for run, *sweeps in zip(shown.finished, *filter(None, shown.sweeps), strict=True)
        for sweep in sweeps
    ]
    return [*_trials(arm, result), *trained, *pruned]


def _trials(arm: Arm, result: StudyResult) -> Iterator[str]:
    """The commands of the trials by which the arm's settings were selected, and of the point that was compared."""
    choice = arm.choice
    for candidate in () if choice is None else choice.candidates:
        for run in _runs(result, candidate.trials):
            yield shlex.join(train_command(run.config, _threads(run)))
            if choice is not None and run.status == "finished":
                yield from (shlex.join(prune_command(run, plan)) for plan in choice.sweeps(candidate).values())


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


def mask_command(run: Run, point: PointPlan) -> list[str]:
    """The words of the command that writes the mask of what a point removes from a run."""
    words = ["sparsify", "mask", run.name, *_flag("layers", point.layers), *_flag("ratio", point.ratio)]
    usual = PointPlan(layers=point.layers, ratio=point.ratio)
    for name in ("criterion", "grain"):
        value = getattr(point, name)
        words += [] if value == getattr(usual, name) else _flag(name, value)
    return words


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
