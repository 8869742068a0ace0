"""What CONTRIBUTING.md says of the code's shape is so: the picture, the places, the files of the ten changes, links."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from test_house import FLOORS, LONGEST, MODULES, PACKAGE

from sparsify.nets.registry import NETS, NetworkSpec, network
from sparsify.settings import Setting

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
CHANGES = re.findall(r"^\| (an? [^|]+) \| (\d) \| (.+) \|$", TEXT, re.MULTILINE)
MOST = {
    "an optimizer": 2,
    "a criterion": 2,
    "a data set": 2,
    "a network": 2,
    "a schedule": 1,
    "an option of a sweep": 3,
    "a statistic of a study": 3,
    "a section of the report": 2,
    "a figure": 2,
    "a kind of device": 2,
}
"""The most files that a change may touch."""


def test_the_picture_is_that_of_the_floors() -> None:
    nodes = [f'f{number}["{", ".join(floor)}"]' for number, floor in enumerate(FLOORS)]
    lines = [f"    {upper} --> {lower}" for lower, upper in pairwise(nodes)]
    assert "\n".join(["```mermaid", "flowchart TB", *reversed(lines), "```"]) in TEXT
    assert f"no module is longer than {LONGEST} lines" in TEXT


def test_every_module_has_a_place_in_the_table() -> None:
    rows = dict(re.findall(r"^\| `(\w+)/?` \| (.+) \|$", TEXT, re.MULTILINE))
    assert list(rows) == [name for floor in FLOORS for name in floor]
    for module in MODULES:
        _, package, *names = module.split(".")
        if names:
            named = set(re.findall(r"`(\w+)/?`", rows[package]))
            assert names[0] in named, f"{module} has no word in the row of {package}"


def test_every_change_keeps_within_its_files() -> None:
    assert [change for change, _, _ in CHANGES] == list(MOST)
    for change, count, _ in CHANGES:
        assert int(count) <= MOST[change], change


@pytest.mark.parametrize(("change", "count", "which"), CHANGES, ids=[change for change, _, _ in CHANGES])
def test_the_files_of_a_change_are_there_and_are_as_many(change: str, count: str, which: str) -> None:
    files = re.findall(r"`(\S+\.\w+)`", which)
    own = re.findall(r"its own in `(\S+)/`", which)
    assert len(files) + len(own) == int(count)
    assert [file for file in files if not (PACKAGE / file).is_file()] == []
    assert [folder for folder in own if not (PACKAGE / folder).is_dir()] == []


def test_every_link_leads_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", TEXT) if not re.match(r"https?:|#", link)]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_block_of_python_is_python() -> None:
    blocks = re.findall(r"```python\n(.+?)```", TEXT, re.DOTALL)
    assert len(blocks) >= 10
    for block in blocks:
        ast.parse(block)


def test_the_example_of_a_network_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = (block for block in re.findall(r"```python\n(.+?)```", TEXT, re.DOTALL) if "NETS = {" in block)
    found: dict[str, Any] = {"Mapping": Mapping, "Any": Any, "NetworkSpec": NetworkSpec, "Setting": Setting}
    exec(f"from __future__ import annotations\n{code}", found)
    monkeypatch.setitem(NETS, "mlp", found["NETS"]["mlp"])
    mlp = ModuleType("mlp")
    mlp.mlp = lambda shape, classes, *, hidden: (shape, classes, hidden)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sparsify.nets.zoo.mlp", mlp)
    assert network("mlp", (1, 28, 28), 10) == ((1, 28, 28), 10, 100)
    assert network("mlp", (1, 28, 28), 10, "hidden=300") == ((1, 28, 28), 10, 300)


def test_the_last_version_has_a_heading_among_the_changes_and_is_that_which_is_cited() -> None:
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    version, day = re.findall(r"^## \[?(\d+\.\d+\.\d+)\]? - (\d{4}-\d\d-\d\d)$", changes, re.MULTILINE)[0]
    assert tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"] == version
    cited = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {version}\ndate-released: {day}\n" in cited
