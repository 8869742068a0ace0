"""Studies as TOML files: built-in ones, and those of users, with grids of settings."""

from __future__ import annotations

import dataclasses
import itertools
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from sparsify.config import Config
from sparsify.data.registry import FOLDER
from sparsify.errors import IgnoredOption, SparsifyError, unknown
from sparsify.files import sanitise, short_sum, shortened
from sparsify.nets.layers import GRAINS
from sparsify.pruning.criteria import CRITERIA
from sparsify.pruning.plan import SCOPES, SweepPlan, parse_ratios
from sparsify.study.design import DRAWINGS, Arm, Candidate, Choice, MaskOf, Study
from sparsify.text import written

Grid = Mapping[str, list[Any]]
"""Fields of Config with the values that each takes."""

_OWN_NAMES = ("opt", "model")
"""Fields whose values say by themselves what they are."""


def check_grid(values: object, where: str) -> dict[str, list[Any]]:
    """A TOML table of lists as a grid. Raises SparsifyError for what is no list of values of a Config's field."""
    if not isinstance(values, dict):
        raise SparsifyError(f"{where} is {values!r}; it must be a table of lists, as in lr = [0.05, 0.1]")
    fields = [field.name for field in dataclasses.fields(Config) if field.name != "seed"]
    grid = {}
    for key, value in values.items():
        if key == "seed":
            raise SparsifyError(f"seed is in {where}; the seeds of all arms are the study's: seeds = [0, 1, 2]")
        if key not in fields:
            raise unknown("setting", key, fields, where=where)
        grid[key] = value if isinstance(value, list) else [value]
        if not grid[key]:
            raise SparsifyError(f"{key} is empty in {where}; write a list of values, as in [0.05, 0.1]")
        for one in grid[key]:
            if grid[key].count(one) > 1:
                raise SparsifyError(f"{key} names {one!r} twice in {where}")
    return grid


def combinations(grid: Grid) -> list[dict[str, Any]]:
    """Every combination, the last key's values next to each other; of an empty grid the empty one."""
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def describe_settings(point: Mapping[str, Any]) -> str:
    """A point in words: "slbi, lr 0.05"."""
    return ", ".join(
        written(value) if key in _OWN_NAMES else f"{key.replace('_', ' ')} {written(value)}"
        for key, value in point.items()
    )


def arm_label(first: str | None, settings: Mapping[str, Any], point: Mapping[str, Any], grid: Grid) -> str:
    """`first`, or the optimizer, then what differs within the grid."""
    differs = {key: value for key, value in point.items() if len(grid[key]) > 1 and (first or key != "opt")}
    return ", ".join(filter(None, (first or str(settings.get("opt", Config.opt)), describe_settings(differs))))


SWEEP = "sweep."
"""What begins the key of a setting that changes every sweep."""


def built_in_studies() -> list[str]:
    """The names of the studies that ship with the package."""
    folder = resources.files("sparsify") / "study" / "builtin"
    return sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml"))


def load_study(name: str, settings: Sequence[str] = ()) -> Study:
    """A built-in study, or the one in a TOML file. Raises SparsifyError for an unknown name and a malformed file.

    `settings` such as "epochs=5" change one field of every arm's Config, "seeds=[0,1]" the study's seeds, and
    "sweep.controls=true" every sweep. What they set is no longer in a grid or selected.
    """
    stem = sanitise(Path(name).name.removesuffix(".toml"))
    if name in built_in_studies():
        text = (resources.files("sparsify") / "study" / "builtin" / f"{name}.toml").read_text(encoding="utf-8")
    elif name.endswith(".toml"):
        try:
            text = Path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SparsifyError(f"{name} cannot be read: {error}") from error
    else:
        raise unknown("study", name, [*built_in_studies(), "FILE.toml"])
    if name.endswith(".toml") and stem in built_in_studies():
        stem += "-toml"  # the folder is not that of the built-in one
    changed = _settings(settings)
    try:
        return _parse(stem, tomllib.loads(text), changed)
    except tomllib.TOMLDecodeError as error:
        raise SparsifyError(f"study {name} is no TOML: {error}") from error
    except SparsifyError as error:
        raise SparsifyError(f"study {name}: {error}") from error


def _settings(settings: Sequence[str]) -> dict[str, Any]:
    """ "epochs=5" as {"epochs": 5}: the value is TOML's, or else a string that needs no quotes."""
    changed = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not (key and equals):
            raise SparsifyError(f"--set {setting} is no setting; write KEY=VALUE, as in epochs=5")
        try:
            changed[key.strip().replace("-", "_")] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            changed[key.strip().replace("-", "_")] = value
    return changed


