"""Tables of what a study is going to do, and of what it selected."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Sequence

from rich import box
from rich.table import Table

from sparsify.arms import Study
from sparsify.estimates import Estimates, TaskEstimate
from sparsify.planning import Plan, Task
from sparsify.study import StudyResult
from sparsify.tables import percent


def studies_table(studies: Sequence[Study]) -> Table:
    """One row a study."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("study", "title", "arms", "seeds", "sweeps"):
        table.add_column(name)
    for study in studies:
        shown = [arm for arm in study.arms if not arm.stage]
        seeds = ", ".join(map(str, dict.fromkeys(config.seed for arm in shown for config in arm.configs)))
        sweeps = (f"{' and '.join(plan.layers)} by {plan.name}" for plan in study.sweeps)
        table.add_row(study.name, study.title, "; ".join(arm.label for arm in shown), seeds, "; ".join(sweeps))
    return table


def plan_table(study: Study, plan: Plan, estimates: Estimates) -> Table:
    """What there is of each arm, what is missing, and about how long and how large that is.

    One row a run, or one for all seeds of an arm that miss the same.
    """
    table = Table(title=f"{study.title}: what is missing", box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("arm")
    table.add_column("seeds", justify="right")
    table.add_column("run")
    table.add_column("missing")
    for name in ("time", "disk"):
        table.add_column(name, justify="right")
    rows = [(_named(task), task, one) for task, one in zip(plan.tasks, estimates.tasks, strict=True)]
    for (arm, waits, missing), group in itertools.groupby(rows, key=lambda row: row[0]):
        tasks, costs = zip(*((task, one) for _, task, one in group), strict=True)
        alone = tasks[0].run.name if tasks[0].run is not None else "–"
        run = waits or (alone if len(tasks) == 1 else f"{len(tasks)} runs")
        table.add_row(arm, _seeds([task.config.seed for task in tasks]), run, missing, *_cost(costs))
    return table


def _named(task: Task) -> tuple[str, str, str]:
    """The arm, and its candidate if it is one; what it waits for; what is missing."""
    arm = f"{task.arm}: {task.candidate}" if task.candidate else task.arm
    return arm, "" if task.run is not None or not task.waits else f"after {task.waits}", _missing(task)


def _seeds(seeds: Sequence[int]) -> str:
    """ "3", "0–4", or "1, 5": as short as it can be said."""
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"{seeds[0]}–{seeds[-1]}"
    return ", ".join(map(str, seeds))


def plan_line(plan: Plan, estimates: Estimates) -> str:
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
    at_a_time = f", {estimates.processes} at a time," * (estimates.processes > 1 and runs > 1)
    return (
        f"missing: {runs} training{'s' * (runs != 1)}{at_a_time} and {sweeps} sweep{'s' * (sweeps != 1)}; "
        f"about {duration(estimates.seconds)} and {size(estimates.kept)}, "
        f"{size(estimates.checkpoints)} more while it trains"
    )


def _missing(task: Task) -> str:
    """As "train from epoch 8, sweep 1, 2"."""
    if task.done:
        return f"left out: {task.lost}" if task.lost else "diverged" if task.status == "diverged" else "–"
    numbers = range(len(task.sweeps)) if task.status == "unfinished" else task.missing
    steps = []
    if task.status == "unfinished":
        count, first = task.config.epochs, task.epochs_done + 1
        steps.append(f"train from epoch {first} of {count}" if first > 1 else f"train {count} epoch{'s' * (count > 1)}")
    if numbers:
        steps.append("sweep" if len(task.sweeps) == 1 else f"sweep {', '.join(str(n + 1) for n in numbers)}")
    return ", ".join(steps)


def _cost(estimates: Sequence[TaskEstimate]) -> tuple[str, str]:
    seconds = sum(one.training + one.sweeping for one in estimates)
    return (duration(seconds), size(sum(one.kept for one in estimates))) if seconds else ("", "")


def duration(seconds: float) -> str:
    """ "12 s", "3 min", "1.5 h": two digits are all that an estimate is worth."""
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"


def size(count: float) -> str:
    """Bytes as "340 kB", "12 MB", "1.5 GB"."""
    for unit in ("B", "kB", "MB"):
        if count < 999.5:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def selection_tables(result: StudyResult) -> list[Table]:
    """One table an arm that selected its settings: each candidate's mean on the held-out images."""
    tables = []
    for arm in result.arms:
        found = arm.selected
        if found is None:
            continue
        title = f"{result.study.title}: {arm.label}, selected by {found.figure} on a held-out {100 * found.val:.10g}%"
        table = Table(title=f"{title} of the training images", box=box.SIMPLE_HEAD, title_justify="left")
        for name in ("candidate", "held-out accuracy (%)", "n", ""):
            table.add_column(name, justify="left" if name in ("candidate", "") else "right")
        for trial in found.trials:
            verdict = "selected" if trial.label == found.chosen else "" if trial.accuracies else "diverged"
            table.add_row(trial.label, percent(trial.accuracies), str(len(trial.accuracies)), verdict)
        tables.append(table)
    return tables


def selection_csv(result: StudyResult) -> str:
    """One row for each arm that selected, candidate and seed; "" is the accuracy of a candidate that diverged."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("arm", "figure", "val", "candidate", "seed", "run", "accuracy", "selected"))
    for arm in result.arms:
        found = arm.selected
        for trial in found.trials if found is not None else ():
            for place, (seed, run) in enumerate(zip(found.seeds, trial.runs, strict=True)):
                accuracy = trial.accuracies[place] if trial.accuracies else ""
                chosen = int(trial.label == found.chosen)
                writer.writerow((arm.label, found.figure, found.val, trial.label, seed, run, accuracy, chosen))
    return buffer.getvalue()
