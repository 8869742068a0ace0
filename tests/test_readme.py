"""README, the pages of the site and those of studies: their tables, verdicts, links, lists and snippets are right."""

from __future__ import annotations

import doctest
import pkgutil
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from unittest import mock

import choices
import pages
import pytest
from choices import choices_page, toml_page
from cyclopts import CycloptsError
from pages import cli_page, made, outside, relinked, without_mermaid
from statsmodels.stats.power import TTestPower

import sparsify
from sparsify import viz
from sparsify.cli.app import app, main
from sparsify.errors import SparsifyError
from sparsify.nets.registry import NETS
from sparsify.pruning.criteria import CRITERIA
from sparsify.study.toml import built_in_studies, load_study

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
STUDIES = sorted((ROOT / "models").glob("*/README.md"))
DOCS = sorted((ROOT / "docs").rglob("*.md"))
FOUND = ROOT / "models" / "README.md"
PAGES = [ROOT / "README.md", FOUND, *STUDIES, *DOCS]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
PARTS = [
    part
    for page in PAGES
    for part in re.findall(
        r"<!-- begin: sparsify study (\S+) -->\n(.*?)<!-- end: sparsify study \1 -->",
        page.read_text(encoding="utf-8"),
        re.DOTALL,
    )
]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]


class Snippet(NamedTuple):
    """A block of code of a page; `whether` is why it is only parsed, or empty where it runs."""

    kind: str
    text: str
    why_not: str


def snippets(text: str) -> list[Snippet]:
    """The blocks of code of a page."""
    blocks = re.findall(
        r"^(?:<!-- parsed only: ([^\n]+) -->\n\n)?```(\w+)[^\n]*\n(.*?)^```$", text, re.DOTALL | re.MULTILINE
    )
    return [Snippet(kind, code, why_not) for why_not, kind, code in blocks]


def commands(text: str) -> Iterator[list[str]]:
    """The commands of a block, each as its words, without comments."""
    for line in text.splitlines():
        words: list[str] = []
        for word in shlex.split(line, comments=True):
            if word == "&&":
                yield words
                words = []
            else:
                words.append(word)
        if words:
            yield words


def parsed(words: list[str]) -> None:
    """Raise an error for a command of `sparsify` that it refuses, or of pip that names an extra that is not there."""
    program, *rest = words
    if program == "pip":
        assert rest[0] == "install"
        named = [name for word in rest for found in re.findall(r"\[(.+)\]", word) for name in found.split(",")]
        assert set(named) <= set(EXTRAS)
    elif program == "sparsify":
        app.parse_args(rest, exit_on_error=False, print_error=False)
        if rest[:1] == ["study"] and len(rest) > 1 and not rest[1].startswith("-"):
            assert rest[1] in built_in_studies() or rest[1] == "mine.toml"
    else:
        assert program in ("python", "pytest", "mkdocs", "."), f"{program} is no program that a page may name"


@pytest.mark.parametrize(("study", "part"), PARTS, ids=[study for study, _ in PARTS])
def test_tables_and_verdicts_are_those_of_the_study(study: str, part: str) -> None:
    found = (ROOT / "models" / study / "table.md").read_text(encoding="utf-8")
    tables = re.findall(r"^\*\*[^\n]+\*\*\n\n(?:\|.*\n)+", part, re.MULTILINE)
    assert len(tables) == len(re.findall(r"^\|[-|]+\|$", part, re.MULTILINE)) > 0
    for table in tables:
        assert table in found
    for verdict in re.findall(r"^> (.+)$", part, re.MULTILINE):
        assert f"- {verdict}\n" in found


def test_every_study_in_models_has_a_page_that_shows_it() -> None:
    assert {page.parent.name for page in STUDIES} == {file.parent.name for file in (ROOT / "models").glob("*/table.md")}
    assert {study for study, _ in PARTS} == {page.parent.name for page in STUDIES}


def test_readme_links_to_every_page_of_a_study() -> None:
    assert [page for page in STUDIES if f"](models/{page.parent.name}/README.md)" not in README] == []


def test_each_study_has_a_picture_and_a_few_words_whose_numbers_stand_on_its_page() -> None:
    text = FOUND.read_text(encoding="utf-8")
    said = dict(re.findall(r"^## \[([\w-]+)\]\(\1/README\.md\)\n\n(.*?)(?=^## )", text, re.MULTILINE | re.DOTALL))
    assert said.keys() == {page.parent.name for page in STUDIES}
    for study, words in said.items():
        assert words.count(f"]({study}/") - words.count(f"({study}/history.md)") == 1  # the picture
        page = (ROOT / "models" / study / "README.md").read_text(encoding="utf-8")
        assert [number for number in re.findall(r"\d+\.\d+", words) if number not in page] == []


def test_readme_is_short() -> None:
    assert len(README.splitlines()) <= 150
    assert README.count("![") == 1


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_link_into_the_repository_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    links = [link.partition("#")[0] for link in links if not re.match(r"https?:|#", link)]
    there = {(ROOT / "docs" / name).resolve() for name in made()}
    paths = {link: (page.parent / link).resolve() for link in links}
    assert [link for link, path in paths.items() if not path.exists() and path not in there] == []


def test_every_picture_says_what_it_shows() -> None:
    assert [name for name, page in zip(NAMES, PAGES, strict=True) if "![](" in page.read_text(encoding="utf-8")] == []


