"""SweepPlan: the layers and ratios of a sweep, and how grains are removed; and PointPlan: the same for one point."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, TypedDict, Unpack

from cyclopts import Parameter

from sparsify.config import Whole
from sparsify.errors import SparsifyError, quoted, unknown
from sparsify.files import short_sum
from sparsify.limits import DRAWS, EPOCHS_AFTER, MOST_NETWORKS, ROUNDS, at_most, check_keywords, checked_sets
from sparsify.nets.registry import GRAINS
from sparsify.pruning.criteria import CRITERIA, NAMED, ordered
from sparsify.pruning.ratios import RATIOS, SUPPORT, as_text, parse_ratios, usual_ratios, without_support
from sparsify.text import called

SCOPES = ("layer", "global")
FLAGS = {"finetune_epochs": "finetune", "support": "ratios support"}
"""The flags of the command line that do not bear the name of the plan's field."""

CONTROL_DRAWS = 5
"""The number of draws of "random" as a control."""


class PointOptions(TypedDict, total=False):
    """The keywords of a `PointPlan`, for functions that accept them instead of a plan."""

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
    """The keywords of a `SweepPlan`, for functions that accept them instead of a plan."""

    layers: str | Sequence[str]
    ratios: str | Sequence[float | str]
    criterion: str
    grain: str
    scope: str
    reverse: bool
    controls: bool
    draws: int | None
    recalibrate_bn: bool
    finetune_epochs: int
    rounds: int


@dataclass(frozen=True, kw_only=True, repr=False)
class PointPlan:
    """One point of a sweep: one set of layers, also as a list of names, and one ratio; else as `SweepPlan`.

    >>> sparsify.PointPlan(layers="conv3,fc1", ratio=0.6)
    PointPlan(layers='conv3,fc1', ratio=0.6)
    """

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
        names: object = self.layers
        if isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names):
            object.__setattr__(self, "layers", ",".join(names))
        ratios = self.sweep().ratios
        if len(ratios) > 1:
            raise SparsifyError(f"ratio is {quoted(self.ratio)}; it must be one number")
        object.__setattr__(self, "ratio", ratios[0])

    def __repr__(self) -> str:
        return called(self, PointPlan(layers="", ratio=0), always=("layers", "ratio"))

    @classmethod
    def of(cls, plan: PointPlan | None, **named: Unpack[PointOptions]) -> PointPlan:
        """Return `plan`, or else the plan with these keywords. Raises SparsifyError for both, and for an unknown one.

        >>> sparsify.PointPlan.of(None, layers="conv3", ratio=0.5)
        PointPlan(layers='conv3', ratio=0.5)
        """
        check_keywords(plan, named, PointOptions.__annotations__)
        return cls(**named) if plan is None else plan

    @property
    def trained_between(self) -> bool:
        """Whether the network is trained between rounds, so that the removed grains depend on that training.

        >>> sparsify.PointPlan(layers="conv3", ratio=0.5, rounds=3, finetune_epochs=1).trained_between
        True
        """
        return self.rounds > 1 and self.finetune_epochs > 0

    def sweep(self, *, controls: bool = False) -> SweepPlan:
        """Return the sweep of this point alone, with one draw.

        >>> sparsify.PointPlan(layers="conv3", ratio=0.5).sweep()
        SweepPlan(layers=('conv3',), ratios=(0.5,), draws=1)
        """
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


