"""What a study or a run used, as publications: its methods, networks and data sets, from the registries' entries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata

from sparsify.config import RECORDS, Config
from sparsify.data.registry import AUGMENTATIONS, DATASETS, FOLDER, named_augmentations
from sparsify.nets.papers import RUSSAKOVSKY_2015, TORCHVISION_2016
from sparsify.nets.registry import NETS, TORCHVISION
from sparsify.optim.registry import OPTIMIZERS
from sparsify.optim.schedules import SCHEDULES
from sparsify.pruning.criteria import CRITERIA
from sparsify.publications import Publication
from sparsify.study.design import Study

AUTHORS = "The sparsify maintainers"
TITLE = "sparsify: which parts of a network can go, and what does it cost?"
YEAR = 2026
"""The package, as CITATION.cff has it."""


def package() -> Publication:
    """The package itself, in the version that is installed."""
    version = metadata.version("sparsify-study")
    return Publication("software", "sparsify", (f"{{{AUTHORS}}}",), TITLE, YEAR, {"version": version})


@dataclass(frozen=True)
class Used:
    """One thing that was used, such as "optimizer slbi", and what it was published as."""

    kind: str
    name: str
    papers: tuple[Publication, ...]


def used(configs: Iterable[Config], criteria: Iterable[str]) -> list[Used]:
    """What trainings and the criteria of sweeps used, kind by kind, each in the order of its registry."""
    trainings, asked = list(configs), set(criteria)
    optimizers = {config.opt for config in trainings}
    schedules = {name for config in trainings for name in (config.schedule, config.decay_schedule)}
    augmentations = {name for config in trainings for name, _ in named_augmentations(config.augment)}
    records = {name for config in trainings for name in config.record.split(",") if RECORDS.get(name)}
    pretrained = sorted({config.model for config in trainings if config.pretrained})
    models = sorted({config.model for config in trainings} - set(NETS))
    folders = sorted({config.data_name for config in trainings if config.data.startswith(FOLDER)})
    return [
        *_of("optimizer", {name: spec.papers for name, spec in OPTIMIZERS.items()}, optimizers),
        *_of("schedule", {name: spec.papers for name, spec in SCHEDULES.items()}, schedules),
        *_of("criterion", {name: spec.papers for name, spec in CRITERIA.items()}, asked),
        *_of("network", {name: spec.papers for name, spec in NETS.items()}, {config.model for config in trainings}),
        *(Used("network", name, (TORCHVISION_2016,) if name.startswith(TORCHVISION) else ()) for name in models),
        *(Used("weights of", name, (RUSSAKOVSKY_2015, TORCHVISION_2016)) for name in pretrained),
        *_of("record", RECORDS, records),
        *_of("data set", {name: spec.papers for name, spec in DATASETS.items()}, {config.data for config in trainings}),
        *(Used("data set", name, ()) for name in folders),
        *_of("augmentation", {name: spec.papers for name, spec in AUGMENTATIONS.items()}, augmentations),
    ]


def _of(kind: str, papers: Mapping[str, tuple[Publication, ...]], names: set[str]) -> Iterator[Used]:
    return (Used(kind, name, own) for name, own in papers.items() if name in names)


def used_by_study(study: Study) -> list[Used]:
    """What a study asks for: the trainings of all its arms, those that are only compared included, and its sweeps."""
    configs: list[Config] = []
    criteria = [plan.criterion for plan in study.sweeps]
    for arm in study.arms:
        configs += arm.configs
        if arm.mask is not None and not arm.mask.chosen:
            criteria.append(arm.mask.point.criterion)
        if arm.choice is not None:
            configs += [config for candidate in arm.choice.candidates for config in candidate.configs]
            criteria += [] if arm.choice.on is None else [one.criterion for one in arm.choice.candidates]
    return used(configs, criteria)


def bibtex(found: Iterable[Used]) -> str:
    """Everything that is to be cited, as BibTeX: the package first, each publication once, at its first use.

    A line above an entry says what it is cited for; what has no publication is named at the end. BibTeX reads over
    both.
    """
    things = list(found)
    papers = {paper.key: paper for thing in things for paper in thing.papers}
    parts = [f"% what all of it was made with\n{package().bibtex}"]
    for key, paper in papers.items():
        users = [f"{thing.kind} {thing.name}" for thing in things if key in {one.key for one in thing.papers}]
        parts.append(f"% {', '.join(users)}\n{paper.bibtex}")
    own = [f"{thing.kind} {thing.name}" for thing in things if not thing.papers]
    if own:
        parts.append(f"% without a publication of its own: {', '.join(own)}")
    zoo = [thing.name for thing in things if TORCHVISION_2016 in thing.papers]
    if zoo:
        parts.append(f"% torchvision's documentation names the papers of: {', '.join(zoo)}")
    return "\n\n".join(parts)
