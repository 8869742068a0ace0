"""The networks of a study's arms: what its data set and its layers are in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import nn

from sparsify.arms import Arm, Study, SweepPlan
from sparsify.config import Config
from sparsify.errors import SparsifyError
from sparsify.evaluation import batch_norms
from sparsify.layers import find_layers, find_sets
from sparsify.starting import initial_model, named_data

Networks = Mapping[str, nn.Module]
"""The untrained network of each arm, by the arm's label; arms of one kind share it."""


def networks_of(study: Study, data_dir: Path | str | None = None) -> Networks:
    """Build each network once."""
    built: dict[tuple[str, str], nn.Module] = {}
    for config in (arm.configs[0] for arm in study.arms):
        kind = (config.model, config.data)
        if kind not in built:
            built[kind] = initial_model(config, data_dir)
    return {arm.label: built[arm.configs[0].model, arm.configs[0].data] for arm in study.arms}


def with_data(study: Study, data_dir: Path | str | None = None) -> Study:
    """The same study, with the data set that "auto" stands for, which is looked for once."""
    every = [config for arm in study.arms for config in arm.configs]
    auto = next((config for config in every if config.data == "auto"), None)
    if auto is None:
        return study
    data = named_data(auto, data_dir).data

    def named(configs: tuple[Config, ...]) -> tuple[Config, ...]:
        return tuple(replace(config, data=data) if config.data == "auto" else config for config in configs)

    arms = []
    for arm in study.arms:
        choice = arm.choice
        if choice is not None:
            candidates = (replace(c, trials=named(c.trials), configs=named(c.configs)) for c in choice.candidates)
            choice = replace(choice, candidates=tuple(candidates))
        arms.append(replace(arm, configs=named(arm.configs), choice=choice))
    return replace(study, arms=tuple(arms))


def with_layers(study: Study, networks: Networks) -> Study:
    """The same study, with the layers of its sweeps and choices by the names that they have in the networks.

    Raises SparsifyError for an unknown layer, for a glob that stands for other layers in another arm, and for arms that
    cannot start from each other.
    """
    arms = {arm.label: arm for arm in study.arms}
    named = []
    for arm in study.arms:
        for parent in arm.parents:
            _check_same(arm, arms[parent], networks)
        if arm.mask is not None:
            find_layers(networks[arm.mask.of], arm.mask.layers, arms[arm.mask.of].configs[0].model)
        choice = arm.choice
        if choice is not None and choice.on is not None:
            choice = replace(choice, on=_with_layers(choice.on, [arm], networks))
        named.append(replace(arm, choice=choice))
    shown = [arm for arm in study.arms if not arm.stage]
    sweeps = tuple(_with_layers(plan, shown, networks) for plan in study.sweeps)
    return replace(study, arms=tuple(named), sweeps=sweeps)


def _with_layers(plan: SweepPlan, arms: list[Arm], networks: Networks) -> SweepPlan:
    """The same sweep, its layers by the names that they have in all of these arms."""
    sets = {tuple(find_sets(networks[arm.label], plan.layers, arm.configs[0].model)): arm.label for arm in arms}
    if len(sets) > 1:
        meanings = "; ".join(f"{' and '.join(names)} in {label}" for names, label in sets.items())
        raise SparsifyError(f"layers '{' '.join(plan.layers)}' differ from arm to arm ({meanings}); name them singly")
    (layers,) = sets
    for arm in arms if plan.criterion == "bn-scale" and plan.grain != "weight" else ():
        if not batch_norms(networks[arm.label]):
            raise SparsifyError(f"a sweep is by bn-scale, and {arm.configs[0].model} of '{arm.label}' has no BatchNorm")
    return replace(plan, layers=layers)


def _check_same(arm: Arm, parent: Arm, networks: Networks) -> None:
    own, theirs = ({n: t.shape for n, t in networks[one.label].state_dict().items()} for one in (arm, parent))
    if own != theirs:
        kinds = [f"'{one.label}' ({one.configs[0].model} on {one.configs[0].data_name})" for one in (arm, parent)]
        raise SparsifyError(f"the arm {kinds[0]} cannot start from {kinds[1]}: their layers differ")
