"""The types of the tables of a study's TOML file: they are read by them, and editors get their JSON Schema."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from cyclopts import Parameter
from msgspec import UNSET, Meta, Struct, UnsetType

from sparsify.config import OWN_OPTIONS, PRECISIONS, Config
from sparsify.data.registry import AUGMENTATIONS, DATASETS, FOLDER, UNCHANGED
from sparsify.errors import SparsifyError, unknown
from sparsify.files import KINDS, Misfit
from sparsify.nets.losses import LOSSES
from sparsify.nets.registry import GRAINS, NETS, TORCHVISION
from sparsify.optim.registry import OPTIMIZERS
from sparsify.optim.schedules import SCHEDULES
from sparsify.optim.spec import STRUCTURES
from sparsify.pruning.criteria import CRITERIA
from sparsify.pruning.measures import MEASURES
from sparsify.pruning.plan import SCOPES, SweepPlan
from sparsify.settings import joined
from sparsify.study.design import COMPARED, DRAWINGS, USUAL

Number = int | float
"""A number that keeps its type: if the file says 1, the arm's label says 1, not 1.0."""

OwnOptions = dict[str, bool | Number | str | list[Number]]
"""The options of one network, optimizer or schedule by their names; a text "norm=batch,dropout=0.3" says the same."""


def _one_of(names: Any, begin: str = "") -> dict[str, Any]:
    """Return the JSON Schema of one of these names; with `begin`, also of any longer text that begins with it."""
    listed = {"enum": list(names)}
    return {"anyOf": [listed, {"pattern": f"^{begin}."}]} if begin else listed


_AUGMENTATION = f"({'|'.join(AUGMENTATIONS)})(:[0-9.]+)?"

CHOICES = {
    "model": _one_of(NETS, TORCHVISION),
    "data": _one_of(["auto", *DATASETS], FOLDER),
    "opt": _one_of(OPTIMIZERS),
    "structure": _one_of(STRUCTURES),
    "schedule": _one_of(SCHEDULES),
    "decay_schedule": _one_of(SCHEDULES),
    "augment": {"pattern": rf"^({UNCHANGED}|{_AUGMENTATION}(\+{_AUGMENTATION})*)$"},
    "loss": _one_of(LOSSES),
    "precision": _one_of(PRECISIONS),
    "criterion": _one_of(CRITERIA),
    "grain": _one_of(GRAINS),
    "scope": _one_of(SCOPES),
    "draw": _one_of(DRAWINGS),
    "compared": _one_of(COMPARED),
    "measure": _one_of(MEASURES),
}
"""The JSON Schema of each field that holds a name. Reading does not check it: the code that uses a name does."""


Criterion = Annotated[str, Meta(extra_json_schema=CHOICES["criterion"])]
Grain = Annotated[str, Meta(extra_json_schema=CHOICES["grain"])]
Drawing = Annotated[str, Meta(extra_json_schema=CHOICES["draw"])]
Compared = Annotated[str, Meta(extra_json_schema=CHOICES["compared"])]
Measured = Annotated[str, Meta(extra_json_schema=CHOICES["measure"])]


def _name(field: str) -> Any:
    """Return the type of a text whose JSON Schema is that of a field in `CHOICES`."""
    return Annotated[str, Meta(extra_json_schema=CHOICES[field])]


def _plain(hint: Any) -> Any:
    """Return the type of a dataclass's field as TOML writes it: without None, and a tuple as one value or a list."""
    kinds = [kind for kind in get_args(hint) if kind is not type(None)]
    if get_origin(hint) is tuple:
        one: Any = Number if kinds[0] is float else kinds[0]
        return _or_list(one)
    if kinds:
        (hint,) = kinds
    return Number if hint is float else hint


def _or_list(kind: Any) -> Any:
    """Return the type of one value or a list of such values."""
    return kind | types.GenericAlias(list, kind)


