"""What a sweep is asked, as one object: its layers, its ratios, and how the grains go; and the plan of one point."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Annotated, TypedDict

from cyclopts import Parameter, Token

from sparsify.config import Whole
from sparsify.errors import SparsifyError, unknown
from sparsify.nets.registry import GRAINS
from sparsify.pruning.criteria import CRITERIA

RATIOS = "0:0.6:0.1"
SCOPES = ("layer", "global")
CONTROL_DRAWS = 5
"""How often "random" is drawn as a control."""

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


def _as_text(_type: type, tokens: Sequence[Token]) -> str:
    """Leave ratios as they are written: the plan itself reads them, and says what is wrong."""
    return tokens[0].value


def _usual_ratios(_ratios: tuple[float, ...]) -> str:
    return RATIOS


class PointOptions(TypedDict, total=False):
    """The keywords of a `PointPlan`, for functions that take them in its place."""

    layers: str
    ratio: float
    criterion: str
    grain: str
    scope: str
    reverse: bool
    rounds: int
    finetune_epochs: int
    recalibrate_bn: bool


class SweepOptions(TypedDict, total=False):
    """The keywords of a `SweepPlan`, for functions that take them in its place."""

    layers: str | Sequence[str]
    ratios: str | Sequence[float]
    criterion: str
    grain: str
    scope: str
    reverse: bool
    controls: bool
    draws: int | None
    recalibrate_bn: bool
    finetune_epochs: int
    rounds: int


@dataclass(frozen=True, kw_only=True)
class PointPlan:
    """One point of a sweep: the `ratio` of each of `layers` that goes, and how; the fields are those of `SweepPlan`."""

    layers: str
    ratio: float
    criterion: str = "magnitude"
    grain: str = "auto"
    scope: str = "layer"
    reverse: bool = False
    rounds: int = 1
    finetune_epochs: int = 0
    recalibrate_bn: bool = False

    def __post_init__(self) -> None:
        ratios = self.sweep().ratios
        if len(ratios) > 1:
            raise SparsifyError(f"ratio is {self.ratio!r}; it must be one number")
        object.__setattr__(self, "ratio", ratios[0])

    @property
    def trained_between(self) -> bool:
        """Whether the network is trained on between rounds, so that what goes depends on that training."""
        return self.rounds > 1 and self.finetune_epochs > 0

    def sweep(self, *, controls: bool = False) -> SweepPlan:
        """The plan of this point alone, with one draw."""
        return SweepPlan(
            layers=(self.layers,),
            ratios=parse_ratios(self.ratio),
            criterion=self.criterion,
            grain=self.grain,
            scope=self.scope,
            reverse=self.reverse,
            controls=controls,
            draws=1,
            recalibrate_bn=self.recalibrate_bn,
            finetune_epochs=self.finetune_epochs,
            rounds=self.rounds,
        )


@dataclass(frozen=True, kw_only=True)
class SweepPlan:
    """One sweep. Raises SparsifyError for what is unknown or out of range.

    `layers` are sets of layers: "conv3,fc1" is one set, ("conv3", "conv3,fc1") are two. `ratios` are the fractions that
    go, as `parse_ratios` takes them. `criterion`, `scope` and `reverse` say which grains go first (`Ranking`), `grain`
    what is removed as one. `controls` adds to each set, with as many grains of each layer, "random" and the opposite
    order. `draws` repeats "random": once, or five times as a control. `recalibrate_bn` also measures each point with
    BatchNorm's statistics re-estimated on 5,000 training images augmented as in the training, `finetune_epochs` after
    that many epochs of training on under its mask (`Recipe`). `rounds`: the grains of a point go in so many
    (`cuts_in_rounds`), with that many epochs after each; its accuracy is that after the last round, before the epochs
    that follow it.
    """

    layers: Annotated[
        tuple[str, ...],
        Parameter(
            help="one set of layers, as in conv3,fc1 or all or 'conv*'; give it again for another set", negative=()
        ),
    ] = ()
    ratios: Annotated[
        tuple[float, ...],
        Parameter(
            help="start:stop:step, stop included, or a list as in 0,0.3,0.6",
            converter=_as_text,
            n_tokens=1,
            metavar="STR",
            show_default=_usual_ratios,
            negative=(),
        ),
    ] = parse_ratios(RATIOS)
    criterion: Annotated[str, Parameter(help=f"what goes first: {', '.join(CRITERIA)}")] = "magnitude"
    grain: Annotated[str, Parameter(help="auto (filters, and single weights of fc), filter, neuron, weight")] = "auto"
    scope: Annotated[str, Parameter(help="layer (the ratio of each), global (of a set's layers together)")] = "layer"
    reverse: Annotated[bool, Parameter(help="what the criterion ranks highest goes first", negative=())] = False
    controls: Annotated[
        bool, Parameter(help="add random and the opposite order, as many grains of each layer", negative=())
    ] = False
    draws: Annotated[Whole | None, Parameter(help="how often random is drawn: once, or 5 times as a control")] = None
    recalibrate_bn: Annotated[
        bool, Parameter(help="also with BatchNorm's statistics re-estimated on images as in training", negative=())
    ] = False
    finetune_epochs: Annotated[
        Whole,
        Parameter(name="--finetune", help="also after so many epochs of training on under the mask, with plain SGD"),
    ] = 0
    rounds: Annotated[
        Whole, Parameter(help="how many rounds the grains go in, each scored anew, with --finetune after each")
    ] = 1

    def __post_init__(self) -> None:
        layers = (self.layers,) if isinstance(self.layers, str) else tuple(self.layers)
        object.__setattr__(self, "layers", layers)
        object.__setattr__(self, "ratios", parse_ratios(self.ratios))
        for kind, name, choices in (
            ("criterion", self.criterion, CRITERIA),
            ("grain", self.grain, GRAINS),
            ("scope", self.scope, SCOPES),
        ):
            if name not in choices:
                raise unknown(kind, name, choices)
        self._check_draws()
        if self.finetune_epochs < 0:
            raise SparsifyError(f"--finetune is {self.finetune_epochs}; it must be a whole number of at least 0")
        if self.rounds < 1:
            raise SparsifyError(f"--rounds is {self.rounds}; it must be a whole number of at least 1")
        if self.rounds > 1 and self.controls and self.scope == "global":
            reason = "how many grains of a layer go in a round is not known to the controls"
            raise SparsifyError(
                f"--controls with --rounds {self.rounds} and --scope global: {reason}; take --scope layer"
            )

    def _check_draws(self) -> None:
        if self.controls and self.criterion == "random":
            raise SparsifyError("--controls with random: it is a control itself; take another criterion, or --draws")
        if self.draws is None:
            return
        if self.draws < 1:
            raise SparsifyError(f"--draws is {self.draws}; it must be at least 1")
        if self.draws > 1 and self.criterion != "random" and not self.controls:
            raise SparsifyError(f"--draws is {self.draws}; only random has draws, {self.criterion} has one result")

    @property
    def order(self) -> str:
        """The criterion, with "-reversed" behind it if its order is reversed, as in the rows of a sweep."""
        return ordered(self.criterion, reverse=self.reverse)

    @property
    def control_orders(self) -> tuple[str, ...]:
        """The orders that `controls` adds: "random", and the opposite of `order`."""
        return ("random", ordered(self.criterion, reverse=not self.reverse)) if self.controls else ()

    @property
    def name(self) -> str:
        """What goes first, in words."""
        rounds = f" in {self.rounds} rounds" if self.rounds > 1 else ""
        together = ", layers together" if self.scope == "global" else ""
        return self.order + rounds + together

    @property
    def drawn(self) -> int:
        """How often "random" is drawn."""
        if self.draws is not None:
            return self.draws
        return CONTROL_DRAWS if self.controls else 1

    @property
    def trained_between(self) -> bool:
        """Whether networks are trained on between rounds, so that their accuracies at ratio 0 are of such, too."""
        return self.rounds > 1 and self.finetune_epochs > 0

    @property
    def points(self) -> tuple[PointPlan, ...]:
        """Every ratio of every set, without draws and controls."""
        return tuple(
            PointPlan(
                layers=layers,
                ratio=ratio,
                criterion=self.criterion,
                grain=self.grain,
                scope=self.scope,
                reverse=self.reverse,
                rounds=self.rounds,
                finetune_epochs=self.finetune_epochs,
                recalibrate_bn=self.recalibrate_bn,
            )
            for layers, ratio in itertools.product(self.layers, self.ratios)
        )

    @property
    def networks(self) -> int:
        """How many pruned networks are measured, those of draws and controls among them."""
        each = self.drawn + 2 if self.controls else self.drawn
        return len(self.layers) * len(self.ratios) * each

    @property
    def id(self) -> str:
        """8 hex digits of everything that is asked; `layers` must be the sets by their layers' names."""
        asked = [self.order, self.grain, self.scope, list(self.layers), list(self.ratios), self.drawn]
        if self.recalibrate_bn:
            asked.append("recalibrate-bn")
        if self.controls:
            asked.append("controls")
        if self.finetune_epochs:
            asked.append(f"finetune-{self.finetune_epochs}")
        if self.rounds > 1:
            asked.append(f"rounds-{self.rounds}")
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:8]

    def on(self, layers: Iterable[str], *, batch_norm: bool) -> SweepPlan:
        """The plan for one kind of network: the sets by its layers' names, recalibrated only if it has BatchNorm."""
        recalibrate = self.recalibrate_bn and batch_norm
        return dataclasses.replace(self, layers=tuple(layers), recalibrate_bn=recalibrate)


def ordered(criterion: str, *, reverse: bool) -> str:
    """The name of a criterion's order, "magnitude", or of the opposite one, "magnitude-reversed"."""
    return f"{criterion}-reversed" if reverse else criterion
