"""The tables of the commands: a run's sweep and ledger, tickets, agreement, latency, classes, and the list of runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sparsify.analysis.agreement import Agreement
from sparsify.analysis.comparison import Comparison
from sparsify.analysis.statistics import Estimate, estimate_answers
from sparsify.config import OPTIONS, Config
from sparsify.errors import SparsifyError
from sparsify.nets.deployment import Deployed
from sparsify.pruning.ledger import LedgerRow
from sparsify.pruning.ratios import SUPPORT
from sparsify.pruning.sweep import Sweep
from sparsify.pruning.tickets import Ticket
from sparsify.report.table import (
    COUNT,
    FACTOR,
    INTERVAL,
    MEAN,
    PERCENT,
    POINTS,
    RATIO,
    TEXT,
    Column,
    Format,
    Table,
    in_percent,
    interval,
    percent,
)
from sparsify.runs import LOST, Run
from sparsify.text import percentage, plural, thousands, written


@dataclass(frozen=True)
class Part:
    """So many of so many."""

    count: int
    of: int


@dataclass(frozen=True)
class Latency:
    """The median of some latencies and its quartiles, in seconds."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Accuracy:
    """A fraction of the images of a split."""

    value: float
    split: str


def sweep_tables(sweep: Sweep, *, title: str, held_out: str = "test") -> list[Table]:
    """One table for each set of layers, one row a ratio: the accuracy, the controls, what is left and what it saves."""
    epochs = sweep.rows[0].finetune_epochs
    again = {
        "recalibrated_accuracy": "BatchNorm recalibrated (%)",
        "finetuned_accuracy": f"after {plural(epochs, 'epoch')} (%)",
    }
    measured = [name for name in again if name in sweep.measures]
    tables = []
    for layers in sweep.plan.layers:
        drawn = {name: len(sweep.points(layers, sweep.plan.ratios[0], name)) for name in sweep.plan.control_orders}
        controls = [f"{name} (%, n = {n})" if n > 1 else f"{name} (%)" for name, n in drawn.items()]
        accuracies = [f"{held_out} accuracy (%)", *controls, *(again[name] for name in measured)]
        columns = [
            Column("removed", RATIO),
            *(Column(name, MEAN) for name in accuracies),
            Column("parameters", COUNT),
            Column("compression", FACTOR),
            Column("MACs", COUNT),
            Column("speed-up*", FACTOR),
        ]
        rows: list[tuple[object, ...]] = []
        for ratio in sweep.plan.ratios:
            own = sweep.points(layers, ratio)
            kinds = [own, *(sweep.points(layers, ratio, name) for name in sweep.plan.control_orders)]
            found = [in_percent([row.accuracy for row in kind]) for kind in kinds]
            found += [in_percent([getattr(row, name) for row in own]) for name in measured]
            first = own[0]
            rows.append((ratio, *found, first.params, first.compression, first.macs, first.speedup))
        alone = sweep.support(layers)
        if alone is not None:
            found = [in_percent([alone.accuracy]), *(None for _ in controls)]
            found += [in_percent([getattr(alone, name)]) for name in measured]
            costs = (alone.params, alone.compression, alone.macs, alone.speedup)
            rows.append((f"support, {alone.ratio:.2%}", *found, *costs))
        tables.append(Table.of(layers, columns, rows, subject=title))
    return tables


def ledger_tables(sweep: Sweep, layers: str) -> list[Table]:
    """The ledgers of one set of layers at the largest ratio, if it is above 0, and of what is outside the support."""
    last, alone = sweep.plan.ratios[-1], sweep.support(layers)
    found = [ledger_table(sweep, layers, last)] if last else []
    return found if alone is None else [*found, ledger_table(sweep, layers, alone.ratio, SUPPORT)]


def ledger_table(sweep: Sweep, layers: str, ratio: float, criterion: str | None = None) -> Table:
    """What the first draw of one point was asked to remove of each layer, and what went, coupled layers included."""
    title = "what is outside the support" if criterion == SUPPORT else f"what went at {percentage(ratio)}"
    if len(sweep.plan.layers) > 1:
        title += f" of {layers}"
    share = Format(lambda part: f"{part.count:,} ({100 * part.count / part.of:.1f}%)", key=lambda part: part.count)
    columns = [Column("layer", TEXT), Column("grains"), Column("asked", share), Column("achieved", share)]
    rows = []
    for row in _first_draw(sweep, layers, ratio, criterion):
        asked = Part(row.removed, row.total) if row.layer in layers.split(",") else "coupled"
        achieved = Part(row.removed + (row.coupled or 0), row.total)
        rows.append((row.layer, f"{row.total:,} {row.grain}s", asked, achieved))
    return Table.of(title, columns, rows)


