"""Reading studies from TOML files, those that are built in and those of users."""

from __future__ import annotations

import dataclasses
import math
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from msgspec import UNSET

from sparsify.config import Config, without_place
from sparsify.data.registry import FOLDER
from sparsify.errors import IgnoredOption, SparsifyError, quoted, reason_given, shown, unknown
from sparsify.files import sanitise, short_sum, shortened
from sparsify.limits import MOST_ARMS, MOST_RUNS, MOST_SEEDS, at_most, checked_text, twice
from sparsify.pruning.criteria import CRITERIA
from sparsify.pruning.plan import SweepPlan
from sparsify.study.design import DRAWINGS, Arm, Candidate, Choice, ContrastError, MaskOf, Published, Study, SupportOf
from sparsify.study.grids import arm_label, as_grid, combinations, describe_settings
from sparsify.study.points import as_list, contrast_of, mask_of, one_ratio, sweeps_of
from sparsify.study.reading import parse_settings, parse_toml, toml_text
from sparsify.study.schema import EXPECTED, ArmKeys, ArmTable, MaskTable, SelectKeys, given, read_tables
from sparsify.text import numbers_in_words

_LONGEST_NAME = 200
"""The characters of a study's name, before its sum: a folder's name has at most 255."""

_WHOLE = ("seeds", "contrasts")
"""The keys outside the tables of settings that `--set` changes."""

CRITERION = "criterion"
"""The key of [arms.select] with the criteria by which pruned networks are compared."""

SWEEP = "sweep."
"""The prefix of settings that change every sweep, as in sweep.controls=true."""


def built_in_studies() -> list[str]:
    """Return the names of the studies that are part of the package."""
    folder = resources.files("sparsify") / "study" / "builtin"
    return sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml"))


def load_study(name: str, settings: Sequence[str] = ()) -> Study:
    """Return a built-in study by its name, or the study in a TOML file by its path.

    `settings` such as "epochs=5" change one field in the Config of every arm, "seeds=[0,1]" changes the study's seeds,
    and "sweep.controls=true" changes every sweep. A field that they set is no longer varied in a grid or selected.
    Raises SparsifyError for an unknown name, for a file that is missing or malformed, and for malformed settings.

    >>> _ = Path("tiny.toml").write_text('''
    ... seeds = [0]
    ... draw = ["sweep"]
    ... [base]
    ... data = "digits"
    ... epochs = 1
    ... [[arms]]
    ... opt = "sgd"
    ... [sweep]
    ... layers = ["conv3"]
    ... ratios = [0, 0.5]
    ... ''')
    >>> study = sparsify.load_study("tiny.toml")
    >>> study.name, [arm.label for arm in study.arms]
    ('tiny', ['sgd'])
    """
    stem = _stem(Path(name).name.removesuffix(".toml"))
    if name in built_in_studies():
        text = (resources.files("sparsify") / "study" / "builtin" / f"{name}.toml").read_text(encoding="utf-8")
    elif name.endswith(".toml"):
        try:
            text = toml_text(Path(checked_text("the study", name)))
        except UnicodeDecodeError as error:
            raise SparsifyError(f"{name} is no UTF-8 text (byte {error.start}); save it as UTF-8") from error
        except (OSError, UnicodeError) as error:
            raise SparsifyError(f"{name} cannot be read: {reason_given(error)}") from error
    else:
        raise unknown("study", name, [*built_in_studies(), "FILE.toml"])
    if name.endswith(".toml") and stem in built_in_studies():
        stem += "-toml"  # so that its folder is not that of the built-in study
    changed = parse_settings(settings)
    try:
        return _parse(stem, parse_toml(text), changed)
    except tomllib.TOMLDecodeError as error:
        raise SparsifyError(f"study {name} is no TOML: {error}", about="study") from error
    except SparsifyError as error:
        raise SparsifyError(f"study {name}: {error}", about=error.about or "study") from error


def _stem(name: str) -> str:
    """The name of a study, which its folder has: of letters that folders' names lose, their sum stands for them."""
    return sanitise(name) if name.isascii() else f"{sanitise(name)}-{short_sum(name)}"


