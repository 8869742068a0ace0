"""What a method, a network or a data set was published as, and that as BibTeX."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["article", "inproceedings", "techreport", "misc", "software"]


@dataclass(frozen=True)
class Publication:
    """One publication: its BibTeX key, authors as "Family, Given", title, year and the other fields of its entry.

    A group that is the author has braces, as BibTeX wants it: "{The maintainers}".

    >>> from sparsify.publications import Publication
    >>> paper = Publication("article", "box1986", ("Box, George", "Draper, Norman"), "Models", 1986, {"pages": "1--9"})
    >>> paper.short
    'Box & Draper 1986'
    >>> print(paper.bibtex)
    @article{box1986,
      author = {Box, George and Draper, Norman},
      title = {{Models}},
      year = {1986},
      pages = {1--9},
    }
    """

    kind: Kind
    key: str
    authors: tuple[str, ...]
    title: str
    year: int
    fields: Mapping[str, str] = field(default_factory=dict)

    @property
    def short(self) -> str:
        """The publication as a sentence names it: "Krizhevsky 2009", "Kingma & Ba 2015", "He et al. 2016"."""
        families = [author.partition(",")[0].strip("{}") for author in self.authors]
        names = f"{families[0]} et al." if len(families) > 2 else " & ".join(families)
        return f"{names} {self.year}"

    @property
    def bibtex(self) -> str:
        """The entry in BibTeX. Two pairs of braces keep the title's capitals, and %, &, #, $ and _ are escaped."""
        title = re.sub(r"[%&#$_]", r"\\\g<0>", self.title)
        fields = {
            "author": " and ".join(self.authors),
            "title": f"{{{title}}}",
            "year": str(self.year),
            **self.fields,
        }
        lines = [f"  {name} = {{{value}}}," for name, value in fields.items()]
        return "\n".join([f"@{self.kind}{{{self.key},", *lines, "}"])


def in_short(papers: Iterable[Publication]) -> str | None:
    """Return publications as a sentence names them, with commas between them; None if there are none."""
    return ", ".join(paper.short for paper in papers) or None
