"""The command `sparsify options`: what networks, optimizers, schedules and augmentations have of their own."""

from __future__ import annotations

from collections.abc import Mapping

from sparsify.cli import console
from sparsify.data.registry import AUGMENTATIONS
from sparsify.errors import unknown
from sparsify.nets.registry import NETS
from sparsify.optim.registry import OPTIMIZERS
from sparsify.optim.schedules import SCHEDULES
from sparsify.settings import Setting, joined


def list_options(*names: str) -> int:
    """The options of networks, optimizers and schedules, and what augmentations do: of all, or of those named."""
    known = [*NETS, *OPTIMIZERS, *SCHEDULES, *AUGMENTATIONS]
    for name in names:
        if name not in known:
            raise unknown("network, optimizer, schedule or augmentation", name, known)
    from sparsify.report.table import TEXT, Column, Table

    asked = names or known
    columns = [Column(title, TEXT) for title in ("of", "option", "is", "what it does")]
    for title, settings in (
        ("networks: --net", {name: NETS[name].settings for name in NETS if name in asked}),
        ("optimizers: --opt-options", {name: OPTIMIZERS[name].settings() for name in OPTIMIZERS if name in asked}),
        (
            "schedules: --schedule-options, --decay-schedule-options",
            {name: SCHEDULES[name].settings() for name in SCHEDULES if name in asked},
        ),
    ):
        rows = [row for name, own in settings.items() for row in _rows(name, own)]
        if rows:
            console.show(Table.of(title, columns, rows))
    changes = [(name, f"{one.probability:g}", one.description) for name, one in AUGMENTATIONS.items() if name in asked]
    if changes:
        columns = [Column(title, TEXT) for title in ("name", "probability", "what it does")]
        console.show(Table.of("augmentations: --augment", columns, changes))
    return 0


def _rows(name: str, settings: Mapping[str, Setting]) -> list[tuple[str, str, str, str]]:
    """One row an option, with its default as the command line takes it; a row that says so if there is none."""
    if not settings:
        return [(name, "", "", "no options of its own")]
    return [(name, joined({option: one.default}), one.wanted, one.help) for option, one in settings.items()]
