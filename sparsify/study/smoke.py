"""A study in seconds: every arm for one epoch, narrow networks, embedded data, to see that it runs and looks right."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from sparsify.config import Config
from sparsify.nets.registry import network_spec
from sparsify.settings import Value, joined, values_of
from sparsify.study.design import Arm, Study

COLOURED = ("cifar10", "colour-digits")
"""Data sets of 32×32 pixels in colours, in whose place stands `colour-digits`; in that of others, `digits`."""

NARROW: dict[str, Value] = {"width": 1 / 16, "channels": (8, 8), "hidden": 16}
"""The values of such options of networks, where they have them."""


def smoke(study: Study) -> Study:
    """Return the study with one epoch, its first seed, embedded data and narrow networks, under a name of its own.

    Nothing is fetched: no data, and no trained weights. What was published is left out: it is of other networks.

    >>> from sparsify.study.smoke import smoke
    >>> small = smoke(sparsify.load_study("vgg-cifar10"))
    >>> small.name, small.arms[0].configs[0].data
    ('vgg-cifar10-smoke', 'colour-digits')
    """
    coloured = any(config.data in COLOURED for arm in study.arms for config in arm.configs)
    data = "colour-digits" if coloured else "digits"

    def few(configs: Iterable[Config]) -> tuple[Config, ...]:
        return tuple(_small(config, data) for config in list(configs)[:1])

    def of(arm: Arm) -> Arm:
        choice = arm.choice
        if choice is not None:
            tried = (dataclasses.replace(c, trials=few(c.trials), configs=few(c.configs)) for c in choice.candidates)
            choice = dataclasses.replace(choice, candidates=tuple(tried))
        return dataclasses.replace(arm, configs=few(arm.configs), choice=choice, published=None)

    arms = tuple(map(of, study.arms))
    return dataclasses.replace(study, name=f"{study.name}-smoke", title=f"{study.title} (smoke)", arms=arms)


def _small(config: Config, data: str) -> Config:
    settings = network_spec(config.model).settings
    net = config.net
    narrow = {name: value for name, value in NARROW.items() if name in settings}
    if narrow:
        net = joined(values_of("--net", config.model, net, settings) | narrow)
    return dataclasses.replace(config, data=data, epochs=1, mask_from=0, net=net, pretrained=False)
