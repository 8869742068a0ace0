"""The schedules of torch.optim.lr_scheduler: one maker of entries, which steps a scheduler and keeps its rates."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from sparsify.optim.spec import ScheduleSpec, Steps
from sparsify.publications import Publication
from sparsify.settings import Setting, Value, settings_of

if TYPE_CHECKING:
    import numpy as np

Moment = Literal["epoch", "step", "part of an epoch"]
"""When the documentation of a scheduler wants it to be stepped: after each epoch, or after each step, either by one or,
where it takes it, to a fraction as in 3.25 epochs.
"""

Arguments = Callable[[float, Steps, dict[str, Value]], Mapping[str, object]]
"""The arguments of a scheduler from the base rate, the steps, and the values of the options."""


def torch_schedule(
    name: str,
    moment: Moment,
    *papers: Publication,
    own: Mapping[str, Setting] = MappingProxyType({}),
    without: Sequence[str] = (),
    arguments: Arguments = lambda lr, steps, values: values,
) -> ScheduleSpec:
    """Return the entry of lr_scheduler's class `name`; its rates are those that the class itself gives.

    Every number and switch of its signature that is not in `without` is an option, with torch's default; `own` replaces
    some, and adds those that have no default there. `arguments` makes what the class takes of their values. `papers`
    are what it was published as.
    """

    @functools.cache
    def settings() -> Mapping[str, Setting]:
        from torch.optim import lr_scheduler

        return {**own, **settings_of(getattr(lr_scheduler, name), without=("last_epoch", *without, *own), least=0)}

    def rates(lr: float, steps: Steps, options: Mapping[str, Value]) -> np.ndarray:
        import numpy as np
        import torch
        from torch.optim import SGD, lr_scheduler

        optimizer = SGD([torch.zeros(1)], lr)  # a number that never moves
        kind: Any = getattr(lr_scheduler, name)
        scheduler = kind(optimizer, **arguments(lr, steps, dict(options)))
        optimizer.step()  # torch warns of a scheduler that is stepped before any step
        found = []
        for number in range(1, 1 + (steps.epochs if moment == "epoch" else steps.total)):
            found.append(float(optimizer.param_groups[0]["lr"]))
            scheduler.step(*((number / steps.per_epoch,) if moment == "part of an epoch" else ()))
        return np.repeat(found, steps.per_epoch) if moment == "epoch" else np.array(found)

    return ScheduleSpec(rates, settings, papers)
