"""Sweeps that are made up from their rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sparsify.pruning.outcomes import Outcomes
from sparsify.pruning.sweep import LedgerRow, Sweep, SweepRow, plan_of_rows


def sweep_of(
    rows: Iterable[SweepRow], ledger: Iterable[LedgerRow] = (), outcomes: Mapping[str, Outcomes] | None = None
) -> Sweep:
    """A sweep whose plan is what its rows say."""
    rows = tuple(rows)
    return Sweep(plan_of_rows(rows), rows, tuple(ledger), outcomes or {})