def _parse(name: str, values: dict[str, Any], changed: dict[str, Any]) -> Study:
    _only(values, ("title", "seeds", "base", "grid", "arms", "sweep", "sweeps", "draw"))
    seeds = _seeds("seeds", changed.get("seeds", values.get("seeds", [0])))
    base = values.get("base", {})
    if not isinstance(base, dict):
        raise SparsifyError(f"base is {base}; it must be a table, as in [base]")
    tables = _list(values.get("arms", []))
    if not all(isinstance(arm, dict) for arm in tables):
        raise SparsifyError("arms must be tables, as in [[arms]]")
    if "grid" in values:
        tables = [{"grid": values["grid"]}, *tables]
    fields = {key: value for key, value in changed.items() if key != "seeds" and not key.startswith(SWEEP)}
    arms = [arm for table in tables for arm in _arms(table, base, fields, seeds)]
    if not arms:
        raise SparsifyError("it has no [[arms]] and no [grid]")
    labels = [arm.label for arm in arms]
    for label in labels:
        if labels.count(label) > 1:
            raise SparsifyError(f"two arms are called '{label}'; give one of them a label")
    starts = [arm.configs[0].init for arm in arms]
    arms = [dataclasses.replace(a, init=i if i in labels else None) for a, i in zip(arms, starts, strict=True)]
    draw = tuple(_list(values.get("draw", list(DRAWINGS))))
    for one in draw:
        if one not in DRAWINGS:
            raise unknown("drawing", one, DRAWINGS)
    title = str(values.get("title", name))
    if changed:  # a study of its own, so that it does not overwrite the one it comes from
        shown = {**changed, **({"data": arms[0].configs[0].data_name} if "data" in changed else {})}
        title += f" ({', '.join(f'{key} {value}' for key, value in shown.items())})"
        if "data" in changed and arms[0].configs[0].data.startswith(FOLDER):
            shown["data"] += f"-{short_sum(arms[0].configs[0].data)}"  # two folders can have the same name
        name += "".join(f"-{shortened(f'{key}-{value}')}" for key, value in shown.items())
    swept = {key.removeprefix(SWEEP): value for key, value in changed.items() if key.startswith(SWEEP)}
    return Study(name, title, tuple(arms), _sweeps(values, swept), draw)


def _arms(table: Mapping[str, Any], base: dict[str, Any], fields: dict[str, Any], seeds: list[int]) -> list[Arm]:
    """The arms of one [[arms]]; `fields` are what was set for all."""
    own = dict(table)
    label, stage = own.pop("label", None), own.pop("stage", False)
    if type(stage) is not bool:
        raise SparsifyError(f"stage is {stage!r}; it must be true or false")
    grid, selection = check_grid(own.pop("grid", {}), "grid"), own.pop("select", {})
    if not isinstance(selection, dict):
        raise SparsifyError(f"select is {selection!r}; it must be a table, as in [arms.select]")
    how = {key: value for key, value in selection.items() if key in ("on", "val", "seeds")}
    tried = check_grid({key: value for key, value in selection.items() if key not in how}, "select")
    if selection and not tried:
        raise SparsifyError("select has no settings to choose from; write some, as in weight_decay = [0, 0.0005]")
    for key in ("model", "data"):
        if key in tried:
            raise SparsifyError(f"{key} is in select; candidates share network and data: take a grid, or several arms")
    for key in {**own, **grid, **tried}:
        if (key in own) + (key in grid) + (key in tried) > 1:
            raise SparsifyError(f"{key} is set more than once in an arm: by itself, in its grid, or in its select")
    if "seed" in own or "seed" in base or "seed" in fields:
        raise SparsifyError("the seeds are the study's; write seeds = [0], and no seed")
    settings = {**base, **own, **fields}
    grid, tried = ({k: v for k, v in one.items() if k not in fields} for one in (grid, tried))
    mask = None
    if isinstance(settings.get("mask"), dict):
        mask = _mask(settings["mask"])
        settings["mask"] = mask.of
    arms = []
    for point in combinations(grid):
        chosen = {**settings, **point}
        name = arm_label(None if label is None else str(label), chosen, point, grid)
        try:
            choice = _choice(chosen, tried, how, seeds) if tried else None
            configs = choice.candidates[0].configs if choice else _configs(chosen, seeds)
        except IgnoredOption as error:
            if len(grid.get("opt", ())) < 2:
                raise
            way_out = "give the optimizers that take it an [[arms]] with an [arms.grid] of their own"
            raise SparsifyError(f"{error}; {way_out}") from error
        arms.append(Arm(name, configs, mask=mask, choice=choice, stage=stage))
    return arms


