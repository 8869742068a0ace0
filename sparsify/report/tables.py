"""Tables: one rich Table each, printed on a terminal or written as Markdown and CSV."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

from rich import box
from rich.table import Table

from sparsify.analysis.agreement import Agreement
from sparsify.analysis.comparison import Comparison
from sparsify.analysis.statistics import estimate
from sparsify.config import Config
from sparsify.errors import SparsifyError
from sparsify.nets.deployment import Deployed
from sparsify.pruning.sweep import LedgerRow, Sweep
from sparsify.pruning.tickets import Ticket
from sparsify.runs import Run
from sparsify.text import plain_console, width_of


def percent(values: Sequence[float], digits: int = 2) -> str:
    """Fractions as "98.76", or "98.76 ± 0.05": `plus_minus` of them in %."""
    return plus_minus([100 * value for value in values], digits)


def plus_minus(values: Sequence[float], digits: int = 2) -> str:
    """The mean and, from two values on, the sample standard deviation; without values a dash."""
    if not values:
        return "–"
    found = estimate(values)
    mean = f"{found.mean:.{digits}f}"
    return mean if found.deviation is None else f"{mean} ± {found.deviation:.{digits}f}"


def sweep_tables(sweep: Sweep, *, title: str, held_out: str = "test") -> list[Table]:
    """One table a set of layers, one row a ratio: the accuracy, its controls', what is left and what that saves."""
    tables = []
    for layers in sweep.layer_sets:
        table = Table(title=f"{title}: {layers}", box=box.SIMPLE_HEAD, title_justify="left")
        again = ["BatchNorm recalibrated (%)"] if sweep.recalibrated else []
        drawn = {name: len(sweep.points(layers, sweep.ratios[0], name)) for name in sweep.controls}
        controls = [f"{name} (%, n = {n})" if n > 1 else f"{name} (%)" for name, n in drawn.items()]
        epochs = sweep.rows[0].finetune_epochs
        again += [f"after {epochs} epoch{'s' * (epochs > 1)} (%)"] if epochs else []
        accuracies = [f"{held_out} accuracy (%)", *controls, *again]
        for name in ("removed", *accuracies, "parameters", "compression", "MACs", "speed-up*"):
            table.add_column(name, justify="right")
        for ratio in sweep.ratios:
            rows = sweep.points(layers, ratio)
            first = rows[0]
            kinds = [rows, *(sweep.points(layers, ratio, name) for name in sweep.controls)]
            cells = [percent([row.accuracy for row in kind]) for kind in kinds]
            for others in ([row.recalibrated_accuracy for row in rows], [row.finetuned_accuracy for row in rows]):
                if None not in others:
                    cells.append(percent(others))
            cells += [f"{first.params:,}", f"{first.compression:.2f}×", f"{first.macs:,}", f"{first.speedup:.2f}×"]
            table.add_row(f"{100 * ratio:.10g}%", *cells)
        tables.append(table)
    return tables


def ledger_table(sweep: Sweep, layers: str, ratio: float) -> Table:
    """What the first draw of one point was asked to remove of each layer, and what went, coupled layers included."""
    title = f"what went at {100 * ratio:.10g}%" + f" of {layers}" * (len(sweep.layer_sets) > 1)
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("layer")
    for name in ("grains", "asked", "achieved"):
        table.add_column(name, justify="right")
    for row in _first_draw(sweep, layers, ratio):
        named = row.layer in layers.split(",")
        counts = (row.removed, row.removed + (row.coupled or 0))
        asked, achieved = (f"{count:,} ({100 * count / row.total:.1f}%)" for count in counts)
        table.add_row(row.layer, f"{row.total:,} {row.grain}s", asked if named else "coupled", achieved)
    return table


