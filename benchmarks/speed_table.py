"""The table of docs/explanation/speed.md, from the newest results of each benchmark.

    python -m benchmarks.speed_table      # after `python -m benchmarks.run`, `.sweep` and `.stacking`

Says nothing that is not in benchmarks/results: it chooses rows, and writes them between two marks of the page.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import duration
from sparsify.files import write_text
from sparsify.report.table import TEXT, Column, Table, to_markdown

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "explanation" / "speed.md"
BEGIN, END = "<!-- begin: python -m benchmarks.speed_table -->\n", "<!-- end: python -m benchmarks.speed_table -->\n"


@dataclass(frozen=True)
class Told:
    """A row of the table: an arm of a file of results, and what it does in words."""

    what: str
    file: str  # the newest that matches
    keys: tuple[str, ...]  # where its arms are in the file
    arm: str


STACKED = "stacked, channels last"
ROWS = (
    Told("SLBI's step, LeNet", "step-*.json", ("lenet", "arms"), "SLBI, channels last"),
    Told("SLBI's step, VGG-A (9.75 M parameters)", "step-*.json", ("vgg-a", "arms"), "SLBI, channels last"),
    Told("SLBIAdam's step, LeNet", "step-*.json", ("lenet", "arms"), "SLBIAdam, channels last"),
    Told("SLBIAdam's step, VGG-A", "step-*.json", ("vgg-a", "arms"), "SLBIAdam, channels last"),
    Told("LeNet with SLBI, a step of 128 images", "lenet-*.json", ("arms",), "(iv) sparsify, exact"),
    Told("the same, fast (bfloat16)", "lenet-*.json", ("arms",), "(v) sparsify, fast"),
    Told("the same, exact, two seeds at once, each", "lenet-*.json", ("arms",), "(vi) sparsify, 2 seeds, each"),
    Told("VGG-A with SLBI, a step of 128 images", "vgg-*.json", ("arms",), "(iv) sparsify, exact"),
    Told("the same, fast (bfloat16)", "vgg-*.json", ("arms",), "(v) sparsify, fast"),
    Told("a sweep of 14 points of LeNet on 10,000 images", "sweep-*.json", ("arms",), "one pass"),
    Told("gradients of 8 LeNets as one, of 32 images each", "stacking.json", ("times", "batch 32"), STACKED),
    Told("the same, of 128 images each", "stacking.json", ("times", "batch 128"), STACKED),
)


def rows(results: Path) -> Iterator[tuple[str, ...]]:
    """The cells of each row."""
    files = {told.file: newest(results, told.file) for told in ROWS}
    for told in ROWS:
        found: Any = files[told.file]
        for key in told.keys:
            found = found[key]
        arms = {arm["arm"]: arm for arm in found}
        ours = arms[told.arm]
        low, median, high = (ours[f"speedup_{name}"] for name in ("quartile_1", "median", "quartile_3"))
        usual = arms[ours["baseline"]]["median_seconds"]
        ratio = f"{median:.2f}× ({low:.2f} to {high:.2f})"
        beside_sgd = f"{ours['speedup_over_sgd_median']:.2f}×" if "speedup_over_sgd_median" in ours else ""
        floor = f"{ours['share_of_floor']:.0%}" if "share_of_floor" in ours else ""
        times = duration(usual), duration(ours["median_seconds"])
        yield told.what, *times, ratio, beside_sgd, floor, str(ours["n"])


def newest(results: Path, pattern: str) -> dict[str, Any]:
    """The content of the newest file of this pattern."""
    return dict(json.loads(max(results.glob(pattern)).read_text(encoding="utf-8")))


def markdown(results: Path = HERE / "results") -> str:
    """Return the table, and the line that says on what it was measured."""
    headings = ("what", "usual", "sparsify", "ratio", "over torch's SGD", "of the floor", "n")
    columns = [Column(heading, TEXT) for heading in headings]
    dates = {about(newest(results, file)) for file in {told.file for told in ROWS}}
    return to_markdown(Table.of("", columns, rows(results))) + f"\n{'; '.join(sorted(dates))}.\n"


def about(found: dict[str, Any]) -> str:
    """On what a file's results were measured, and when."""
    threads = "1 thread" if found["threads"] == 1 else f"{found['threads']} threads"
    return f"{found['device'].upper()}, {threads}, torch {found['torch']}, {found['date'][:10]}"


def filled(page: str, table: str) -> str:
    """Return the page with this table between its marks."""
    return re.sub(f"({BEGIN}).*?({END})", lambda found: f"{found[1]}\n{table}\n{found[2]}", page, flags=re.DOTALL)


def main() -> None:
    """Write the page."""
    write_text(PAGE, filled(PAGE.read_text(encoding="utf-8"), markdown()))


if __name__ == "__main__":
    main()
