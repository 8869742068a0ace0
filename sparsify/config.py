"""Config: every setting that can change a result, each defined once; and Places: the device and the folders."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypedDict, Unpack

from cyclopts import Parameter, Token

from sparsify.data.registry import AUGMENTATIONS, DATASETS, FOLDER
from sparsify.errors import IgnoredOption, SparsifyError, quoted, shown, unknown
from sparsify.files import last_parts, sanitise, short_sum
from sparsify.limits import BATCH_SIZE, EPOCHS, EPOCHS_AFTER, SEED, checked_characters, checked_text
from sparsify.nets.registry import NAMES, is_network
from sparsify.optim.registry import OPTIMIZERS, taken
from sparsify.optim.schedules import SCHEDULES
from sparsify.text import called

# Raised by hand whenever a default or the maths changes, so that old runs are not taken for new ones.
NUMERICS = 1

ADDED = ("augment", "mask", "mask_from", "strength", "delta", "density", "structure")
"""Fields that config.json lacks in older runs, which were trained with the default of each."""

PRECISIONS = ("exact", "fast")
STRUCTURES = ("grains", "bn-scale")
OPTIONS = ("momentum", "weight_decay", "kappa", "mu", "path_scale", "strength", "delta", "density")


def _whole(_type: type, tokens: Sequence[Token]) -> int:
    text = tokens[0].value
    try:
        return int(text)
    except ValueError as error:  # Python reads no whole number of thousands of digits, either
        reason = "has too many digits" if text.strip().lstrip("+-").isdecimal() else "is no whole number"
        raise ValueError(f"{shown(text)} {reason}") from error


Whole = Annotated[int, Parameter(converter=_whole)]
"""An int that the command line does not round: it refuses 1.5 epochs."""


def _option(name: str, text: str) -> dict[str, str]:
    """Return the metadata of an option: its help, with its default for each optimizer that takes it."""
    defaults = (f"{opt} {spec.defaults[name]:g}" for opt, spec in OPTIMIZERS.items() if name in spec.defaults)
    return {"help": f"{text} [default: {', '.join(defaults)}]"}


def _choices(names: Iterable[str]) -> str:
    return ", ".join(names)


@dataclass(frozen=True, kw_only=True, repr=False)
class Config:
    """Every setting that can change the result of a training.

    An option that is None takes the optimizer's default. Raises SparsifyError for a value that is out of range, for an
    unknown name, and (as IgnoredOption) for an option that the optimizer ignores.

    >>> sparsify.Config(data="digits", opt="sgd", epochs=5)
    Config(model='lenet', data='digits', opt='sgd', epochs=5)
    """

    model: str = dataclasses.field(default="lenet", metadata={"help": f"network: {_choices(NAMES)}"})
    data: str = dataclasses.field(
        default="auto",
        metadata={
            "help": f"data set: {_choices(DATASETS)}, folder:PATH; auto is mnist, or digits where that is not available"
        },
    )
    opt: str = dataclasses.field(default="slbi", metadata={"help": f"optimizer: {_choices(OPTIMIZERS)}"})
    epochs: Whole = dataclasses.field(default=20, metadata={"help": "passes over the training images"})
    batch_size: Whole = dataclasses.field(default=128, metadata={"help": "images a step"})
    lr: float | None = dataclasses.field(default=None, metadata=_option("lr", "learning rate α"))
    momentum: float | None = dataclasses.field(default=None, metadata=_option("momentum", "momentum m"))
    weight_decay: float | None = dataclasses.field(
        default=None,
        metadata=_option(
            "weight_decay",
            "weight decay of weights of two or more dimensions: through the momentum, or decoupled as AdamW's "
            "(slbi-adam, adabreg)",
        ),
    )
    kappa: float | None = dataclasses.field(default=None, metadata=_option("kappa", "κ of DessiLBI: W moves at α·κ"))
    mu: float | None = dataclasses.field(
        default=None,
        metadata=_option("mu", "ν of the papers: the coupling of W and Γ has strength 1/μ"),
    )
    path_scale: float | None = dataclasses.field(
        default=None, metadata=_option("path_scale", "rate of the path over the learning rate, α_p/α")
    )
    strength: float | None = dataclasses.field(
        default=None, metadata=_option("strength", "λ, the strength of the penalty on filters and weights")
    )
    delta: float | None = dataclasses.field(
        default=None, metadata=_option("delta", "δ of the elastic net: W = δ·prox(v), and moves at α·δ")
    )
    density: float | None = dataclasses.field(
        default=None,
        metadata=_option("density", "fraction of the filters and weights of each layer that do not start at 0"),
    )
    structure: str = dataclasses.field(
        default="grains",
        metadata={
            "help": "what DessiLBI selects: grains (filters, weights), bn-scale (BatchNorm's scales for filters)"
        },
    )
    schedule: str = dataclasses.field(
        default="cosine", metadata={"help": f"learning rate over time: {_choices(SCHEDULES)}"}
    )
    augment: str = dataclasses.field(
        default="none", metadata={"help": f"what is done to the training images at random: {_choices(AUGMENTATIONS)}"}
    )
    seed: Whole = dataclasses.field(default=0, metadata={"help": "seed of the initialisation and the order of images"})
    val: float = dataclasses.field(
        default=0.0,
        metadata={"help": "fraction of the training images held out; the test images are then never looked at"},
    )
    init: str | None = dataclasses.field(default=None, metadata={"help": "start from this run's weights"})
    mask: str | None = dataclasses.field(
        default=None, metadata={"help": "train under this mask, a file of `ticket`: what it removes stays 0"}
    )
    mask_from: Whole = dataclasses.field(default=0, metadata={"help": "epochs trained before the mask applies"})
    precision: str = dataclasses.field(
        default="exact",
        metadata={"help": "exact (float32, deterministic) or fast (bfloat16 where it is safe)"},
    )

    def __post_init__(self) -> None:
        if not isinstance(self.model, str) or not is_network(self.model):
            raise unknown("network", self.model, NAMES)
        for kind, name, choices in (
            ("optimizer", self.opt, OPTIMIZERS),
            ("structure", self.structure, STRUCTURES),
            ("schedule", self.schedule, SCHEDULES),
            ("augmentation", self.augment, AUGMENTATIONS),
            ("precision", self.precision, PRECISIONS),
        ):
            if not isinstance(name, str) or name not in choices:
                raise unknown(kind, name, choices)
        for name, what in (("init", "the folder or the name of a run"), ("mask", "the file of a mask")):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, str) and value):
                raise SparsifyError(f"{_flag(name)} is {quoted(value)}; it must be {what}")
        for name in ("model", "data", "init", "mask"):
            if isinstance(getattr(self, name), str):
                checked_text(_flag(name), getattr(self, name))
        self._resolve_data()
        self._resolve_options()
        for name, limit in (
            ("epochs", EPOCHS),
            ("batch_size", BATCH_SIZE),
            ("mask_from", EPOCHS_AFTER),
            ("seed", SEED),
        ):
            limit.check(_flag(name), getattr(self, name))
        if self.mask_from and self.mask is None:
            raise SparsifyError(f"--mask-from {self.mask_from} has no effect without --mask")
        if self.mask_from >= self.epochs:
            raise SparsifyError(f"--mask-from is {self.mask_from}; it must be below --epochs {self.epochs}")
        if not 0 <= _number("val", self.val) < 1:
            raise SparsifyError(f"--val is {self.val}; it must be a fraction of at least 0 and below 1")
        object.__setattr__(self, "val", _number("val", self.val))

    def __repr__(self) -> str:
        return called(self, Config(opt=self.opt), always=("model", "data", "opt"))

    def _resolve_data(self) -> None:
        if isinstance(self.data, str) and self.data.startswith(FOLDER):
            path = self.data.removeprefix(FOLDER)
            if not path:
                raise SparsifyError(f"--data is {self.data!r}; folder: needs a path, as in folder:photos")
            there = os.path.realpath(os.path.expanduser(path))  # a link may lead to a name that is no UTF-8
            object.__setattr__(self, "data", FOLDER + checked_characters("the folder of --data", there))
        elif not isinstance(self.data, str) or self.data not in ("auto", *DATASETS):
            raise unknown("data set", self.data, [*DATASETS, "folder:PATH"])

    def _resolve_options(self) -> None:
        defaults = OPTIMIZERS[self.opt].defaults
        if self.structure != STRUCTURES[0] and "mu" not in defaults:
            raise self._ignored("structure", "mu")
        if self.init is not None and "density" in defaults and self.density in (None, defaults["density"]):
            object.__setattr__(self, "density", 1.0)  # another run's weights are taken as they are
        for name in ("lr", *OPTIONS):
            value = getattr(self, name)
            if value is None:
                object.__setattr__(self, name, defaults.get(name))
                continue
            if name not in defaults:
                raise self._ignored(name, name)
            object.__setattr__(self, name, _number(name, value))
        for name in ("lr", "kappa", "mu", "path_scale", "delta"):
            value = getattr(self, name)
            if value is not None and not 1e-30 <= value <= 1e30:
                raise SparsifyError(f"{_flag(name)} is {value:g}; it must be above 0, from 1e-30 to 1e30")
        for name in ("momentum", "weight_decay", "strength"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1e30:
                raise SparsifyError(f"{_flag(name)} is {value:g}; it must be at least 0, and at most 1e30")
        rate = taken(self.lr)
        if self.mu is not None and not 1e-30 < rate * taken(self.kappa) * taken(self.path_scale) / self.mu < 1e30:
            raise SparsifyError(
                f"--lr {self.lr:g}, --kappa {self.kappa:g}, --path-scale {self.path_scale:g} and --mu {self.mu:g} "
                "together move the weights by what 32-bit numbers cannot hold"
            )
        if self.delta is not None and not 1e-30 < rate * self.delta < 1e30:
            raise SparsifyError(
                f"--lr {self.lr:g} and --delta {self.delta:g} together move the weights by what 32-bit numbers cannot "
                "hold"
            )
        if self.momentum is not None and self.momentum >= 1:
            raise SparsifyError(f"--momentum is {self.momentum:g}; it must be below 1")
        if self.density is not None and not 0 < self.density <= 1:
            raise SparsifyError(f"--density is {self.density:g}; it must be a fraction above 0 and at most 1")
        if self.density is not None and self.density < 1 and self.init is not None:
            raise SparsifyError(
                f"--density {self.density:g} has no effect with --init: the run's weights are taken as they are"
            )

    def _ignored(self, name: str, option: str) -> SparsifyError:
        """Return the error for a field that only the optimizers with this option use; it lists them."""
        takers = _choices(opt for opt, spec in OPTIMIZERS.items() if option in spec.defaults)
        value = getattr(self, name)
        reason = f"has no effect with --opt {self.opt}; it is an option of: {takers}"
        return IgnoredOption(f"{_flag(name)} {shown(value)} {reason}")

    def digest(self) -> str:
        """Return 8 hex digits that identify the optimizer, the fields that differ from its defaults, and NUMERICS.

        >>> len(sparsify.Config().digest())
        8
        """
        defaults = Config(opt=self.opt).to_dict()
        changed = {name: value for name, value in self.to_dict().items() if value != defaults[name]}
        text = json.dumps({"opt": self.opt, "numerics": NUMERICS, **changed}, sort_keys=True)
        return short_sum(text)

    @property
    def data_name(self) -> str:
        """The data set's name as it appears in a run's name: `folder:/a/My Photos` is `folder-my-photos`.

        >>> sparsify.Config(data="folder:/a/My Photos").data_name
        'folder-my-photos'
        """
        if not self.data.startswith(FOLDER):
            return self.data
        return "folder-" + sanitise(Path(self.data.removeprefix(FOLDER)).name)

    @property
    def name(self) -> str:
        """The name of the run's folder: `<net>-<data>-<opt>-s<seed>-<digest>`.

        >>> sparsify.Config(data="digits", opt="sgd", seed=3).name
        'lenet-digits-sgd-s3-...'
        """
        return f"{sanitise(self.model)}-{self.data_name}-{sanitise(self.opt)}-s{self.seed}-{self.digest()}"

    def to_dict(self) -> dict[str, object]:
        """Return the value of every field by its name, defaults included.

        >>> sparsify.Config().to_dict()["batch_size"]
        128
        """
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Config:
        """The inverse of `to_dict`; an unknown key or a value out of range raises SparsifyError.

        >>> sparsify.Config.from_dict({"data": "digits", "epochs": 5})
        Config(model='lenet', data='digits', opt='slbi', epochs=5)
        """
        names = [field.name for field in dataclasses.fields(cls)]
        for key in values:
            if key not in names:
                raise unknown("setting", key, names)
        return cls(**values)


def without_place(name: str, value: object) -> object:
    """Return the value of a setting as files and reports show it: of a path its end, and the sum after an "@".

    That is the name of a folder of images, the run's folder in `init`, and in `mask` the file with its folder.
    """
    if name == "data" and isinstance(value, str) and value.startswith(FOLDER):
        return FOLDER + last_parts(value.removeprefix(FOLDER))
    if name in ("init", "mask") and isinstance(value, str):
        return last_parts(value, 1 if name == "init" else 2)
    return value


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _number(name: str, value: object) -> float:
    try:
        number = float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise SparsifyError(f"{_flag(name)} is {shown(value)}; it must be a finite number")
    return number + 0.0  # -0.0 becomes 0.0


class PlaceOptions(TypedDict, total=False):
    """The keywords of `Places`, for functions that accept them instead of a `Places`."""

    device: str
    runs_dir: Path | str
    data_dir: Path | str | None


@dataclass(frozen=True, kw_only=True)
class Places:
    """The device that computes, the folder of runs, and a folder that is searched for data sets first.

    >>> places = sparsify.Places(device="cpu", runs_dir="runs")
    >>> sparsify.train(run.config, places) == run
    True
    """

    device: Annotated[str, Parameter(help="auto (CUDA, then MPS, then the CPU), cpu, cuda[:N] or mps")] = "auto"
    runs_dir: Annotated[Path, Parameter(help="the folder of runs")] = Path("runs")
    data_dir: Annotated[Path | None, Parameter(help="a folder that is searched for data sets first")] = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "runs_dir", Path(self.runs_dir))
        if self.data_dir is not None:
            object.__setattr__(self, "data_dir", Path(self.data_dir))

    @classmethod
    def of(cls, places: Places | None, **named: Unpack[PlaceOptions]) -> Places:
        """Return `places`, or else the Places with these keywords. Raises SparsifyError if both are given.

        >>> sparsify.Places.of(None, device="cpu").device
        'cpu'
        """
        if places is not None and named:
            raise SparsifyError(f"{', '.join(named)} and places exclude each other; name one or the other")
        return cls(**named) if places is None else places  # type: ignore[arg-type]  # it makes paths of texts


HERE = Places()