def _types(of: type) -> dict[str, tuple[Any, str]]:
    """Return, for each field of a dataclass, its type in TOML and its help on the command line."""
    plain, annotated = get_type_hints(of), get_type_hints(of, include_extras=True)
    found = {}
    for field in dataclasses.fields(of):
        notes = [note for note in get_args(annotated[field.name])[1:] if isinstance(note, Parameter)]
        text = field.metadata.get("help") or next((note.help for note in notes if note.help), "")
        kind = _name(field.name) if field.name in CHOICES else _plain(plain[field.name])
        found[field.name] = (str | OwnOptions if field.name in OWN_OPTIONS else kind, text)
    return found


def _optional(name: str, kind: Any, text: str) -> tuple[str, Any, Any]:
    """Return the definition of a key that may be missing."""
    return name, Annotated[kind | UnsetType, Meta(description=text or None)], UNSET


class MaskTable(Struct, forbid_unknown_fields=True):
    """`mask = { … }` of an arm: train under the mask of another arm's run."""

    of: Annotated[str, Meta(description="the label of the arm whose run is pruned")]
    layers: Annotated[str, Meta(description="one set of layers, as in conv3,fc1 or all or conv*")]
    ratio: Annotated[str | Number, Meta(description="the fraction of each layer that goes, from 0 to 1")]
    criterion: Annotated[Criterion | UnsetType, Meta(description="what goes first; else the chosen one")] = UNSET
    grain: Annotated[Grain, Meta(description="what is removed as one")] = "auto"


class PublishedTable(Struct, forbid_unknown_fields=True, rename={"test_accuracy": "test accuracy"}):
    """`published = { … }` of an arm: what a publication reports for it."""

    test_accuracy: Annotated[float, Meta(ge=0, le=1, description="a fraction, as in 0.6481")]
    source: Annotated[str, Meta(min_length=1, description="where it stands")]


class ContrastTable(Struct, forbid_unknown_fields=True):
    """`[[contrasts]]`: what is compared, named before anything is seen."""

    arm: Annotated[str, Meta(description="the label of an arm that is no stage")]
    reference: Annotated[str, Meta(description="the label of the arm that it is compared with")]
    layers: Annotated[str, Meta(description="a set of layers, as a sweep has it")]
    ratio: Annotated[str | Number, Meta(description='a ratio of that sweep, or "support"')]
    compared: Annotated[Compared, Meta(description="the accuracy there, or its change from 0%")] = "change"
    measure: Annotated[Measured, Meta(description="which accuracy: as pruned, recalibrated or fine-tuned")] = "accuracy"
    primary: Annotated[bool, Meta(description="whether Holm's correction is over it; else it is exploratory")] = True
    sweep: Annotated[int | UnsetType, Meta(description="number, from 1; else the first with layers and ratio")] = UNSET


SETTINGS = {name: value for name, value in _types(Config).items() if name != "seed"}
"""The fields of Config that a study can set, each with its type and its help."""

_LISTS = {name: (_or_list(kind), text) for name, (kind, text) in SETTINGS.items()}
_ONES = SETTINGS | {
    "mask": (str | MaskTable, SETTINGS["mask"][1]),
    "record": (_or_list(str), SETTINGS["record"][1]),
}


_ON = "what is compared: accuracy; layers and a ratio, as in conv3,fc1 at 0.6; support of ARM in LAYERS, the nearest"


class SelectKeys(Struct):
    """The keys of [arms.select] that are not settings to choose from."""

    on: Annotated[str, Meta(description=_ON)] = "accuracy"
    criterion: Annotated[Criterion | list[Criterion] | UnsetType, Meta(description="what goes first there")] = UNSET
    val: Annotated[Number, Meta(description="fraction of the training images held out to compare on")] = 0.1
    seeds: Annotated[list[int] | UnsetType, Meta(description="seeds of the trials; else those of the study")] = UNSET


def _table(name: str, keys: Iterable[tuple[str, Any, Any]], *bases: type[Struct]) -> Any:
    """Return the type of a table that has these keys and those of its bases, and refuses others."""
    return msgspec.defstruct(name, list(keys), bases=bases or (Struct,), forbid_unknown_fields=True)


_NOT_CHOSEN = ("model", "data", "val")  # candidates share model and data, and val is a key of [arms.select] itself
_CHOSEN = {name: value for name, value in _LISTS.items() if name not in _NOT_CHOSEN}