def _parse(name: str, values: dict[str, Any], changed: dict[str, Any]) -> Study:
    swept = {key.removeprefix(SWEEP): value for key, value in changed.items() if key.startswith(SWEEP)}
    values = _changed(values, changed, swept)
    study = read_tables(values)
    seeds = _seeds("seeds", study.seeds)
    fields = {key: value for key, value in changed.items() if key not in _WHOLE and not key.startswith(SWEEP)}
    if "seed" in fields:
        raise SparsifyError("the seeds are the study's; write seeds = [0], and no seed")
    base = given(study.base, values.get("base", {}))
    tables = list(zip(as_list(study.arms), as_list(values.get("arms", [])), strict=True))
    if study.grid is not UNSET:
        tables = [(ArmTable(grid=study.grid), {"grid": values["grid"]}), *tables]
    arms: list[Arm] = []
    for table, as_written in tables:
        arms += _arms(table, as_written, base, fields, seeds)
        at_most(len(arms), MOST_ARMS, "arms")
    at_most(sum(map(_runs, arms)), MOST_RUNS, "runs (arms × seeds, and what is tried)")
    if not arms:
        raise SparsifyError("it has no [[arms]] and no [grid]")
    labels = [arm.label for arm in arms]
    label = twice(labels)
    if label is not None:
        raise SparsifyError(f"two arms are called {quoted(label)}; give one of them a label")
    named = {arm.label: arm for arm in arms}
    arms = [
        dataclasses.replace(
            arm,
            init=arm.configs[0].init if arm.configs[0].init in named else None,
            mask=_by_choice(arm.mask, named),
            release=arm.configs[0].release if arm.configs[0].release in named else None,
        )
        for arm in arms
    ]
    draw = tuple(as_list(study.draw))
    for one in draw:
        if one not in DRAWINGS:
            raise unknown("drawing", one, DRAWINGS)
    title = name if study.title is UNSET else checked_text("title", study.title)
    if changed:  # a study with a name of its own, so that it does not overwrite the original one
        shown = {key: without_place(key, value) for key, value in changed.items()}
        if "data" in changed:
            shown["data"] = arms[0].configs[0].data_name
        words = shown | ({"seeds": numbers_in_words(seeds)} if "seeds" in shown else {})
        title += f" ({', '.join(f'{key} {value}' for key, value in words.items())})"
        if "data" in changed and arms[0].configs[0].data.startswith(FOLDER):
            shown["data"] = f"{shown['data']}-{short_sum(arms[0].configs[0].data)}"  # two can have the same name
        for key in ("init", "mask", "release"):
            if key in changed and shown[key] != changed[key]:
                shown[key] = f"{shown[key]}-{short_sum(changed[key])}"  # the same
        name = _within(name + "".join(f"-{shortened(f'{key}-{value}')}" for key, value in shown.items()))
    sweeps, of_sweeps = sweeps_of(study)
    contrasts = tuple(contrast_of(table, sweeps) for table in as_list(study.contrasts))
    try:
        return Study(name, title, tuple(arms), sweeps, draw, contrasts, of_sweeps)
    except ContrastError as error:
        if not changed or "contrasts" in changed:
            raise
        raise SparsifyError(f"{error}; --set contrasts=[] leaves the planned contrasts out") from error


def _by_choice(mask: MaskOf | None, arms: Mapping[str, Arm]) -> MaskOf | None:
    """Return the mask, which goes by what its arm chooses only where that chooses between criteria."""
    choice = arms[mask.of].choice if mask is not None and mask.of in arms else None
    chooses = choice is not None and len({candidate.criterion for candidate in choice.candidates}) > 1
    return mask if mask is None else dataclasses.replace(mask, chosen=mask.chosen and chooses)


def _changed(values: dict[str, Any], changed: dict[str, Any], swept: dict[str, Any]) -> dict[str, Any]:
    """Return the tables of the file with the seeds, contrasts and sweep settings that `--set` changes."""
    values = dict(values)
    values |= {key: changed[key] for key in _WHOLE if key in changed}
    if swept:
        key = "sweep" if "sweep" in values or "sweeps" not in values else "sweeps"
        tables = [{**table, **swept} if isinstance(table, dict) else table for table in as_list(values.get(key, {}))]
        values[key] = tables if isinstance(values.get(key), list) else tables[0]
    return values


