"""The commands `sparsify prune`, `sparsify mask` and `sparsify ticket`."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from sparsify.cli import console
from sparsify.cli.options import Where, announce, another, finished_run, names_of, parse_seeds
from sparsify.config import HERE, Places, Whole
from sparsify.errors import SparsifyError, see
from sparsify.progress import counting
from sparsify.pruning.criteria import NAMED
from sparsify.pruning.plan import FLAGS, PointPlan, SweepPlan
from sparsify.text import percentage
from sparsify.training.display import TrainingDisplay

if TYPE_CHECKING:
    from sparsify.pruning.subject import Subject
    from sparsify.pruning.sweep import Sweep
    from sparsify.runs import Run

_PLAN = SweepPlan()


def prune(
    run: str | None = None,
    /,
    *,
    plan: Annotated[SweepPlan, Parameter(name="*")] = _PLAN,
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
    from sparsify.pruning.measuring import prune as measure_points
    from sparsify.pruning.shrunk import PointShrinker, the_point
    from sparsify.pruning.subject import subject_of
    from sparsify.report.tables import beyond_what_was_asked, ledger_tables, sweep_tables

    chosen = finished_run(run, where.runs_dir)
    if not plan.layers:
        raise SparsifyError(f"--layers is missing; {chosen.name} has: {', '.join(names_of(chosen))}")
    if compare_criteria is not None:
        _refuse_what_compares_nothing(plan, latency=latency, shrink=shrink)
        return _compare(chosen, compare_criteria, plan, where, newest=run is None)
    if latency and plan.trained_between:
        reason = "it would take the network as it was trained, and what goes depends on the training on"
        raise SparsifyError(f"--latency with --rounds {plan.rounds} and --finetune {plan.finetune_epochs}: {reason}")
    folder = chosen.output(where.runs_dir)  # before anything is measured
    point = the_point(plan) if shrink else None
    subject = subject_of(chosen, where)
    begin = functools.partial(announce, chosen, subject, plan, newest=run is None)
    shrinker = None
    if point is not None:
        begin()
        shrinker = PointShrinker(chosen, subject, point, console.say)
    with counting("pruning", begin if shrinker is None else lambda: None, console.out) as listener:
        sweep = measure_points(subject, plan, listener=listener, visit=shrinker)
    path = sweep.save(folder)
    plan = sweep.plan
    together = ", its layers together" if plan.scope == "global" else ""
    rounds = f", in {plan.rounds} rounds" if plan.rounds > 1 else ""
    heading = f"{chosen.name} by {plan.order}{together}{rounds}"
    for table in sweep_tables(sweep, title=heading, held_out=chosen.summary["held_out"]):
        console.show(table)
    console.say("* theoretical: multiply-accumulates of convolutions and fully connected layers, before ÷ after")
    for names in plan.layers:
        for table in ledger_tables(sweep, names):
            console.show(table)
    for line in beyond_what_was_asked(sweep):
        console.say(line)
    console.say(f"written: {path}")
    if latency:
        _deploy(chosen, subject, sweep, path)
    if shrinker is not None:
        folder = shrinker.facts.save(path.with_name(f"shrunk-{sweep.id}"), shrinker.network)
        console.say(f"written: {folder}; sparsify.load() reads it, sparsify export {folder} --onnx hands it on")
        return 0
    if len(plan.layers) == 1 and plan.layers[0].count(",") < 3:  # more names are no line to copy
        other = another(subject.model, plan.layers[0])
        console.say(f"another set beside it: --layers {plan.layers[0]} --layers {other}")
    return 0


def _refuse_what_compares_nothing(plan: SweepPlan, *, latency: bool, shrink: bool) -> None:
    """Raise SparsifyError for an option that has no effect with --compare-criteria."""
    heeded = dataclasses.replace(_PLAN, layers=plan.layers, ratios=plan.ratios, grain=plan.grain, scope=plan.scope)
    flags = [name for name, value in vars(plan).items() if value != getattr(heeded, name)]
    flags += [name for name, value in (("latency", latency), ("shrink", shrink)) if value]
    if flags:
        flag = FLAGS.get(flags[0], flags[0]).replace("_", "-")
        raise SparsifyError(f"--{flag} has no effect with --compare-criteria, which sweeps nothing; leave it out")


def _deploy(run: Run, subject: Subject, sweep: Sweep, path: Path) -> None:
    """Shrink the run at every point of a sweep; print and save the sizes and latencies of the shrunk networks."""
    from sparsify.devices import describe
    from sparsify.nets.deployment import deploy, save_deployed
    from sparsify.pruning.cuts import cuts_of
    from sparsify.report.tables import deployed_table

    points = []
    for point in sweep.plan.points:
        cuts = cuts_of(subject, point)
        emptied = [cut.layer.name for cut in cuts if cut.grain != "weight" and cut.drop.all()]
        if emptied:
            what = f"{percentage(point.ratio)} of {point.layers}"
            console.say(f"not timed: {what}, without which nothing is left of {emptied[0]}")
        else:
            points.append((point.layers, point.ratio, cuts))
    if not points:
        return
    rows = deploy(subject.structure, points, device=describe(subject.split.device))
    console.show(deployed_table(rows, title=run.name))
    console.say(f"written: {save_deployed(path.with_name(f'{path.stem}-latency.csv'), rows)}")


def mask(
    run: str | None = None,
    /,
    *,
    layers: Annotated[str, Parameter(help="the layers that are masked, as in conv3,fc1 or all")] = "all",
    ratio: Annotated[float, Parameter(help="the fraction that goes in each of them")] = 0.5,
    criterion: Annotated[str, Parameter(help=f"what goes first: {NAMED}")] = "magnitude",
    grain: Annotated[
        str, Parameter(help="auto (filters, single weights of fc), filter, neuron, weight, head")
    ] = "auto",
    where: Where = HERE,
) -> int:
    """Write the mask of what goes from a run (the newest unless one is named), for train --mask."""
    from sparsify.pruning.subject import subject_of
    from sparsify.pruning.tickets import masks_of

    chosen = finished_run(run, where.runs_dir)
    point = PointPlan(layers=layers, ratio=ratio, criterion=criterion, grain=grain)
    announce(chosen, subject_of(chosen, where), point.sweep(), newest=run is None)
    (made,) = masks_of(chosen, point, where)
    console.say(f"keeps {made.kept:,} of {made.total:,} grains")
    console.say(f"written: {made.path}; sparsify train --mask {made.path} trains under it")
    return 0


def ticket(
    run: str | None = None,
    /,
    *,
    layers: Annotated[str, Parameter(help="the layers that are masked, as in conv3,fc1 or all")] = "all",
    ratio: Annotated[float, Parameter(help="the fraction that goes in each of them")] = 0.5,
    criterion: Annotated[str, Parameter(help=f"what goes first: {NAMED}")] = "magnitude",
    grain: Annotated[
        str, Parameter(help="auto (filters, single weights of fc), filter, neuron, weight, head")
    ] = "auto",
    rewind: Annotated[Whole, Parameter(help="train so many epochs as the run did, and only then apply the mask")] = 0,
    opt: Annotated[
        str | None,
        Parameter(
            help="the optimizer of the tickets; unless named the run's, or sgd where that one pulls, as slbi does"
        ),
    ] = None,
    seeds: Annotated[
        str | None, Parameter(help="of several seeds, each with a whole run of its own: 3 is 0 to 2; 3,5 are these two")
    ] = None,
    where: Where = HERE,
) -> int:
    """Train a run (the newest unless one is named) again from its start under its own mask, and under a random one."""
    from sparsify.pruning.subject import subject_of
    from sparsify.pruning.tickets import of_seeds, retrained, tickets
    from sparsify.report.tables import tickets_table, tickets_words
    from sparsify.runs import LOST, newest_run

    # tickets that were begun, and killed, are newer than their run
    chosen = finished_run(run, where.runs_dir) if run else newest_run(where.runs_dir, tickets=False)
    point = PointPlan(layers=layers, ratio=ratio, criterion=criterion, grain=grain)
    asked = (chosen.config.seed,) if seeds is None else parse_seeds(seeds)
    retrained(chosen.config, opt, rewind=rewind)  # for its errors, before anything is trained
    announce(chosen, subject_of(chosen, where), point.sweep(), newest=run is None)
    each = 2 if criterion == "random" else 3  # trainings of a seed: the whole network, its ticket, and a random one
    with TrainingDisplay(each * len(asked) - (chosen.config.seed in asked), console.out) as display:
        wholes = of_seeds(chosen, asked, where, listener=display)
        for whole in wholes:
            whole.require_finished()
        found = [
            one for whole in wholes for one in tickets(whole, point, where, rewind=rewind, opt=opt, listener=display)
        ]
    console.show(tickets_table(found, ratio))
    console.say(tickets_words(found))
    for lost in (one.run for one in found if one.run.status in LOST):
        console.fail(f"{lost.name} {lost.status} and is no result: {lost.why_lost}{see('collapse')}")
    return 0


def _compare(run: Run, criteria: str, plan: SweepPlan, where: Places, *, newest: bool) -> int:
    """Print how alike the criteria are on a run."""
    from sparsify.analysis.agreement import compare_criteria
    from sparsify.pruning.subject import subject_of
    from sparsify.report.tables import agreement_tables

    subject = subject_of(run, where)
    agreements = compare_criteria(subject, plan, criteria=criteria)
    announce(run, subject, plan, newest=newest)
    for table in agreement_tables(agreements, title=run.name):
        console.show(table)
    console.say("Jaccard: what both criteria remove at a ratio ÷ what at least one of them removes")
    return 0