def _first_draw(sweep: Sweep, layers: str, ratio: float, criterion: str | None = None) -> list[LedgerRow]:
    """The ledger of the first draw at one point."""
    first = sweep.points(layers, ratio, criterion)[0]
    point = (first.criterion, layers, ratio, first.draw)
    return [row for row in sweep.ledger if (row.criterion, row.layers, row.ratio, row.draw) == point]


def beyond_what_was_asked(sweep: Sweep) -> list[str]:
    """A sentence on each set in which coupled layers lose more than was asked of them, at the sweep's largest ratio.

    Coupled layers are ranked as one unit and lose what is asked. But of a fully connected layer whose single weights
    are ranked, all weights of a neuron also go with a filter that the neuron is added to; and of a depthwise
    convolution with several outputs for a channel, those that are computed from a channel that goes.
    """
    sentences = []
    for layers in sweep.plan.layers:
        ratio = sweep.plan.ratios[-1]
        rows = _first_draw(sweep, layers, ratio)
        asked = (row for row in rows if row.coupled and row.layer in layers.split(","))
        lost = {row.layer: (row.removed + (row.coupled or 0)) / row.total for row in asked}
        more = {name: share for name, share in lost.items() if share > ratio}
        if more:
            worst = max(more, key=more.__getitem__)
            sentence = f"coupled layers lose what is asked of any of them, more than {percentage(ratio)}: "
            sentence += f"{worst} {more[worst]:.1%}"
            if len(more) > 1:
                sentence += f" at most, of {len(more)}"
            sentences.append(sentence)
    return sentences


def agreement_tables(agreements: Sequence[Agreement], *, title: str) -> list[Table]:
    """One table for each layer or set that was compared, one row a pair of criteria."""
    three_digits = Format(lambda value: f"{value:.3f}")
    tables = []
    for layers in dict.fromkeys(one.layers for one in agreements):
        found = [one for one in agreements if one.layers == layers]
        numbers = ["Kendall's τ", *(f"Jaccard {percentage(ratio)}" for ratio in found[0].overlaps)]
        columns = [Column("criteria", TEXT), *(Column(name, three_digits) for name in numbers)]
        rows = [(f"{one.first}, {one.second}", one.tau, *one.overlaps.values()) for one in found]
        what = f"agreement on {layers} ({thousands(found[0].grains)} grains)"
        tables.append(Table.of(what, columns, rows, subject=title))
    return tables


def deployed_table(rows: Sequence[Deployed], *, title: str) -> Table:
    """Size and latency of the shrunk network at each point; "no faster" where fewer operations saved no time."""
    milliseconds = Format(
        lambda one: f"{1e3 * one.median:.3g} ({1e3 * one.low:.3g} to {1e3 * one.high:.3g})", key=lambda one: one.median
    )
    columns = [
        Column("layers", TEXT),
        Column("removed", RATIO),
        Column("size", Format(lambda size: f"{size / 1024:,.0f} KiB")),
        Column("batch"),
        Column("whole (ms)", milliseconds),
        Column("shrunk (ms)", milliseconds),
        Column("speed-up", FACTOR),
        Column("theoretical", FACTOR),
        Column("n"),
        Column("", TEXT),
    ]
    cells = [
        (
            row.layers,
            row.ratio,
            row.size,
            row.batch,
            Latency(row.whole, row.whole_low, row.whole_high),
            Latency(row.shrunk, row.shrunk_low, row.shrunk_high),
            row.measured,
            row.theoretical,
            row.n,
            "no faster" if row.theoretical > 1 and not row.faster else "",
        )
        for row in rows
    ]
    return Table.of(f"shrunk, on {rows[0].device}", columns, cells, subject=title)


def tickets_table(tickets: Sequence[Ticket], ratio: float) -> Table:
    """The whole runs beside their tickets: mask, optimizer, seeds, what is kept, and accuracy with its interval.

    One row a kind of mask. A seed without a result is not in the mean, and a column says how many these are. The
    interval of one seed is over the images, with a star.
    """
    whole, title, rewind = tickets[0].whole, f"tickets without {percentage(ratio)}", tickets[0].run.config.mask_from
    if rewind:
        title += f", rewound to epoch {rewind}"
    kept = {one.criterion: Part(one.kept, one.total) for one in tickets}
    several = len({one.whole.path for one in tickets}) > 1
    lost = [way for way in LOST if several and any(one.run.status == way for one in tickets)]
    columns = [
        Column("mask", TEXT),
        Column("optimizer", TEXT),
        Column("seeds" if several else "seed", TEXT),
        Column("grains kept", Format(lambda part: f"{part.count:,} of {part.of:,}", key=lambda part: part.count)),
        Column(f"{whole.summary['held_out']} accuracy (%)", MEAN),
        Column("95% interval", _STARRED),
        Column("n"),
        *map(Column, lost),
        *([] if several else [Column("run", TEXT)]),
    ]
    rows = []
    for name, runs in _by_mask(tickets).items():
        accuracy = _accuracy(runs)
        seeds = ", ".join(str(run.config.seed) for run in runs)
        first = (name, runs[0].config.opt, seeds, kept.get(name, "all"), accuracy or runs[0].status, accuracy)
        counts = (accuracy.n if accuracy else 0, *(sum(run.status == way for run in runs) for way in lost))
        rows.append((*first, *counts, *([] if several else [runs[0].name])))
    return Table.of(title, columns, rows, subject=whole.name)


