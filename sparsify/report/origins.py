"""Where the numbers of a study come from: the software and hardware of its runs."""

from __future__ import annotations

from rich.table import Table

from sparsify.study import StudyResult

_WHEN = "started"


def environment_table(result: StudyResult) -> Table:
    """One row for each value that a run's environment.json holds, and which runs have it."""
    labelled = [(f"{arm.label}, seed {run.config.seed}", run.environment) for arm in result.arms for run in arm.runs]
    table = Table(title="Software and hardware of the trainings")
    for name in ("what", "value", "runs"):
        table.add_column(name)
    for key in dict.fromkeys(key for _, environment in labelled for key in environment):
        values: dict[str, list[str]] = {}
        for label, environment in labelled:
            values.setdefault(_written(environment.get(key)), []).append(label)
        if key == _WHEN:  # of every run another one
            span = " to ".join(dict.fromkeys((min(values), max(values))))
            values = {span: [label for label, _ in labelled]}
        for value, labels in values.items():
            count = f"all {len(labelled)}" if len(labels) == len(labelled) else f"{len(labels)}: {'; '.join(labels)}"
            table.add_row(key.replace("_", " "), value, count)
    return table


def _written(value: object) -> str:
    return "–" if value is None else str(value)
