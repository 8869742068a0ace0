"""What a study will do, as tables: the built-in studies, and what is missing of one."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from sparsify.report.table import TEXT, Column, Format, Table
from sparsify.runs import LOST
from sparsify.study.design import Study
from sparsify.study.estimates import PlanCost, TaskCost
from sparsify.study.tasks import Plan, Task
from sparsify.text import MISSING, duration, plural, size


def studies_table(studies: Sequence[Study]) -> Table:
    """One row a study."""
    rows = []
    for study in studies:
        shown = [arm for arm in study.arms if not arm.stage]
        seeds = ", ".join(map(str, dict.fromkeys(config.seed for arm in shown for config in arm.configs)))
        sweeps = (f"{' and '.join(plan.layers)} by {plan.name}" for plan in study.sweeps)
        rows.append((study.name, study.title, "; ".join(arm.label for arm in shown), seeds, "; ".join(sweeps)))
    columns = [Column(name, TEXT) for name in ("study", "title", "arms", "seeds", "sweeps")]
    return Table.of("", columns, rows, spacing="edgeless")


def plan_table(study: Study, plan: Plan, estimates: PlanCost) -> Table:
    """What is missing of each arm, and about how much time and disk space it takes.

    One row a run, or one for all seeds of an arm that miss the same.
    """
    columns = [
        Column("arm", TEXT),
        Column("seeds", Format(_seed_range)),
        Column("run", TEXT),
        Column("missing", TEXT),
        Column("time", Format(duration)),
        Column("disk", Format(size)),
    ]
    named = [(_named(task), task, one) for task, one in zip(plan.tasks, estimates.tasks, strict=True)]
    rows = []
    for (arm, waits, missing), group in itertools.groupby(named, key=lambda row: row[0]):
        tasks, costs = zip(*((task, one) for _, task, one in group), strict=True)
        alone = tasks[0].run.name if tasks[0].run is not None else MISSING
        run = waits or (alone if len(tasks) == 1 else f"{len(tasks)} runs")
        rows.append((arm, tuple(task.config.seed for task in tasks), run, missing, *_cost(costs)))
    return Table.of("what is missing", columns, rows, subject=study.title)


def _named(task: Task) -> tuple[str, str, str]:
    """The arm, with its candidate if the task is one; what the task waits for; what is missing."""
    arm = f"{task.arm}: {task.candidate}" if task.candidate else task.arm
    return arm, "" if task.run is not None or not task.waits else f"after {task.waits}", _missing(task)


def _seed_range(seeds: Sequence[int]) -> str:
    """ "3", "0–4", or "1, 5": a range of three seeds or more is not spelt out."""
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"{seeds[0]}–{seeds[-1]}"
    return ", ".join(map(str, seeds))


def plan_line(plan: Plan, estimates: PlanCost) -> str:
    """How much is missing in all."""
    if plan.done:
        return "nothing is missing"
    found = {  # two arms may share a run
        task.run.path if task.run is not None else number: len(
            task.sweeps if task.status == "unfinished" else task.missing
        )
        for number, task in enumerate(plan.tasks)
        if not task.done
    }
    runs, sweeps = plan.trainings, sum(found.values())
    at_a_time = f", {estimates.processes} at a time," if estimates.processes > 1 and runs > 1 else ""
    left = f"{plural(runs, 'training')}{at_a_time} and {plural(sweeps, 'sweep')}"
    cost = f"about {duration(estimates.seconds)} and {size(estimates.kept)}"
    again = len({(task.known_run.path, task.sweeps[number]) for task in plan.tasks for number in task.again})
    old = {"sweep": again, "mask": sum(path.exists() for path in plan.masks)}
    counts = [plural(count, kind) for kind, count in old.items() if count]
    before = ""
    if counts:
        verb = "is" if sum(old.values()) == 1 else "are"
        before = f"; {' and '.join(counts)} from before coupled layers were one unit {verb} made again"
    return f"missing: {left}; {cost}, {size(estimates.checkpoints)} more while it trains{before}"


def _missing(task: Task) -> str:
    """The steps that are left of a task, as in "train from epoch 8 of 20, sweep 1, 2"."""
    if task.done:
        return f"not trained: {task.lost}" if task.lost else task.status if task.status in LOST else MISSING
    numbers = task.sweeps if task.status == "unfinished" else task.missing
    steps = []
    if task.status == "unfinished":
        count, first = task.config.epochs, task.epochs_done + 1
        steps.append(f"train from epoch {first} of {count}" if first > 1 else f"train {plural(count, 'epoch')}")
    if numbers:
        steps.append("sweep" if len(task.sweeps) == 1 else f"sweep {', '.join(str(n + 1) for n in numbers)}")
    return ", ".join(steps)


def _cost(estimates: Sequence[TaskCost]) -> tuple[float, float] | tuple[str, str]:
    """Seconds and bytes; nothing where there is nothing to do."""
    seconds = sum(one.training + one.sweeping for one in estimates)
    return (seconds, sum(one.kept for one in estimates)) if seconds else ("", "")