if TYPE_CHECKING:  # the settings are only known at run time

    class Base(Struct): ...

    class Grid(Struct): ...

    class Select(SelectKeys): ...

else:
    Base = _table("Base", [_optional(name, *value) for name, value in _ONES.items()])
    Grid = _table("Grid", [_optional(name, *value) for name, value in _LISTS.items()])
    Select = _table("Select", [_optional(name, *value) for name, value in _CHOSEN.items()], SelectKeys)


class ArmKeys(Struct):
    """The keys of an arm that are not settings."""

    label: Annotated[str | UnsetType, Meta(description="the arm's name; else its optimizer")] = UNSET
    stage: Annotated[bool, Meta(description="a step on the way of another arm: trained, neither swept nor shown")] = (
        False
    )
    published: Annotated[
        PublishedTable | UnsetType, Meta(description="what a publication reports for this arm, shown beside it")
    ] = UNSET
    grid: Annotated[Grid | UnsetType, Meta(description="one arm for each combination of these values")] = UNSET
    select: Annotated[
        Select | UnsetType, Meta(description="take the combination that is best on held-out training images")
    ] = UNSET


_SWEEP = {name: value for name, value in _types(SweepPlan).items() if name != "support"}  # that is one of its ratios


def _sweep_key(name: str, kind: Any, text: str) -> tuple[str, Any, Any]:
    ratios = str | Number | list[Number | Literal["support"]]  # "0:0.6:0.1", [0, 0.6, "support"]
    return _optional(name, ratios if name == "ratios" else kind, text)


if TYPE_CHECKING:

    class ArmTable(ArmKeys): ...

    class SweepTable(Struct): ...

else:
    ArmTable = _table("Arm", [_optional(name, *value) for name, value in _ONES.items()], ArmKeys)
    of = ("arms", list[str] | str, "the arms that it is of; else all that are shown")
    SweepTable = _table("Sweep", [*(_sweep_key(name, *value) for name, value in _SWEEP.items()), _optional(*of)])


class StudyFile(Struct, forbid_unknown_fields=True):
    """A study's TOML file."""

    title: Annotated[str | UnsetType, Meta(description="the study's title; else the file's name")] = UNSET
    seeds: Annotated[list[int], Meta(description="seeds of every arm")] = msgspec.field(default_factory=lambda: [0])
    base: Annotated[Base, Meta(description="settings of every arm")] = msgspec.field(default_factory=Base)
    grid: Annotated[Grid | UnsetType, Meta(description="one arm for each combination of these values")] = UNSET
    arms: Annotated[list[ArmTable] | ArmTable, Meta(description="what is compared")] = msgspec.field(
        default_factory=list
    )
    sweep: Annotated[SweepTable | UnsetType, Meta(description="how every run is pruned")] = UNSET
    sweeps: Annotated[
        list[SweepTable] | SweepTable | UnsetType, Meta(description="several ways to prune every run")
    ] = UNSET
    contrasts: Annotated[
        list[ContrastTable] | ContrastTable,
        Meta(description="what is compared; else the change of each arm at up to 60% against its control"),
    ] = msgspec.field(default_factory=list)
    draw: Annotated[list[Drawing] | Drawing, Meta(description=f"the figures; else {', '.join(USUAL)}")] = msgspec.field(
        default_factory=lambda: list(USUAL)
    )


TABLES: dict[str, type[Struct]] = {
    "base": Base,
    "grid": Grid,
    "arms": ArmTable,
    "select": Select,
    "mask": MaskTable,
    "published": PublishedTable,
    "sweep": SweepTable,
    "sweeps": SweepTable,
    "contrasts": ContrastTable,
}
"""The type of each table, by its key in the file."""

EXPECTED = {
    "seeds": "a list of whole numbers, as in [0, 1, 2]",
    "base": "a table, as in [base]",
    "grid": "a table of lists, as in lr = [0.05, 0.1]",
    "arms": "tables, as in [[arms]]",
    "select": "a table, as in [arms.select]",
    "sweep": "a table, as in [sweep]",
    "sweeps": "tables, as in [sweep], or [[sweeps]] for several",
    "contrasts": "tables, as in [[contrasts]]",
}
"""The value that a key must have, in words, for keys whose type alone would say too little."""