def _first_draw(sweep: Sweep, layers: str, ratio: float) -> list[LedgerRow]:
    """The ledger of one point."""
    first = sweep.points(layers, ratio)[0]
    point = (first.criterion, layers, ratio, first.draw)
    return [row for row in sweep.ledger if (row.criterion, row.layers, row.ratio, row.draw) == point]


def beyond_what_was_asked(sweep: Sweep) -> list[str]:
    """A sentence on each set in which coupled layers that were named lose more than was asked, at its largest ratio.

    Each of them is scored by itself, and what goes from one goes from all: together they lose the union.
    """
    sentences = []
    for layers in sweep.layer_sets:
        ratio = sweep.ratios[-1]
        rows = _first_draw(sweep, layers, ratio)
        more = {row.layer: (row.removed + row.coupled) / row.total for row in rows if row.coupled and row.removed}
        if more:
            worst = max(more, key=more.__getitem__)
            sentences.append(
                f"coupled layers lose what is asked of any of them, more than {100 * ratio:.10g}%: "
                f"{worst} {more[worst]:.1%}" + f" at most, of {len(more)}" * (len(more) > 1)
            )
    return sentences


def agreement_tables(agreements: Sequence[Agreement], *, title: str) -> list[Table]:
    """One table for each layer or set that was compared, one row a pair of criteria."""
    tables = []
    for layers in dict.fromkeys(one.layers for one in agreements):
        rows = [one for one in agreements if one.layers == layers]
        heading = f"{title}: agreement on {layers} ({rows[0].grains:,} grains)"
        table = Table(title=heading, box=box.SIMPLE_HEAD, title_justify="left")
        table.add_column("criteria")
        for name in ("Kendall's τ", *(f"Jaccard {100 * ratio:.10g}%" for ratio in rows[0].overlaps)):
            table.add_column(name, justify="right")
        for one in rows:
            numbers = (one.tau, *one.overlaps.values())
            table.add_row(f"{one.first}, {one.second}", *("–" if math.isnan(n) else f"{n:.3f}" for n in numbers))
        tables.append(table)
    return tables


