"""The points of a study's TOML file: its sweeps, the masks of its arms, and its contrasts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import UNSET

from sparsify.errors import SparsifyError, quoted
from sparsify.limits import MOST_SWEEPS, at_most
from sparsify.pruning.plan import PointPlan, SweepPlan
from sparsify.pruning.ratios import SUPPORT, Ratio, parse_ratios
from sparsify.study.design import MaskOf, Planned
from sparsify.study.schema import EXPECTED, ContrastTable, MaskTable, StudyFile, given, read_mask

LAYERS = ("conv3", "conv3,fc1")
"""The default sets of layers of a sweep."""


def mask_of(table: MaskTable | dict[str, Any]) -> MaskOf:
    """Return the MaskOf of an arm's mask, a table of the file or one that was set by `--set`.

    Without a criterion it goes by that which the arm chooses, if it chooses one, else by magnitude.
    Raises SparsifyError for an unknown key, criterion or grain, and for a ratio that is not one number from 0 to 1.
    """
    table = read_mask(table) if isinstance(table, dict) else table
    criterion = PointPlan.criterion if table.criterion is UNSET else table.criterion
    point = PointPlan(layers=table.layers, ratio=one_ratio(table.ratio), criterion=criterion, grain=table.grain)
    return MaskOf(table.of, point, chosen=table.criterion is UNSET)


def mask_table(mask: MaskOf) -> MaskTable:
    """Return the table of a MaskOf, from which `mask_of` makes it again."""
    point = mask.point
    criterion = UNSET if mask.chosen else point.criterion
    return MaskTable(of=mask.of, layers=point.layers, ratio=point.ratio, criterion=criterion, grain=point.grain)


def one_ratio(value: str | float) -> float:
    """Return a ratio that stands alone. Raises SparsifyError for several, and as `parse_ratios` does."""
    ratios = parse_ratios(value)
    if len(ratios) > 1:
        raise SparsifyError(f"ratio is {quoted(value)}; it must be one number")
    return ratios[0]


def sweeps_of(study: StudyFile) -> tuple[tuple[SweepPlan, ...], tuple[tuple[str, ...], ...]]:
    """Return the sweep of [sweep], or the sweeps of [[sweeps]], or the default sweep if the file has neither.

    Beside them stand the labels of the arms that each is of; () is all arms, and so it is for all sweeps.
    """
    if study.sweep is not UNSET and study.sweeps is not UNSET:
        raise SparsifyError("it has both [sweep] and [[sweeps]]; write each as [[sweeps]]")
    if study.sweeps == []:
        raise SparsifyError(f"sweeps is empty; it must be {EXPECTED['sweeps']}")
    written = study.sweep if study.sweeps is UNSET else study.sweeps
    tables = [{} if table is UNSET else given(table) for table in as_list(written)]
    at_most(len(tables), MOST_SWEEPS, "sweeps")
    swept = tuple(tuple(as_list(table.pop("arms", []))) for table in tables)
    return tuple(map(_sweep, tables)), swept if any(swept) else ()


def _sweep(table: dict[str, Any]) -> SweepPlan:
    return SweepPlan(**{"layers": LAYERS, **table})


def contrast_of(table: ContrastTable, sweeps: Sequence[SweepPlan]) -> Planned:
    """Return one of [[contrasts]]; without a sweep's number it is of the first that has its layers and ratio."""
    ratio: Ratio = SUPPORT if table.ratio == SUPPORT else one_ratio(table.ratio)
    if table.sweep is UNSET:
        of_ratio = [plan.support if ratio == SUPPORT else ratio in plan.ratios for plan in sweeps]
        having = (i for i, plan in enumerate(sweeps) if table.layers in plan.layers and of_ratio[i])
        sweep = next(having, 0)
    else:
        sweep = table.sweep - 1
    of = (table.arm, table.reference, table.layers, ratio, table.compared, table.primary)
    return Planned(*of, sweep=sweep, measure=table.measure)


def as_list(value: Any) -> list[Any]:
    """Return a list unchanged, and any other value as a list of one."""
    return value if isinstance(value, list) else [value]
