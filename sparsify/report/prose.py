"""What a study asked for, in words and in one table, from its Configs and sweeps."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from sparsify.config import Config
from sparsify.data.registry import DATASETS, FOLDER, DatasetSpec
from sparsify.nets.losses import CROSS_ENTROPY
from sparsify.nets.registry import NetworkSpec
from sparsify.optim.registry import OPTIMIZERS
from sparsify.pruning.plan import PointPlan, SweepPlan
from sparsify.report.table import TEXT, Column, Format, Table
from sparsify.runs import LOST, Run
from sparsify.study.design import Arm
from sparsify.study.results import StudyResult, held_out
from sparsify.text import arms_in_words, layers_in_words, listed, named, numbers_in_words, percentage, plural, written

_COUNTS = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten")
_GRAINS = {
    "auto": "filters of convolutions and single weights of fully connected layers",
    "filter": "filters and neurons",
    "neuron": "filters and neurons",
    "weight": "single weights",
    "head": "heads of attention",
}


def setup(result: StudyResult) -> list[str]:
    """Sentences on what is trained, on which data, and on how many images it is measured."""
    runs = [run for arm in result.arms for run in arm.runs]
    said = _Said([run.config for run in runs])
    count = len(result.arms)
    arms = f"{_COUNTS[count] if count < len(_COUNTS) else count} arms train" if count > 1 else "One arm trains"
    augmented = "no augmentation" if said("augment") == "none" else f"augmentation {said('augment')}"
    seeds = sorted({run.config.seed for run in runs})
    net = "" if said.differs("net") or not said("net") else f" ({said('net')})"
    each = "each with " if len(result.arms) > 1 else ""
    seed = "seed" if len(seeds) == 1 else "seeds"
    sentences = [
        f"{arms} {said('model')}{net} for {_epochs(said('epochs'))} in batches of {said('batch_size')}, with a "
        f"{said('schedule')} learning rate and {augmented}, {each}{seed} {numbers_in_words(seeds)}.",
        *unusual_in_words([run.config for run in runs]),
        f"The data are {_alternatives(data_in_words(run) for run in runs)}.",
    ]
    counts = _alternatives(f"{run.summary['count']:,}" for arm in result.arms for run in arm.finished)
    if counts:
        sentences.append(f"Accuracy is that on {counts} {held_out(result)} images.")
    for way in LOST:
        failed = [run for run in runs if run.status == way]
        if failed:
            verb = "is" if len(failed) == 1 else "are"
            reasons = dict.fromkeys(str(run.collapsed) for run in failed) if way == "collapsed" else ()
            why = f" ({'; '.join(reasons)})" if reasons else ""
            sentences.append(f"{len(failed)} of {len(runs)} runs {way}{why} and {verb} not counted.")
    return sentences


def unusual_in_words(configs: Sequence[Config]) -> list[str]:
    """A sentence on what the trainings do to images, labels and weights that is no default; none if they do nothing."""
    found = dict.fromkeys(listed(_departures(config)) for config in configs)
    asked = [words for words in found if words]
    if not asked:
        return []
    return [f"{'All' if len(found) == 1 else 'Some'} are trained with {'; or with '.join(asked)}."]


def _departures(config: Config) -> list[str]:
    words = []
    if config.resize is not None:
        words.append(f"images resized to {config.resize}×{config.resize} pixels")
    if not config.normalise:
        words.append("pixels from 0 to 1 instead of normalised ones")
    if config.loss != CROSS_ENTROPY:
        words.append(f"the loss {config.loss}")
    if config.label_smoothing:
        words.append(f"label smoothing {_written(config.label_smoothing)}")
    if config.pretrained:
        words.append("weights trained on ImageNet at the start")
    return words


def data_in_words(run: Run) -> str:
    """The name of the data set and what it is. A folder of images is called a folder, whatever its name."""
    data = run.config.data
    if data.startswith(FOLDER):
        digest = run.summary.get("images_sha256")
        known = f"; SHA-256 of the images {digest[:16]}…" if digest else ""
        return f"a folder of image files, {run.config.data_name} (not a published archive{known})"
    return f"{data} ({in_words(DATASETS[data])})" if data in DATASETS else data


def plan_in_words(plan: SweepPlan, labels: Sequence[str] = ()) -> str:
    """How one sweep prunes, as a sentence. `labels` are the arms that it is of, () all."""
    first, last = percentage(min(plan.ratios)), percentage(max(plan.ratios))
    span = f"at {len(plan.ratios)} ratios from {first} to {last}" if len(plan.ratios) > 1 else f"at {first}"
    how = "together" if plan.scope == "global" else "each"
    sets = (f"{layers_in_words(layers)} ({how})" if "," in layers else layers for layers in plan.layers)
    of = f" of {arms_in_words(labels)}" if labels else ""
    text = f"Every finished network{of} is pruned by {plan.name}, {span}, of {', then of '.join(sets)}; "
    text += f"removed as one are {_GRAINS[plan.grain]}"
    extras = []
    if plan.support:
        extras.append("it is also pruned of all that is outside its support")
    if plan.controls:
        extras.append("beside it go random grains and those of the opposite order, as many of each layer")
    if plan.recalibrate_bn:
        extras.append("it is measured again with BatchNorm's statistics re-estimated on training images")
    if plan.finetune_epochs:
        more = plural(plan.finetune_epochs, "epoch")
        if plan.trained_between:
            extras.append(f"between two rounds it is trained for {more} under the mask, with 0% removed as well")
        extras.append(f"it is measured again after {more} more of training under the mask")
    return "; ".join([text, *extras]) + "."


def paths_in_words(result: StudyResult) -> str:
    """What the figures of paths show: for runs that keep Γ beside W, and for runs whose W is sparse itself."""
    runs = [arm.finished[0] for arm in result.arms if arm.finished]
    selecting = [run for run in runs if OPTIMIZERS[run.config.opt].selects]
    split = dict.fromkeys(run.config.opt for run in selecting if "z.safetensors" in run.summary["sha256"])
    own = dict.fromkeys(run.config.opt for run in selecting if run.config.opt not in split)
    sentences = []
    if split:
        zero = f"With {listed(split)}, ‖Γ‖ of a filter is exactly 0 until it enters the support"
        sentences.append(f"{zero}, and ‖W‖ of what never enters is pulled towards 0.")
    if own:
        sentences.append(
            f"With {listed(own)} there is no Γ: ‖W‖ of a filter is itself exactly 0 until it enters the support."
        )
    return " ".join(sentences)


FAR = 0.05
"""The accuracy, a fraction, that a network must lose outside its support for the support to be no network."""


def weak_support(accuracies: Mapping[str, tuple[float, float]]) -> list[str]:
    """A sentence on the networks whose support is not yet a network, and what would make it one, if there are any.

    `accuracies` holds those of the whole network and of the support, by the name of the network.
    """
    far = {name: both for name, both in accuracies.items() if both[0] - both[1] > FAR}
    if not far:
        return []
    found = "; ".join(
        f"{named(name)} has {100 * whole:.2f}% with all weights and {100 * alone:.2f}% with those in its support"
        for name, (whole, alone) in far.items()
    )
    what = "the support is not yet a network" if len(far) == 1 else "these supports are not yet networks"
    return [f"{what}: {found}; {STRONGER}"]


STRONGER = (
    "a longer path lets more in: a smaller kappa with as much larger an lr lengthens it and pulls no harder, as do more"
    " epochs; a higher path_scale also pulls harder at what is outside"
)
"""What brings the support near the whole network."""


def arms_table(result: StudyResult) -> Table:
    """One row an arm: its seeds, and the settings in which the arms differ.

    An arm that starts from another arm names that arm, not its runs.
    """
    said = _Said([run.config for arm in result.arms for run in arm.runs])
    names = [field.name for field in dataclasses.fields(Config) if field.name != "seed" and said.differs(field.name)]
    asked = {arm.label: arm for arm in result.study.arms}
    setting = Format(_written, side="left")
    seeds = Format(lambda numbers: ", ".join(map(str, numbers)), side="left")
    columns = [
        Column("arm", TEXT),
        *(Column(name.replace("_", " "), setting) for name in names),
        Column("seeds", seeds),
    ]
    rows = []
    for arm in result.arms:
        parents = _parents(asked[arm.label]) if arm.label in asked else {}
        one = _Said([run.config for run in arm.runs])
        values = (parents.get(name) or one.value(name) for name in names)
        rows.append((arm.label, *values, tuple(run.config.seed for run in arm.runs)))
    return Table.of("The arms, and the settings in which they differ", columns, rows)


def _parents(arm: Arm) -> dict[str, str | None]:
    """The settings of an arm that come from other arms, in words."""
    mask = arm.mask
    return {
        "init": arm.init and f"'{arm.init}'",
        "release": arm.release and f"'{arm.release}'",
        "mask": None if mask is None else f"'{mask.of}' without {_point_in_words(mask.point)}",
    }


def _point_in_words(point: PointPlan) -> str:
    return f"{percentage(point.ratio)} of {point.layers} by {point.criterion}"


class _Said:
    """The values of a field of several Configs, in words."""

    def __init__(self, configs: list[Config]) -> None:
        self._configs = configs

    def __call__(self, field: str) -> str:
        return _alternatives(_written(_value(config, field)) for config in self._configs)

    def value(self, field: str) -> object:
        """The value itself where all have the same one, else all of them in words."""
        values = list(dict.fromkeys(_value(config, field) for config in self._configs))
        return values[0] if len(values) == 1 else self(field)

    def differs(self, field: str) -> bool:
        return len({getattr(config, field) for config in self._configs}) > 1


def _value(config: Config, field: str) -> object:
    return config.data_name if field == "data" else getattr(config, field)


def _written(value: object) -> str:
    return written(value, 10)


def _epochs(number: str) -> str:
    return "1 epoch" if number == "1" else f"{number} epochs"


def _alternatives(texts: Iterable[str]) -> str:
    return listed(dict.fromkeys(texts), "or")


def in_words(spec: DatasetSpec | NetworkSpec) -> str:
    """Return what a data set or a network is: "ResNet-20 for CIFAR: widths 16 to 64; He et al. 2016"."""
    return spec.description if spec.publication is None else f"{spec.description}; {spec.publication}"
