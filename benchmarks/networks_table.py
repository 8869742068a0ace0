"""The table of what works on which network: its rows, and how they are told in Markdown."""

from __future__ import annotations

import collections
import re
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, field

from sparsify.report.table import COUNT, NUMBER, TEXT, Column, Table, to_markdown

RATIO = 0.3
"""What is removed of each layer."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What works on one network; what was not reached is None, or ""."""

    network: str
    images: str = ""  # the shape of the input
    params: int | None = None
    taken: int | None = None  # the number of layers that `all` takes
    left_out: dict[str, str] = field(default_factory=dict)  # why not, by layer
    params_left: int | None = None  # without what is masked, and without what that fed
    macs: int | None = None
    macs_left: int | None = None
    shrunk: str = ""  # "yes", "in part", or why the network is refused
    kept: list[str] = field(default_factory=list)  # why some of what is masked stays as zeros
    params_shrunk: int | None = None
    macs_counted: int | None = None  # by torch
    macs_shrunk_counted: int | None = None
    onnx: str = ""  # "equal", or why not
    failed: str = ""  # an error that is no refusal, in which step
    unfinished: str = ""  # after how long it was stopped: that says nothing of the network
    seconds: float = 0
    commit: str | None = None


@dataclass(frozen=True)
class Results:
    """The file: what `machine` says, the version of timm, and the rows."""

    date: str
    cores: int | None
    device: str
    threads: int
    torch: str
    torchvision: str
    python: str
    git_commit: str | None
    timm: str | None = None
    networks: list[Row] = field(default_factory=list)


def left_out(row: Row) -> str:
    """ "2: the output of the network; 1: … shares its weight with another module", each cut after 60 characters."""
    return counts(row.left_out.values())


def counts(reasons: Iterable[str]) -> str:
    """How often there is each reason, whatever it names in quotes or brackets, each cut after 60 characters."""
    plain = (re.sub(r" \(.*\)|[,;] .*", "", re.sub(r"'[^']*'", "…", reason)) for reason in reasons)
    alike = collections.Counter(textwrap.shorten(reason, 60, placeholder=" …") for reason in plain)
    return "; ".join(f"{n}: {reason}" for reason, n in alike.most_common())


def shrinks(row: Row) -> str:
    """ "yes", or what is in the way."""
    if row.failed:
        return f"FAILED: {row.failed}"
    if row.unfinished:
        return f"– {row.unfinished}"
    if row.kept:
        return f"in part, to {share(row.params_shrunk, row.params)} of the parameters; as zeros {counts(row.kept)}"
    return row.shrunk


def agreement(row: Row) -> str:
    """Whether the cost is what torch counts, of the whole network and, if all that is masked went, the shrunk one."""
    pairs = {"MACs": (row.macs, row.macs_counted)}
    if not row.kept:
        pairs["MACs left"] = (row.macs_left, row.macs_shrunk_counted)
        pairs["params left"] = (row.params_left, row.params_shrunk)
    compared = {name: pair for name, pair in pairs.items() if None not in pair}
    apart = [f"{name}: {ours:,}, counted {torchs:,}" for name, (ours, torchs) in compared.items() if ours != torchs]
    return "; ".join(apart) or ("equal" + (" (whole)" if len(compared) == 1 else "") if compared else "")


def share(part: int | None, whole: int | None) -> str:
    """ "61.2%", or "" of what is not known."""
    return f"{part / whole:.1%}" if part is not None and whole else ""


def overview(results: Results) -> str:
    """The rows as a page of Markdown."""
    columns = (
        Column("network", TEXT),
        Column("images", TEXT),
        Column("parameters", COUNT),
        Column("layers taken"),
        Column("left out", TEXT),
        Column("params left"),
        Column("MACs left"),
        Column("shrinks", TEXT),
        Column("as counted", TEXT),
        Column("ONNX", TEXT),
        Column("seconds", NUMBER),
    )
    rows = [
        (
            row.network,
            row.images,
            row.params,
            row.taken,
            left_out(row),
            share(row.params_left, row.params),
            share(row.macs_left, row.macs),
            shrinks(row),
            agreement(row),
            row.onnx,
            f"{row.seconds:.1f}",
        )
        for row in results.networks
    ]
    shrunk = sum(row.shrunk == "yes" for row in results.networks)
    part = sum(row.shrunk == "in part" for row in results.networks)
    failed = sum(bool(row.failed) for row in results.networks)
    unfinished = sum(bool(row.unfinished) for row in results.networks)
    refused = len(rows) - shrunk - part - failed - unfinished
    stopped = f", {unfinished} not done in time" if unfinished else ""
    versions = f"torch {results.torch}, torchvision {results.torchvision}, timm {results.timm or '(none)'}"
    return (
        f"# Networks\n\n`python -m benchmarks.networks`: `all` pruned by {RATIO:.0%}, filters and neurons, random "
        f"weights. {results.device}, {results.threads} thread, {versions}, {results.date[:10]}.\n\n"
        f"Of {len(rows)} networks {shrunk} shrink, {part} in part (the rest of what is masked stays as zeros), "
        f"{refused} are refused, {failed} fail{stopped}.\n\n" + to_markdown(Table.of("", columns, rows))
    )
