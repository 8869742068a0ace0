"""What a sweep is asked: the ratios, and the plan of one sweep."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from torch import nn

from sparsify.errors import SparsifyError, SparsifyWarning, unknown
from sparsify.nets.evaluation import batch_norms
from sparsify.nets.layers import Layer

RATIOS = "0:0.6:0.1"


CONTROL_DRAWS = 5


SCOPES = ("layer", "global")


_FORM = "write start:stop:step as in 0:0.6:0.1 (0.6 is included), or a list as in 0,0.3,0.6, with values from 0 to 1"
_MOST = 10_000


def parse_ratios(ratios: str | float | Iterable[float]) -> tuple[float, ...]:
    """Ratios in ascending order, each one once. Raises SparsifyError for what is malformed, reversed or outside 0 to 1.

    Decimal arithmetic, so that 0:0.6:0.1 has exactly the seven values 0, 0.1, …, 0.6.
    """
    if isinstance(ratios, (int, float)):
        ratios = [ratios]
    text = ratios if isinstance(ratios, str) else ",".join(_number_text(ratio) for ratio in ratios)
    if ":" in text:
        parts = [_decimal(part, text) for part in text.split(":")]
        if len(parts) != 3:
            raise SparsifyError(f"ratios '{text}' are malformed; {_FORM}")
        start, stop, step = parts
        if step <= 0:
            raise SparsifyError(f"ratios '{text}' have the step {step}, which must be above 0; {_FORM}")
        if stop < start:
            raise SparsifyError(f"ratios '{text}' are reversed: {start} is above {stop}; {_FORM}")
        _check_range(start, stop)
        if stop - start > _MOST * step:
            raise SparsifyError(f"ratios '{text}' are more than {_MOST:,} values; use a larger step")
        values = [start + index * step for index in range(int((stop - start) / step) + 1)]
    else:
        values = [_decimal(part, text) for part in text.split(",")]
    _check_range(*values)
    return tuple(sorted({abs(float(value)) for value in values}))  # abs: -0.0 is 0


def _number_text(ratio: float) -> str:
    try:
        return str(float(ratio))
    except (TypeError, ValueError) as error:
        raise SparsifyError(f"ratio {ratio!r} is no number; {_FORM}") from error


def _check_range(*values: Decimal) -> None:
    for value in values:
        if not 0 <= value <= 1:
            raise SparsifyError(f"ratio {value} is outside 0 to 1; {_FORM}")


def _decimal(part: str, text: str) -> Decimal:
    try:
        value = Decimal(part.strip())
    except InvalidOperation as error:
        raise SparsifyError(f"ratios '{text}' are malformed: '{part}' is no number; {_FORM}") from error
    if not value.is_finite():
        raise SparsifyError(f"ratios '{text}' are malformed: '{part}' is not finite; {_FORM}")
    return value


@dataclass(frozen=True)
class SweepPlan:
    """One sweep that every run of a study gets: the keywords of `prune`.

    `recalibrate_bn` holds for the networks that have BatchNorm.
    """

    layers: tuple[str, ...] = ("conv3", "conv3,fc1")
    ratios: tuple[float, ...] = parse_ratios(RATIOS)
    criterion: str = "magnitude"
    grain: str = "auto"
    scope: str = "layer"
    reverse: bool = False
    controls: bool = False
    draws: int | None = None  # of "random"
    recalibrate_bn: bool = False
    finetune_epochs: int = 0
    rounds: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "ratios", parse_ratios(self.ratios))
        check_draws(self.draws, self.criterion, self.controls)
        check_rounds(self.rounds, self.controls, self.scope)
        if self.finetune_epochs < 0:
            raise SparsifyError(f"finetune_epochs is {self.finetune_epochs}; it must be a whole number of at least 0")

    @property
    def name(self) -> str:
        """What goes first, in words."""
        rounds = f" in {self.rounds} rounds" * (self.rounds > 1)
        return self.criterion + "-reversed" * self.reverse + rounds + ", layers together" * (self.scope == "global")

    @property
    def trained_between(self) -> bool:
        """Whether its accuracies are of networks that were trained on between rounds, at ratio 0 as well."""
        return self.rounds > 1 and self.finetune_epochs > 0

    @property
    def points(self) -> int:
        """How many networks it measures."""
        draws = check_draws(self.draws, self.criterion, self.controls)
        return len(self.layers) * len(self.ratios) * (draws + 2 if self.controls else draws)

    def keywords(self, model: nn.Module) -> dict[str, Any]:
        """What `prune`, and `sweep_id`, are given for this network."""
        asked = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        asked["draws"] = check_draws(self.draws, self.criterion, self.controls)
        return asked | {"recalibrate_bn": self.recalibrate_bn and bool(batch_norms(model))}


def check_scope(scope: str, sets: Iterable[Mapping[str, Layer]], grain: str) -> None:
    """Raise SparsifyError for an unknown scope; warn where "global" compares grains of different kinds."""
    if scope not in SCOPES:
        raise unknown("scope", scope, SCOPES)
    for layers in sets if scope == "global" else ():
        kinds = {"weight" if layer.grain(grain) == "weight" else "output" for layer in layers.values()}
        if len(kinds) > 1:
            reason = f"--scope global compares whole filters of {','.join(layers)} with single weights"
            warnings.warn(f"{reason}; --grain neuron or weight makes them alike", SparsifyWarning, stacklevel=3)


def check_rounds(rounds: int, controls: bool = False, scope: str = "layer") -> None:
    """Raise SparsifyError for fewer than one round, and where controls could not know how many grains go in each."""
    if rounds < 1:
        raise SparsifyError(f"--rounds is {rounds}; it must be a whole number of at least 1")
    if rounds > 1 and controls and scope == "global":
        reason = "how many grains of a layer go in a round is not known to the controls"
        raise SparsifyError(f"--controls with --rounds {rounds} and --scope global: {reason}; take --scope layer")


def check_draws(draws: int | None, criterion: str, controls: bool) -> int:
    """How often random is drawn. Raises SparsifyError where it is not, and for fewer than one."""
    if controls and criterion == "random":
        raise SparsifyError("--controls with random: it is a control itself; take another criterion, or --draws")
    if draws is None:
        return CONTROL_DRAWS if controls else 1
    if draws < 1 or (draws > 1 and criterion != "random" and not controls):
        reason = "it must be at least 1" if draws < 1 else f"only random has draws, {criterion} has one result"
        raise SparsifyError(f"--draws is {draws}; {reason}")
    return draws
