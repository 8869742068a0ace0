"""The paper quotes numbers of the studies in models/ alone, and cites what its bibliography and the registries have."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sparsify.optim import papers
from sparsify.publications import Publication

ROOT = Path(__file__).parent.parent
PAPER = (ROOT / "paper" / "paper.md").read_text(encoding="utf-8")
BIBLIOGRAPHY = (ROOT / "paper" / "paper.bib").read_text(encoding="utf-8")
RESULTS = PAPER[PAPER.index("# What studies with it show") : PAPER.index("# Research that it enables")]
QUOTING = [part for part in RESULTS.split("\n\n") if re.search(r"\d\.\d", part)]


@pytest.mark.parametrize("part", QUOTING, ids=[re.findall(r"study `(\S+)`", part)[0] for part in QUOTING])
def test_every_number_stands_in_the_table_of_its_study(part: str) -> None:
    (study,) = re.findall(r"study `(\S+)`", part)
    table = (ROOT / "models" / study / "table.md").read_text(encoding="utf-8").replace("\u00a0", " ")
    found = set(re.findall(r"\d+(?:\.\d+)?", table))
    assert [number for number in re.findall(r"\d+\.\d+|\d+(?=%)", part) if number not in found] == []
    (n,) = re.findall(r"n = (\d+) seeds", part)
    assert f"n = {n} seeds" in table


def test_numbers_stand_nowhere_else() -> None:
    body = PAPER.split("---", 2)[2].replace(RESULTS, "")
    assert re.findall(r"\d+\.\d+|\d+%", body) == []


def test_what_is_cited_is_what_the_bibliography_has() -> None:
    assert set(re.findall(r"@(\w+)", PAPER.split("---", 2)[2])) == set(
        re.findall(r"^@\w+\{(\w+),$", BIBLIOGRAPHY, re.M)
    )


def test_the_methods_are_in_the_bibliography_as_in_the_registries() -> None:
    own = {one.key: one for one in vars(papers).values() if isinstance(one, Publication)}
    shared = [own[key] for key in re.findall(r"^@\w+\{(\w+),$", BIBLIOGRAPHY, re.MULTILINE) if key in own]
    assert len(shared) > 3
    assert [paper.key for paper in shared if paper.bibtex not in BIBLIOGRAPHY] == []