@mock.patch.dict(CRITERIA)  # what a page adds is there for this page alone
@pytest.mark.parametrize("page", [PAGES[0], *DOCS], ids=[NAMES[0], *NAMES[-len(DOCS) :]])
def test_the_snippets_of_a_page_run_one_after_another(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    known: dict[str, Any] = {}
    for kind, text, why_not in snippets(page.read_text(encoding="utf-8")):
        if kind == "python":
            code = compile(text, page.name, "exec")
            if not why_not:
                exec(code, known)
        elif kind == "toml":
            (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
            assert load_study("mine.toml").arms
        elif kind == "console":
            for words in commands(text):
                parsed(words)
                if not why_not:
                    assert words[0] == "sparsify", f"say why {words[0]} is not run: <!-- parsed only: why -->"
                    assert main(words[1:]) == 0, capsys.readouterr().err
        else:
            assert kind == "text"


def test_a_snippet_that_is_wrong_is_seen() -> None:
    found = snippets("<!-- parsed only: long -->\n\n```console\nsparsify tain\n```\n\n```python\n1\n```\n")
    assert found == [("console", "sparsify tain\n", "long"), ("python", "1\n", "")]
    assert list(commands("pip install . && sparsify study # all\n\n. a\n")) == [
        ["pip", "install", "."],
        ["sparsify", "study"],
        [".", "a"],
    ]
    for line in ("sparsify tain", "sparsify train --oops 1", "sparsify train --opt oops", "sparsify study oops"):
        with pytest.raises((CycloptsError, SparsifyError, AssertionError)):
            parsed(line.split())
    with pytest.raises(AssertionError):
        parsed(["pip", "install", ".[oops]"])
    with pytest.raises(AssertionError):
        parsed(["rm", "-r", "/"])


def test_every_public_name_has_its_place_in_the_reference() -> None:
    for page, package in (("python", sparsify), ("figures", viz)):
        shown = re.findall(r"^::: (\S+)$", (ROOT / f"docs/reference/{page}.md").read_text("utf-8"), re.MULTILINE)
        others = [name for name in shown if name.rpartition(".")[0] != package.__name__]
        assert sorted(set(shown) - set(others)) == sorted(f"{package.__name__}.{name}" for name in package.__all__)
        assert all(pkgutil.resolve_name(name).__doc__ for name in others)


def test_the_power_of_twenty_seeds_is_that_of_the_t_test() -> None:
    size = TTestPower().solve_power(nobs=20, alpha=0.05, power=0.9)
    page = (ROOT / "docs/explanation/pull.md").read_text(encoding="utf-8")
    assert f"Twenty seeds show a difference of {size:.2f} of its own standard deviation" in " ".join(page.split())


def test_every_figure_stands_in_the_gallery() -> None:
    text = (ROOT / "docs/gallery.md").read_text(encoding="utf-8")
    drawn = [name for name in viz.__all__ if name not in ("save", "study_drawings")]  # these two draw nothing new
    assert [name for name in drawn if not re.search(rf"\bviz[. ]{name}\b", text)] == []


def test_every_command_stands_in_the_reference() -> None:
    names = [name for name in app if not name.startswith("-")]
    assert {"train", "prune", "study", "viz"} <= set(names)
    assert [name for name in names if f"## sparsify {name}\n" not in cli_page()] == []


def test_every_extra_has_its_line() -> None:
    text = (ROOT / "docs/reference/extras.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == sorted(EXTRAS)


def test_the_pages_that_are_made_name_everything() -> None:
    named = choices_page()
    for name, spec in NETS.items():
        assert f"| `{name}` | {spec.description} |" in named
        assert all(f"| `{name}` | `{option}=" in named for option in spec.settings)
    assert "### sparsify viz landscape\n" in cli_page()
    assert "`--weight-decay FLOAT`" in cli_page()
    assert "| `label` | text | the arm's name; else its optimizer |" in toml_page()


@pytest.mark.parametrize("module", [choices, pages], ids=["choices", "pages"])
def test_the_examples_of_the_hooks_run(module: ModuleType) -> None:
    found = doctest.testmod(module)
    assert found.failed == 0 < found.attempted


def test_links_become_those_of_the_site() -> None:
    text = "[a](../models/lenet-mnist/README.md#b) ![c](../models/x/d.png) [e](f.md) [`models`](../models)"
    text += "\n```\n[g](h)\n```"
    assert relinked(text, "docs/gallery.md", "gallery.md") == (
        "[a](studies/lenet-mnist.md#b) ![c](files/models/x/d.png) [e](f.md) `models`\n```\n[g](h)\n```",
        {"models/x/d.png"},
    )
    assert relinked("[a](docs/start.md)", "README.md", "index.md")[0] == "[a](start.md)"
    assert relinked("[a](../b/report.html)", "models/c/README.md", "studies/c.md") == (
        "[a](../files/models/b/report.html)",
        {"models/b/report.html"},
    )


def test_a_chain_of_boxes_becomes_a_list() -> None:
    text = '```mermaid\nflowchart TB\n    f2["c"] --> f1["b, d"]\n    f1["b, d"] --> f0["a"]\n```'
    assert without_mermaid(text) == "1. `c`\n2. `b`, `d`\n3. `a`"


def test_what_a_page_loads_from_elsewhere_is_seen() -> None:
    assert list(outside('<img src="//a/b.png"><a href="https://c">d</a><link rel="stylesheet" href="e.css">')) == [
        "//a/b.png"
    ]
    assert list(outside("@font-face{src:url(https://a/b.woff)}")) == ["https://a/b.woff"]
