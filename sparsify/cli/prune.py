"""`sparsify prune` and `sparsify ticket`."""

from __future__ import annotations

import functools
import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from sparsify.cli import console
from sparsify.cli.options import Layers, Where, announce, another, finished_run, keywords, names_of
from sparsify.cli.shrink import PointShrinker, the_point
from sparsify.config import HERE, Places, Whole
from sparsify.errors import SparsifyError
from sparsify.pruning.criteria import CRITERIA

if TYPE_CHECKING:
    from sparsify.pruning.subject import Subject
    from sparsify.pruning.sweep import Sweep
    from sparsify.runs import Run


def prune(
    run: str | None = None,
    /,
    *,
    layers: Layers = (),
    ratios: Annotated[str, Parameter(help="start:stop:step, stop included, or a list as in 0,0.3,0.6")] = "0:0.6:0.1",
    criterion: Annotated[str, Parameter(help=f"what goes first: {', '.join(CRITERIA)}")] = "magnitude",
    grain: Annotated[str, Parameter(help="auto (filters, and single weights of fc), filter, neuron, weight")] = "auto",
    scope: Annotated[str, Parameter(help="layer (the ratio of each), global (of a set's layers together)")] = "layer",
    reverse: Annotated[bool, Parameter(help="what the criterion ranks highest goes first", negative=())] = False,
    controls: Annotated[
        bool, Parameter(help="add random and the opposite order, as many grains of each layer", negative=())
    ] = False,
    draws: Annotated[Whole | None, Parameter(help="how often random is drawn: once, or 5 times as a control")] = None,
    recalibrate_bn: Annotated[
        bool, Parameter(help="also with BatchNorm's statistics re-estimated on images as in training", negative=())
    ] = False,
    finetune: Annotated[
        Whole, Parameter(help="also after so many epochs of training on under the mask, with plain SGD")
    ] = 0,
    rounds: Annotated[
        Whole, Parameter(help="how many rounds the grains go in, each scored anew, with --finetune after each")
    ] = 1,
    latency: Annotated[
        bool, Parameter(help="also size and latency of the shrunk network at batch 1 and 64", negative=())
    ] = False,
    shrink: Annotated[
        bool, Parameter(help="also save the network without what one ratio removes, as measured last", negative=())
    ] = False,
    compare_criteria: Annotated[
        str | None, Parameter(help="criteria as in magnitude,l1,fpgm: print how alike they are, and sweep nothing")
    ] = None,
    where: Where = HERE,
) -> int:
    """Prune a run (the newest unless one is named) by each ratio, and print accuracy against sparsity."""
    from sparsify.pruning.measuring import prune as prune_run
    from sparsify.pruning.subject import subject_of
    from sparsify.report.tables import beyond_what_was_asked, ledger_table, sweep_tables

    chosen = finished_run(run, where.runs_dir)
    if not layers:
        raise SparsifyError(f"--layers is missing; {chosen.name} has: {', '.join(names_of(chosen))}")
    if compare_criteria is not None:
        ignored = {"reverse": reverse, "controls": controls, "draws": draws, "recalibrate-bn": recalibrate_bn}
        ignored |= {"shrink": shrink, "latency": latency, "finetune": finetune, "rounds": rounds != 1}
        ignored |= {"criterion": criterion != "magnitude"}
        for option in [name for name, value in ignored.items() if value]:
            raise SparsifyError(f"--{option} has no effect with --compare-criteria, which sweeps nothing; leave it out")
        how = {"layers": layers, "ratios": ratios, "grain": grain, "scope": scope}
        return _compare(chosen, compare_criteria, where, how, newest=run is None)
    if latency and rounds > 1 and finetune:
        reason = "it would take the network as it was trained, and what goes depends on the training on"
        raise SparsifyError(f"--latency with --rounds {rounds} and --finetune {finetune}: {reason}")
    target, begin = chosen, functools.partial(announce, chosen, layers, newest=run is None, grain=grain)
    shrinker = None
    if shrink:
        ratio = the_point(layers, ratios, 1 if controls else draws)
        target = subject_of(chosen, device=where.device, data_dir=where.data_dir)
        begin()
        how = {"layers": layers[0], "ratio": ratio, "criterion": criterion, "grain": grain}
        how |= {"scope": scope, "reverse": reverse, "rounds": rounds}
        shrinker = PointShrinker(chosen, target, how, finetune_epochs=finetune, recalibrate_bn=recalibrate_bn)
    with console.counting("pruning", (lambda: None) if shrink else begin) as listener:
        sweep = prune_run(
            target,
            layers=layers,
            ratios=ratios,
            criterion=criterion,
            grain=grain,
            scope=scope,
            reverse=reverse,
            controls=controls,
            draws=draws,
            recalibrate_bn=recalibrate_bn,
            finetune_epochs=finetune,
            rounds=rounds,
            device=where.device,
            data_dir=where.data_dir,
            listener=listener,
            visit=shrinker,
        )
    path = sweep.save(chosen.output(where.runs_dir))
    heading = f"{chosen.name} by {sweep.criterion}" + ", its layers together" * (scope == "global")
    heading += f", in {rounds} rounds" * (rounds > 1)
    for table in sweep_tables(sweep, title=heading, held_out=chosen.summary["held_out"]):
        console.show(table)
    console.say("* theoretical: multiply-accumulates of convolutions and fully connected layers, before ÷ after")
    for names in sweep.layer_sets if sweep.ratios[-1] else ():
        console.show(ledger_table(sweep, names, sweep.ratios[-1]))
    for line in beyond_what_was_asked(sweep):
        console.say(line)
    console.say(f"written: {path}")
    if latency:
        _deploy(chosen, target, sweep, path, where)
    if shrinker is not None:
        folder = shrinker.facts.save(path.with_name(f"shrunk-{sweep.id}"), shrinker.network)
        console.say(f"written: {folder}; sparsify.load() reads it, sparsify export {folder} --onnx hands it on")
        return 0
    if len(sweep.layer_sets) == 1:
        console.say(f"another set beside it: --layers {sweep.layer_sets[0]} --layers {another(chosen, sweep)}")
    return 0