def given(table: Struct, order: Iterable[str] | None = None) -> dict[str, Any]:
    """Return the keys that are set in a table, with their values, in the order of `order` if it is given.

    Tables of options, as in net = { norm = "batch" }, are texts as a Config has them.
    """
    names = table.__struct_fields__ if order is None else order
    found = {name: value for name in names if (value := getattr(table, name)) is not UNSET}
    for name in OWN_OPTIONS:
        if name in found:
            value = found[name]
            found[name] = [joined(one) for one in value] if isinstance(value, list) else joined(value)
    return found


def read_tables(values: dict[str, Any]) -> StudyFile:
    """Return the content of a TOML file. Raises SparsifyError, which names the key and what it must be."""
    try:
        return msgspec.convert(values, StudyFile)
    except msgspec.ValidationError as error:
        raise _refusal(Misfit.of(error, values)) from error


def read_mask(values: object) -> MaskTable:
    """Return a mask's table that is given alone, as by `--set`. Raises SparsifyError as `read_tables` does."""
    try:
        return msgspec.convert(values, MaskTable)
    except msgspec.ValidationError as error:
        misfit = Misfit.of(error, values)
        raise _refusal(dataclasses.replace(misfit, keys=("mask", *misfit.keys))) from error


def _refusal(misfit: Misfit) -> SparsifyError:
    """Return the error for a study's file; it names the key, the table that it is in, and what it must be."""
    if misfit.missing or misfit.unknown:
        names = [key for key in misfit.keys if isinstance(key, str)]
        table = names[-1] if names else ""
        where = _where(misfit.keys)
        if misfit.missing:
            example = "; write one, as in of = 'slbi', layers = 'conv3,fc1', ratio = 0.6" if table == "mask" else ""
            return SparsifyError(f"{where} has no {misfit.missing}{example}")
        return _unknown(misfit.unknown, table, where)
    cut = _start(misfit.keys)
    where, key = _where(misfit.keys[:cut]), dataclasses.replace(misfit, keys=misfit.keys[cut:])
    last = [part for part in key.keys if isinstance(part, str)]
    kinds = key.kinds(KINDS | {"object": "a table"}) or 'a number or "support"'  # the only word that a list can hold
    if len(last) == 1 and (len(key.keys) == 1 or last[0] in ("arms", "sweeps", "contrasts")):
        kinds = EXPECTED.get(last[0], kinds)
    return SparsifyError(f"{key.subject}{f' in {where}' if where else ''}; it must be {kinds}")


def _unknown(key: str, table: str, where: str) -> SparsifyError:
    """Return the error for a key that a table does not have."""
    if key == "seed" and table in ("base", "arms"):
        return SparsifyError("the seeds are the study's; write seeds = [0], and no seed")
    if key == "seed" and table in ("grid", "select"):
        reason = "the seeds of all arms are the study's: seeds = [0, 1, 2]"
        return SparsifyError(f"seed is in {where}; {reason}")
    if key in ("model", "data") and table == "select":
        reason = "candidates share network and data: take a grid, or several arms"
        return SparsifyError(f"{key} is in {where}; {reason}")
    kind = "setting" if table in ("base", "grid", "arms", "select") else "key"
    return unknown(kind, key, TABLES.get(table, StudyFile).__struct_fields__, where=where)


def _start(keys: tuple[str | int, ...]) -> int:
    """Return the index in `keys`, which lead to a value, of the first one that is inside the innermost table."""
    for cut in range(len(keys) - 1, 0, -1):
        names = [key for key in keys[:cut] if isinstance(key, str)]
        if isinstance(keys[cut], str) and names[-1] in TABLES:
            return cut
    return 0


def _where(keys: tuple[str | int, ...]) -> str:
    """Return a table in words, as in "grid of arm 2"; arms are counted from 1."""
    parts: list[str] = []
    for key in keys:
        if isinstance(key, int) and parts:
            parts[-1] = f"{parts[-1].removesuffix('s')} {key + 1}"
        else:
            parts.append(str(key))
    return " of ".join(reversed(parts))
