"""The report: what it says, that it says it from the files alone, and that it is one small file."""

from __future__ import annotations

import base64
import dataclasses
import html
import io
import itertools
import re
import shlex
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup
from PIL import Image
from summaries import SUMMARY

from sparsify.cli.app import app, main
from sparsify.config import Config
from sparsify.nets.registry import NETS
from sparsify.optim.registry import OPTIMIZERS
from sparsify.pruning.plan import SweepPlan
from sparsify.report import page as page_module
from sparsify.report.commands import prune_command, train_command
from sparsify.report.likeness import likeness_tables, likenesses
from sparsify.report.page import write_report
from sparsify.report.pictures import Picture, within
from sparsify.report.prose import arms_table, data_in_words, paths_in_words, plan_in_words, setup, unusual_in_words
from sparsify.report.sections import environment_table, headline_table
from sparsify.report.studytables import accuracy_table
from sparsify.report.table import percent, to_markdown
from sparsify.report.terms import TERMS
from sparsify.runs import Run
from sparsify.study.design import Planned
from sparsify.study.findings import find
from sparsify.study.results import ArmResult, StudyResult
from sparsify.study.running import run_study
from sparsify.study.toml import load_study
from sparsify.text import listed
from sparsify.viz.study import draw_study

pytestmark = pytest.mark.filterwarnings("ignore:the path may be too short")
DERIVED = """
title = "Derived"
[base]
data = "digits"
epochs = 1
batch_size = 128
opt = "sgd"
[[arms]]
label = "first"
opt = "linbreg"
stage = true
[[arms]]
label = "then"
init = "first"
[arms.mask]
of = "first"
layers = "conv3"
ratio = 0.5
[[arms]]
label = "chosen"
[arms.select]
lr = [0.01, 0.1]
val = 0.2
[sweep]
layers = "conv3"
ratios = "0,0.5"
rounds = 2
"""
STUDY = """
title = "<script>alert('title')</script> & $1 to $2"
seeds = [0, 1]
[base]
data = "digits"
epochs = 1
batch_size = 64
[[arms]]
opt = "sgd"
[[arms]]
label = "<script>alert('label')</script>"
opt = "slbi"
mu = 1
[[arms]]
label = "exploding"
opt = "sgd"
lr = 1e30
[[sweeps]]
layers = ["conv3", "conv3,fc1"]
ratios = "0,0.5,0.9"
controls = true
draws = 2
[[sweeps]]
criterion = "l1"
layers = "conv3"
ratios = "0,1"
"""


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    (folder / "odd.toml").write_text(STUDY)
    return run_study(load_study(str(folder / "odd.toml")), runs_dir=folder / "runs")


@pytest.fixture(scope="module")
def drawn(result):
    return draw_study(result)


@pytest.fixture(scope="module")
def page(result, drawn):
    findings = dataclasses.replace(find(result), verdicts=["<script>alert('verdict')</script> is better."])
    path = write_report(result, findings, drawn, command=["sparsify", "study", "my <odd>.toml"])
    assert path == result.folder / "report.html"
    return path.read_text(encoding="utf-8")


def rows(table):
    return [tuple(row) for row in table.texts()]