def _deploy(run: Run, target: Run | Subject, sweep: Sweep, path: Path, where: Places) -> None:
    """Shrink the run at every point of a sweep and print what it buys."""
    from sparsify.devices import describe
    from sparsify.nets.deployment import deploy, save_deployed
    from sparsify.pruning.cuts import cuts_of
    from sparsify.pruning.subject import subject_of
    from sparsify.report.tables import deployed_table

    subject = subject_of(run, device=where.device, data_dir=where.data_dir) if target is run else target
    example = subject.normalise(subject.split.images[:1])
    first, reverse = sweep.rows[0], sweep.criterion.endswith("-reversed")
    how = {"criterion": sweep.criterion.removesuffix("-reversed"), "reverse": reverse}
    how |= {"grain": first.grain, "scope": first.scope, "rounds": first.rounds}
    points = []
    for layers, ratio in itertools.product(sweep.layer_sets, sweep.ratios):
        cuts = cuts_of(subject, example, layers=layers, ratio=ratio, **how)
        emptied = [cut.layer.name for cut in cuts if cut.grain != "weight" and cut.drop.all()]
        if emptied:
            console.say(f"not timed: {100 * ratio:.10g}% of {layers}, without which nothing is left of {emptied[0]}")
        else:
            points.append((layers, ratio, cuts))
    rows = deploy(subject.model, points, example, device=describe(example.device))
    console.show(deployed_table(rows, title=run.name))
    console.say(f"written: {save_deployed(path.with_name(f'{path.stem}-latency.csv'), rows)}")


def ticket(
    run: str | None = None,
    /,
    *,
    layers: Annotated[str, Parameter(help="the layers that are masked, as in conv3,fc1 or all")] = "all",
    ratio: Annotated[float, Parameter(help="the fraction that goes in each of them")] = 0.5,
    criterion: Annotated[str, Parameter(help=f"what goes first: {', '.join(CRITERIA)}")] = "magnitude",
    grain: Annotated[str, Parameter(help="auto (filters, and single weights of fc), filter, neuron, weight")] = "auto",
    rewind: Annotated[Whole, Parameter(help="train so many epochs as the run did, and only then apply the mask")] = 0,
    where: Where = HERE,
) -> int:
    """Train a run (the newest unless one is named) again from its start under its own mask, and under a random one."""
    from sparsify.pruning.tickets import tickets
    from sparsify.report.tables import tickets_table

    chosen = finished_run(run, where.runs_dir)
    announce(chosen, [layers], newest=run is None, grain=grain)
    how = {"layers": layers, "ratio": ratio, "criterion": criterion, "grain": grain, "rewind": rewind}
    with console.TrainingDisplay(2) as display:
        found = tickets(chosen, **how, **keywords(where), listener=display)
    console.show(tickets_table(chosen, found, ratio))
    return 0


def _compare(run: Run, criteria: str, where: Places, how: dict[str, Any], *, newest: bool) -> int:
    """Print how alike criteria are."""
    from sparsify.analysis.agreement import compare_criteria
    from sparsify.report.tables import agreement_tables

    places = {"device": where.device, "data_dir": where.data_dir}
    agreements = compare_criteria(run, criteria=criteria, **how, **places)
    announce(run, how["layers"], newest=newest)
    for table in agreement_tables(agreements, title=run.name):
        console.show(table)
    console.say("Jaccard: what both criteria remove at a ratio ÷ what at least one of them removes")
    return 0