def _arms(
    table: ArmKeys, written: dict[str, Any], base: dict[str, Any], fields: dict[str, Any], seeds: list[int]
) -> list[Arm]:
    """Return the arms of one [[arms]]. `written` is the table as in the file; `fields` were set for all arms."""
    own = {key: value for key, value in given(table, written).items() if key not in ArmKeys.__struct_fields__}
    grid: dict[str, list[Any]] = {} if table.grid is UNSET else as_grid(given(table.grid, written["grid"]), "grid")
    tried: dict[str, list[Any]] = {}
    select = None if table.select is UNSET else table.select
    if select is not None:
        keys = [key for key in SelectKeys.__struct_fields__ if key != CRITERION]
        settings = given(select, written["select"])
        tried = as_grid({key: value for key, value in settings.items() if key not in keys}, "select")
        if all(key == CRITERION and len(values) == 1 for key, values in tried.items()):
            raise SparsifyError("select has no settings to choose from; write some, as in weight_decay = [0, 0.0005]")
    for key in {**own, **grid, **tried}:
        if (key in own) + (key in grid) + (key in tried) > 1:
            raise SparsifyError(f"{key} is set more than once in an arm: by itself, in its grid, or in its select")
    settings = {**base, **own, **fields}
    grid, tried = ({k: v for k, v in one.items() if k not in fields} for one in (grid, tried))
    many = [*map(len, (*grid.values(), *tried.values())), len(seeds)]
    at_most(math.prod(many), MOST_RUNS, "runs (the settings of an arm × seeds)")
    mask = None
    if isinstance(settings.get("mask"), (dict, MaskTable)):
        mask = mask_of(settings["mask"])
        settings["mask"] = mask.of
    told = table.published
    published = None if told is UNSET else Published(told.test_accuracy, checked_text("published.source", told.source))
    label = None if table.label is UNSET else checked_text("label", table.label)
    arms = []
    for point in combinations(grid):
        chosen = {**settings, **point}
        name = arm_label(label, chosen, point, grid)
        try:
            choice = None if table.select is UNSET or not tried else _choice(chosen, tried, table.select, seeds)
            configs = choice.candidates[0].configs if choice else _configs(chosen, seeds)
        except IgnoredOption as error:
            if len(grid.get("opt", ())) < 2:
                raise
            way_out = "give the optimizers that take it an [[arms]] with an [arms.grid] of their own"
            raise SparsifyError(f"{error}; {way_out}") from error
        arms.append(Arm(name, configs, mask=mask, choice=choice, stage=table.stage, published=published))
    if published is not None and len(arms) > 1:
        raise SparsifyError(f"published is of one arm, and its grid has {len(arms)}; give each an [[arms]] of its own")
    return arms


def _runs(arm: Arm) -> int:
    """Return how many runs an arm can have, those that are tried included."""
    if arm.choice is None:
        return len(arm.configs)
    return sum(len(one.trials) + len(one.configs) for one in arm.choice.candidates)


def _configs(settings: dict[str, Any], seeds: Iterable[int]) -> tuple[Config, ...]:
    """Return one Config for each seed."""
    return tuple(Config.from_dict({**settings, "seed": seed}) for seed in seeds)


def _choice(settings: dict[str, Any], tried: dict[str, list[Any]], select: SelectKeys, seeds: list[int]) -> Choice:
    """Return the choice that [arms.select] asks for: its candidates and what they are compared on."""
    if select.val == 0:
        raise SparsifyError("val is 0 in select; candidates are compared on images that are held out, as in 0.1")
    held_out = seeds if select.seeds is UNSET else _seeds("seeds of select", select.seeds)
    on, near = None, None
    if pruned := re.fullmatch(r"(.+) at (\S+)", select.on):
        on = SweepPlan(layers=(pruned[1].strip(),), ratios=(one_ratio(pruned[2]),))
    elif nearest := re.fullmatch(r"support of (.+) in (.+)", select.on):
        near = SupportOf(nearest[1].strip(), nearest[2].strip())
    elif select.on != "accuracy":
        form = "write accuracy, or layers and a ratio, as in conv3,fc1 at 0.6, or support of ARM in LAYERS"
        raise SparsifyError(f"on is {quoted(select.on)}; {form}")
    if CRITERION in tried and on is None:
        raise SparsifyError(f"{CRITERION} is in select, and nothing is pruned; write on, as in on = 'conv3,fc1 at 0.6'")
    candidates = []
    for point in combinations(tried):
        own = {key: value for key, value in point.items() if key != CRITERION}
        criterion = point.get(CRITERION, Candidate.criterion)
        if criterion not in CRITERIA:
            raise unknown(CRITERION, criterion, CRITERIA)
        trials = _configs({**settings, **own, "val": select.val}, held_out)
        configs = _configs({**settings, **own}, seeds)
        candidates.append(Candidate(describe_settings(point), trials, configs, criterion))
    return Choice(tuple(candidates), on, near)


def _seeds(name: str, seeds: list[int]) -> list[int]:
    if not seeds:
        raise SparsifyError(f"{name} is {seeds}; it must be {EXPECTED['seeds']}")
    at_most(len(seeds), MOST_SEEDS, name)
    seed = twice(seeds)
    if seed is not None:
        raise SparsifyError(f"{name} names {shown(seed)} twice")
    return seeds


def _within(name: str) -> str:
    """Return the name of a study's folder; a long one is cut and ends in 8 hex digits of its sum."""
    return name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}-{short_sum(name)}"
