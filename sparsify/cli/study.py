"""The command `sparsify study`."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from sparsify.cli import console
from sparsify.cli.options import Where
from sparsify.config import HERE, Places
from sparsify.errors import SparsifyError, see
from sparsify.text import plural, size
from sparsify.training.display import TrainingDisplay

if TYPE_CHECKING:
    from sparsify.study.design import Study
    from sparsify.study.planning import Planner
    from sparsify.study.tasks import Plan


def study(
    name: str | None = None,
    /,
    *,
    settings: Annotated[
        tuple[str, ...],
        Parameter(
            name="--set",
            help="change one value for all: epochs=5, seeds=[0,1], sweep.controls=true; can be given again",
            negative=(),
        ),
    ] = (),
    smoke: Annotated[
        bool, Parameter(help="all of it in seconds: one epoch, one seed, narrow networks, embedded data", negative=())
    ] = False,
    dry_run: Annotated[
        bool, Parameter(help="print what is missing, with an estimate of time and disk, and stop", negative=())
    ] = False,
    worker: Annotated[
        bool,
        Parameter(help="be one of several workers that share --runs-dir: each claims one run at a time", negative=()),
    ] = False,
    executor: Annotated[
        str | None,
        Parameter(help="start such workers by parsl=FILE.py, whose config is a parsl.Config, or by ray or ray=ADDRESS"),
    ] = None,
    list_: Annotated[bool, Parameter(name="--list", help="list the built-in studies", negative=())] = False,
    schema: Annotated[
        bool, Parameter(help="print the JSON Schema of a study's TOML, with which editors check it", negative=())
    ] = False,
    where: Where = HERE,
) -> int:
    """Train, prune, tabulate, draw, report: a built-in study (quick unless one is named; see --list) or a TOML file."""
    more = name is not None or settings or smoke or dry_run or worker or executor
    if list_ and (more or schema):
        raise SparsifyError("--list lists every built-in study; leave the rest out")
    if schema and more:
        raise SparsifyError("--schema prints what any study's TOML can hold; leave the rest out")
    if list_:
        return _list()
    if schema:
        return _schema()
    from sparsify.study.smoke import smoke as made_small
    from sparsify.study.toml import load_study

    works = "--worker" if worker else f"--executor {executor}" if executor else None
    if works and dry_run:
        raise SparsifyError(f"{works} works on what --dry-run only prints; leave one of them out")
    if worker and executor:
        raise SparsifyError(f"--executor {executor} starts workers, and --worker is one; leave one of them out")
    asked = load_study(name or "quick", settings)  # before torch is imported: what is wrong is said at once
    asked = made_small(asked) if smoke else asked
    from sparsify.report.notes import notes
    from sparsify.report.studytables import choice_tables, study_tables
    from sparsify.report.writing import write_study
    from sparsify.study.executors import run_workers
    from sparsify.study.findings import find
    from sparsify.study.leases import claim
    from sparsify.study.planning import Planner
    from sparsify.study.running import run_planned
    from sparsify.study.working import leases_of, work

    if dry_run:
        return _foresee(asked, where)
    planner = Planner(asked, where)
    plan = planner.plan()
    if not plan.done:
        _show_plan(planner, plan, asked)
    with TrainingDisplay(plan.trainings, console.out) as display:
        if worker:
            done = work(planner, plan, listener=display, note=console.say)
            console.say(f"done here: {plural(done, 'stage')}; nothing is missing any more")
            plan = planner.plan()
        elif executor and not plan.done:
            run_workers(executor, asked, planner, plan, note=console.say)
            plan = planner.plan()
        result = run_planned(planner, plan, listener=display, note=console.say)
    findings = find(result)
    for table in (*study_tables(result, findings), *choice_tables(result)):
        console.show(table)
    first, *rest = notes(result)
    for line in (f"{first}; table.md has the 95% interval of each mean", *rest, *findings.verdicts):
        console.tell(line)
    for run in (run for arm in result.arms for run in arm.lost):
        console.fail(f"{run.name} {run.status} and is not counted: {run.why_lost}{see('collapse')}")
    command = ["sparsify", "study", name or "quick", *(word for setting in settings for word in ("--set", setting))]
    command += ["--smoke"] if smoke else []
    with claim(leases_of(where.runs_dir), f"study-{asked.name}") if worker else nullcontext(True) as mine:
        if not mine:
            console.say(f"another worker writes {result.folder}")
            return 0
        report = write_study(result, findings, command=command, places=where)
    console.say(f"written: {result.folder}")
    console.say(f"report: {report}")
    return 0


def _foresee(asked: Study, where: Places) -> int:
    from sparsify.data.places import Roots
    from sparsify.study.foreseen import foreseen

    planner, fetched = foreseen(asked, where)
    for name, download in fetched.items():
        place = Roots.of(where.data_dir).download
        console.say(f"{name} is not on the disk: {size(download.size)} would be fetched to {place}")
    _show_plan(planner, planner.plan(), asked)
    return 0


def _show_plan(planner: Planner, plan: Plan, asked: Study) -> None:
    from sparsify.report.plantables import plan_line, plan_table
    from sparsify.study.estimates import estimate_cost

    estimates = estimate_cost(planner, plan)
    console.show(plan_table(asked, plan, estimates))
    console.say(plan_line(plan, estimates))


def _list() -> int:
    from sparsify.report.plantables import studies_table
    from sparsify.study.toml import built_in_studies, load_study

    console.show(studies_table([load_study(name) for name in built_in_studies()]))
    console.say("sparsify study NAME runs one, and sparsify study FILE.toml one of your own")
    return 0


def _schema() -> int:
    import json

    from sparsify.study.jsonschema import study_schema

    console.say(json.dumps(study_schema(), indent=2, ensure_ascii=False))
    return 0