def deployed_table(rows: Sequence[Deployed], *, title: str) -> Table:
    """Size and latency of the shrunk network at each point; "no faster" where fewer operations saved no time."""
    table = Table(title=f"{title}: shrunk, on {rows[0].device}", box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("layers")
    for name in ("removed", "size", "batch", "whole (ms)", "shrunk (ms)", "speed-up", "theoretical", "n"):
        table.add_column(name, justify="right")
    table.add_column("")
    for row in rows:
        whole, shrunk = (
            f"{1e3 * median:.3g} ({1e3 * low:.3g} to {1e3 * high:.3g})"
            for median, low, high in (
                (row.whole, row.whole_low, row.whole_high),
                (row.shrunk, row.shrunk_low, row.shrunk_high),
            )
        )
        sizes = (f"{100 * row.ratio:.10g}%", f"{row.size / 1024:,.0f} KiB", str(row.batch))
        verdict = "no faster" if row.theoretical > 1 and not row.faster else ""
        ratios = (f"{row.measured:.2f}×", f"{row.theoretical:.2f}×", str(row.n))
        table.add_row(row.layers, *sizes, whole, shrunk, *ratios, verdict)
    return table


def tickets_table(run: Run, tickets: Sequence[Ticket], ratio: float) -> Table:
    """The whole run beside its tickets: what is kept, and the accuracy."""
    held_out = run.summary["held_out"]
    title, rewind = f"{run.name}: tickets without {100 * ratio:.10g}%", tickets[0].run.config.mask_from
    title += f", rewound to epoch {rewind}" * bool(rewind)
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("mask")
    for name in ("grains kept", f"{held_out} accuracy (%)", "n"):
        table.add_column(name, justify="right")
    table.add_column("run")
    rows = [("none", "all", run), *((t.criterion, f"{t.kept:,} of {t.total:,}", t.run) for t in tickets)]
    for name, kept, trained in rows:
        summary = trained.summary
        accuracy = percent([summary["accuracy"]]) if summary["status"] == "finished" else summary["status"]
        table.add_row(name, kept, accuracy, "1", trained.name)
    return table


def seeds_line(runs: Sequence[Run]) -> str:
    """The accuracy of runs that differ in the seed only: mean ± sample standard deviation, and n."""
    finished = [run for run in runs if run.status == "finished"]
    if not finished:
        return "no seed has a result"
    first = finished[0]
    accuracy = percent([run.summary["accuracy"] for run in finished])
    what = f"{first.config.model} on {first.config.data_name} with {first.config.opt}"
    return f"{what}: {first.summary['held_out']} accuracy {accuracy} % (n = {len(finished)} seeds)"


def classes_table(comparison: Comparison, names: Sequence[str], most: int = 10) -> Table:
    """The classes on which two models differ the most, by their names."""
    found = sorted(comparison.classes, key=lambda one: -abs(one.b - one.a))[:most]
    title = "by class" if len(found) == len(comparison.classes) else f"the {most} classes that differ the most"
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("class")
    for name in ("A (%)", "B (%)", "B − A (points)", "Holm's p", "n"):
        table.add_column(name, justify="right")
    for one in found:
        cells = (percent([one.a]), percent([one.b]), f"{100 * (one.b - one.a):+.2f}", f"{one.p:.3g}", f"{one.count:,}")
        table.add_row(names[one.label], *cells)
    return table


def runs_table(runs: Sequence[Run]) -> Table:
    """One row a run, as `list_runs` orders them; a damaged one is shown as such."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("run", "status"):
        table.add_column(name)
    for name in ("epochs", "accuracy", "in support"):
        table.add_column(name, justify="right")
    table.add_column("settings")
    for run in runs:
        try:
            epochs = run.config.epochs
            if run.status == "unfinished":
                table.add_row(run.name, run.status, f"{run.epochs_done} of {epochs}", "", "", _settings(run.config))
                continue
            summary = run.summary
            split = "" if summary["held_out"] == "test" else f" ({summary['held_out']})"
            accuracy = percent([summary["accuracy"]]) + "%" + split if summary["status"] == "finished" else "–"
            inside = sum(counts["in"] for counts in summary["support"].values())
            grains = sum(counts["of"] for counts in summary["support"].values())
            support = f"{inside / grains:.2%}" if grains else "–"
            cells = (str(summary["epochs"]), accuracy, support, _settings(run.config))
            table.add_row(run.name, summary["status"], *cells)
        except SparsifyError:
            table.add_row(run.name, "damaged")
    return table


def _settings(config: Config) -> str:
    """What neither the run's name nor another column says and is not at its default."""
    values, defaults = config.to_dict(), Config(opt=config.opt).to_dict()
    changed = [key for key in values if values[key] != defaults[key] and key not in ("model", "data", "seed", "epochs")]
    shown = (f"{values[key]:g}" if isinstance(values[key], float) else str(values[key]) for key in changed)
    return ", ".join(f"{key.replace('_', '-')} {value}" for key, value in zip(changed, shown, strict=True))


def markdown(table: Table) -> str:
    """The same table as Markdown, each row in one line, with its title as a bold line above."""
    plain = Table(box=box.MARKDOWN)
    for column in table.columns:
        plain.add_column(_in_a_cell(column.header), justify=column.justify)
    for row in zip(*(column.cells for column in table.columns), strict=True):
        plain.add_row(*map(_in_a_cell, row))
    buffer = io.StringIO()
    plain_console(file=buffer, width=width_of(plain), no_color=True).print(plain)
    text = "\n".join(line.rstrip() for line in buffer.getvalue().strip().splitlines())
    return f"**{table.title}**\n\n{text}\n" if table.title else text + "\n"


def _in_a_cell(text: str) -> str:
    """Text in which no "|" ends a cell of Markdown."""
    return text.replace("|", r"\|")
