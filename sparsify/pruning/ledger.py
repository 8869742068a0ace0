"""The ledger of a sweep: what each of its points removed from each layer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NotRequired, TypedDict, TypeVar

from sparsify.errors import SparsifyError, reason_given
from sparsify.files import parse_json, parse_rows
from sparsify.sums import Record

Row = TypeVar("Row")

BEFORE_UNITS = "was measured before coupled layers were one unit, and must be swept again to be compared"
"""What is said of a sweep that is `before_units`."""


@dataclass(frozen=True)
class LedgerRow:
    """The grains that one point removed from one layer: `removed` of `total` grains as asked, and `coupled` others.

    The `coupled` ones were removed because layers whose outputs are combined, as in an addition, must lose the same
    outputs. A layer that was not named has a row if it lost any. `coupled` is None in files that were written before it
    was counted.
    """

    criterion: str
    layers: str
    ratio: float
    draw: int
    layer: str
    grain: str
    removed: int
    total: int
    coupled: int | None = None


def sweep_file(plan_id: str) -> str:
    """Return the name of the file with the rows of a sweep, in the folder of its run."""
    return f"sweep-{plan_id}.csv"


def ledger_path(sweep: Path) -> Path:
    """Return the file of the ledger of a sweep, `sweep-<id>.csv`."""
    return sweep.with_name(f"{sweep.stem}-ledger.csv")


class _Saved(TypedDict):
    """What sweep-<id>.json says beside the plan: `units`, whether coupled layers were one unit; missing before 0.3."""

    units: NotRequired[bool]


def before_units(sweep: Path) -> bool:
    """Return whether a saved sweep, `sweep-<id>.csv`, would come out otherwise now that coupled layers are one unit.

    Before 0.3 each layer was scored by itself, and coupled layers that were named together lost the union of what each
    would lose. A sweep from then is one of these if its ledger has grains that went with others. The oldest ledgers do
    not count them, and are taken for those of networks without coupled layers. Raises SparsifyError if a file is
    damaged, or if the ledger is missing.
    """
    plan = sweep.with_suffix(".json")
    if plan.exists() and read_plan(plan, _Saved).get("units", False):
        return False
    return any(row.coupled for row in read_table(ledger_path(sweep), LedgerRow))


def sweep_is_there(path: Path) -> bool:
    """Return whether a sweep is saved there that new ones can be compared with (not `before_units`)."""
    return path.exists() and not before_units(path)


def read_plan(path: Path, kind: type[Row]) -> Row:
    """Return what the JSON file of a sweep holds. Raises SparsifyError if it is damaged or missing."""
    record = Record.of(path.parent)
    try:
        return parse_json(record.read(path), kind)
    except (OSError, SparsifyError) as error:
        raise _damaged(path, error) from error


def read_table(path: Path, kind: type[Row]) -> tuple[Row, ...]:
    """Return the rows of a CSV file of a sweep. Raises SparsifyError if it is damaged or missing."""
    record = Record.of(path.parent)
    try:
        return tuple(parse_rows(record.read(path), kind))
    except (OSError, SparsifyError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, reason: Exception) -> SparsifyError:
    return SparsifyError(f"{path} is damaged or missing ({reason_given(reason)}); delete it and sweep again")
