"""Studies: TOML files, reuse of what is there, tables, figures."""

import dataclasses
import json
import re
import shutil
from statistics import mean

import pandas as pd
import pytest
import torch
from summaries import before_sums

from sparsify.analysis.weights import TrainedNetwork
from sparsify.config import Config, Places
from sparsify.errors import SparsifyError
from sparsify.pruning.plan import SweepPlan
from sparsify.report.notes import NOTES, lost_runs, notes, weak_supports
from sparsify.report.page import write_report
from sparsify.report.plantables import plan_line
from sparsify.report.prose import weak_support
from sparsify.report.studytables import accuracy_table, study_markdown, training_table
from sparsify.report.table import percent, to_markdown
from sparsify.report.writing import write_study
from sparsify.runs import Run
from sparsify.study.design import Planned, Published
from sparsify.study.estimates import estimate_cost
from sparsify.study.findings import find
from sparsify.study.folder import read_study, save_study
from sparsify.study.planning import Planner
from sparsify.study.running import run_study
from sparsify.study.toml import built_in_studies, load_study
from sparsify.training.launch import train
from sparsify.viz.figures import filter_panel
from sparsify.viz.study import draw_study, study_drawings

pytestmark = pytest.mark.filterwarnings("ignore:the path may be too short")
TINY = """
title = "Tiny"
seeds = [0, 1]
[base]
data = "digits"
epochs = 2
batch_size = 64
[[arms]]
opt = "sgd"
[[arms]]
opt = "slbi"
lr = 0.05
mu = 5
[[arms]]
label = "exploding"
opt = "sgd"
lr = 1e30
[sweep]
layers = ["conv3", "conv3,fc1"]
ratios = "0,0.5,1"
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    (folder / "tiny.toml").write_text(TINY)
    study = load_study(str(folder / "tiny.toml"))
    return run_study(study, runs_dir=folder / "runs")


def test_the_built_in_studies_are_valid_and_have_the_four_arms():
    vgg = ["vgg-cifar10", "vgg-cifar10-published"]
    core = [
        "lenet-control",
        "lenet-mnist",
        "lenet-selection",
        "quick",
        *vgg,
        "vgg-light-control",
        "vgg-light-selection",
    ]
    small = ["cifar-nets", "cifar-resnet9", "cifar10-speed", "cnn-tuning", "cnn-tuning-resnet18"]
    others = ["adam-variants", "bn-landscape", *small, "optimizers"]
    alexnet = ["alexnet", "alexnet-fashion", "alexnet-pretrained"]
    assert built_in_studies() == sorted([*core, *others, *alexnet])
    for name in (*others, *alexnet):
        (sweep,) = load_study(name).sweeps
        assert (len(sweep.layers), max(sweep.ratios)) == (2, 0.6)
    for name in ("lenet-mnist", "quick", *vgg):
        study = load_study(name)
        assert [arm.label for arm in study.arms][:4] == ["sgd", "sgd-pull", "slbi", "slbi-adam"]
        (sweep,) = study.sweeps
        assert sweep.layers == ("conv3", "conv3,fc1")
        to_90 = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
        assert sweep.ratios == (to_90 if name == "quick" else to_90[:7])


def test_the_control_differs_from_slbi_in_nothing_but_the_threshold():
    for name in ("lenet-control", "lenet-mnist", "quick", "vgg-cifar10", "vgg-cifar10-published", "vgg-light-control"):
        by_label = {arm.label: arm.configs[0].to_dict() for arm in load_study(name).arms}
        assert {**by_label["sgd-pull"], "opt": "slbi"} == by_label["slbi"]


def test_the_mnist_study_trains_the_defaults_of_each_optimizer():
    for arm in load_study("lenet-mnist").arms[:4]:
        assert arm.configs == tuple(Config(opt=arm.label, data="mnist", seed=seed) for seed in (0, 1, 2))


def test_a_study_trains_every_arm_and_seed_and_leaves_out_what_diverged(tiny):
    assert [(arm.label, len(arm.runs), len(arm.finished), len(arm.sweeps[0])) for arm in tiny.arms] == [
        ("sgd", 2, 2, 2),
        ("slbi", 2, 2, 2),
        ("exploding", 2, 0, 0),
    ]


def test_a_rerun_trains_and_sweeps_nothing(tiny):
    calls = []
    again = run_study(tiny.study, runs_dir=tiny.folder.parent.parent, listener=calls.append, note=calls.append)
    assert calls == []
    assert again == tiny


def test_a_glob_is_the_sweep_of_what_it_stands_for(tiny):
    calls = []
    (sweep,) = tiny.study.sweeps
    study = dataclasses.replace(tiny.study, sweeps=(dataclasses.replace(sweep, layers=("conv[3]", "conv[3],fc*")),))
    again = run_study(study, runs_dir=tiny.folder.parent.parent, listener=calls.append, note=calls.append)
    assert calls == []
    assert again == tiny


def test_a_planned_contrast_is_of_the_layers_that_its_words_stand_for_and_is_read_back(tiny, tmp_path):
    (sweep,) = tiny.study.sweeps
    plan = Planned("slbi", "sgd", "conv[3]", 0.5)
    sweeps = (dataclasses.replace(sweep, layers=("conv[3]", "conv[3],fc*")),)
    study = dataclasses.replace(tiny.study, name="planned", sweeps=sweeps, contrasts=(plan,))
    result = run_study(study, runs_dir=tiny.folder.parent.parent)
    assert result.study.contrasts == (dataclasses.replace(plan, layers="conv3"),)
    first = find(result).contrasts[0]
    assert (first.arm, first.reference, first.layers, first.family) == ("slbi", "sgd", "conv3", "primary")
    save_study(result, find(result))
    assert read_study(result.folder) == result
    kept = json.loads((result.folder / "study.json").read_text())
    assert kept["contrasts"][0]["layers"] == "conv3"
    kept["contrasts"][0]["arm"] = "gone"
    (result.folder / "study.json").write_text(json.dumps(kept))
    with pytest.raises(SparsifyError, match=r"study\.json is damaged \(unknown arm 'gone' in contrast 1;"):
        read_study(result.folder)
    save_study(tiny, find(tiny))
    assert "contrasts" not in json.loads((tiny.folder / "study.json").read_text())  # as before there were any


def test_a_glob_that_differs_from_arm_to_arm_is_refused_before_anything_is_trained(tmp_path):
    text = TINY.replace('"conv3,fc1"', '"conv*"').replace('label = "exploding"', 'label = "deep"\nmodel = "resnet20"')
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises(
        SparsifyError, match=r"layers 'conv3 conv\*' differ from arm to arm \(conv3 and conv1,conv2,conv3"
    ):
        run_study(load_study(str(tmp_path / "bad.toml")), runs_dir=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_tables_say_mean_deviation_and_n(tiny):
    text = to_markdown(accuracy_table(tiny, "conv3"))
    (sgd,) = tiny.arms[0].sweeps
    assert percent([sweep.accuracy("conv3", 0.5) for sweep in sgd]) in text
    assert "| n " in text.replace("|       n ", "| n ")
    assert text.startswith("**Tiny: test accuracy (%) with conv3 pruned by magnitude**")
    training = to_markdown(training_table(tiny))
    assert "conv3 in support (%)" in training
    cells = {line.split("|")[1].strip(): line.split("|")[2:5] for line in training.splitlines()[2:]}
    slbi = [run.summary for run in tiny.arms[1].finished]
    for row, name in (("support: 0 outside it", "support_accuracy"), ("gamma: Γ as the weights", "gamma_accuracy")):
        expected = percent([summary[name] for summary in slbi])
        assert [cell.strip() for cell in cells[f"{row} (%)"]] == ["–", expected, "–"]
    assert "seconds" not in training  # other programs ran on the machine: metrics.csv has them
    assert "diverged" in training


def test_a_collapsed_training_is_shown_as_such_and_never_counted(tmp_path, monkeypatch):
    text = TINY.replace("epochs = 2", "epochs = 3").replace("1e30", "0.5").replace("exploding", "too fast")
    text = text.replace("[base]", 'draw = ["curves"]\n[base]')
    (tmp_path / "rates.toml").write_text(text.replace('opt = "slbi"\nlr = 0.05\nmu = 5', 'label = "it"\nopt = "adam"'))
    runs_dir = tmp_path / "runs"
    result = run_study(load_study(str(tmp_path / "rates.toml")), runs_dir=runs_dir)
    lost = result.arms[2]
    assert [run.status for run in lost.runs] == ["collapsed", "collapsed"]
    assert (lost.finished, lost.sweeps) == ((), ((),))
    findings = find(result)
    assert {cell.arm for cell in findings.cells} == {one.arm for one in findings.contrasts} | {"sgd"} == {"sgd", "it"}
    lines = {cells[0]: cells[1:] for line in to_markdown(training_table(result)).splitlines() if (cells := split(line))}
    assert lines["n"] == ["2", "2", "0"]
    assert lines["collapsed"] == ["0", "0", "2"]
    name = lost.runs[0].name
    said = f"not counted: {name} of too fast, which collapsed (loss stays at ln 10)"
    assert said in notes(result)
    report = write_study(result)
    assert "2 of 6 runs collapsed (loss stays at ln 10) and are not counted." in report.read_text()
    assert said in (result.folder / "table.md").read_text()
    (first, _) = (result.folder / "not-counted.csv").read_text().splitlines()[1:]
    assert first == f"too fast,0,{name},collapsed,loss stays at ln 10"
    captions = [one.caption for one in study_drawings(result) if one.name == "curves"]
    assert "sgd, it and too fast (collapsed) against the epoch" in captions[0]
    again = Planner(result.study, Places(runs_dir=runs_dir)).plan()
    assert again.done
    with monkeypatch.context() as before:  # collapses were counted, and swept
        before.setattr(Run, "collapsed", None)
        swept = run_study(load_study(str(tmp_path / "rates.toml")), runs_dir=runs_dir)
        save_study(swept, find(swept))
        assert len(swept.arms[2].sweeps[0]) == 2
    assert read_study("rates", runs_dir).arms == result.arms


def test_an_arm_follows_the_path_of_the_same_seed_in_another_at_random(tmp_path):
    text = """