def visible(text):
    """The page's text, without its pictures, styles and tags."""
    text = re.sub(r"<(style|script)>.*?</\1>", "", text, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", text)).split())


def test_what_users_wrote_is_escaped(page):
    assert page.count("<script>") == 1
    assert "alert(&#39;title&#39;)" in page
    assert "&lt;script&gt;alert(&#39;label&#39;)&lt;/script&gt;" in page
    assert "&lt;script&gt;alert(&#39;verdict&#39;)" in page
    assert "my &lt;odd&gt;.toml" in page


def test_a_text_with_what_cannot_be_printed_is_escaped_in_the_page():
    render = page_module._template().environment.from_string("<p title='{{ a }}'>{{ b }}{{ c }}</p>").render
    found = render(a="\x1b[31m", b="x\x00\n\u202e<b>α", c=Markup("<i>\x07</i>"))
    assert found == "<p title='\\x1b[31m'>x\\x00\n\\u202e&lt;b&gt;α<i>\x07</i></p>"


def test_the_page_loads_nothing_and_is_small(page):
    assert len(page.encode()) < 5_000_000
    assert set(re.findall(r'(?:src|href)="([a-z]*:?)', page)) <= {"data:", ""}
    assert set(re.findall(r"url\(.{3}", page)) == {"url(%23"}  # of a picture to itself
    assert "default-src 'none'" in page


def test_headings_are_in_order_and_pictures_and_tables_have_words(page):
    levels = [int(level) for level in re.findall(r"<h([1-6])", page)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    for image in re.findall(r"<img [^>]*>", page):
        assert re.search(r'alt="[^"]{10,}"', image)
    assert page.count("<table") == page.count("<caption>")
    assert 'lang="en"' in page


def test_every_section_is_there_with_its_numbers(page, result):
    text = visible(page)
    for section in re.findall(r'<div id="([a-z]+)"', page):
        assert f'<a href="#{section}">' in page
    for word in (
        "Terms",
        "How it was done",
        "Reproduce it",
        "Environment",
        "Checklist",
        "What happens to each class",
        "Inclusion paths",
    ):
        assert f">{word}</h2>" in page
        assert word in text
    assert "2 of 6 runs diverged and are not counted" in text
    assert "Difference of test accuracy against sgd, pruned by magnitude arm removed points 95% interval" in text
    assert "Largest part that can go by magnitude, with 95% confidence arm conv3, loss < 0.5 points" in text
    assert "95% intervals of the mean" in text
    for cell in rows(accuracy_table(result, "conv3", control="random"))[0]:
        assert cell in text


def elements(svg):
    """What an SVG holds, however it is written."""
    return tuple(
        (one.tag, one.text, tuple((key.split("}")[-1], value.replace("\n", " ")) for key, value in one.items()))
        for one in ElementTree.fromstring(svg).iter()
    )


def test_the_answer_has_the_first_figure_and_all_else_is_folded(page, drawn):
    before, *folds = page.split('<section class="fold"')
    (answer,) = re.findall(r'<img [^>]*alt="([^"]*)"', before)
    assert html.unescape(answer) == next(one.alternative for one in drawn if one.section == "sparsity")
    assert len(folds) == len(re.findall(r"<summary><h2", page)) > 8
    assert before.count("<table") == 1
    assert " open" not in "".join(re.findall(r"<details[^>]*>", page))


def test_every_term_that_the_page_links_to_is_explained(page):
    explained = set(re.findall(r'id="(term-[a-z-]+)"', page))
    linked = set(re.findall(r'href="#(term-[a-z-]+)"', page))
    assert linked <= explained
    assert len(explained) == len(TERMS) + 2  # sgd and slbi, which the study has
    for opt in ("sgd", "slbi"):
        meaning = html.escape(OPTIMIZERS[opt].description, quote=False)
        assert f'<div id="term-opt-{opt}"><dt>{opt}</dt><dd>{meaning}.</dd></div>' in page
    assert {"term-grain", "term-compression"} <= linked


def test_every_figure_is_in_the_page_once(page, drawn):
    uris = re.findall(r'src="data:image/(png;base64|svg\+xml),([^"]+)"', page)
    assert len(uris) == len(drawn) == len({content for _, content in uris})
    files = {elements(one.svg.read_text(encoding="utf-8")) for one in drawn}
    for kind, content in uris:
        if kind == "svg+xml":
            assert elements(unquote(content)) in files
        else:
            assert base64.b64decode(content)[:8] == b"\x89PNG\r\n\x1a\n"
    assert {one.section for one in drawn} == {"training", "sparsity", "classes", "filters", "paths"}


def test_figures_of_arms_whose_labels_make_the_same_file_name_are_kept_apart(result, monkeypatch):
    monkeypatch.setattr("sparsify.viz.study.save", lambda figure, folder, name: (name, name))
    arms = tuple(dataclasses.replace(result.arms[1], label=label) for label in ("slbi (1)", "slbi [1]"))
    files = [one.png for one in draw_study(dataclasses.replace(result, arms=arms))]
    assert len(set(files)) == len(files)
    assert {"path-slbi-1-conv3", "path-slbi-1-conv3-2"} <= set(files)


def test_pictures_for_which_there_is_no_room_are_left_out():
    some = [Picture(None, "x" * size, 1, 1) for size in (10, 30, 20)]
    assert [picture.uri is not None for picture in within(some, 35)] == [True, False, True]
    assert within(some, 60) == some
    assert [picture.uri for picture in within(some, 0)] == [None] * 3


@pytest.fixture
def roughly(monkeypatch):
    """Figures are rendered once, in a low resolution; their SVG is empty."""

    def save(figure, folder, name):
        folder.mkdir(parents=True, exist_ok=True)
        png, svg = folder / f"{name}.png", folder / f"{name}.svg"
        figure.savefig(png, dpi=20)
        svg.write_text('<svg xmlns="http://www.w3.org/2000/svg"><defs><style/></defs></svg>')
        return png, svg

    monkeypatch.setattr("sparsify.viz.study.save", save)


@pytest.mark.usefixtures("roughly")
def test_a_study_in_which_nothing_finished_has_a_report(result, tmp_path):
    arms = tuple(arm for arm in result.arms if not arm.finished)
    nothing = dataclasses.replace(result, arms=arms, folder=tmp_path)
    text = visible(
        write_report(nothing, find(nothing), draw_study(nothing), command=["sparsify"]).read_text(encoding="utf-8")
    )
    assert "2 of 2 runs diverged" in text
    assert "no run is finished" in text


@pytest.mark.usefixtures("roughly")
def test_one_arm_without_a_path_and_without_outcomes(result, tmp_path):
    arm = result.arms[0]
    old = tuple(tuple(dataclasses.replace(sweep, outcomes={}) for sweep in sweeps) for sweeps in arm.sweeps)
    one = dataclasses.replace(result, arms=(dataclasses.replace(arm, sweeps=old),), folder=tmp_path)
    text = write_report(one, find(one), draw_study(one), command=["sparsify"]).read_text(encoding="utf-8")
    assert "Inclusion paths" not in text
    assert "Some sweeps of sgd did not keep what was answered for each image" in visible(text)
    assert "settings in which they differ" not in text


@pytest.mark.usefixtures("roughly")
def test_recalibrated_and_finetuned_accuracies_have_their_own_tables_and_figures(result, tmp_path):
    plan = dataclasses.replace(result.study.sweeps[1], recalibrate_bn=True, finetune_epochs=1)
    changes = {"recalibrated_accuracy": 0.25, "finetune_epochs": 1, "finetuned_accuracy": 0.75}
    (arm, *_), arms = result.arms, []
    sweeps = tuple(
        dataclasses.replace(
            sweep,
            rows=tuple(dataclasses.replace(row, **changes) for row in sweep.rows),
            outcomes=dict.fromkeys(("accuracy", "recalibrated_accuracy"), sweep.outcomes["accuracy"]),
        )
        for sweep in arm.sweeps[1]
    )
    arms = (ArmResult("plain", arm.runs, (arm.sweeps[1],)), ArmResult("BatchNorm", arm.runs, (sweeps,)))
    design = tuple(dataclasses.replace(result.study.arms[0], label=one.label) for one in arms)
    study = dataclasses.replace(result.study, arms=design, sweeps=(plan,))
    both = StudyResult(study, arms, tmp_path)
    drawings = draw_study(both)
    names = [one.png.name for one in drawings]
    assert {"sweep-recalibrated.png", "sweep-finetuned.png"} <= set(names)
    classes = {one.png.name: one.alternative for one in drawings if one.section == "classes"}
    assert set(classes) == {"classes-1-1.png", "classes-recalibrated-1-1.png"}  # no answers of fine-tuned ones here
    assert "BatchNorm recalibrated" in classes["classes-recalibrated-1-1.png"]
    text = visible(write_report(both, find(both), drawings, command=["sparsify"]).read_text(encoding="utf-8"))
    assert "BatchNorm recalibrated on training images arm 0% 100% n plain – – 0 BatchNorm 25.00 ± 0.00" in text
    assert "fine-tuned arm 0% 100% n plain – – 0 BatchNorm 75.00 ± 0.00" in text


@pytest.mark.usefixtures("roughly")
def test_arms_that_start_from_others_and_arms_that_select_are_said_to(tmp_path):
    (tmp_path / "derived.toml").write_text(DERIVED)
    derived = run_study(load_study(str(tmp_path / "derived.toml")), runs_dir=tmp_path / "runs")
    page = write_report(derived, find(derived), draw_study(derived), command=["sparsify"]).read_text(encoding="utf-8")
    text = visible(page)
    assert "arm lr init mask seeds then 0.02 'first' 'first' without 50% of conv3 by magnitude 0 chosen 0" in text
    assert "The settings of chosen, selected by accuracy on a held-out 20% of the training images" in text
    (stage, then, chosen) = derived.study.arms
    assert f"sparsify mask {stage.configs[0].name} --layers conv3 --ratio 0.5" in text
    for candidate in chosen.choice.candidates:
        assert shlex.join(train_command(candidate.trials[0])) in text
    assert shlex.join(train_command(stage.configs[0])) in text
    assert f"--init {stage.configs[0].name}@" in text
    assert f"sparsify prune {then.configs[0].name} --layers conv3 --ratios 0,0.5 --rounds 2" in text
    assert "pruned by magnitude in 2 rounds, at 2 ratios" in text


CONFIGS = st.fixed_dictionaries(
    {
        "model": st.sampled_from(list(NETS)),
        "data": st.sampled_from(["auto", "mnist", "folder:/a b/photos'; rm -r x", "folder:-x"]),
        "epochs": st.integers(1, 100),
        "batch_size": st.integers(1, 512),
        "schedule": st.sampled_from(["cosine", "constant"]),
        "augment": st.sampled_from(["none", "crop-flip", "mirror+crop+autoaugment:0.6"]),
        "resize": st.sampled_from([None, 64]),
        "normalise": st.booleans(),
        "label_smoothing": st.sampled_from([0.0, 0.1]),
        "seed": st.integers(0, 2**40),
        "val": st.floats(0, 0.99),
        "init": st.sampled_from([None, "some run@0a1b2c3d", "-run", "$HOME"]),
        "mask": st.sampled_from([None, "folder/mask.safetensors@0a1b2c3d"]),
        "precision": st.sampled_from(["exact", "fast"]),
    }
)
OPTIONS = {
    "lr": st.floats(1e-9, 1e3),
    "momentum": st.floats(0, 0.999),
    "weight_decay": st.floats(0, 1),
    "kappa": st.floats(1e-3, 1e3),
    "mu": st.floats(1e-3, 1e3),
    "path_scale": st.floats(1e-3, 1e3),
    "strength": st.floats(0, 1e3),
    "delta": st.floats(1e-3, 1e3),
}


@given(CONFIGS, st.sampled_from(list(OPTIMIZERS)), st.data())
def test_the_train_command_is_read_back_as_the_same_config(values, opt, data):
    taken = OPTIMIZERS[opt].defaults
    options = data.draw(st.fixed_dictionaries({}, optional={k: v for k, v in OPTIONS.items() if k in taken}))
    config = Config(opt=opt, **values, **options)
    words = shlex.split(shlex.join(train_command(config)))
    assert words[:2] == ["sparsify", "train"]
    _, bound, *_ = app.parse_args(words[1:], exit_on_error=False, print_error=False)
    read = bound.arguments["config"]
    assert Path(read.data).name == Path(config.data).name  # a folder of images is named without its place
    assert dataclasses.replace(read, data=config.data) == config


def test_the_train_command_has_no_flag_that_is_not_needed():
    assert train_command(Config()) == ["sparsify", "train", "--opt", "slbi"]
    assert train_command(Config(opt="sgd", lr=0.5, seed=3)) == shlex.split("sparsify train --opt sgd --lr 0.5 --seed 3")


@pytest.mark.parametrize(
    ("plan", "flags"),
    [
        (SweepPlan(layers=("conv3", "conv3,fc1")), "--layers conv3 --layers conv3,fc1"),
        (
            SweepPlan(layers=("conv3",), ratios=(0.0, 1 / 3), criterion="l1"),
            "--layers conv3 --ratios 0,0.3333333333333333 --criterion l1",
        ),
        (SweepPlan(layers=("conv3",), controls=True), "--layers conv3 --controls"),
        (SweepPlan(layers=("conv3",), ratios="0,0.5,support"), "--layers conv3 --ratios 0,0.5,support"),
        (SweepPlan(layers=("conv3",), ratios="support"), "--layers conv3 --ratios 0,support"),
        (SweepPlan(layers=("conv3",), support=True), "--layers conv3 --ratios 0,0.1,0.2,0.3,0.4,0.5,0.6,support"),
        (SweepPlan(layers=("conv3",), controls=True, draws=2), "--layers conv3 --controls --draws 2"),
        (SweepPlan(layers=("conv3",), controls=True, draws=1), "--layers conv3 --controls --draws 1"),
        (SweepPlan(layers=("fc1",), criterion="random", draws=3), "--layers fc1 --criterion random --draws 3"),
        (SweepPlan(layers=("conv3",), reverse=True, scope="global"), "--layers conv3 --scope global --reverse"),
        (SweepPlan(layers=("conv3",), grain="weight", finetune_epochs=2), "--layers conv3 --grain weight --finetune 2"),
        (SweepPlan(layers=("conv3",), recalibrate_bn=True, rounds=2), "--layers conv3 --recalibrate-bn --rounds 2"),
    ],
)
def test_the_prune_command_asks_for_the_same_sweep(plan, flags, result):
    run = result.arms[0].runs[0]
    words = prune_command(run, plan)
    assert words == ["sparsify", "prune", run.name, *flags.split()]
    _, bound, *_ = app.parse_args(words[1:], exit_on_error=False, print_error=False)
    assert bound.arguments["run"] == run.name
    assert bound.arguments["plan"].id == plan.id


def test_the_commands_of_the_study_are_in_the_page(page, result):
    text = html.unescape(page)
    for arm in result.arms:
        for run in arm.runs:
            threads = run.environment["threads"]
            assert f"OMP_NUM_THREADS={threads} {shlex.join(train_command(run.config))}" in text
    assert "sparsify study 'my <odd>.toml'" in text
    assert shlex.join(prune_command(result.arms[0].runs[1], result.study.sweeps[0])) in text
    assert f"sparsify prune {result.arms[2].runs[0].name}" not in text


def test_the_headline_takes_the_largest_ratio_up_to_60_percent_of_the_last_set(result):
    table = headline_table(result)
    assert table.title == "Test accuracy (%), whole and with 50% of conv3 and fc1 removed by magnitude"
    sweeps = result.arms[0].sweeps[0]
    whole, gone = ([sweep.accuracy("conv3,fc1", ratio) for sweep in sweeps] for ratio in (0, 0.5))
    first = rows(table)[0]
    assert first[1].startswith(f"{50 * sum(whole):.2f} ± ")
    assert first[2].startswith(f"{50 * sum(gone):.2f} ± ")
    assert first[3].split()[0].lstrip("+−") == f"{abs(50 * (sum(gone) - sum(whole))):.2f}"
    assert first[4] == f"{sum(sweep.points('conv3,fc1', 0.5)[0].compression for sweep in sweeps) / 2:.2f}×"
    assert rows(table)[2] == ("exploding", "–", "–", "–", "–", "–", "0")


def test_the_headline_takes_the_ratio_of_the_first_primary_contrast_that_is_planned(result):
    first, second = (arm.label for arm in result.arms[:2])
    plans = (
        Planned(first, second, "conv3,fc1", 0.5, primary=False),
        Planned(first, second, "conv3", 0.5),
        Planned(first, second, "conv3,fc1", 0.9),
    )
    planned = dataclasses.replace(result, study=dataclasses.replace(result.study, contrasts=plans))
    assert headline_table(planned).title.startswith("Test accuracy (%), whole and with 90% of conv3 and fc1 removed")


def test_the_setup_is_said_in_words(result):
    text = " ".join(setup(result))
    assert text.startswith(
        "Three arms train lenet for 1 epoch in batches of 64, with a cosine learning rate and no aug"
    )
    assert "each with seeds 0 and 1." in text
    assert "digits (scikit-learn's 1,797 handwritten digits" in text
    assert "Accuracy is that on 360 test images." in text
    first, second = map(plan_in_words, result.study.sweeps)
    assert first == (
        "Every finished network is pruned by magnitude, at 3 ratios from 0% to 90%, of conv3, then of conv3 and fc1 "
        "(each); removed as one are filters of convolutions and single weights of fully connected layers; beside it go "
        "random grains and those of the opposite order, as many of each layer."
    )
    assert "by l1, at 2 ratios from 0% to 100%, of conv3; removed" in second
    of_two = plan_in_words(SweepPlan(layers=("conv3",), ratios=(0.5,)), ["slbi", "sgd, 0.1"])
    assert of_two.startswith('Every finished network of slbi and "sgd, 0.1" is pruned by magnitude, at 50%, of conv3;')
    often = plan_in_words(SweepPlan(layers=("conv3",), ratios=(0.0, 0.5), finetune_epochs=2, rounds=3))
    assert often.endswith(
        "; between two rounds it is trained for 2 epochs under the mask, with 0% removed as well; it is measured again "
        "after 2 epochs more of training under the mask."
    )


def test_a_folder_of_images_is_called_one(tmp_path):
    run = Run(tmp_path / "run")
    run.write_json("config.json", Config(data=f"folder:{tmp_path}/cifar10").to_dict())
    run.write_json("summary.json", SUMMARY | {"images_sha256": "0123456789abcdef0123"})
    said = data_in_words(run)
    assert (
        said
        == "a folder of image files, folder-cifar10 (not a published archive; SHA-256 of the images 0123456789abcdef…)"
    )


@pytest.mark.parametrize(
    ("opts", "text"),
    [
        (
            ["slbi", "sgd"],
            "With slbi, ‖Γ‖ of a filter is exactly 0 until it enters the support, and ‖W‖ of what never enters is "
            "pulled towards 0.",
        ),
        (
            ["linbreg", "prox-sgd"],
            "With linbreg and prox-sgd there is no Γ: ‖W‖ of a filter is itself exactly 0 until it enters the support.",
        ),
        (["slbi", "adabreg"], "is pulled towards 0. With adabreg there is no Γ: "),
        (["sgd", "sgd-pull"], ""),
    ],
)
def test_what_paths_show_is_said_of_what_the_runs_have(opts, text, result):
    arms = []
    for opt in opts:
        run = Run(result.folder / opt)
        run.write_json("config.json", Config(opt=opt).to_dict())
        files = ["model.safetensors", *(["z.safetensors"] if opt == "slbi" else [])]
        run.write_json("summary.json", SUMMARY | {"sha256": dict.fromkeys(files, "")})
        arms.append(ArmResult(opt, (run,), ()))
    said = paths_in_words(StudyResult(result.study, tuple(arms), result.folder))
    assert text in said if text else said == ""


def test_the_page_says_where_its_numbers_are(page):
    said = (
        "Accuracies, costs and differences are in the CSV files beside it and in the runs, from which it computes how"
    )
    assert said in visible(page)
    assert "With slbi, ‖Γ‖ of a filter is exactly 0" in visible(page)


def test_the_arms_table_has_what_differs_and_nothing_else(result):
    table = arms_table(result)
    assert [column.heading for column in table.columns] == ["arm", "opt", "lr", "kappa", "mu", "path scale", "seeds"]
    assert rows(table)[0] == ("sgd", "sgd", "0.02", "–", "–", "–", "0, 1")


def test_the_environment_says_where_runs_differ(result, monkeypatch):
    there = Run.environment.fget
    odd = result.arms[0].runs[1]

    def changed(run):
        return there(run) | ({"torch": "9.9"} if run == odd else {})

    monkeypatch.setattr(Run, "environment", property(changed))
    torch_rows = [row for row in rows(environment_table(result)) if row[0] == "torch"]
    assert [row[2][:2] for row in torch_rows] == ["5:", "1:"]
    assert torch_rows[1][1:] == ("9.9", "1: sgd, seed 1")
    assert ("threads", "1", "all 6") in rows(environment_table(result))
    assert len([row for row in rows(environment_table(result)) if row[0] == "started"]) == 1


def test_criteria_are_compared_on_each_layer_of_each_sweep(result):
    tables = likeness_tables(likenesses(result))
    overlap = "overlap of what goes at 90% (0.82 by chance)"
    assert [table.title for table in tables] == [
        "Agreement on conv3 (120 grains): Kendall’s τ",
        f"Agreement on conv3 (120 grains): {overlap}",
        "Agreement on fc1 (10,080 grains): Kendall’s τ",
        f"Agreement on fc1 (10,080 grains): {overlap}",
    ]
    headings = [column.heading for column in tables[0].columns]
    assert headings[:4] == ["arm", "magnitude, l1", "magnitude, fpgm", "l1, fpgm"]
    assert "entry, gamma" in headings
    sgd, slbi = rows(tables[0])  # the arm without a finished run is left out
    entry = headings.index("magnitude, entry")
    assert sgd[entry] == "–"
    assert "–" not in slbi
    same = [column.heading for column in tables[2].columns].index("magnitude, l1")
    assert [row[same] for row in rows(tables[2])] == ["1.00"] * 2  # of single weights the two are the same


def test_tables_of_controls_are_means_over_the_draws(result):
    table = accuracy_table(result, "conv3", control="random")
    draws = [[row.accuracy for row in one.points("conv3", 0.5, "random")] for one in result.arms[0].sweeps[0]]
    assert [len(each) for each in draws] == [2, 2]
    assert [column.heading for column in table.columns] == ["arm", "0%", "50%", "90%", "n"]
    assert [(row[0], row[-1]) for row in rows(table)] == [
        (arm.label, n) for arm, n in zip(result.arms, "220", strict=True)
    ]
    assert rows(table)[0][2] == percent([sum(each) / 2 for each in draws])
    text = to_markdown(accuracy_table(result, "conv3,fc1", control="magnitude-reversed"))
    assert "with conv3 and fc1 pruned by magnitude-reversed, control of magnitude**" in text


def test_lists_in_words():
    assert listed([]) == ""
    assert listed(["a"]) == "a"
    assert listed(["a", "b, c", "d"]) == "a, b, c and d"


@pytest.mark.usefixtures("roughly")
def test_the_command_writes_the_report_and_says_where(result, capsys, tmp_path):
    (tmp_path / "odd.toml").write_text(STUDY)
    runs_dir = result.folder.parent.parent
    path = runs_dir / "studies" / "odd-seeds-0" / "report.html"
    words = ["study", str(tmp_path / "odd.toml"), "--set", "seeds=[0]", "--runs-dir", str(runs_dir)]
    assert main(words) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"report: {path}"
    command = "sparsify study odd.toml --set 'seeds=[0]'"
    assert command in html.unescape(path.read_text(encoding="utf-8"))


# in a real browser


@pytest.fixture(params=[(390, "dark"), (1400, "light")], ids=lambda p: f"{p[0]}-{p[1]}")  # no rule is of both
def shown(browser, page, result, request):
    """The page in a window, with what the console said and what was asked of the network."""
    width, scheme = request.param
    tab = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    complaints = []
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("request", lambda asked: complaints.append(asked.url) if asked.url[:5] not in ("file:", "data:") else None)
    tab.goto((result.folder / "report.html").as_uri())
    yield tab
    assert complaints == []
    tab.close()


def test_a_browser_shows_every_figure_and_nothing_is_too_wide(shown, drawn):
    sizes = shown.evaluate(
        """() => [...document.images].map((image) => {
          const box = image.getBoundingClientRect();
          return [image.naturalWidth, box.width, box.height];
        })"""
    )
    assert len(sizes) == len(drawn)
    assert all(min(size) > 0 for size in sizes)
    narrow = shown.viewport_size["width"] == 390
    assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth")
    inside = shown.evaluate(
        "[...document.querySelectorAll('.wide')].filter((e) => e.scrollWidth > e.clientWidth).length"
    )
    assert inside > 0 or not narrow
    assert all(height > 100 for _, _, height in sizes)


def test_text_stands_out_in_both_schemes_and_figures_follow_them(shown):
    """WCAG's contrast ratio of each element that holds text, against the background behind it, is 4.5 at least."""
    found = shown.evaluate(
        """() => {
          const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
          const luminance = (colour) => colour.slice(0, 3).map((v) => v / 255)
            .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
            .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
          const behind = (element) => {
            for (let e = element; e; e = e.parentElement) {
              const colour = rgb(getComputedStyle(e).backgroundColor);
              if (colour.length < 4 || colour[3] > 0) return colour;
            }
            return [255, 255, 255];
          };
          return [...document.querySelectorAll("body *")]
            .filter((e) => !["SCRIPT", "STYLE"].includes(e.tagName))
            .filter((e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()))
            .map((e) => {
              const [a, b] = [luminance(rgb(getComputedStyle(e).color)), luminance(behind(e))];
              return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), e.outerHTML.slice(0, 80)];
            });
        }"""
    )
    assert len(found) > 100
    assert [element for ratio, element in found if ratio < 4.5] == []
    dark = shown.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    paper = shown.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert max(paper) < 60 if dark else min(paper) > 240
    card = "(kind) => [...document.querySelectorAll(kind)].map((e) => getComputedStyle(e).backgroundColor)"
    assert set(shown.evaluate(card, ".card:not(.white)")) == {"rgb(30, 33, 37)" if dark else "rgb(255, 255, 255)"}
    assert set(shown.evaluate(card, ".card.white")) <= {"rgb(255, 255, 255)"}
    shot = Image.open(io.BytesIO(shown.locator(".card img").first.screenshot())).convert("L")
    assert np.median(shot) < 60 if dark else np.median(shot) > 240


def test_tables_sort_by_click_and_by_keyboard(shown, result):
    table = shown.locator("table.headline")
    head = table.locator("th", has_text="whole")
    column = "(table) => [...table.tBodies[0].rows].map((row) => row.cells[1].textContent)"
    means = sorted(sum(run.summary["accuracy"] for run in arm.finished) * 50 for arm in result.arms if arm.finished)

    def shows(numbers):
        cells = table.evaluate(column)
        return [cell.split(" ")[0] for cell in cells] == [f"{number:.2f}" for number in numbers] + ["–"]

    assert head.get_attribute("aria-sort") is None
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert shows(means)
    head.locator("button").focus()
    shown.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert shows(means[::-1])
    shown.keyboard.press("Shift+Tab")
    shown.keyboard.press("Space")  # the first column, text
    assert table.locator("[aria-sort]").count() == 1
    assert table.locator("th").first.get_attribute("aria-sort") == "ascending"
    labels = table.locator("tbody th").all_text_contents()
    assert labels == ["<script>alert('label')</script>", "exploding", "sgd"]


def test_what_is_folded_is_not_printed_and_one_button_unfolds_all(browser, page, result):
    tab = browser.new_page(color_scheme="dark")
    tab.goto((result.folder / "report.html").as_uri())
    folded = tab.pdf(format="A4")
    assert pages(folded) <= 3
    tab.get_by_role("button", name="Unfold all").click()
    assert tab.locator(".fold > details:not([open])").count() == 0
    assert pages(tab.pdf(format="A4")) > pages(folded)
    tab.emulate_media(media="print")
    assert not tab.locator("nav").is_visible()
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    tab.close()


def pages(pdf):
    assert pdf.startswith(b"%PDF")
    return len(re.findall(rb"/Type\s*/Page\b", pdf))


def test_a_link_unfolds_the_section_that_it_leads_to(shown):
    shown.locator('a[href="#term-compression"]').first.click()
    assert shown.locator("#term-compression").is_visible()
    assert not shown.locator("#checklist").is_visible()


def test_every_table_is_whole_at_1400_and_the_change_is_seen_at_390(shown):
    shown.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    narrow = shown.viewport_size["width"] == 390
    wide = "[...document.querySelectorAll('.wide')].filter((e) => e.scrollWidth > e.clientWidth + 1)"
    assert narrow or shown.evaluate(f"{wide}.map((e) => e.getAttribute('aria-label'))") == []
    box = shown.locator("table.headline td:nth-child(4)").first.bounding_box()
    assert box["x"] + box["width"] <= shown.viewport_size["width"]


def test_options_that_all_networks_share_are_said_beside_the_network(result, monkeypatch):
    runs = [run for arm in result.arms for run in arm.runs]
    for run in runs:
        monkeypatch.setitem(run.__dict__, "config", dataclasses.replace(run.config, net="init=he"))
    assert setup(result)[0].startswith("Three arms train lenet (init=he) for 1 epoch")
    monkeypatch.setitem(runs[0].__dict__, "config", dataclasses.replace(runs[0].config, net=""))
    assert setup(result)[0].startswith("Three arms train lenet for 1 epoch")


def test_what_is_not_at_its_default_in_training_is_said(result, monkeypatch):
    every = Config(resize=64, normalise=False, label_smoothing=0.1)
    assert unusual_in_words([every, every]) == [
        "All are trained with images resized to 64×64 pixels, pixels from 0 to 1 instead of normalised ones and label "
        "smoothing 0.1."
    ]
    trained = Config(model="torchvision:alexnet", pretrained=True)
    assert unusual_in_words([Config(loss="nll"), Config(), trained]) == [
        "Some are trained with the loss nll; or with weights trained on ImageNet at the start."
    ]
    assert unusual_in_words([Config()]) == []
    run = result.arms[0].runs[0]
    monkeypatch.setitem(run.__dict__, "config", dataclasses.replace(run.config, loss="nll"))
    assert "Some are trained with the loss nll." in setup(result)