def _by_mask(tickets: Sequence[Ticket]) -> dict[str, list[Run]]:
    """The whole runs, as "none", and those under each kind of mask."""
    kinds = {"none": list({one.whole.path: one.whole for one in tickets}.values())}
    for one in tickets:
        kinds.setdefault(one.criterion, []).append(one.run)
    return kinds


_STARRED = Format(lambda one: interval(one) + ("*" if one.n == 1 else ""), key=INTERVAL.key)


def _accuracy(runs: Sequence[Run]) -> Estimate | None:
    """The accuracy of runs that differ in the seed, in percent; of one that is finished its interval over images."""
    found = [run.summary for run in runs if run.status == "finished"]
    answers = [estimate_answers(round(one["accuracy"] * one["count"]), one["count"]) for one in found]
    return in_percent([one["accuracy"] for one in found], answers[0] if len(found) == 1 else None)


def tickets_words(tickets: Sequence[Ticket]) -> str:
    """A sentence on what differs between the rows of `tickets_table`."""
    whole, config = tickets[0].whole.config, tickets[0].run.config
    words = "the rows differ in the mask"
    if config.opt != whole.opt:
        values = {name: getattr(config, name) for name in ("lr", *OPTIONS)}
        options = [f"{name.replace('_', '-')} {written(one)}" for name, one in values.items() if one is not None]
        words += (
            f" and in the optimizer: {whole.opt} for the whole network, {config.opt} ({', '.join(options)}) for the "
        )
        words += "tickets"
    else:
        words += f"; all are trained with {whole.opt}"
    if len({one.whole.path for one in tickets}) > 1:
        words += "; each seed has a whole run and masks of its own, and ± is one sample standard deviation"
    if any(accuracy is not None and accuracy.n == 1 for accuracy in map(_accuracy, _by_mask(tickets).values())):
        words += "; *: one seed, so that only images are sampled"
    return words


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
    columns = [
        Column("class", TEXT),
        Column("A (%)", PERCENT),
        Column("B (%)", PERCENT),
        Column("B − A (points)", POINTS),
        Column("Holm's p", Format(lambda p: f"{p:.3g}")),
        Column("n", COUNT),
    ]
    rows = [(names[one.label], one.a, one.b, one.b - one.a, one.p, one.count) for one in found]
    return Table.of(title, columns, rows)


def runs_table(runs: Sequence[Run]) -> Table:
    """One row a run, as `list_runs` orders them; a damaged one has the reason in the place of its settings."""
    accuracy, share = Format(_percent_of, key=lambda one: one.value), Format(lambda part: f"{part:.2%}")
    columns = [
        Column("run", TEXT),
        Column("status", TEXT),
        Column("epochs"),
        Column("accuracy", accuracy),
        Column("support alone", share),
        Column("Γ alone", share),
        Column("in support", share),
        Column("settings", TEXT),
    ]
    return Table.of("", columns, map(_run_row, runs), spacing="edgeless")


def _percent_of(one: Accuracy) -> str:
    split = "" if one.split == "test" else f" ({one.split})"
    return f"{100 * one.value:.2f}%{split}"


def _run_row(run: Run) -> tuple[object, ...]:
    try:
        epochs = run.config.epochs
        if run.status == "unfinished":
            return (run.name, run.status, f"{run.epochs_done} of {epochs}", *[""] * 4, _settings(run.config))
        summary = run.summary
        status = run.status
        accuracy = Accuracy(summary["accuracy"], summary["held_out"]) if status == "finished" else None
        inside = sum(counts["in"] for counts in summary["support"].values())
        grains = sum(counts["of"] for counts in summary["support"].values())
        support = inside / grains if grains else None
        sparse = summary.get("support_accuracy"), summary.get("gamma_accuracy")
        return (run.name, status, summary["epochs"], accuracy, *sparse, support, _settings(run.config))
    except SparsifyError as error:
        return (run.name, "damaged", *[""] * 5, str(error).removeprefix(f"{run.path}/"))


def _settings(config: Config) -> str:
    """The settings that are not at their default, without those that the run's name or another column shows."""
    values, defaults = config.to_dict(), Config(opt=config.opt).to_dict()
    changed = [key for key in values if values[key] != defaults[key] and key not in ("model", "data", "seed", "epochs")]
    return ", ".join(f"{key.replace('_', '-')} {_setting(values[key])}" for key in changed)


def _setting(value: object) -> str:
    return str(value) if value is None else written(value)
