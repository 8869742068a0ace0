"""Pages of what can be named: the entries of the registries, and the keys of a study's file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table in Markdown.

    >>> print(table(["a"], [["b|c"]]), end="")
    | a |
    | --- |
    | b\\|c |
    """
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in [list(heads), *rows]]
    cells.insert(1, ["---"] * len(cells[0]))
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


def _options(of: str, each: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a table of options, for each entry of a registry that has some."""
    from sparsify.settings import joined

    rows = [
        (f"`{name}`", f"`{joined({option: one.default})}`", one.wanted, one.help or "")
        for name, own in each.items()
        for option, one in own.items()
    ]
    return table([of, "option and default", "what it can be", "what it does"], rows)


def choices_page() -> str:
    """Return the page of networks, data sets, optimizers, schedules, augmentations and criteria with their options."""
    from sparsify.data.registry import AUGMENTATIONS, DATASETS
    from sparsify.nets.registry import NETS
    from sparsify.optim.registry import OPTIMIZERS
    from sparsify.optim.schedules import SCHEDULES
    from sparsify.pruning.criteria import CRITERIA

    def fields(spec: Any) -> str:
        return ", ".join(f"`--{name.replace('_', '-')} {value:g}`" for name, value in spec.defaults.items())

    def selection(spec: Any) -> tuple[str, str]:
        return "yes" if spec.selects else "no", f"`{spec.control}`" if spec.control else "–"

    def year(one: Any) -> str:
        return str(one.published or "–")

    parts = [
        "# What can be named",
        "Made from the package's registries. `sparsify options` prints the options in the terminal.",
        "## Networks",
        table(
            ["`--model`", "what it is", "publication"],
            [(f"`{name}`", spec.description, spec.publication or "–") for name, spec in NETS.items()],
        ),
        "### Options of networks",
        "`--net NAME=VALUE,NAME=VALUE`; in a study's file `net = { NAME = VALUE }`.",
        _options("network", {name: spec.settings for name, spec in NETS.items()}),
        "## Data sets",
        table(
            ["`--data`", "what it holds", "publication"],
            [(f"`{name}`", spec.description, spec.publication or "–") for name, spec in DATASETS.items()],
        ),
        "## Optimizers",
        "An option that is not listed for an optimizer is refused.",
        table(
            ["`--opt`", "what it is", "options and defaults", "selects", "its control"],
            [(f"`{name}`", one.description, fields(one), *selection(one)) for name, one in OPTIMIZERS.items()],
        ),
        "### Options of optimizers",
        "`--opt-options NAME=VALUE,NAME=VALUE`.",
        _options("optimizer", {name: spec.settings() for name, spec in OPTIMIZERS.items()}),
        "## Schedules",
        f"`--schedule` and `--decay-schedule` are one of {', '.join(f'`{name}`' for name in SCHEDULES)}.",
        "### Options of schedules",
        "`--schedule-options` and `--decay-schedule-options`, `NAME=VALUE,NAME=VALUE`.",
        _options("schedule", {name: spec.settings() for name, spec in SCHEDULES.items()}),
        "## Augmentations",
        "`--augment` joins them by `+`, each with a probability if it is not the usual one: `mirror+rotation:0.5`.",
        table(
            ["`--augment`", "usual probability", "what it does"],
            [(f"`{name}`", f"{one.probability:g}", one.description) for name, one in AUGMENTATIONS.items()],
        ),
        "## Criteria",
        table(
            ["`--criterion`", "published", "needs"],
            [
                (f"`{name}`", year(one), "gradients" if one.gradients else one.needs.name if one.needs else "–")
                for name, one in CRITERIA.items()
            ],
        ),
    ]
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


TABLES = {
    "StudyFile": ("The file", ""),
    "Base": ("`[base]`", "Settings of every arm: the flags of `sparsify train`."),
    "Grid": ("`[grid]`", "Every key of `[base]`, each with a list of values."),
    "Arm": ("`[[arms]]`", "Every key of `[base]`, and:"),
    "Select": ("`[arms.select]`", "Keys of `[base]` but for `model` and `data`, each with a list of values, and:"),
    "MaskTable": ("`mask = { … }`", "Train under the mask of another arm's run."),
    "PublishedTable": ("`published = { … }`", "What a publication reports for an arm."),
    "Sweep": ("`[sweep]`, `[[sweeps]]`", "How every run is pruned."),
    "ContrastTable": ("`[[contrasts]]`", "What is compared, named before anything is seen."),
}
"""The heading of each table of a study's file, by its name in the schema, and what stands above its keys."""


def kind_of(schema: Mapping[str, Any]) -> str:
    """Return in words what a key can be.

    >>> kind_of({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "integer"}}]})
    'text, or a list of: whole number'
    """
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "anyOf" in schema:
        return ", or ".join(kind_of(one) for one in schema["anyOf"])
    if "$ref" in schema:
        return "table " + TABLES[schema["$ref"].rpartition("/")[2]][0]
    if "pattern" in schema and "type" not in schema:
        return f"a text like `{schema['pattern']}`"
    if schema["type"] == "array":
        return f"a list of: {kind_of(schema['items'])}"
    words = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
    return words.get(schema["type"], "table of options")


def toml_page() -> str:
    """Return the reference of a study's file, from its schema."""
    from sparsify.study.jsonschema import study_schema

    tables = study_schema()["$defs"]
    base = tables["Base"]["properties"]
    parts = [
        "# A study's file",
        "Made from the schema that reads it. `sparsify study --schema` writes it for editors; "
        "[how to plan a study](../how-to/study.md) has an example.",
    ]
    for name, (heading, above) in TABLES.items():
        keys = tables[name]["properties"]
        own = {key: one for key, one in keys.items() if name in ("Base", "Sweep") or key not in base}
        rows = [(f"`{key}`", kind_of(one), one.get("description", "")) for key, one in own.items()]
        parts += [f"## {heading}", above, table(["key", "what it can be", "what it says"], rows) if rows else ""]
    return "\n\n".join(part.rstrip() for part in parts if part) + "\n"
