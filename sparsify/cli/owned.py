"""The command `sparsify options`: what networks, optimizers, schedules and augmentations have of their own."""

from __future__ import annotations

from collections.abc import Mapping

from sparsify.cli import console
from sparsify.config.fields import flag
from sparsify.data.registry import AUGMENTATIONS
from sparsify.errors import unknown
from sparsify.nets.registry import NETS
from sparsify.optim.registry import OPTIMIZERS
from sparsify.optim.schedules import SCHEDULES
from sparsify.optim.spec import OptimizerSpec
from sparsify.settings import Setting, joined
from sparsify.text import shortest


def list_options(*names: str) -> int:
    """The options of networks, optimizers and schedules, and what augmentations do: of all, or of those named."""
    known = [*NETS, *OPTIMIZERS, *SCHEDULES, *AUGMENTATIONS]
    for name in names:
        if name not in known:
            raise unknown("network, optimizer, schedule or augmentation", name, known)
    from sparsify.report.table import TEXT, Column, Table

    asked = names or known
    flags = [(name, _flags(one)) for name, one in OPTIMIZERS.items() if name in asked]
    if flags:
        columns = [Column(title, TEXT) for title in ("of", "flags of train, with their defaults")]
        console.show(Table.of("optimizers: what they take", columns, flags))
    settings_of = {name: OPTIMIZERS[name].settings() for name in OPTIMIZERS if name in asked}
    with_own = {name: own for name, own in settings_of.items() if own}
    columns = [Column(title, TEXT) for title in ("of", "option", "is", "what it does")]
    for title, settings in (
        ("networks: --net", {name: NETS[name].settings for name in NETS if name in asked}),
        ("optimizers: --opt-options", with_own),
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


def _flags(spec: OptimizerSpec) -> str:
    """The flags of `train` that an optimizer takes, as in "--lr 0.05 --structure grains (or kernels)"."""
    flags = [f"{flag(name)} {shortest(default)}" for name, default in spec.defaults.items()]
    usual, *others = spec.structures
    flags += [f"--structure {usual} (or {', '.join(others)})"] if others else []
    return " ".join([*flags, "--release RUN"] if spec.follows else flags)


def _rows(name: str, settings: Mapping[str, Setting]) -> list[tuple[str, str, str, str]]:
    """One row an option, with its default as the command line takes it; a row that says so if there is none."""
    if not settings:
        return [(name, "", "", "no options of its own")]
    return [(name, joined({option: one.default}), one.wanted, one.help) for option, one in settings.items()]
