"""Keep a study in models/: its tables, report and some figures, and of its runs all but weights, Z and path.

    python -m benchmarks.keep runs/studies/lenet-mnist models/lenet-mnist --figures sweep,curves
    python -m benchmarks.keep models/lenet-mnist

With one folder, the tables and the report there are written anew, and every figure is drawn anew for which all is kept:
not filters, paths and predictions, which need the networks, and where no run is kept, only accuracies against sparsity,
which table.csv has. With a folder in which a study is kept already, that of the same arms with other seeds is added,
and all is written and drawn anew:

    sparsify study cnn-tuning --set seeds=[1,2]
    python -m benchmarks.keep runs/studies/cnn-tuning-seeds-1-2 models/cnn-tuning --figures sweep,curves
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import tempfile
from pathlib import Path
from urllib.parse import quote

import pandas as pd
from PIL import Image

from sparsify.drawing.style import looks, save
from sparsify.drawing.sweeps import sweep_figure
from sparsify.files import frame_as_csv, write_text
from sparsify.pruning.measures import MEASURES
from sparsify.report.again import PAGE, keep_source, source_again
from sparsify.report.page import AROUND, LARGEST, render
from sparsify.report.pictures import pictures, within
from sparsify.report.sections import Source
from sparsify.report.writing import tables, write_study
from sparsify.study.answers import FILE as ANSWERS
from sparsify.study.folder import FILE, RUNS, read_study
from sparsify.study.results import StudyResult
from sparsify.viz.study import draw_study

COLOURS, OF_A_SCALE = 64, 256
"""Of a picture that is kept: a quarter of the bytes, a third where it is of `OF_NETWORKS`, which may have a scale of
colours; no difference is seen."""

NETWORK, RECORDS = "model.safetensors", "records.safetensors"

OF_NETWORKS = {"filters", "path", "predictions"}
"""The figures that need networks."""

OF_RECORDS = {"losses", "landscape"}
"""The figures that need what a training recorded."""

LARGE = (NETWORK, "z.safetensors", "path.npz")
"""What is not kept of a run: its weights, Z and path."""

AGAIN = ("table.csv", ANSWERS)
"""What is not kept of a study, as its runs say it again: `StudyResult.table`, and the answers to each image."""

ENDINGS = (".lock", ".svg")
"""How the names of other files end that are not kept, but figures that the report links to."""


def keep(study: Path, folder: Path, figures: list[str]) -> None:
    """Copy what is kept of a study that was run to an empty folder; its pictures with few colours."""
    result, page = read_study(study), (study / PAGE).read_text(encoding="utf-8")
    folder.mkdir(parents=True)
    for file in sorted(study.iterdir()):
        if file.suffix == ".png" and file.stem in figures:
            keep_picture(file, folder / file.name)
        elif not file.name.endswith((*AGAIN, *ENDINGS, ".png")) or f'href="{quote(file.name)}"' in page:
            shutil.copy(file, folder)
    for run in (run for arm in result.arms for run in arm.runs):
        (folder / RUNS / run.name).mkdir(parents=True)
        for file in sorted(run.path.iterdir()):
            if file.name not in LARGE and not file.name.endswith(ENDINGS):
                shutil.copy(file, folder / RUNS / run.name)


def keep_picture(png: Path, kept: Path) -> None:
    """Write a figure as it is kept, with few colours."""
    colours = OF_A_SCALE if png.stem.split("-")[0] in OF_NETWORKS else COLOURS
    with Image.open(png) as image:
        # of all colours, however few pixels have them: not the frequent ones, to which MEDIANCUT keeps
        image.convert("RGB").quantize(colours, Image.Quantize.MAXCOVERAGE, kmeans=2).save(kept, optimize=True)


def add(study: Path, folder: Path, figures: list[str]) -> None:
    """Add the seeds of a study that was run to those of one that is kept in `folder`; pages and settings there stay."""
    kept, more = read_study(folder), read_study(study)
    result = joined(kept, more)
    seeds = ",".join(str(config.seed) for config in result.study.arms[0].configs)
    command = [*source_again(kept).command, "--set", f"seeds=[{seeds}]"]
    new = folder.with_name(f"{folder.name}.new")
    with tempfile.TemporaryDirectory() as made:  # a folder of runs with those of both
        for run in (run for both in (kept, more) for arm in both.arms for run in arm.runs):
            (Path(made) / run.name).symlink_to(run.path.resolve())
        result = dataclasses.replace(result, folder=Path(made) / "studies" / result.study.name)
        keep(write_study(result, command=command).parent, new, figures)
    for file in (*folder.glob("README.md"), *folder.glob("*.toml")):
        shutil.copy(file, new)
    shutil.rmtree(folder)
    new.rename(folder)


def joined(one: StudyResult, other: StudyResult) -> StudyResult:
    """Return the study `one` with the seeds of both. Raises SystemExit unless all but the seeds is the same."""
    arms, results = [], []
    if one.study.sweeps != other.study.sweeps or len(one.arms) != len(other.arms):
        raise SystemExit(f"{other.folder} is not the study of {one.folder}: it has other sweeps or arms")
    for mine, theirs in zip(one.study.arms, other.study.arms, strict=True):
        configs = {config.seed: config for config in (*mine.configs, *theirs.configs)}
        alike = {dataclasses.replace(config, seed=0) for config in configs.values()}
        if len(configs) != len(mine.configs) + len(theirs.configs) or len(alike) != 1 or mine.label != theirs.label:
            raise SystemExit(f"{other.folder} cannot be added to {one.folder}: '{mine.label}' differs or shares a seed")
        arms.append(dataclasses.replace(mine, configs=tuple(configs.values())))
    for own, more in zip(one.arms, other.arms, strict=True):
        sweeps = tuple((*first, *second) for first, second in zip(own.sweeps, more.sweeps, strict=True))
        results.append(dataclasses.replace(own, runs=(*own.runs, *more.runs), sweeps=sweeps))
    return dataclasses.replace(one, study=dataclasses.replace(one.study, arms=tuple(arms)), arms=tuple(results))


def rewrite(folder: Path) -> None:
    """Write the tables, the report and the figures of a study that is kept as today's code writes and draws them."""
    source = source_again(read_study(folder))
    for name, frame in source.findings.frames().items():
        write_text(folder / f"{name}.csv", frame_as_csv(frame))
    write_text(folder / "table.md", tables(source.result, source.findings))
    source = redrawn(source)
    keep_source(source)
    write_text(folder / PAGE, render(source))


