"""What axe-core finds in the site's pages and in reports: contrast, headings, names of controls, alternative texts.

    python -m benchmarks.accessibility site runs/studies/quick

Every .html file in the given folders is opened in Chromium as a file, light at 1400 px and dark at 390 px, and looked
through by axe-core. Prints each thing that is found, and ends with status 1 if there is any. Two minutes for the site.
Needs the extra `test`, and Chromium.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sparsify.text import plural

if TYPE_CHECKING:
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import Page

VIEWS: tuple[tuple[Literal["light", "dark"], int], ...] = (("light", 1400), ("dark", 390))
# the page of what is not found names its style sheet from the root of a server: as a file it has none
LEFT_OUT = "404.html"


def chromium() -> str | None:
    """Return the program of Chromium; None if there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def pages_in(folders: Sequence[Path]) -> list[Path]:
    """All pages in the folders, by name."""
    return sorted(path.resolve() for folder in folders for path in folder.rglob("*.html") if path.name != LEFT_OUT)


def violations(page: Page, axe: Axe) -> Iterator[str]:
    """One line for each element of the open page that breaks a rule: the rule, the element, and why."""
    found: dict[str, Any] = axe.run(page).response
    for rule in found["violations"]:
        for node in rule["nodes"]:
            reasons = [one["message"] for part in ("any", "all", "none") for one in node[part]]
            yield f"{rule['id']} ({rule['impact']}): {node['html'][:120]} · {'; '.join(reasons)}"


def check(pages: Sequence[Path], browser: str) -> Iterator[str]:
    """Look through every page in every view, with the Chromium at `browser`; yield a line for each violation."""
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import sync_playwright

    axe = Axe()
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        for scheme, width in VIEWS:
            page = started.new_page(color_scheme=scheme, viewport={"width": width, "height": 900})
            page.set_default_timeout(120_000)  # milliseconds: a busy machine is slow to load a page
            for path in pages:
                page.goto(path.as_uri())
                for line in violations(page, axe):
                    yield f"{path}, {scheme}, {width} px: {line}"
        started.close()


def main() -> None:
    """Check the pages of the folders named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path)
    pages = pages_in(parser.parse_args().folders)
    browser = chromium()
    if browser is None or not pages:
        sys.exit("there is no Chromium" if browser is None else "there is no page in these folders")
    found = list(check(pages, browser))
    print(*found, f"{plural(len(pages), 'page')}, {plural(len(found), 'violation')}", sep="\n")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
