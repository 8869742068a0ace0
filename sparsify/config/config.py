"""Config: every setting that can change a result of a training, each defined once."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparsify.config.fields import (
    PRECISIONS,
    RECORDS,
    OwnOptions,
    Switch,
    Whole,
    WholeOrNone,
    check_pretrained,
    check_smoothing,
    check_switch,
    choices,
    finite,
    flag,
    fraction,
    option,
    own_options,
    records,
)
from sparsify.data.places import absolute
from sparsify.data.registry import (
    AUGMENTATIONS,
    DATASETS,
    FOLDER,
    UNCHANGED,
    augmentation_text,
    named_augmentations,
)
from sparsify.errors import IgnoredOption, SparsifyError, quoted, shown, unknown
from sparsify.files import sanitise, short_sum
from sparsify.limits import BATCH_SIZE, EPOCHS, EPOCHS_AFTER, PIXELS, SEED, checked_characters, checked_text
from sparsify.nets.losses import CROSS_ENTROPY, LOSSES
from sparsify.nets.registry import NAMES, is_network, network_spec
from sparsify.optim.registry import OPTIMIZERS
from sparsify.optim.schedules import SCHEDULES
from sparsify.optim.spec import STRUCTURES, taken
from sparsify.settings import Setting, as_text
from sparsify.text import called

# Raised by hand whenever a default or the maths changes, so that old runs are not taken for new ones.
NUMERICS = 1

OWN_OPTIONS = ("net", "opt_options", "schedule_options", "decay_schedule_options")
"""Fields that hold the options of one network, optimizer or schedule, as one text."""

OPTIONS = ("momentum", "weight_decay", "kappa", "mu", "path_scale", "strength", "delta", "density")


@dataclass(frozen=True, kw_only=True, repr=False)
class Config:
    """Every setting that can change the result of a training.

    An option that is None takes the optimizer's default. Raises SparsifyError for a value that is out of range, for an
    unknown name, and (as IgnoredOption) for an option that the optimizer ignores.

    >>> sparsify.Config(data="digits", opt="sgd", epochs=5)
    Config(model='lenet', data='digits', opt='sgd', epochs=5)
    """

    model: str = dataclasses.field(default="lenet", metadata={"help": f"network: {choices(NAMES)}"})
    net: OwnOptions = dataclasses.field(default="", metadata=own_options("the network"))
    data: str = dataclasses.field(
        default="auto",
        metadata={
            "help": f"data set: {choices(DATASETS)}, folder:PATH; auto is mnist, or digits where that is not available"
        },
    )
    resize: WholeOrNone = dataclasses.field(
        default=None, metadata={"help": "pixels in height and width to which all images are resized when they are read"}
    )
    normalise: bool = dataclasses.field(
        default=True,
        metadata={"help": "images have mean 0 and deviation 1 in each channel; if not, pixels are from 0 to 1"},
    )
    opt: str = dataclasses.field(default="slbi", metadata={"help": f"optimizer: {choices(OPTIMIZERS)}"})
    opt_options: OwnOptions = dataclasses.field(default="", metadata=own_options("the optimizer"))
    epochs: Whole = dataclasses.field(default=20, metadata={"help": "passes over the training images"})
    batch_size: Whole = dataclasses.field(default=128, metadata={"help": "images a step"})
    lr: float | None = dataclasses.field(
        default=None, metadata=option("lr", "learning rate α; of rprop only the first step size")
    )
    momentum: float | None = dataclasses.field(default=None, metadata=option("momentum", "momentum m"))
    weight_decay: float | None = dataclasses.field(
        default=None,
        metadata=option(
            "weight_decay",
            "weight decay of weights of two or more dimensions: of the gradient (L2), or decoupled (adamw, adafactor, "
            "slbi-adam, adabreg)",
        ),
    )
    kappa: float | None = dataclasses.field(default=None, metadata=option("kappa", "κ of DessiLBI: W moves at α·κ"))
    mu: float | None = dataclasses.field(
        default=None,
        metadata=option("mu", "ν of the papers: the coupling of W and Γ has strength 1/μ"),
    )
    path_scale: float | None = dataclasses.field(
        default=None, metadata=option("path_scale", "rate of the path over the learning rate, α_p/α")
    )
    strength: float | None = dataclasses.field(
        default=None, metadata=option("strength", "λ, the strength of the penalty on filters and weights")
    )
    delta: float | None = dataclasses.field(
        default=None, metadata=option("delta", "δ of the elastic net: W = δ·prox(v), and moves at α·δ")
    )
    density: float | None = dataclasses.field(
        default=None,
        metadata=option("density", "fraction of the filters and weights of each layer that do not start at 0"),
    )
    structure: str = dataclasses.field(
        default="grains",
        metadata={
            "help": "what is selected: grains (filters, weights), bn-scale (BatchNorm's scales for filters), kernels"
        },
    )
    schedule: str = dataclasses.field(
        default="cosine", metadata={"help": f"learning rate over time: {choices(SCHEDULES)}"}
    )
    schedule_options: OwnOptions = dataclasses.field(default="", metadata=own_options("the schedule"))
    decay_schedule: str = dataclasses.field(
        default="constant",
        metadata={"help": "factor of the weight decay in each epoch: a schedule, as of the learning rate"},
    )
    decay_schedule_options: OwnOptions = dataclasses.field(default="", metadata=own_options("the decay schedule"))
    augment: str = dataclasses.field(
        default=UNCHANGED,
        metadata={
            "help": f"what is done to the training images at random: {UNCHANGED}, or names joined by +, each also with "
            f"the probability that it changes an image, as in mirror+crop+autoaugment:0.6: {choices(AUGMENTATIONS)}"
        },
    )
    loss: str = dataclasses.field(
        default=CROSS_ENTROPY, metadata={"help": "cross-entropy, or nll for a network that gives log-probabilities"}
    )
    label_smoothing: float = dataclasses.field(
        default=0.0,
        metadata={"help": "part of each label that is spread over all classes in training; evaluation is without"},
    )
    seed: Whole = dataclasses.field(default=0, metadata={"help": "seed of the initialisation and the order of images"})
    val: float = dataclasses.field(
        default=0.0,
        metadata={"help": "fraction of the training images held out; the test images are then never looked at"},
    )
    init: str | None = dataclasses.field(default=None, metadata={"help": "start from this run's weights"})
    pretrained: Switch = dataclasses.field(
        default=False,
        metadata={"help": "start from weights trained on ImageNet, but for the last layer; of torchvision's networks"},
    )
    mask: str | None = dataclasses.field(
        default=None, metadata={"help": "train under this mask, a file of `ticket`: what it removes stays 0"}
    )
    release: str | None = dataclasses.field(
        default=None, metadata={"help": "the run with DessiLBI whose grains random-release lets go at random"}
    )
    mask_from: Whole = dataclasses.field(default=0, metadata={"help": "epochs trained before the mask applies"})
    precision: str = dataclasses.field(
        default="exact",
        metadata={"help": "exact (float32, deterministic) or fast (bfloat16 where it is safe)"},
    )

    record: str = dataclasses.field(
        default="",
        metadata={"help": f"what is recorded of the training besides, with commas between: {choices(RECORDS)}"},
    )

    def __post_init__(self) -> None:
        if not isinstance(self.model, str) or not is_network(self.model):
            raise unknown("network", self.model, NAMES)
        for kind, name, known in (
            ("optimizer", self.opt, OPTIMIZERS),
            ("structure", self.structure, STRUCTURES),
            ("schedule", self.schedule, SCHEDULES),
            ("decay schedule", self.decay_schedule, SCHEDULES),
            ("loss", self.loss, LOSSES),
            ("precision", self.precision, PRECISIONS),
        ):
            if not isinstance(name, str) or name not in known:
                raise unknown(kind, name, known)
        run = "the folder or the name of a run"
        for name, what in (("init", run), ("mask", "the file of a mask"), ("release", run)):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, str) and value):
                raise SparsifyError(f"{flag(name)} is {quoted(value)}; it must be {what}")
        for name in ("model", "data", "init", "mask", "release"):
            if isinstance(getattr(self, name), str):
                checked_text(flag(name), getattr(self, name))
        object.__setattr__(self, "record", records(self.record))
        self._resolve_own("net", self.model, lambda: network_spec(self.model).settings)
        self._resolve_own("opt_options", self.opt, OPTIMIZERS[self.opt].settings)
        self._resolve_own("schedule_options", self.schedule, SCHEDULES[self.schedule].settings)
        self._resolve_own("decay_schedule_options", self.decay_schedule, SCHEDULES[self.decay_schedule].settings)
        self._resolve_data()
        object.__setattr__(self, "augment", augmentation_text(named_augmentations(self.augment)))
        for name in ("normalise", "pretrained"):
            check_switch(name, getattr(self, name))
        if self.pretrained:
            check_pretrained(self.model, network_spec(self.model), self.init)
        self._resolve_options()
        if self.release is not None and not OPTIMIZERS[self.opt].follows:
            takers = choices(opt for opt, spec in OPTIMIZERS.items() if spec.follows)
            raise IgnoredOption(f"--release {self.release} has no effect with --opt {self.opt}; it is of: {takers}")
        if self.opt_options:
            OPTIMIZERS[self.opt].check(self)
        limits = {"epochs": EPOCHS, "batch_size": BATCH_SIZE, "mask_from": EPOCHS_AFTER, "seed": SEED}
        for name, limit in limits.items():
            limit.check(flag(name), getattr(self, name))
        if self.mask_from and self.mask is None:
            raise SparsifyError(f"--mask-from {self.mask_from} has no effect without --mask")
        if self.mask_from >= self.epochs:
            raise SparsifyError(f"--mask-from is {self.mask_from}; it must be below --epochs {self.epochs}")
        if self.resize is not None:
            PIXELS.check("--resize", self.resize)
        for name in ("val", "label_smoothing"):
            object.__setattr__(self, name, fraction(name, getattr(self, name)))
        check_smoothing(self.label_smoothing, self.loss)

    def __repr__(self) -> str:
        return called(self, Config(opt=self.opt), always=("model", "data", "opt"))

    def _resolve_own(self, name: str, of: str, settings: Callable[[], Mapping[str, Setting]]) -> None:
        """Replace options that are given by what is not at its default, as one text."""
        given = getattr(self, name)
        if given != "":
            object.__setattr__(self, name, as_text(flag(name), of, given, settings()))

    def _resolve_data(self) -> None:
        if isinstance(self.data, str) and self.data.startswith(FOLDER):
            path = self.data.removeprefix(FOLDER)
            if not path:
                raise SparsifyError(f"--data is {self.data!r}; folder: needs a path, as in folder:photos")
            there = str(absolute(path))  # a link may lead to a name that is no UTF-8
            object.__setattr__(self, "data", FOLDER + checked_characters("the folder of --data", there))
        elif not isinstance(self.data, str) or self.data not in ("auto", *DATASETS):
            raise unknown("data set", self.data, [*DATASETS, "folder:PATH"])

    def _resolve_options(self) -> None:
        defaults = OPTIMIZERS[self.opt].defaults
        if self.structure not in OPTIMIZERS[self.opt].structures:
            raise self._ignored("structure", self.structure)
        if self.decay_schedule != "constant" and "weight_decay" not in defaults:
            raise self._ignored("decay_schedule", "weight_decay")
        trained = self.pretrained or self.init is not None
        if trained and "density" in defaults and self.density in (None, defaults["density"]):
            object.__setattr__(self, "density", 1.0)  # trained weights are taken as they are
        for name in ("lr", *OPTIONS):
            value = getattr(self, name)
            if value is None:
                object.__setattr__(self, name, defaults.get(name))
                continue
            if name not in defaults:
                raise self._ignored(name, name)
            object.__setattr__(self, name, finite(name, value))
        for name in ("lr", "kappa", "mu", "path_scale", "delta"):
            value = getattr(self, name)
            if value is not None and not 1e-30 <= value <= 1e30:
                raise SparsifyError(f"{flag(name)} is {value:g}; it must be above 0, from 1e-30 to 1e30")
        for name in ("momentum", "weight_decay", "strength"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1e30:
                raise SparsifyError(f"{flag(name)} is {value:g}; it must be at least 0, and at most 1e30")
        if self.decay_schedule != "constant" and not self.weight_decay:
            raise SparsifyError(f"--decay-schedule {self.decay_schedule} has no effect with --weight-decay 0")
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
        if self.density is not None and self.density < 1 and trained:
            given = "--pretrained: the weights" if self.pretrained else "--init: the run's weights"
            raise SparsifyError(f"--density {self.density:g} has no effect with {given} are taken as they are")

    def _ignored(self, name: str, option: str) -> SparsifyError:
        """Return the error for a field that only the optimizers with this option use; it lists them."""
        takers = choices(opt for opt, spec in OPTIMIZERS.items() if option in {*spec.defaults, *spec.structures})
        value = getattr(self, name)
        reason = f"has no effect with --opt {self.opt}; it is an option of: {takers}"
        return IgnoredOption(f"{flag(name)} {shown(value)} {reason}")

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