@dataclass(frozen=True, kw_only=True, repr=False)
class SweepPlan:
    """One sweep: which layers are pruned, by which ratios, and how.

    - `layers`: the sets of layers; "conv3,fc1" is one set, ("conv3", "conv3,fc1") are two.
    - `ratios`: the fractions that are removed, as `parse_ratios` takes them. "support" among them, or alone beside 0,
      sets `support`: the network without all grains that its run has not selected (`in_support`) is measured, too.
    - `criterion`, `scope`, `reverse`: which grains are removed first (see `Ranking`).
    - `grain`: what is removed as a unit: filters, neurons, single weights, or heads of attention.
    - `controls`: also measure "random" and the opposite order, each with as many grains of each layer.
    - `draws`: how often "random" is drawn; if None, once, or five times as a control.
    - `recalibrate_bn`: also measure each point with BatchNorm's statistics re-estimated on 5,000 training images that
      are augmented as in the training.
    - `finetune_epochs`: also measure each point after so many epochs of training under its mask (see `Recipe`).
    - `rounds`: in how many rounds the grains of a point are removed (see `cuts_in_rounds`), with `finetune_epochs`
      after each. `accuracy` is measured after the last round, before the epochs that follow it.

    Raises SparsifyError for an unknown name, and for a value that is out of range.

    >>> sparsify.SweepPlan(layers=("conv3", "conv3,fc1"), ratios="0:0.6:0.3", controls=True)
    SweepPlan(layers=('conv3', 'conv3,fc1'), ratios=(0.0, 0.3, 0.6), controls=True)
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
            help="start:stop:step, stop included, or a list as in 0,0.3,0.6,support: what Γ has not selected goes",
            converter=as_text,
            n_tokens=1,
            metavar="STR",
            show_default=usual_ratios,
            negative=(),
        ),
    ] = parse_ratios(RATIOS)
    criterion: Annotated[str, Parameter(help=f"what goes first: {NAMED}")] = "magnitude"
    grain: Annotated[str, Parameter(help="auto (filters, single weights of fc), filter, neuron, weight, head")] = "auto"
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
    support: Annotated[bool, Parameter(parse=False)] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", checked_sets(self.layers))
        ratios, support = without_support(self.ratios)
        object.__setattr__(self, "ratios", parse_ratios(ratios))
        object.__setattr__(self, "support", support or self.support)
        for kind, name, choices in (
            ("criterion", self.criterion, CRITERIA),
            ("grain", self.grain, GRAINS),
            ("scope", self.scope, SCOPES),
        ):
            if not isinstance(name, str) or name not in choices:
                raise unknown(kind, name, choices)
        self._check_draws()
        EPOCHS_AFTER.check("--finetune", self.finetune_epochs)
        ROUNDS.check("--rounds", self.rounds)
        at_most(self.networks, MOST_NETWORKS, "pruned networks (sets of layers × ratios × draws)")
        if self.support and self.rounds > 1:
            raise SparsifyError(
                f"--ratios support with --rounds {self.rounds}: the support goes at once; leave one out"
            )
        if self.rounds > 1 and self.controls and self.scope == "global":
            reason = "how many grains of a layer go in a round is not known to the controls"
            raise SparsifyError(
                f"--controls with --rounds {self.rounds} and --scope global: {reason}; take --scope layer"
            )

    def __repr__(self) -> str:
        return called(self, SweepPlan(), always=("layers", "ratios"))

    def _check_draws(self) -> None:
        if self.controls and self.criterion == "random":
            raise SparsifyError("--controls with random: it is a control itself; take another criterion, or --draws")
        if self.draws is None:
            return
        DRAWS.check("--draws", self.draws)
        if self.draws > 1 and self.criterion != "random" and not self.controls:
            raise SparsifyError(f"--draws is {self.draws}; only random has draws, {self.criterion} has one result")

    @classmethod
    def of(cls, plan: SweepPlan | None, **named: Unpack[SweepOptions]) -> SweepPlan:
        """Return `plan`, or else the plan with these keywords. Raises SparsifyError for both, and for an unknown one.

        >>> sparsify.SweepPlan.of(None, layers="conv3", ratios=(0, 0.5))
        SweepPlan(layers=('conv3',), ratios=(0.0, 0.5))
        """
        check_keywords(plan, named, SweepOptions.__annotations__)
        return cls(**named) if plan is None else plan  # type: ignore[arg-type]  # it makes tuples of texts and sequences

    @property
    def order(self) -> str:
        """The name of the order: "magnitude", or "magnitude-reversed" if it is reversed.

        >>> sparsify.SweepPlan(layers="conv3", criterion="l1", reverse=True).order
        'l1-reversed'
        """
        return ordered(self.criterion, reverse=self.reverse)

    @property
    def control_orders(self) -> tuple[str, ...]:
        """The orders that are measured as controls: "random" and the opposite of `order`; () without `controls`.

        >>> sparsify.SweepPlan(layers="conv3", controls=True).control_orders
        ('random', 'magnitude-reversed')
        """
        return ("random", ordered(self.criterion, reverse=not self.reverse)) if self.controls else ()

    @property
    def name(self) -> str:
        """The order, rounds and scope in words: "magnitude in 3 rounds, layers together".

        >>> sparsify.SweepPlan(layers="conv3,fc1", rounds=3, scope="global").name
        'magnitude in 3 rounds, layers together'
        """
        rounds = f" in {self.rounds} rounds" if self.rounds > 1 else ""
        together = ", layers together" if self.scope == "global" else ""
        return self.order + rounds + together

    @property
    def drawn(self) -> int:
        """The number of draws of "random".

        >>> sparsify.SweepPlan(layers="conv3", controls=True).drawn
        5
        """
        if self.draws is not None:
            return self.draws
        return CONTROL_DRAWS if self.controls else 1

    @property
    def trained_between(self) -> bool:
        """Whether the network is trained between rounds: the accuracy at ratio 0 then includes that training, too.

        >>> sparsify.SweepPlan(layers="conv3", rounds=3, finetune_epochs=1).trained_between
        True
        """
        return self.rounds > 1 and self.finetune_epochs > 0

    @property
    def points(self) -> tuple[PointPlan, ...]:
        """Every ratio of every set, as one `PointPlan` each, without draws and controls.

        >>> sparsify.SweepPlan(layers="conv3", ratios=(0, 0.5)).points
        (PointPlan(layers='conv3', ratio=0.0), PointPlan(layers='conv3', ratio=0.5))
        """
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
        """The number of pruned networks that are measured, draws and controls included.

        >>> sparsify.SweepPlan(layers="conv3", ratios=(0, 0.5), controls=True).networks  # 2 × (1 + 5 draws + 1)
        14
        """
        each = self.drawn + 2 if self.controls else self.drawn
        return len(self.layers) * (len(self.ratios) * each + self.support)

    @property
    def id(self) -> str:
        """8 hex digits that identify the plan; `layers` must be the sets by their layers' names, as `on` gives them.

        >>> sparsify.SweepPlan(layers="conv3", ratios=(0, 0.5)).id
        '51392732'
        """
        asked = [self.order, self.grain, self.scope, list(self.layers), list(self.ratios), self.drawn]
        if self.recalibrate_bn:
            asked.append("recalibrate-bn")
        if self.controls:
            asked.append("controls")
        if self.finetune_epochs:
            asked.append(f"finetune-{self.finetune_epochs}")
        if self.rounds > 1:
            asked.append(f"rounds-{self.rounds}")
        if self.support:
            asked.append(SUPPORT)
        return short_sum(json.dumps(asked))

    def on(self, layers: Iterable[str], *, batch_norm: bool) -> SweepPlan:
        """Return the plan for one kind of network: with the sets `layers`; recalibrated only if it has BatchNorm.

        >>> sparsify.SweepPlan(layers="all", ratios=0.5, recalibrate_bn=True).on(["conv1,conv2"], batch_norm=False)
        SweepPlan(layers=('conv1,conv2',), ratios=(0.5,))
        """
        recalibrate = self.recalibrate_bn and batch_norm
        return dataclasses.replace(self, layers=tuple(layers), recalibrate_bn=recalibrate)
