"""Studies as TOML files: built-in ones, and those of users."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from sparsify.config import Config, sanitise
from sparsify.criteria import CRITERIA
from sparsify.errors import SparsifyError, unknown
from sparsify.layers import GRAINS
from sparsify.ratios import parse_ratios
from sparsify.selection import SCOPES
from sparsify.study import Arm, Study, SweepPlan


def built_in_studies() -> list[str]:
    """The names of the studies that ship with the package."""
    folder = resources.files("sparsify") / "studies"
    return sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml"))


def load_study(name: str, settings: Sequence[str] = ()) -> Study:
    """A built-in study, or the one in a TOML file. Raises SparsifyError for an unknown name and a malformed file.

    `settings` such as "epochs=5" change one field of every arm's Config, or "seeds=[0,1]" the study's seeds.
    """
    if name in built_in_studies():
        text = (resources.files("sparsify") / "studies" / f"{name}.toml").read_text(encoding="utf-8")
    elif name.endswith(".toml"):
        try:
            text = Path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SparsifyError(f"{name} cannot be read: {error}") from error
    else:
        raise unknown("study", name, [*built_in_studies(), "FILE.toml"])
    changed = _settings(settings)
    try:
        return _parse(sanitise(Path(name).name.removesuffix(".toml")), tomllib.loads(text), changed)
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
    _only(values, ("title", "seeds", "base", "arms", "sweep", "sweeps"))
    seeds = changed.get("seeds", values.get("seeds", [0]))
    base = values.get("base", {})
    if not isinstance(base, dict):
        raise SparsifyError(f"base is {base}; it must be a table, as in [base]")
    if not all(isinstance(arm, dict) for arm in _list(values.get("arms", []))):
        raise SparsifyError("arms must be tables, as in [[arms]]")
    if not isinstance(seeds, list) or not seeds:
        raise SparsifyError(f"seeds is {seeds}; it must be a list of whole numbers, as in [0, 1, 2]")
    arms = []
    for arm in _list(values.get("arms", [])):
        settings = {**base, **arm, **{key: value for key, value in changed.items() if key != "seeds"}}
        label = settings.pop("label", settings.get("opt"))
        arms.append(Arm(str(label), tuple(Config.from_dict({**settings, "seed": seed}) for seed in seeds)))
    if not arms:
        raise SparsifyError("it has no [[arms]]")
    labels = [arm.label for arm in arms]
    for label in labels:
        if labels.count(label) > 1:
            raise SparsifyError(f"two arms are called '{label}'; give one of them a label")
    title = str(values.get("title", name))
    if changed:  # a study of its own, so that it does not overwrite the one it comes from
        shown = {**changed, **({"data": arms[0].configs[0].data_name} if "data" in changed else {})}
        title += f" ({', '.join(f'{key} {value}' for key, value in shown.items())})"
        name += "".join(f"-{sanitise(f'{key}-{value}')}" for key, value in shown.items())
    return Study(name, title, tuple(arms), _sweeps(values))


def _sweeps(values: dict[str, Any]) -> tuple[SweepPlan, ...]:
    """[sweep] is one, [[sweeps]] are several; without either it is the plain one."""
    if "sweep" in values and "sweeps" in values:
        raise SparsifyError("it has both [sweep] and [[sweeps]]; write each as [[sweeps]]")
    tables = [values["sweep"]] if "sweep" in values else _list(values.get("sweeps", [{}]))
    if not tables or not all(isinstance(table, dict) for table in tables):
        raise SparsifyError("sweeps must be tables, as in [sweep], or [[sweeps]] for several")
    return tuple(_sweep(table) for table in tables)


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


def _list(value: Any) -> list[Any]:
    """A list as it is, and one thing as a list of one."""
    return value if isinstance(value, list) else [value]


def _only(values: dict[str, Any], allowed: Sequence[str]) -> None:
    for key in values:
        if key not in allowed:
            raise unknown("key", key, allowed)