def redrawn(source: Source) -> Source:
    """The source of a report with every figure drawn anew for which all is kept, and so those that lie beside it."""
    result, folder = source.result, source.result.folder
    with tempfile.TemporaryDirectory() as made:
        study = dataclasses.replace(result.study, draw=drawable(result))
        drawn = draw_study(dataclasses.replace(result, study=study, folder=Path(made)))
        anew = {one.drawn.svg.stem: one for one in pictures(drawn)}
        before = {one.drawn.svg.stem: one for one in source.pictures}
        # what cannot be drawn anew comes first: it lies nowhere else
        found = before | anew
        kept = [one for name, one in found.items() if name not in anew]
        room = LARGEST - len(render(dataclasses.replace(source, pictures=within(list(found.values()), 0))).encode())
        fitting = {one.drawn.svg.stem: one for one in within([*kept, *anew.values()], room, AROUND)}
        for name in anew:
            if fitting[name].uri is None:
                shutil.copy(anew[name].drawn.svg, folder)
            else:
                (folder / f"{name}.svg").unlink(missing_ok=True)
            if (folder / f"{name}.png").exists():
                keep_picture(anew[name].drawn.png, folder / f"{name}.png")
    return dataclasses.replace(source, pictures=[fitting[name] for name in found])


def drawable(result: StudyResult) -> tuple[str, ...]:
    """The kinds of the study's figures for which all is there."""
    networks = all((arm.pictured.path / NETWORK).exists() for arm in result.arms if arm.pictured)
    records = all((run.path / RECORDS).exists() for arm in result.arms for run in arm.runs if run.config.record)
    lacking = (set() if networks else OF_NETWORKS) | (set() if records else OF_RECORDS)
    return tuple(kind for kind in result.study.draw if kind not in lacking)


def draw_table(folder: Path) -> None:
    """Draw the accuracies of a study of which table.csv is kept and no run, in the figures that are there."""
    points = pd.read_csv(folder / "table.csv")
    title = (folder / "table.md").read_text(encoding="utf-8").partition("**")[2].partition(": training**")[0]
    styles = looks(points.arm.unique())
    for measure, how in MEASURES.items():
        measured = points[points.groupby("arm")[measure].transform("count") > 0]
        groups = {
            str(arm): [one for _, one in rows.groupby("seed")] for arm, rows in measured.groupby("arm", sort=False)
        }
        png = folder / f"sweep{how.suffix}.png"
        if png.exists():
            words = f"{title}: pruned by {points.criterion[0]}{how.clause}"
            drawing = sweep_figure(groups, title=words, measure=measure, styles=styles)
            with tempfile.TemporaryDirectory() as made:
                keep_picture(save(drawing, Path(made), png.stem)[0], png)


def main() -> None:
    """Keep the study, or write its report anew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="the folder of the study")
    parser.add_argument("folder", type=Path, nargs="?", help="where to keep it, or where its other seeds are kept")
    parser.add_argument("--figures", default="sweep", help="names of the figures that are kept as PNG")
    asked = parser.parse_args()
    if asked.folder is None and not (asked.study / FILE).exists():
        draw_table(asked.study)
    elif asked.folder is None:
        rewrite(asked.study)
    elif asked.folder.exists():
        add(asked.study, asked.folder, asked.figures.split(","))
    else:
        keep(asked.study, asked.folder, asked.figures.split(","))


if __name__ == "__main__":
    main()
