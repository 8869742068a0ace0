"""The command line: its commands, and how errors are shown.

torch is imported by the commands, not by this module, so that help is quick.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, CycloptsError, Parameter, UnusedCliTokensError

from sparsify.cli import console, viz
from sparsify.cli.cite import cite
from sparsify.cli.export import export
from sparsify.cli.options import RunsDir, Where, differing, finished_run, joined_by_commas, parse_seeds, suggest
from sparsify.cli.owned import list_options
from sparsify.cli.predict import predict
from sparsify.cli.prune import mask, prune, ticket
from sparsify.cli.start import offer_completion, start
from sparsify.cli.stopping import stops_like_ctrl_c
from sparsify.cli.study import study
from sparsify.config import HERE, Config, Places
from sparsify.errors import SparsifyError, SparsifyWarning, of_a_file, quoted, see
from sparsify.limits import checked_characters
from sparsify.pruning.criteria import NAMED
from sparsify.pruning.plan import PointPlan
from sparsify.text import points
from sparsify.training.display import TrainingDisplay

if TYPE_CHECKING:
    from sparsify.runs import Run, Summary


def _version() -> str:
    from importlib import metadata  # slow to import

    return metadata.version("sparsify-study")


app = App(
    name="sparsify",
    help="Which parts of a network can go, and what does it cost? Train, prune, look.",
    version=_version,
    suppress_keyboard_interrupt=False,
    help_format="plaintext",
)
app.command(viz.app)
for command in (prune, mask, ticket, predict, export, study, cite):
    app.command(command)
app.command(  # what it imports is slow
    "sparsify.cli.doctor:doctor",
    help="What is installed, what computes and how, which data are found where, extras, and what is missing.",
)
app.command(list_options, name="options")
app.register_install_completion_command(help="Install completion of commands and flags for your shell.")

_DEFAULTS = Config()


@app.command
def train(
    config: Annotated[Config, Parameter(name="*")] = _DEFAULTS,
    *,
    seeds: Annotated[
        str | None, Parameter(help="train several seeds at once: 32 is 0 to 31; 3,5 are these two (not with --seed)")
    ] = None,
    tensorboard: Annotated[
        bool, Parameter(help="also write events for TensorBoard, into the run's folder", negative=())
    ] = False,
    where: Where = HERE,
) -> int:
    """Train a network, or go on where an interrupted training stopped. Without options: LeNet on MNIST with slbi."""
    if seeds is not None:
        return _train_seeds(config, seeds, where, tensorboard=tensorboard)
    from sparsify.training.distributed import joined, ranks

    with joined(where) as where:
        writes = ranks().writes
        if not writes:  # the first process says all that is said, but errors, which can be another's alone
            console.out.quiet = True
            warnings.simplefilter("ignore", SparsifyWarning)
        with TrainingDisplay(console=console.out) as display:
            (run,) = _trained([config], where, display, tensorboard=tensorboard and writes)
    if not writes:
        return 0 if run.status == "finished" else 1
    if run.status == "diverged":
        console.fail(
            f"{run.name} diverged: its loss is not finite after epoch {run.summary['epochs']}; try a lower --lr"
        )
        return 1
    if run.status == "collapsed":
        console.fail(f"{run.name} collapsed and is no result: {run.why_lost}{see('collapse')}")
        return 1
    if not display.trained:
        console.say("already trained: nothing is left to do")
    summary = run.summary
    console.say(
        f"{run.path}: {summary['held_out']} accuracy {summary['accuracy']:.2%} (n = {summary['count']:,} images)"
    )
    for name, counts in summary["support"].items():
        console.say(f"  {name.removesuffix('.weight')}: {counts['in']:,} of {counts['of']:,} in the support")
    _say_sparse(summary)
    elsewhere = ["--runs-dir", str(where.runs_dir)] if where.runs_dir != HERE.runs_dir else []
    following = ["sparsify", "prune", str(run.path), "--layers", suggest(run.config.model, run.model()), *elsewhere]
    console.say(f"next: {shlex.join(following)}")
    return 0


def _say_sparse(summary: Summary) -> None:
    """Say how accurate the sparse networks are, where a training has them."""
    from sparsify.report.prose import weak_support

    if "support_accuracy" not in summary:
        return
    console.say(f"  with 0 outside the support: {summary['support_accuracy']:.2%}")
    if "gamma_accuracy" in summary:
        console.say(f"  with Γ as the weights: {summary['gamma_accuracy']:.2%}")
    for sentence in weak_support({"it": (summary["accuracy"], summary["support_accuracy"])}):
        console.warn(sentence)


def _trained(configs: Sequence[Config], where: Places, display: TrainingDisplay, *, tensorboard: bool) -> list[Run]:
    from sparsify.training.many import train_all

    if not tensorboard:
        return train_all(configs, where, listener=display)
    from sparsify.report.tensorboard import Events

    events = Events(where.runs_dir, then=display)
    runs = train_all(configs, where, listener=events)
    for run in runs:
        events.finish(run)
    return runs


def _train_seeds(config: Config, seeds: str, where: Places, *, tensorboard: bool) -> int:
    from sparsify.report.tables import seeds_line
    from sparsify.runs import LOST
    from sparsify.training.distributed import started_together

    if started_together():
        raise SparsifyError(f"--seeds {seeds}: several processes train one Config together; name one --seed")
    if config.seed != _DEFAULTS.seed:
        raise SparsifyError(f"--seed {config.seed} and --seeds {seeds} exclude each other")
    configs = [dataclasses.replace(config, seed=seed) for seed in parse_seeds(seeds)]
    with TrainingDisplay(len(configs), console.out) as display:
        runs = _trained(configs, where, display, tensorboard=tensorboard)
    failed = [run for run in runs if run.status in LOST]
    for run in failed:
        console.fail(f"{run.name} {run.status} and is not counted: {run.why_lost}{see('collapse')}")
    console.say(seeds_line(runs))
    return 1 if failed else 0


@app.command
def compare(
    first: str,
    second: str,
    /,
    *,
    layers: Annotated[str | None, Parameter(help="compare them with these layers pruned, as in conv3,fc1")] = None,
    ratio: Annotated[float, Parameter(help="the fraction of each layer that goes")] = 0.0,
    criterion: Annotated[str | None, Parameter(help=f"what goes first, magnitude unless it is named: {NAMED}")] = None,
    where: Where = HERE,
) -> int:
    """Compare two runs on the same images: the difference, its interval, McNemar's test, and how often they differ."""
    from sparsify.analysis.comparison import compare_runs
    from sparsify.report.tables import classes_table

    one, other = (finished_run(name, where.runs_dir) for name in (first, second))
    if layers is None and criterion is not None:
        raise SparsifyError(f"--criterion {criterion} has no effect without --layers and --ratio; give them, too")
    if (layers is None) != (ratio == 0):
        raise SparsifyError(f"--layers {layers or 'is missing'} and --ratio {ratio:g}: what is pruned takes both")
    criterion = criterion or "magnitude"
    point = None if layers is None else PointPlan(layers=layers, ratio=ratio, criterion=criterion)
    found = compare_runs(one, other, point, where)
    a, b = (one.path, other.path) if one.name == other.name else (one.name, other.name)
    console.say(f"A: {a}\nB: {b}")
    console.say(f"they differ in: {', '.join(differing([one, other])) or 'nothing that was asked for'}")
    if layers:
        console.say(f"both with {100 * ratio:g}% of {layers} pruned by {criterion}")
    held_out = one.summary["held_out"]
    console.say(
        f"B − A: {points(found.difference)} points of {held_out} accuracy, 95% interval "
        f"{points(found.low)} to {points(found.high)} (paired bootstrap over n = {found.count:,} images)"
    )
    console.say(
        f"McNemar's exact test: p = {found.p:.3g}; right on an image: A alone {found.only_a:,} times, B alone "
        f"{found.only_b:,}; the two disagree on {found.churn:.2%} of the images"
    )
    console.show(classes_table(found, one.summary["classes"]))
    console.say("this is about these two networks; over seeds, sparsify study compares")
    return 0


