"""The command line: parses, calls, prints. torch is imported by the commands, not here, so that help is quick."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, CycloptsError, Parameter

from sparsify import console
from sparsify.cli import viz
from sparsify.cli.choice import RunsDir, finished_run
from sparsify.cli.shrink import export, shrink_run, the_point
from sparsify.config import Config, Whole, parse_seeds
from sparsify.criteria import CRITERIA
from sparsify.errors import SparsifyError

if TYPE_CHECKING:
    from sparsify.runs import Run
    from sparsify.sweep import Sweep

app = App(
    name="sparsify",
    help="Which parts of a network can go, and what does it cost? Train, prune, look.",
    version=lambda: metadata.version("sparsify-study"),
    suppress_keyboard_interrupt=False,
    help_format="plaintext",
)
app.command(viz.app)
app.command(export)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Places:
    """Where things are and where they run."""

    device: Annotated[str, Parameter(help="auto (CUDA, then MPS, then the CPU), cpu, cuda[:N] or mps")] = "auto"
    runs_dir: Annotated[Path, Parameter(help="the folder of runs")] = Path("runs")
    data_dir: Annotated[Path | None, Parameter(help="a folder that is searched for data sets first")] = None


_DEFAULTS, _HERE = Config(), Places()

Where = Annotated[Places, Parameter(name="*")]
Layers = Annotated[
    tuple[str, ...],
    Parameter(
        name="--layers",
        help="one set of layers, as in conv3,fc1 or all or 'conv*'; give it again for another set",
        negative=(),
    ),
]


@app.command
def train(
    config: Annotated[Config, Parameter(name="*")] = _DEFAULTS,
    *,
    seeds: Annotated[
        str | None, Parameter(help="train several seeds at once: 32 is 0 to 31; 3,5 are these two (not with --seed)")
    ] = None,
    where: Where = _HERE,
) -> int:
    """Train a network, or go on where an interrupted training stopped. Without options: LeNet on MNIST with slbi."""
    from sparsify.training import train as train_run

    if seeds is not None:
        return _train_seeds(config, seeds, where)
    with console.TrainingDisplay() as display:
        run = train_run(config, **_keywords(where), listener=display)
    if run.status == "diverged":
        console.fail(
            f"{run.name} diverged: its loss is not finite after epoch {run.summary['epochs']}; try a lower --lr"
        )
        return 1
    if not display.trained:
        console.say("already trained: nothing is left to do")
    summary = run.summary
    console.say(
        f"{run.path}: {summary['held_out']} accuracy {summary['accuracy']:.2%} (n = {summary['count']:,} images)"
    )
    for name, counts in summary["support"].items():
        console.say(f"  {name.removesuffix('.weight')}: {counts['in']:,} of {counts['of']:,} in the support")
    console.say(f"next: sparsify prune {run.path} --layers {_suggest(run)}")
    return 0


def _train_seeds(config: Config, seeds: str, where: Places) -> int:
    from sparsify.parallel import train_all
    from sparsify.tables import seeds_line

    if config.seed != _DEFAULTS.seed:
        raise SparsifyError(f"--seed {config.seed} and --seeds {seeds} exclude each other")
    configs = [dataclasses.replace(config, seed=seed) for seed in parse_seeds(seeds)]
    with console.TrainingDisplay(len(configs)) as display:
        runs = train_all(configs, **_keywords(where), listener=display)
    diverged = [run for run in runs if run.status == "diverged"]
    for run in diverged:
        console.fail(f"{run.name} diverged and is not counted; try a lower --lr")
    console.say(seeds_line(runs))
    return 1 if diverged else 0


@app.command
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
        bool, Parameter(help="also with BatchNorm's statistics re-estimated on training images", negative=())
    ] = False,
    finetune: Annotated[
        Whole, Parameter(help="also after so many epochs of training on under the mask, with plain SGD")
    ] = 0,
    shrink: Annotated[
        bool, Parameter(help="also save the network without what one ratio removes, checked", negative=())
    ] = False,
    compare_criteria: Annotated[
        str | None, Parameter(help="criteria as in magnitude,l1,fpgm: print how alike they are, and sweep nothing")
    ] = None,
    where: Where = _HERE,
) -> int:
    """Prune a run (the newest unless one is named) by each ratio, and print accuracy against sparsity."""
    from sparsify.pruning import prune as prune_run
    from sparsify.pruning import subject_of
    from sparsify.tables import sweep_tables

    chosen = finished_run(run, where.runs_dir)
    if not layers:
        raise SparsifyError(f"--layers is missing; {chosen.name} has: {', '.join(_names(chosen))}")
    if compare_criteria is not None:
        ignored = {"reverse": reverse, "controls": controls, "draws": draws, "recalibrate-bn": recalibrate_bn}
        ignored |= {"shrink": shrink, "finetune": finetune, "criterion": criterion != "magnitude"}
        for option in [name for name, value in ignored.items() if value]:
            raise SparsifyError(f"--{option} has no effect with --compare-criteria, which sweeps nothing; leave it out")
        how = {"layers": layers, "ratios": ratios, "grain": grain, "scope": scope}
        return _compare(chosen, compare_criteria, where, how, newest=run is None)
    target, announce = chosen, functools.partial(_announce, chosen, layers, newest=run is None)
    if shrink:
        ratio = the_point(layers, ratios, 1 if controls else draws)
        target = subject_of(chosen, device=where.device, data_dir=where.data_dir)
        announce()
        how = {"layers": layers[0], "ratio": ratio, "criterion": criterion, "grain": grain}
        how |= {"scope": scope, "reverse": reverse}
        shrunk, network = shrink_run(chosen, target, **how)  # before the sweep: if it is refused nothing is done
    with console.counting("pruning", (lambda: None) if shrink else announce) as listener:
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
            device=where.device,
            data_dir=where.data_dir,
            listener=listener,
        )
    path = sweep.save(chosen.output(where.runs_dir))
    heading = f"{chosen.name} by {sweep.criterion}" + ", its layers together" * (scope == "global")
    for table in sweep_tables(sweep, title=heading, held_out=chosen.summary["held_out"]):
        console.show(table)
    console.say("* theoretical: multiply-accumulates of convolutions and fully connected layers, before ÷ after")
    console.say(f"written: {path}")
    if shrink:
        folder = shrunk.save(path.with_name(f"shrunk-{sweep.id}"), network)
        console.say(f"written: {folder}; sparsify.load() reads it, sparsify export {folder} --onnx hands it on")
        return 0
    if len(sweep.layer_sets) == 1:
        console.say(f"another set beside it: --layers {sweep.layer_sets[0]} --layers {_another(chosen, sweep)}")
    return 0


@app.command
def ticket(
    run: str | None = None,
    /,
    *,
    layers: Annotated[str, Parameter(help="the layers that are masked, as in conv3,fc1 or all")] = "all",
    ratio: Annotated[float, Parameter(help="the fraction that goes in each of them")] = 0.5,
    criterion: Annotated[str, Parameter(help=f"what goes first: {', '.join(CRITERIA)}")] = "magnitude",
    grain: Annotated[str, Parameter(help="auto (filters, and single weights of fc), filter, neuron, weight")] = "auto",
    where: Where = _HERE,
) -> int:
    """Train a run (the newest unless one is named) again from its start under its own mask, and under a random one."""
    from sparsify.tables import tickets_table
    from sparsify.tickets import tickets

    chosen = finished_run(run, where.runs_dir)
    _announce(chosen, [layers], newest=run is None)
    how = {"layers": layers, "ratio": ratio, "criterion": criterion, "grain": grain}
    with console.TrainingDisplay(2) as display:
        found = tickets(chosen, **how, **_keywords(where), listener=display)
    console.show(tickets_table(chosen, found, ratio))
    return 0


def _compare(run: Run, criteria: str, where: Places, how: dict[str, Any], *, newest: bool) -> int:
    """Print how alike criteria are."""
    from sparsify.agreement import compare_criteria
    from sparsify.tables import agreement_tables

    places = {"device": where.device, "data_dir": where.data_dir}
    agreements = compare_criteria(run, criteria=criteria, **how, **places)
    _announce(run, how["layers"], newest=newest)
    for table in agreement_tables(agreements, title=run.name):
        console.show(table)
    console.say("Jaccard: what both criteria remove at a ratio ÷ what at least one of them removes")
    return 0


@app.command
def runs(*, runs_dir: RunsDir = Path("runs")) -> int:
    """List what has been trained, the newest first."""
    from sparsify.runs import list_runs
    from sparsify.tables import runs_table

    found = list_runs(runs_dir)
    if found:
        console.show(runs_table(found))
    else:
        console.say(f"no run in {runs_dir}; train one with: sparsify train")
    return 0


@app.command
def study(
    name: str = "quick",
    /,
    *,
    settings: Annotated[
        tuple[str, ...],
        Parameter(name="--set", help="change one value for all arms, as in epochs=5; can be given again", negative=()),
    ] = (),
    where: Where = _HERE,
) -> int:
    """Train, prune, tabulate and draw: a built-in study (quick, lenet-mnist, vgg-cifar10) or a TOML file."""
    from sparsify.files import write_text
    from sparsify.study import draw_study, load_study, run_study
    from sparsify.tables import markdown, study_csv, study_tables

    plan = load_study(name, settings)
    with console.TrainingDisplay(sum(len(arm.configs) for arm in plan.arms)) as display:
        result = run_study(plan, **_keywords(where), listener=display, note=console.say)
    tables = study_tables(result)
    for table in tables:
        console.show(table)
    for run in (run for arm in result.arms for run in arm.runs if run.status == "diverged"):
        console.fail(f"{run.name} diverged and is not counted")
    write_text(result.folder / "table.md", "\n".join(markdown(table) for table in tables))
    write_text(result.folder / "table.csv", study_csv(result))
    draw_study(result)
    console.say(f"n is the number of seeds; ± is one sample standard deviation; written: {result.folder}")
    return 0


def _keywords(where: Places) -> dict[str, Any]:
    return {field.name: getattr(where, field.name) for field in dataclasses.fields(where)}


def _names(run: Run) -> list[str]:
    from sparsify.layers import layer_names

    return list(layer_names(run.model()))


def _announce(run: Run, layers: Sequence[str], *, newest: bool) -> None:
    """Print which run is pruned, and what each name of a layer means."""
    from sparsify.layers import find_layers

    model = run.model()
    found = {name: layer for names in layers for name, layer in find_layers(model, names, run.name).items()}
    meanings = []
    for name, layer in found.items():
        own = f"{layer.name}, " if layer.name != name else ""
        kind = "convolution" if layer.is_convolution else "fully connected"
        meanings.append(f"{name} = {own}{kind} {'×'.join(map(str, layer.weight.shape))}")
    console.say(f"run: {run.name}{' (the newest)' if newest else ''}")
    console.say(f"layers: {'; '.join(meanings)}")


def _suggest(run: Run) -> str:
    names = _names(run)
    return "conv3,fc1" if {"conv3", "fc1"} <= set(names) else names[-1]


def _another(run: Run, sweep: Sweep) -> str:
    """A set that was not swept: the first one with the next layer added, or without its last."""
    from sparsify.layers import layer_names

    asked, layers = sweep.layer_sets[0].split(","), layer_names(run.model())
    taken = {layers[name].name for name in asked}
    rest = [name for name, layer in list(layers.items())[:-1] if layer.name not in taken]
    return ",".join([*asked, rest[-1]]) if rest else asked[0]


def main(tokens: Sequence[str] | None = None) -> int:
    """Run one command; what a user can cause ends in one line and the exit status 2."""
    try:
        with console.warnings_as_lines():
            return app(tokens, exit_on_error=False, print_error=False, result_action="return_value") or 0
    except CycloptsError as error:
        console.fail(f"{error} (see: sparsify --help)")
        return 2
    except SparsifyError as error:
        console.fail(str(error))
        return 2
    except KeyboardInterrupt:
        console.err.print(
            "stopped; the same command goes on from here: finished epochs and sweeps are kept", soft_wrap=True
        )
        return 130
    except OSError as error:  # a wrong path, a lack of rights, a full disk
        console.fail(f"{error.filename or 'a file'} cannot be read or written: {error.strerror or error}")
        return 2
