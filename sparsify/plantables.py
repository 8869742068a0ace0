"""Tables of what a study is going to do, and of what it selected."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from rich import box
from rich.table import Table

from sparsify.arms import Study
from sparsify.estimates import Estimate, Estimates
from sparsify.planning import Plan, Task
from sparsify.study import StudyResult
from sparsify.tables import percent


def studies_table(studies: Sequence[Study]) -> Table:
    """One row a study."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("study", "title", "arms", "seeds", "sweeps"):
        table.add_column(name, overflow="fold")
    for study in studies:
        shown = [arm for arm in study.arms if not arm.stage]
        seeds = ", ".join(map(str, dict.fromkeys(config.seed for arm in shown for config in arm.configs)))
        sweeps = (f"{' and '.join(plan.layers)} by {plan.name}" for plan in study.sweeps)
        table.add_row(study.name, study.title, "; ".join(arm.label for arm in shown), seeds, "; ".join(sweeps))
    return table


def plan_table(study: Study, plan: Plan, estimates: Estimates) -> Table:
    """One row a run: what there is, what is missing, and about how long and how large that is."""
    table = Table(title=f"{study.title}: what is missing", box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("arm")
    table.add_column("seed", justify="right")
    table.add_column("run")
    table.add_column("missing")
    for name in ("time", "disk"):
        table.add_column(name, justify="right")
    for task, one in zip(plan.tasks, estimates.tasks, strict=True):
        arm = f"{task.arm}: {task.candidate}" if task.candidate else task.arm
        run = task.run.name if task.run is not None else f"after {task.waits}" if task.waits else "–"
        table.add_row(arm, str(task.config.seed), run, _missing(task), *_cost(one))
    return table


def plan_line(plan: Plan, estimates: Estimates) -> str:
    """How much is missing in all."""
    if plan.done:
        return "nothing is missing"
    sweeps = sum(len(task.sweeps) if task.status == "unfinished" else len(task.missing) for task in plan.tasks)
    runs, at_a_time = plan.trainings, estimates.processes
    return (
        f"missing: {runs} training{'s' * (runs != 1)}, {at_a_time} at a time, and {sweeps} sweep{'s' * (sweeps != 1)}; "
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


def _cost(one: Estimate) -> tuple[str, str]:
    seconds = one.training + one.sweeping
    return (duration(seconds), size(one.kept)) if seconds else ("", "")


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
