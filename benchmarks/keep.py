"""Keep a study in models/: its tables, report and some figures, and of its runs all but the networks.

    python -m benchmarks.keep runs/studies/lenet-mnist models/lenet-mnist --figures sweep,curves
    python -m benchmarks.keep models/lenet-mnist

With one folder, the tables and the words of the report there are written anew; figures stay as they are.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from urllib.parse import quote

from PIL import Image

from sparsify.files import frame_as_csv, write_text
from sparsify.report.again import PAGE, source_again
from sparsify.report.page import render
from sparsify.report.writing import tables
from sparsify.study.folder import RUNS, read_study

COLOURS = 128
"""Of a picture that is kept: a third of the bytes, and no difference that is seen."""

NETWORKS = (".safetensors", ".lock", ".svg")
"""How the names of files end that are not kept, but figures that the report links to; nor is the path."""


def keep(study: Path, folder: Path, figures: list[str]) -> None:
    """Copy what is kept of a study that was run to an empty folder; its pictures with 128 colours."""
    result, page = read_study(study), (study / PAGE).read_text(encoding="utf-8")
    folder.mkdir(parents=True)
    for file in sorted(study.iterdir()):
        if file.suffix == ".png" and file.stem in figures:
            colours = Image.open(file).convert("RGB").quantize(COLOURS, method=Image.Quantize.MEDIANCUT)
            colours.save(folder / file.name, optimize=True)
        elif file.suffix not in (*NETWORKS, ".png") or f'href="{quote(file.name)}"' in page:
            shutil.copy(file, folder)
    for run in (run for arm in result.arms for run in arm.runs):
        (folder / RUNS / run.name).mkdir(parents=True)
        for file in sorted(run.path.iterdir()):
            if not file.name.endswith(NETWORKS) and file.name != "path.npz":
                shutil.copy(file, folder / RUNS / run.name)


def rewrite(folder: Path) -> None:
    """Write the findings, table.md and report.html of a study that is kept as today's code finds and words them."""
    source = source_again(read_study(folder))
    for name, frame in source.findings.frames().items():
        write_text(folder / f"{name}.csv", frame_as_csv(frame))
    write_text(folder / "table.md", tables(source.result, source.findings))
    write_text(folder / PAGE, render(source))


def main() -> None:
    """Keep the study, or write its report anew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="the folder of the study")
    parser.add_argument("folder", type=Path, nargs="?", help="where to keep it; it must not exist")
    parser.add_argument("--figures", default="sweep", help="names of the figures that are kept as PNG")
    asked = parser.parse_args()
    if asked.folder is None:
        rewrite(asked.study)
    else:
        keep(asked.study, asked.folder, asked.figures.split(","))


if __name__ == "__main__":
    main()