def _configs(settings: dict[str, Any], seeds: Iterable[int]) -> tuple[Config, ...]:
    """One a seed."""
    return tuple(Config.from_dict({**settings, "seed": seed}) for seed in seeds)


def _choice(settings: dict[str, Any], tried: dict[str, list], how: dict[str, Any], seeds: list[int]) -> Choice:
    """[arms.select]: `how` are its own keys."""
    val, text = how.get("val", 0.1), how.get("on", "accuracy")
    if val == 0:
        raise SparsifyError("val is 0 in select; candidates are compared on images that are held out, as in 0.1")
    held_out = _seeds("seeds of select", how.get("seeds", seeds))
    on = None
    if text != "accuracy":
        parts = re.fullmatch(r"(.+) at (\S+)", str(text))
        if parts is None:
            raise SparsifyError(f"on is {text!r}; write accuracy, or layers and a ratio, as in conv3,fc1 at 0.6")
        on = SweepPlan(layers=(parts[1].strip(),), ratios=(_ratio(parts[2]),))
    candidates = []
    for point in combinations(tried):
        trials = _configs({**settings, **point, "val": val}, held_out)
        candidates.append(Candidate(describe_settings(point), trials, _configs({**settings, **point}, seeds)))
    return Choice(tuple(candidates), on)


def _mask(table: dict[str, Any]) -> MaskOf:
    """[arms.mask]."""
    _only(table, tuple(field.name for field in dataclasses.fields(MaskOf)))
    for key in ("of", "layers", "ratio"):
        if key not in table:
            raise SparsifyError(f"mask has no {key}; write one, as in of = 'slbi', layers = 'conv3,fc1', ratio = 0.6")
    for key in ("of", "layers", "criterion", "grain"):
        if not isinstance(table.get(key, ""), str):
            raise SparsifyError(f"{key} is {table[key]!r}; it must be a text")
    for key, choices in (("criterion", CRITERIA), ("grain", GRAINS)):
        if key in table and table[key] not in choices:
            raise unknown(key, table[key], choices)
    return MaskOf(**{**table, "ratio": _ratio(table["ratio"])})


def _ratio(value: object) -> float:
    ratios = parse_ratios(value if isinstance(value, (str, int, float)) else [value])
    if len(ratios) > 1:
        raise SparsifyError(f"ratio is {value!r}; it must be one number")
    return ratios[0]


def _sweeps(values: dict[str, Any], changed: dict[str, Any]) -> tuple[SweepPlan, ...]:
    """[sweep] is one, [[sweeps]] are several; without either it is the plain one."""
    if "sweep" in values and "sweeps" in values:
        raise SparsifyError("it has both [sweep] and [[sweeps]]; write each as [[sweeps]]")
    tables = [values["sweep"]] if "sweep" in values else _list(values.get("sweeps", [{}]))
    if not tables or not all(isinstance(table, dict) for table in tables):
        raise SparsifyError("sweeps must be tables, as in [sweep], or [[sweeps]] for several")
    return tuple(_sweep({**table, **changed}) for table in tables)


_KINDS = {bool: "true or false", str: "a text", int: "a whole number"}


def _sweep(table: dict[str, Any]) -> SweepPlan:
    fields = {field.name: field.default for field in dataclasses.fields(SweepPlan)}
    _only(table, tuple(fields))
    for key, default in fields.items():
        kind = int if default is None else type(default)  # a number of draws that is not given is None
        if kind is not tuple and key in table and type(table[key]) is not kind:
            raise SparsifyError(f"{key} is {table[key]!r}; it must be {_KINDS[kind]}")
    for key, choices in (("criterion", CRITERIA), ("grain", GRAINS), ("scope", SCOPES)):
        if table.get(key, fields[key]) not in choices:
            raise unknown(key, table[key], choices)
    plan = dict(table)
    if "layers" in table:
        plan["layers"] = tuple(str(layers) for layers in _list(table["layers"]))
    if "ratios" in table:
        plan["ratios"] = parse_ratios(table["ratios"])
    return SweepPlan(**plan)


def _seeds(name: str, value: object) -> list[int]:
    if not isinstance(value, list) or not value:
        raise SparsifyError(f"{name} is {value}; it must be a list of whole numbers, as in [0, 1, 2]")
    for seed in value:
        if value.count(seed) > 1:
            raise SparsifyError(f"{name} names {seed} twice")
    return value


def _list(value: Any) -> list[Any]:
    """A list as it is, and one thing as a list of one."""
    return value if isinstance(value, list) else [value]


def _only(values: Mapping[str, Any], allowed: Sequence[str]) -> None:
    for key in values:
        if key not in allowed:
            raise unknown("key", key, allowed)
