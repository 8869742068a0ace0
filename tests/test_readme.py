"""What README and the pages of studies say stands in the files in models/, to the letter; links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sparsify.nets.registry import NETS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "models").glob("*/README.md"))]
PARTS = [
    part
    for page in PAGES
    for part in re.findall(
        r"<!-- begin: sparsify study (\S+) -->\n(.*?)<!-- end: sparsify study \1 -->",
        page.read_text(encoding="utf-8"),
        re.DOTALL,
    )
]


@pytest.mark.parametrize(("study", "part"), PARTS, ids=[study for study, _ in PARTS])
def test_tables_and_verdicts_are_those_of_the_study(study: str, part: str) -> None:
    found = (ROOT / "models" / study / "table.md").read_text(encoding="utf-8")
    tables = re.findall(r"^\*\*[^\n]+\*\*\n\n(?:\|.*\n)+", part, re.MULTILINE)
    assert len(tables) == len(re.findall(r"^\|[-|]+\|$", part, re.MULTILINE)) > 0
    for table in tables:
        assert table in found
    for verdict in re.findall(r"^> (.+)$", part, re.MULTILINE):
        assert f"- {verdict}\n" in found


def test_every_study_in_models_is_shown() -> None:
    assert {study for study, _ in PARTS} == {file.parent.name for file in (ROOT / "models").glob("*/table.md")}


def test_readme_links_to_every_page_of_a_study() -> None:
    assert [page for page in PAGES[1:] if f"](models/{page.parent.name}/README.md)" not in README] == []


@pytest.mark.parametrize("page", PAGES, ids=[str(page.parent.relative_to(ROOT)) for page in PAGES])
def test_every_link_into_the_repository_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8"))
    links = [link for link in links if not re.match(r"https?:|#", link)]
    assert links
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_network_has_its_options_there() -> None:
    rows = re.findall(r"^\| (`.+?) \| (.+) \|$", README[README.index("| network | options |") :], re.MULTILINE)
    rows = [
        (cell.replace("`vgg-…`", "`vgg-a`, `vgg-a-bn`, `vgg-a-light`, `vgg-a-dropout`"), text) for cell, text in rows
    ]
    for name, spec in NETS.items():
        (options,) = (text for cell, text in rows if f"`{name}`" in cell)
        assert set(re.findall(r"`(\w+)`", options)) == set(spec.settings), name
