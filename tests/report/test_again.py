"""Reports are small, and can be written again without the networks; those in models/ say what today's code says."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import shutil
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING

import pandas
import pytest
import scipy
from largestudy import large_study
from PIL import Image, ImageChops

from benchmarks.keep import add, draw_table, drawable, joined, keep, rewrite
from sparsify.drawing import style
from sparsify.errors import SparsifyError
from sparsify.files import frame_as_csv
from sparsify.report.again import FILE, PAGE, source_again
from sparsify.report.page import render
from sparsify.report.writing import tables, write_study
from sparsify.study.folder import RUNS, read_study
from sparsify.study.results import StudyResult
from sparsify.study.running import run_study
from sparsify.study.toml import load_study
from sparsify.viz.study import Drawn, draw_study

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.filterwarnings("ignore:the path may be too short")
MODELS = Path(__file__).parent.parent.parent / "models"
KEPT = sorted(file.parent for file in MODELS.glob(f"*/{PAGE}"))
MOST = 600_000
SMALL = """
seeds = [0, 1]
draw = ["sweep"]
[base]
data = "digits"
epochs = 1
batch_size = 64
record = "loss"
[[arms]]
opt = "sgd"
[[arms]]
opt = "slbi"
mu = 1
[sweep]
layers = "conv3"
ratios = "0,0.5"
"""


def words(page: str) -> str:
    """The page without the day and the version that wrote it."""
    return re.sub(r"Written by sparsify-study \S+ on \S+\.", "", page)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study of four runs."""
    folder = tmp_path_factory.mktemp("again")
    (folder / "small.toml").write_text(SMALL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.sched_getaffinity", lambda _pid: {0}, raising=False)
        return write_study(run_study(load_study(str(folder / "small.toml")), runs_dir=folder / "runs")).parent


@pytest.fixture
def kept(study: Path, tmp_path: Path) -> Path:
    """What is kept of it in models/; there is nothing else."""
    keep(study, tmp_path / "small", ["sweep"])
    return tmp_path / "small"


@pytest.mark.filterwarnings("ignore:the path may be too short")
def test_the_report_of_a_large_study_is_small_and_has_nearly_every_figure(tmp_path: Path) -> None:
    page = write_study(large_study(tmp_path))
    assert page.stat().st_size <= MOST
    text = page.read_text(encoding="utf-8")
    names = {file.stem for file in page.parent.glob("*.svg")}
    shown = set(re.findall(r'<figure id="figure-([^"]+)"[^>]*>\s*<div[^>]*>\s*<img', text))
    assert len(names) == 24
    assert {name for name in names if "conv3" in name} < shown
    assert len(names - shown) <= 8  # paths of single layers; how large the filters are depends on the training
    assert {name for name in names - shown if f'href="{name}.svg"' in text} == names - shown  # they lie beside it


@pytest.mark.filterwarnings("ignore:the path may be too short")
def test_what_is_kept_has_no_network_and_gives_the_same_page(study: Path, kept: Path) -> None:
    files = {file.name for file in (kept / RUNS).rglob("*") if file.is_file()}
    assert {"summary.json", "metrics.csv"} <= files
    assert not {"model.safetensors", "z.safetensors", "path.npz"} & files
    assert [file.name for file in kept.glob("*.png")] == ["sweep.png"]
    page = (study / PAGE).read_text(encoding="utf-8")
    assert words(render(source_again(read_study(kept)))) == words(page)
    assert page.count("Kendall") > 2
    (kept / PAGE).write_text(page.replace("<h1>", "<h1>Not "), encoding="utf-8")
    (kept / "table.md").write_text("")
    rewrite(kept)
    assert words((kept / PAGE).read_text(encoding="utf-8")) == words(page)
    assert (kept / "table.md").read_text() == (study / "table.md").read_text()


def test_figures_for_which_all_is_kept_are_drawn_anew_and_others_stay(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a figure of a network stands the last one, whose kind the study does not draw."""
    sections = {one["name"]: one["section"] for one in json.loads((kept / FILE).read_bytes())["figures"]}
    *_, other = sections
    assert len(sections) > 3
    before = {one.drawn.svg.stem: one.uri for one in source_again(read_study(kept)).pictures}
    picture = (kept / "sweep.png").read_bytes()
    monkeypatch.setattr(style, "PALETTE", ("#123456", *style.PALETTE[1:]))

    def all_but_one(result: StudyResult) -> list[Drawn]:
        return [one for one in draw_study(result) if one.svg.stem != other]

    monkeypatch.setattr("benchmarks.keep.draw_study", all_but_one)
    rewrite(kept)
    source = source_again(read_study(kept))
    assert [one.drawn.section for one in source.pictures] == list(sections.values())
    for one in source.pictures:
        name = one.drawn.svg.stem
        assert one.uri is not None
        assert ("%23123456" in one.uri, one.uri == before[name]) == (name != other, name == other)
    assert (kept / "sweep.png").read_bytes() != picture
    assert [file.name for file in kept.glob("*.png")] == ["sweep.png"]
    assert list(kept.glob("*.svg")) == []


def test_what_needs_networks_or_records_is_not_drawn_without_them(study: Path, kept: Path) -> None:
    def found(folder: Path) -> tuple[str, ...]:
        result = read_study(folder)
        every = dataclasses.replace(result.study, draw=("curves", "losses", "sweep", "filters", "path", "predictions"))
        return drawable(dataclasses.replace(result, study=every))

    assert found(study) == ("curves", "losses", "sweep", "filters", "path", "predictions")
    assert found(kept) == ("curves", "losses", "sweep")
    next(kept.rglob("records.safetensors")).unlink()
    assert found(kept) == ("curves", "sweep")


def test_a_study_of_which_only_its_table_is_kept_has_its_accuracies_drawn_anew(study: Path, tmp_path: Path) -> None:
    for name in ("table.csv", "table.md"):
        shutil.copy(study / name, tmp_path)
    draw_table(tmp_path)
    assert list(tmp_path.glob("*.png")) == []  # it keeps none
    Image.new("RGB", (1, 1)).save(tmp_path / "sweep.png")
    draw_table(tmp_path)
    with Image.open(tmp_path / "sweep.png") as mine, Image.open(study / "sweep.png") as whole:
        assert mine.size == whole.size
        difference = ImageChops.difference(mine.convert("RGB"), whole.convert("RGB"))
        assert max(high for _, high in difference.getextrema()) < 32  # the colours are few


def test_what_is_missing_is_named(kept: Path) -> None:
    (kept / FILE).unlink()
    with pytest.raises(SparsifyError, match=rf"small/{FILE} is missing; run the study again"):
        source_again(read_study(kept))
    shutil.rmtree(kept / RUNS)
    with pytest.raises(SparsifyError, match=r"of the study .* is missing; run the study again"):
        read_study(kept)


@pytest.mark.skipif(scipy.__version__.startswith("1.15."), reason="scipy 1.15 gives other last digits")
@pytest.mark.parametrize("folder", KEPT, ids=lambda folder: folder.name)
def test_a_report_in_models_is_small_and_says_what_todays_code_says(folder: Path) -> None:
    """`python -m benchmarks.keep models/NAME` writes it anew."""
    assert (folder / PAGE).stat().st_size <= MOST
    source = source_again(read_study(folder))
    page = (folder / PAGE).read_text(encoding="utf-8")
    assert words(page) == words(render(source))
    linked = [urllib.parse.unquote(name) for name in re.findall(r'href="([^":#]+)"', page)]
    assert [name for name in linked if not (folder / name).exists()] == []
    assert (folder / "table.md").read_text(encoding="utf-8") == tables(source.result, source.findings)
    for name, frame in source.findings.frames().items():  # as numbers: last digits are the processor's
        written = pandas.read_csv(io.StringIO(frame_as_csv(frame)))
        pandas.testing.assert_frame_equal(pandas.read_csv(folder / f"{name}.csv"), written, rtol=1e-9)


@pytest.mark.parametrize("folder", KEPT, ids=lambda folder: folder.name)
def test_paper_cuts_off_no_table_of_a_report_in_models(browser: Browser, folder: Path) -> None:
    tab = browser.new_page(viewport={"width": 680, "height": 960})  # A4 within its margins
    tab.emulate_media(media="print")
    tab.goto((folder / PAGE).as_uri())
    tab.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    cut = "[...document.querySelectorAll('table')].filter((one) => one.getBoundingClientRect().right > 681)"
    assert tab.evaluate(f"{cut}.map((one) => one.caption.textContent)") == []
    tab.close()


def test_a_figure_to_which_the_report_links_is_kept(study: Path, tmp_path: Path) -> None:
    """One that is in the report itself is not."""
    before = {file.name: file.read_text(encoding="utf-8") for file in (study / PAGE, study / "sweep.svg")}
    (study / PAGE).write_text(before[PAGE] + '<a href="sweep.svg">sweep.svg</a>', encoding="utf-8")
    try:
        keep(study, tmp_path / "small", [])
    finally:
        (study / PAGE).write_text(before[PAGE], encoding="utf-8")
    assert [file.name for file in (tmp_path / "small").glob("*.svg")] == ["sweep.svg"]
    assert (tmp_path / "small" / "sweep.svg").read_text(encoding="utf-8") == before["sweep.svg"]


def test_seeds_are_added_to_a_study_that_is_kept(study: Path, kept: Path, tmp_path: Path) -> None:
    """Nothing else changes; figures of single networks are of the seeds whose networks are there."""
    runs_dir = tmp_path / "runs"
    (tmp_path / "small.toml").write_text(SMALL.replace("seeds = [0, 1]", "seeds = [2]"))
    more = write_study(run_study(load_study(str(tmp_path / "small.toml")), runs_dir=runs_dir)).parent
    (kept / "README.md").write_text("a page")
    one = joined(read_study(kept), read_study(more))
    assert [arm.pictured and arm.pictured.config.seed for arm in one.arms] == [2, 2]
    columns = ["arm", "seed", "layers", "ratio", "correct"]
    parts = pandas.concat([read_study(study).table()[columns], read_study(more).table()[columns]])
    add(more, kept, ["sweep"])
    found = read_study(kept)
    pandas.testing.assert_frame_equal(
        found.table()[columns].sort_values(columns, ignore_index=True), parts.sort_values(columns, ignore_index=True)
    )
    assert (kept / "README.md").read_text() == "a page"
    assert len(list((kept / RUNS).iterdir())) == 6
    assert "seeds 0, 1 and 2" in (kept / PAGE).read_text(encoding="utf-8")
    with pytest.raises(SystemExit, match="'sgd' differs or shares a seed"):
        joined(found, read_study(more))
