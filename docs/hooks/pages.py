"""The pages of the site that are not written by hand: those of other files, and those that the package itself gives.

A page may link to any file of the repository by its path, as it stands on the disk. `relinked` makes of such a link one
to a page of the site, one to a copy beside it, or, for what the site does not have, the text alone.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from choices import choices_page, toml_page

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent.parent
RESULTS = "benchmarks/results"
INCLUDED = {
    "README.md": "index.md",
    "CHANGELOG.md": "changes.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/gpu/README.md": "results/gpu.md",
    "models/README.md": "studies/found.md",
    "models/vgg-cifar10/history.md": "studies/vgg-cifar10-history.md",
    **{
        f"{RESULTS}/{name}.md": f"results/{name.split('-')[0]}.md"
        for name in ("networks", "coverage", "threads", "faults-20261128", "fuzz-20261128", "flips-20261128")
    },
}
"""The page of each file that is shown as it is; each study that is kept has one, too."""
COPIED = {".png", ".svg", ".html", ".csv", ".cff", ".toml"}
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
FENCE = re.compile(r"^(`{3,}).*?^\1$", re.MULTILINE | re.DOTALL)


def kept_studies() -> dict[str, str]:
    """Return for each study in models/ that has a page of its own its title."""
    pages = sorted((ROOT / "models").glob("*/README.md"))
    return {page.parent.name: page.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ") for page in pages}


def kept_reports() -> dict[str, str]:
    """Return for each study in models/ whose report is kept, too, the path of the report."""
    return {
        name: f"models/{name}/report.html" for name in kept_studies() if (ROOT / f"models/{name}/report.html").is_file()
    }


def beside(report: str) -> set[str]:
    """Return the files beside a report to which it links, as figures that it has no room for."""
    folder = posixpath.dirname(report)
    links = re.findall(r'href="([^"#:?]+)"', (ROOT / report).read_text(encoding="utf-8"))
    return {f"{folder}/{link}" for link in map(unquote, links) if (ROOT / folder / link).is_file()}


def page_of(path: str) -> str | None:
    """Return the page of the site that shows a file of the repository, if there is one."""
    if path.startswith("docs/") and path.endswith((".md", ".ipynb")):
        return path.removeprefix("docs/")
    study = re.fullmatch(r"models/([\w-]+)/README\.md", path)
    return f"studies/{study[1]}.md" if study else INCLUDED.get(path)


def relinked(text: str, source: str, page: str) -> tuple[str, set[str]]:
    """Return a page's text with its links as the site has them, and the files that have to be copied beside it.

    `source` is the file of the repository in which the links stand, and `page` the one of the site that shows it.

    >>> relinked("[a](../models/quick/sweep.png), [b](../gone.py)", "docs/gallery.md", "gallery.md")
    ('[a](files/models/quick/sweep.png), b (`gone.py`)', {'models/quick/sweep.png'})
    """
    copied = set()

    def link(match: re.Match[str]) -> str:
        picture, words, target = match.groups()
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:|#", target) or (source.startswith("docs/") and not path.startswith("../")):
            return match[0]
        file = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        if (to := page_of(file)) is None and Path(file).suffix not in COPIED:
            return words if f"`{file}`" == words or file == words else f"{words} (`{file}`)"
        if to is None:
            copied.add(file)
            to = f"files/{file}"
        to = posixpath.relpath(to, posixpath.dirname(page) or ".")
        return f"{picture}[{words}]({to}{'#' if anchor else ''}{anchor})"

    parts, end = [], 0
    for fence in FENCE.finditer(text):  # what stands in code is no link
        parts += [LINK.sub(link, text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, LINK.sub(link, text[end:])]), copied


def without_mermaid(text: str) -> str:
    """Return the text with a chain of boxes as a list, from above: no program has to be loaded that draws it."""

    def listed(match: re.Match[str]) -> str:
        lines = [line for line in match[1].splitlines() if "-->" in line]
        boxes = re.findall(r'\["(.+?)"\]', lines[0]) + [re.findall(r'\["(.+?)"\]', line)[1] for line in lines[1:]]
        return "\n".join(f"{number}. `{box.replace(', ', '`, `')}`" for number, box in enumerate(boxes, 1))

    return re.sub(r"^```mermaid\n(.*?)^```$", listed, text, flags=re.MULTILINE | re.DOTALL)


def cli_page() -> str:
    """Return the reference of the command line, as the program itself gives it."""
    from sparsify.cli.app import app

    text = app.generate_docs(output_format="markdown", heading_level=1)
    text = re.sub(r"## Table of Contents\n.*?(?=\*\*Commands\*\*)", "", text, flags=re.DOTALL)
    return text.replace("# sparsify\n", "# The command line\n", 1)


def study_page(name: str) -> str:
    """Return the page of a built-in study: what was found, where results are kept, its command and its file."""
    from sparsify.study.toml import load_study

    file = ROOT / "sparsify" / "study" / "builtin" / f"{name}.toml"
    kept = ROOT / "models" / name / "README.md"
    parts = [kept.read_text(encoding="utf-8")] if kept.exists() else [f"# {load_study(name).title}\n"]
    if not kept.exists():
        parts.append("No results of this study are kept here.\n")
    parts.append(f"## Run it\n\n```console\nsparsify study {name} --dry-run\nsparsify study {name}\n```\n")
    parts.append(f"## Its file\n\n```toml\n{file.read_text(encoding='utf-8').rstrip()}\n```\n")
    return "\n".join(parts)


def studies_page() -> str:
    """Return the list of the built-in studies."""
    from sparsify.study.toml import built_in_studies, load_study

    kept, reports = kept_studies(), kept_reports()
    rows = ["# Studies", "", "| study | title | results |", "| --- | --- | --- |"]
    for name in built_in_studies():
        found = f"[tables]({name}.md)" if name in kept else "–"
        report = f", [report](../../{reports[name]})" if name in reports else ""
        rows.append(f"| [{name}]({name}.md) | {load_study(name).title} | {found}{report} |")
    return "\n".join([*rows, "", "A [study of your own](../how-to/study.md) is a file like these.", ""])


def made() -> dict[str, tuple[str, Callable[[], str]]]:
    """Return for each page that is made the file in which its links stand, and the function that gives its text."""
    from sparsify.study.toml import built_in_studies

    def whole(path: str) -> Callable[[], str]:
        return lambda: (ROOT / path).read_text(encoding="utf-8")

    pages = {page: (path, whole(path)) for path, page in INCLUDED.items()}
    for name in built_in_studies():
        pages[f"studies/{name}.md"] = (f"models/{name}/README.md", lambda name=name: study_page(name))
    own = {
        "studies/index.md": studies_page,
        "reference/cli.md": cli_page,
        "reference/choices.md": choices_page,
        "reference/toml.md": toml_page,
    }
    return pages | {page: (f"docs/{page}", text) for page, text in own.items()}


def shown(text: str) -> str:
    """Return a page's text as the site shows it: commands as a shell's, and a mean and its deviation in one line.

    >>> shown("```console\\nsparsify\\n```\\n99.1 ± 0.1")
    '```bash\\nsparsify\\n```\\n99.1\\xa0±\\xa00.1'
    """
    text = re.sub(r"^```console$", "```bash", text, flags=re.MULTILINE)
    return re.sub(r"(?<=\d) ± (?=\d)", "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}", text)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made, and what all pages show of the repository."""
    from mkdocs.structure.files import File

    copied = {file for report in kept_reports().values() for file in (report, *beside(report))}
    for page, (source, text) in made().items():
        content, more = relinked(without_mermaid(shown(text())), source, page)
        copied |= more
        files.append(File.generated(config, page, content=content))
    for file in files.documentation_pages():
        if file.src_uri not in made():
            copied |= relinked(file.content_string, f"docs/{file.src_uri}", file.src_uri)[1]
    for path in sorted(copied):
        files.append(File.generated(config, f"files/{path}", abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return a page that is written by hand with its links as the site has them."""
    uri = page.file.src_uri
    return markdown if uri in made() else relinked(shown(markdown), f"docs/{uri}", uri)[0]


class Loaded(HTMLParser):
    """The addresses that a page loads when it is opened, without those that a reader may click on."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what this element loads."""
        given = dict(attrs)
        names = ["src", "srcset", "poster", "data"] if tag != "a" else []
        if tag == "link" and given.get("rel") != "canonical":
            names.append("href")
        self.found += [value for name in names if (value := given.get(name))]


def outside(text: str) -> Iterator[str]:
    """Yield the addresses on other machines that a page or a style sheet loads.

    >>> list(outside('<img src="//a.b/c.png"><a href="https://d.e">f</a><link rel="stylesheet" href="g.css">'))
    ['//a.b/c.png']
    """
    page = Loaded()
    page.feed(text)
    found = page.found + re.findall(r"(?:url\(|@import )[\"']?([^\"')]+)", text)
    yield from (address for address in found if re.match(r"\s*(?:https?:)?//", address))


def on_post_build(config: MkDocsConfig) -> None:
    """Raise an error if a page of the site would load something from another machine."""
    from mkdocs.exceptions import PluginError

    site = Path(config.site_dir)
    for path in sorted([*site.rglob("*.html"), *site.rglob("*.css")]):
        for address in outside(path.read_text(encoding="utf-8")):
            raise PluginError(f"{path.relative_to(site)} loads {address}: a page of the site must be whole by itself")