@app.command
def runs(*, runs_dir: RunsDir = Path("runs")) -> int:
    """List what has been trained, the newest first."""
    from sparsify.report.runslist import runs_list

    found = runs_list(runs_dir)
    if found.rows:
        console.show_list(found.heads, found.rows)
    else:
        console.say(f"no run in {runs_dir}; train one with: sparsify train")
    return 0


def _help_of(error: CycloptsError) -> str:
    """Where the command whose words were wrong is explained."""
    return f"see: {' '.join(['sparsify', *(error.command_chain or ())])} --help"


def main(tokens: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    An error that a user can cause is shown in one line, and the status is 2. It is 130 after Ctrl-C, 143 after SIGTERM
    and 129 after SIGHUP.
    """
    console.show_anything()
    given = sys.argv[1:] if tokens is None else list(tokens)
    try:
        for number, token in enumerate(given, 1):
            checked_characters(f"argument {number}", token)  # how long it may be, what reads it knows
        with stops_like_ctrl_c(), console.warnings_as_lines():
            if not given:
                return start()
            status = app(given, exit_on_error=False, print_error=False, result_action="return_value") or 0
            if status == 0 and not given[0].startswith("-"):
                offer_completion()
            return int(status)
    except UnusedCliTokensError as error:
        hint = joined_by_commas(given, error.unused_tokens or [], "is left over")
        console.fail(f"{hint or error} ({_help_of(error)})")
        return 2
    except CycloptsError as error:
        console.fail(f"{error} ({_help_of(error)})")
        return 2
    except SparsifyError as error:
        kind, name = error.unknown or ("", "")
        # RUN may stand behind a list: of one with spaces in it the last name is taken for RUN
        hint = joined_by_commas(given, [name], "follows a list") if kind == "run" else ""
        console.fail(f"{error}{hint and f'; {hint}'}{see(error)}")
        return 2
    except KeyboardInterrupt as stop:
        console.err.quiet = console.out.quiet  # of processes that train together one says it
        with contextlib.suppress(OSError):  # a terminal that has closed
            console.err.print(
                "stopped; the same command goes on from here: finished epochs and sweeps are kept", soft_wrap=True
            )
        (number,) = stop.args or (signal.SIGINT,)
        return 128 + int(number)
    except OSError as error:  # a wrong path, a lack of rights, a full disk
        console.fail(of_a_file(error))
        return 2
    except UnicodeEncodeError as error:  # a file's name, where the system's names are ASCII
        console.fail(f"{quoted(error.object)} cannot be a file's name here, in {error.encoding}; set PYTHONUTF8=1")
        return 2