seeds = [0, 1]
draw = ["sweep"]
[base]
data = "digits"
val = 0.75
epochs = 3
batch_size = 16
lr = 0.4
kappa = 0.1
mu = 2.5
[[arms]]
label = "at random"
opt = "random-release"
release = "slbi"
[[arms]]
opt = "slbi"
[sweep]
layers = ["conv3"]
ratios = [0.5]
"""
    (tmp_path / "random.toml").write_text(text)
    study = load_study(str(tmp_path / "random.toml"))
    assert (study.arms[0].release, study.arms[0].parents, study.in_order) == ("slbi", ("slbi",), ("slbi", "at random"))
    runs_dir = tmp_path / "runs"
    result = run_study(study, runs_dir=runs_dir)
    random, slbi = result.arms
    for ours, theirs in zip(random.runs, slbi.runs, strict=True):
        assert ours.config.release == f"{theirs.name}@{theirs.sha256('path.npz')[:8]}"
        counts = [{name: one["in"] for name, one in run.summary["support"].items()} for run in (ours, theirs)]
        assert counts[0] == counts[1]
        assert any(counts[0].values())
    save_study(result, find(result))
    assert read_study("random", runs_dir) == result
    assert Planner(study, Places(runs_dir=runs_dir)).plan().done
    (tmp_path / "random.toml").write_text(text.replace('release = "slbi"', ""))
    with pytest.raises(SparsifyError, match="--opt random-release needs --release"):
        run_study(load_study(str(tmp_path / "random.toml")), runs_dir=runs_dir)


def split(line):
    return [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []


def test_a_support_that_is_no_network_is_said(tiny):
    slbi = tiny.arms[1]
    whole, alone = (mean(run.summary[name] for run in slbi.finished) for name in ("accuracy", "support_accuracy"))
    assert whole - alone > 0.05
    (found,) = (note for note in notes(tiny) if note.startswith("the support is not yet a network"))
    assert (
        f": slbi has {100 * whole:.2f}% with all weights and {100 * alone:.2f}% with those in its support; a" in found
    )
    assert weak_support({"a": (0.9, 0.85 + 1e-9), "b": (0.5, 0.6)}) == []
    (found,) = weak_support({"a, 0.1": (0.9, 0.8499), "b": (0.5, 0.6), "c": (1, 0.1)})
    assert found.startswith('these supports are not yet networks: "a, 0.1" has 90.00% with all weights and 84.99% with')
    assert "those in its support; c has 100.00% with" in found


def test_a_published_accuracy_stands_beside_ours(tiny):
    assert "published" not in to_markdown(training_table(tiny))
    sgd, slbi, exploding = tiny.study.arms
    arms = [sgd, dataclasses.replace(slbi, published=Published(0.5, "a report")), exploding]
    result = dataclasses.replace(tiny, study=dataclasses.replace(tiny.study, arms=tuple(arms)))
    table = training_table(result)
    rows = {
        cells[1].strip(): cells[2:5] for line in to_markdown(table).splitlines() if len(cells := line.split("|")) > 4
    }
    mean = sum(run.summary["accuracy"] for run in tiny.arms[1].finished) / 2
    assert [cell.strip() for cell in rows["published (%)"]] == ["–", "50.00", "–"]
    assert [cell.strip() for cell in rows["difference, points"]] == ["–", f"{100 * (mean - 0.5):+.2f}", "–"]
    assert "published: a report" in notes(result)


def test_percent_is_a_mean_and_a_sample_standard_deviation():
    assert percent([0.5]) == "50.00"
    assert percent([0.4, 0.6]) == "50.00 ± 14.14"
    assert percent([]) == "–"


def test_the_table_has_one_row_for_each_point(tiny):
    table = tiny.table()
    assert len(table) == 2 * 2 * 2 * 3
    assert list(table.columns[:4]) == ["arm", "run", "seed", "sweep"]
    assert set(table.arm) == {"sgd", "slbi"}
    assert (table.accuracy == table.correct / table["count"]).all()
    assert table[table.arm == "slbi"].mu.unique().tolist() == [5.0]
    assert table[table.arm == "sgd"].mu.isna().all()
    means = table[table.ratio == 0.5].groupby(["arm", "layers"]).accuracy.mean()
    (slbi,) = tiny.arms[1].sweeps
    assert means["slbi", "conv3,fc1"] == pytest.approx(sum(s.accuracy("conv3,fc1", 0.5) for s in slbi) / 2)


def test_a_study_is_read_as_it_was_saved(tiny):
    findings = find(tiny)
    names = [path.name for path in save_study(tiny, findings)]
    assert names == ["table.csv", "cells.csv", "contrasts.csv", "affordable.csv", "outcomes.npz", "study.json"]
    runs_dir = tiny.folder.parent.parent
    for read in (read_study("tiny", runs_dir), read_study(tiny.folder)):
        assert read == tiny
        assert find(read) == findings
        pd.testing.assert_frame_equal(read.table(), tiny.table())
    rows = pd.read_csv(tiny.folder / "table.csv")
    assert rows.accuracy.tolist() == pytest.approx(tiny.table().accuracy.tolist(), rel=1e-14)  # pandas 2 rounds
    assert list(rows.columns) == list(tiny.table().columns)
    cells = pd.read_csv(tiny.folder / "cells.csv")
    assert len(cells) == 2 * 2 * 3
    assert (cells.n == 2).all()


def test_the_ratios_of_a_plan_are_ascending_and_each_is_there_once():
    """As `prune` has them: else a sweep would not be found under the name of what was asked."""
    assert SweepPlan(layers=("conv3",), ratios=(0.6, 0.0, 0.6)).ratios == (0.0, 0.6)
    with pytest.raises(SparsifyError, match="outside 0 to 1"):
        SweepPlan(layers=("conv3",), ratios=(2.0,))


def test_a_study_that_is_not_there_or_damaged_is_refused(tiny, tmp_path):
    runs_dir = tiny.folder.parent.parent
    save_study(tiny, find(tiny))
    with pytest.raises(SparsifyError, match=r"unknown study 'tinny'.*did you mean 'tiny'"):
        read_study("tinny", runs_dir)
    shutil.copytree(tiny.folder, tmp_path / "studies" / "tiny")
    with pytest.raises(SparsifyError, match=r"of the study .* is missing; run the study again") as caught:
        read_study("tiny", tmp_path)
    assert "damaged" not in str(caught.value)  # study.json is not
    for text in ("", "[]", "{}", '{"sweeps": [{"layer": 3}], "arms": []}'):
        (tmp_path / "studies" / "tiny" / "study.json").write_text(text)
        with pytest.raises(SparsifyError, match=r"study\.json is damaged .*; run the study again"):
            read_study("tiny", tmp_path)
    for change, message in (
        ({"title": 3}, "title is 3; it must be a text"),
        ({"design": [{"label": "a"}]}, r"design\[0\]\.configs is missing"),
        (
            {"design": [{"label": "a", "configs": {"shared": {"lrr": 1}, "each": [{}]}}]},
            "unknown setting 'lrr'",
        ),
        ({"design": [{"label": "a", "init": "b", "configs": {"shared": {}, "each": []}}]}, "unknown arm 'b' in a"),
        (
            {"sweeps": [{"layers": ["conv3"]}], "arms": [{"label": "a", "runs": [], "sweeps": [["x.csv"]]}]},
            "a sweep of 'a' has 1 files, and 0 of its",
        ),
        ({"arms": [{"label": "a", "runs": [], "sweeps": [[]]}]}, "it is of 0 sweeps in one place and of others"),
        ({"swept": [["a"]]}, "it is of 0 sweeps in one place and of others elsewhere"),
    ):
        values = {"name": "x", "title": "X", "sweeps": [], "arms": []} | change
        (tmp_path / "studies" / "tiny" / "study.json").write_text(json.dumps(values))
        with pytest.raises(SparsifyError, match=rf"study\.json is damaged \({message}.*\); run the study again"):
            read_study("tiny", tmp_path)
    unrun = '{"name": "x", "title": "X", "sweeps": [{"layers": ["conv3"], "ratios": [0], "criterion": "entry"}], '
    unrun += '"arms": [{"label": "a", "runs": [], "sweeps": [[]]}]}'
    (tmp_path / "studies" / "tiny" / "study.json").write_text(unrun)
    assert [arm.runs for arm in read_study("tiny", tmp_path).arms] == [()]  # every seed of it was left out


@pytest.mark.parametrize("opt", ["slbi", "linbreg"])
def test_the_filters_that_a_run_has_not_selected_are_marked(opt, tmp_path):
    run = train(Config(opt=opt, data="digits", epochs=3, batch_size=32), runs_dir=tmp_path)
    panel = filter_panel(TrainedNetwork(run), "conv3")
    assert torch.equal(panel.marked, ~run.support("conv3.weight"))
    assert int(panel.marked.sum()) == 120 - run.summary["support"]["conv3.weight"]["in"] > 0
    assert panel.mark == "not selected"


def test_every_figure_is_drawn_and_saved_as_png_and_svg(tiny):
    names = {path.name for one in draw_study(tiny) for path in (one.png, one.svg)}
    for stem in ("curves", "sweep", "filters-conv3", "path-slbi-conv3", "path-slbi-fc1"):
        assert {f"{stem}.png", f"{stem}.svg"} <= names
    assert all((tiny.folder / name).stat().st_size > 1000 for name in names)


def test_only_what_is_asked_for_is_drawn(tiny, tmp_path):
    study = dataclasses.replace(tiny.study, draw=("curves", "path"))
    names = {one.svg.stem for one in draw_study(dataclasses.replace(tiny, study=study, folder=tmp_path))}
    assert names == {"curves", "path-slbi-conv3", "path-slbi-fc1"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[arms]]\nopt = 'sgd'\nmuu = 3", "unknown setting 'muu'"),
        ("[[arms]]\nopt = 'sgd'\nmu = 3", "--mu 3 has no effect"),
        ("seeds = 3\n[[arms]]\nopt = 'sgd'", "seeds is 3"),
        ("", r"no \[\[arms\]\]"),
        ("sweeps = 3\n[[arms]]\nopt = 'sgd'", "sweeps is 3; it must be tables, as in "),
        ("swep = 3\n[[arms]]\nopt = 'sgd'", "unknown key 'swep'; did you mean 'sweep'"),
        ("[[arms]]\nopt = 'sgd'\n[sweep]\n[[sweeps]]", r"it has both \[sweep\] and"),
        ("[[arms]]\nopt = 'sgd'\n[sweep]\ncontrols = 1", "controls is 1 in sweep; it must be true or false"),
        (
            "[[arms]]\nopt = 'sgd'\n[sweep]\nfinetune_epochs = true",
            "finetune_epochs is True in sweep; it must be a whole number",
        ),
        ("[[arms]]\nopt = 'sgd'\n[sweep]\nscope = 'world'", "unknown scope 'world'"),
        ("[[arms]]\nopt = 'sgd'\n[[arms]]\nopt = 'sgd'", "two arms are called 'sgd'"),
        ("[[arms]\n", "no TOML"),
        ("[[arms]]\nopt = 'sgd'\n[sweep]\nratios = '0:2:1'", "outside 0 to 1"),
        ("[[arms]]\nopt = 'sgd'\n[sweep]\ncriterion = 'taste'", "unknown criterion 'taste'"),
    ],
)
def test_a_malformed_study_is_refused_in_one_line(text, message, tmp_path):
    file = tmp_path / "bad.toml"
    file.write_text(text)
    with pytest.raises(SparsifyError, match=message) as caught:
        load_study(str(file))
    assert "\n" not in str(caught.value)


def test_an_unknown_layer_is_refused_before_anything_is_trained(tmp_path):
    (tmp_path / "bad.toml").write_text(TINY.replace('"conv3,fc1"', '"conv4"'))
    with pytest.raises(SparsifyError, match="unknown layer 'conv4' in lenet"):
        run_study(load_study(str(tmp_path / "bad.toml")), runs_dir=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_an_unknown_study_lists_the_built_in_ones(tmp_path):
    with pytest.raises(SparsifyError, match=r"unknown study 'quik'; did you mean 'quick'\?.*lenet-mnist"):
        load_study("quik")
    with pytest.raises(SparsifyError, match="cannot be read"):
        load_study(str(tmp_path / "missing.toml"))


def test_settings_change_every_arm_and_make_a_study_of_its_own(tmp_path):
    plain = load_study("quick")
    changed = load_study("quick", ["epochs=2", "seeds=[3, 4]", "schedule=linear"])
    assert changed.name == "quick-epochs-2-seeds-3-4-schedule-linear"
    many = [load_study("quick", [f"seeds={list(range(count))}"]).name for count in (15, 20)]
    assert many[0] != many[1]
    assert all(re.fullmatch(r"quick-seeds-[0-9-]+-[0-9a-f]{8}", name) for name in many)
    assert changed.title == plain.title + " (epochs 2, seeds 3 and 4, schedule linear)"
    ten = load_study("quick", [f"seeds={list(range(100, 110))}"])
    assert ten.title == plain.title + " (seeds 100 to 109)"
    for arm, original in zip(changed.arms, plain.arms, strict=True):
        assert [config.seed for config in arm.configs] == [3, 4]
        for config in arm.configs:
            assert config == dataclasses.replace(original.configs[0], epochs=2, seed=config.seed, schedule="linear")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("epochs", "--set epochs is no setting; write KEY=VALUE, as in epochs=5"),
        ("=5", "--set =5 is no setting; write KEY=VALUE, as in epochs=5"),
        ("epoch=5", "study quick: unknown setting 'epoch'; did you mean 'epochs'?"),
        ("epochs=0", "study quick: --epochs is 0; it must be a whole number of at least 1"),
        ("epochs=two", "study quick: --epochs is two; it must be a whole number of at least 1"),
        ("mu=3", "study quick: --mu 3 has no effect with --opt sgd"),
        ("seeds=3", "study quick: seeds is 3; it must be a list of whole numbers"),
        ("opt=slbi", "study quick: two arms are called 'slbi'"),
    ],
)
def test_settings_that_do_not_fit_are_refused(setting, message):
    with pytest.raises(SparsifyError) as caught:
        load_study("quick", [setting])
    assert str(caught.value).startswith(message)


def test_a_folder_of_images_has_its_name_in_the_title(tmp_path):
    study = load_study("vgg-cifar10", [f"data=folder:{tmp_path}/copy"])
    assert study.title == "VGG-A on CIFAR-10 (data folder-copy)"
    assert re.fullmatch(r"vgg-cifar10-data-folder-copy-[0-9a-f]{8}", study.name)


@pytest.fixture
def old(tiny, tmp_path):
    """A copy of the runs in which the first sweep is as version 0.2 left it where coupled layers lost the union."""
    runs = shutil.copytree(tiny.folder.parent.parent, tmp_path / "runs")
    path = runs / tiny.arms[0].runs[0].name / f"sweep-{tiny.arms[0].sweeps[0][0].id}.csv"
    before_sums(path.parent / "summary.json")
    plan = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps({key: plan[key] for key in plan if key != "units"}))
    ledger = path.with_name(f"{path.stem}-ledger.csv")
    ledger.write_text(ledger.read_text().replace(",conv3,filter,60,120,0", ",conv3,filter,60,120,31"))
    return path


def test_a_sweep_from_before_coupled_layers_were_one_unit_is_made_again(tiny, old):
    runs, name = old.parent.parent, old.parent.name
    planner = Planner(tiny.study, Places(runs_dir=runs))
    plan = planner.plan()
    assert [(task.known_run.name, task.missing, task.again) for task in plan.tasks if not task.done] == [
        (name, (0,), (0,))
    ]
    line = plan_line(plan, estimate_cost(planner, plan))
    assert line.startswith("missing: 0 trainings and 1 sweep; ")
    assert line.endswith("; 1 sweep from before coupled layers were one unit is made again")
    said = []
    again = run_study(tiny.study, runs_dir=runs, note=said.append)
    assert said == [
        f"{name}: sweeping conv3 and conv3,fc1 by magnitude again: the sweep there was measured before coupled layers "
        "were one unit, and must be swept again to be compared"
    ]
    assert again.table().equals(tiny.table())
    assert Planner(tiny.study, Places(runs_dir=runs)).plan().done


def test_a_study_that_is_read_with_such_a_sweep_says_so(tiny, old):
    save_study(tiny, find(tiny))
    runs, (name, stem) = old.parent.parent, (old.parent.name, old.stem)
    shutil.copytree(tiny.folder, runs / "studies" / "tiny", dirs_exist_ok=True)
    said = "each of these was measured before coupled layers were one unit, and must be swept again to be compared"
    read = read_study("tiny", runs)
    assert notes(read)[len(NOTES) :] == (*lost_runs(read), *weak_supports(read), f"{said}: {stem} of {name}")
    assert f"- {said}: {stem} of {name}\n" in study_markdown(read, find(read))
    page = write_report(read, find(read), [], command=["sparsify"]).read_text(encoding="utf-8")
    assert f"E{said[1:]}: {stem} of {name}." in page
    assert notes(tiny) == (*NOTES, *lost_runs(tiny), *weak_supports(tiny))
