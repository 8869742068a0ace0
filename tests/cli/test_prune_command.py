"""`sparsify prune`: what it answers and what it refuses."""

from __future__ import annotations

import csv
import json
import shlex
import shutil
import statistics
from pathlib import Path

import pytest
from commandline import QUICK, disk, run_of, sweep_rows
from torch import nn

from sparsify.data.registry import load_dataset
from sparsify.nets.mask import load_mask
from sparsify.nets.registry import NETS, NetworkSpec

RATIOS = {
    "above 1": ("1.5", "1.5"),
    "just above 1": ("0,1.0000001", "1.0000001"),
    "below 0": ("-0.1", "-0.1"),
    "below 0 in a range": ("-0.1:0.5:0.1", "-0.1"),
    "above 1 in a range": ("0:1.1:0.1", "1.1"),
    "reversed": ("0.6:0:0.1", "0.6:0:0.1"),
    "reversed downwards": ("0.6:0:-0.1", "0.6:0:-0.1"),
    "no step": ("0:0.6:0", "0:0.6:0"),
    "two parts": ("0:0.6", "0:0.6"),
    "four parts": ("0:0.6:0.1:1", "0:0.6:0.1:1"),
    "empty": ("", "''"),
    "an empty part": ("0::0.1", "0::0.1"),
    "an empty item": ("0,,0.5", "0,,0.5"),
    "a word": ("half", "half"),
    "percent": ("50%", "50%"),
    "nan": ("nan", "nan"),
    "infinite": ("0:inf:0.1", "inf"),
    "too many": ("0:1:1e-9", "0:1:1e-9"),
    "endless": ("0:1:1e-999999", "1e-999999"),
    "semicolons": ("0;0.5", "0;0.5"),
}


@pytest.mark.parametrize("case", RATIOS)
def test_prune_refuses_ratios(case, runs, refused):
    ratios, fragment = RATIOS[case]
    refused(f"prune --layers conv3 --ratios={shlex.quote(ratios)}", fragment)


PRUNE = {
    "no layers": ("", "--layers", "conv3", "fc1"),
    "unknown layer": ("--layers conv4", "'conv4'", "'conv3'"),
    "unknown layer beside a known one": ("--layers conv3,fc9", "'fc9'", "fc1"),
    "unknown layer in a second set": ("--layers conv3 --layers fc9", "'fc9'", "fc1"),
    "a layer in capitals": ("--layers Conv3", "'Conv3'", "conv3"),
    "a layer without weights": ("--layers relu1", "'relu1'", "conv1"),
    "a layer's parameter": ("--layers conv3.weight", "'conv3.weight'", "conv3"),
    "an empty set": ("--layers ''", "layers are missing", "conv1"),
    "an empty name": ("--layers conv3,", "''", "conv1"),
    "layers without a value": ("--layers", "--layers"),
    "criterion": ("--layers conv3 --criterion magnitud", "'magnitud'", "magnitude"),
    "grain": ("--layers conv3 --grain filters", "'filters'", "filter"),
    "no draws": ("--layers conv3 --criterion random --draws 0", "--draws", "0"),
    "draws of what is not random": ("--layers conv3 --draws 3", "--draws", "3", "magnitude"),
    "half a draw": ("--layers conv3 --criterion random --draws 1.5", "--draws", "1.5"),
    "scope": ("--layers conv3 --scope layers", "'layers'", "global"),
    "a glob without a match": ("--layers 'vonv*'", "'vonv*'", "conv1"),
    "a glob that only the output layer fits": (
        "--layers 'fc2*'",
        "'fc2*'",
        "fc2 (it makes the network's output)",
    ),
    "controls of random": ("--layers conv3 --criterion random --controls", "--controls", "random"),
    "no draws of a control": ("--layers conv3 --controls --draws 0", "--draws", "0"),
    "one criterion to compare": ("--layers conv3 --compare-criteria l1", "'l1'", "magnitude", "fpgm"),
    "an unknown criterion to compare": ("--layers conv3 --compare-criteria l1,fpg", "'fpg'", "'fpgm'"),
    "a support and a comparison": (
        "--layers conv3 --ratios 0.3,support --compare-criteria l1,fpgm",
        "--ratios support ",
    ),
    "controls of a comparison": ("--layers conv3 --compare-criteria l1,fpgm --controls", "--controls"),
    "a criterion and a comparison": ("--layers conv3 --compare-criteria l1,fpgm --criterion lamp", "--criterion"),
    "no rounds": ("--layers conv3 --rounds 0", "--rounds is 0", "at least 1"),
    "half a round": ("--layers conv3 --rounds 1.5", "--rounds", "1.5"),
    "rounds of a comparison": ("--layers conv3 --compare-criteria l1,fpgm --rounds 2", "--rounds"),
    "controls in global rounds": ("--layers 'conv*' --rounds 2 --controls --scope global", "--rounds 2", "layer"),
    "latency of what trains": ("--layers conv3 --rounds 2 --finetune 1 --latency", "--latency", "--rounds 2"),
    "unknown device": ("--layers conv3 --device tpu", "tpu", "cpu"),
    "absent device": ("--layers conv3 --device cuda:99", "cuda:99", "cpu"),
    "data-dir that is not there": ("--layers conv3 --data-dir nowhere", "nowhere"),
    "runs-dir that is not there": ("--layers conv3 --runs-dir nowhere", "nowhere", "sparsify train"),
    "unknown run": ("nobody --layers conv3", "'nobody'", "lenet-digits-sgd-s0"),
    "a run with an empty name": ("'' --layers conv3", "''", "lenet-digits-sgd-s0"),
    "a run with too long a name": (f"{'x' * 300} --layers conv3", "xxx"),
    "a folder that is no run": ("runs --layers conv3", "runs", "config.json"),
    "two runs": ("lenet-digits-sgd-s0 lenet-digits-slbi-s0 --layers conv3", "lenet-digits-slbi-s0"),
    "entry on a run without a path": ("lenet-digits-sgd-s0 --layers conv3 --criterion entry", "'entry'", "magnitude"),
    "gamma on a run without a path": ("lenet-digits-sgd-s0 --layers fc1 --criterion gamma", "'gamma'", "magnitude"),
}


@pytest.mark.parametrize("case", PRUNE)
def test_prune_refuses(case, runs, refused):
    line, *fragments = PRUNE[case]
    refused(f"prune {line}", *fragments)


def test_a_sweep_of_one_set_prints_the_mapping_and_a_hint(runs, sparsify, tmp_path):
    folder = run_of(runs, "sgd")
    answer = sparsify("prune --layers conv3,fc1 --ratios 0:0.6:0.1")
    assert answer.code == 0
    assert answer.err == ""
    lines = answer.out.splitlines()
    assert lines[0] == f"run: {folder.name} (the newest)"
    assert lines[1] == "layers: conv3 = convolution 120×16×5×5; fc1 = fully connected 84×120"
    assert "--layers conv3,fc1 --layers " in lines[-1]
    rows = sweep_rows(folder)
    assert [float(row["ratio"]) for row in rows] == [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    assert rows[0]["accuracy"] == str(json.loads((folder / "summary.json").read_text())["accuracy"])
    for row in rows:
        for cell in (f"{100 * float(row['accuracy']):.2f}", f"{int(row['params']):,}", f"{int(row['macs']):,}"):
            assert cell in answer.out
    (path,) = (path for path in folder.glob("sweep-*.csv") if "ledger" not in path.name)
    assert str(path.relative_to(tmp_path)) in answer.out
    assert sparsify(f"prune {lines[-1][lines[-1].index('--layers') :]} --ratios 0.5").code == 0


def test_layers_twice_are_two_sets_and_the_table_fits_a_terminal(runs, sparsify):
    answer = sparsify("prune --layers conv3 --layers conv3,fc1 --ratios 0:0.6:0.3")
    assert answer.code == 0
    rows = sweep_rows(run_of(runs, "sgd"))
    assert [(row["layers"], float(row["ratio"])) for row in rows] == [
        (layers, ratio) for layers in ("conv3", "conv3,fc1") for ratio in (0, 0.3, 0.6)
    ]
    assert "another set" not in answer.out
    assert "…" not in answer.out
    assert "conv3,fc1" in answer.out
    for row in rows:
        for cell in (f"{100 * float(row['accuracy']):.2f}", f"{int(row['params']):,}", f"{int(row['macs']):,}"):
            assert cell in answer.out


def test_every_layer_at_once_fits_a_terminal(runs, sparsify):
    answer = sparsify("prune --layers conv1,conv2,conv3,fc1,fc2 --ratios 0,1")
    assert answer.code == 0
    assert "…" not in answer.out


@pytest.mark.parametrize("grain", ["auto", "filter", "neuron", "weight"])
def test_a_ratio_of_1_is_measured(grain, runs, sparsify):
    assert sparsify(f"prune --layers conv3,fc1 --ratios 0,1 --grain {grain}").code == 0
    rows = sweep_rows(run_of(runs, "sgd"))
    assert [float(row["ratio"]) for row in rows] == [0, 1]
    counts = load_dataset("digits").test.labels.bincount().tolist()
    assert int(rows[1]["correct"]) in counts  # everything is taken for one class
    assert int(rows[1]["params"]) < int(rows[0]["params"])


@pytest.mark.parametrize(
    "criterion", ["l1", "entry", "entry-norm", "gamma", "random --draws 2", "taylor", "obd", "fpgm", "lamp"]
)
def test_every_criterion_prunes_a_run_with_a_path(criterion, runs, sparsify):
    assert sparsify(f"prune lenet-digits-slbi-s --layers conv3,fc1 --ratios 0.5 --criterion {criterion}").code == 0
    assert {row["criterion"] for row in sweep_rows(run_of(runs, "slbi"))} == {criterion.split()[0]}


def test_the_support_is_a_ratio_of_its_own(runs, sparsify):
    answer = sparsify("prune lenet-digits-slbi-s --layers conv3,fc1 --ratios 0.5,support")
    assert answer.code == 0
    (row,) = (row for row in sweep_rows(run_of(runs, "slbi")) if row["criterion"] == "support")
    assert f" support, {float(row['ratio']):.2%} " in answer.out
    assert "what is outside the support" in answer.out
    again = sparsify("prune lenet-digits-sgd-s0 --layers conv3 --ratios support")
    assert again.code == 2
    assert "ratio 'support' needs the path of a run" in again.err
    refused = sparsify("prune lenet-digits-slbi-s --layers conv3,fc1 --ratios support --shrink")
    assert refused.code == 2
    assert "--shrink needs one ratio above 0" in refused.err


def test_rounds_have_a_sweep_of_their_own_and_what_went_is_printed(runs, sparsify):
    line = "prune lenet-digits-sgd-s0 --layers conv3,fc1 --ratios 0.5 --criterion fpgm"
    once, often = sparsify(line), sparsify(f"{line} --rounds 3 --finetune 1")
    assert "by fpgm: conv3,fc1" in once.out
    assert "by fpgm, in 3 rounds: conv3,fc1" in often.out
    assert "after 1 epoch (%)" in often.out
    paths = [Path(answer.out.split("written: ")[1].splitlines()[0]) for answer in (once, often)]
    rows = [next(csv.DictReader(path.read_text().splitlines())) for path in paths]
    assert [(row["rounds"], row["finetune_epochs"]) for row in rows] == [("1", "0"), ("3", "1")]
    assert rows[1]["finetuned_accuracy"] != ""
    for answer in (once, often):
        lines = [line.split() for line in answer.out.splitlines()]
        assert ["conv3", "120", "filters", "60", "(50.0%)", "60", "(50.0%)"] in lines
        assert ["fc1", "10,080", "weights", "5,040", "(50.0%)", "5,040", "(50.0%)"] in lines
    assert "what went" not in sparsify("prune --layers conv3 --ratios 0").out
    assert sparsify(f"{line} --rounds 2 --shrink --latency").code == 0


def test_a_point_that_leaves_nothing_of_a_layer_is_not_timed(runs, sparsify):
    answer = sparsify("prune lenet-digits-sgd-s0 --layers conv3 --layers fc1 --ratios 0,1 --latency")
    assert answer.code == 0
    assert "not timed: 100% of conv3, without which nothing is left of conv3" in answer.out.splitlines()
    (path,) = run_of(runs, "sgd").glob("sweep-*-latency.csv")
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert {(row["layers"], row["ratio"]) for row in rows} == {("conv3", "0.0"), ("fc1", "0.0"), ("fc1", "1.0")}
    answer = sparsify("prune lenet-digits-sgd-s0 --layers conv3 --ratios 1 --latency")
    assert answer.code == 0
    assert "not timed: 100% of conv3, without which nothing is left of conv3" in answer.out.splitlines()


def test_controls_are_columns_of_the_table_and_lines_of_the_figure(runs, sparsify):
    line = "prune lenet-digits-sgd-s0 --layers 'conv*' --scope global --ratios 0,0.5 --controls --draws 3"
    answer = sparsify(line)
    assert answer.code == 0
    assert answer.err == ""
    assert "by magnitude, its layers together: conv1,conv2,conv3" in answer.out
    assert "random (%, n = 3)" in answer.out
    assert "magnitude-reversed (%)" in answer.out
    rows = sweep_rows(run_of(runs, "sgd"))
    assert [row["criterion"] for row in rows[::2]] == ["magnitude", *["random"] * 3, "magnitude-reversed"]
    assert {row["scope"] for row in rows} == {"global"}
    drawn = [float(row["accuracy"]) for row in rows if row["criterion"] == "random" and row["ratio"] == "0.5"]
    assert f"{100 * statistics.mean(drawn):.2f} ± {100 * statistics.stdev(drawn):.2f}" in answer.out
    assert sparsify("viz sweep lenet-digits-sgd-s0").code == 0


def test_the_reverse_has_a_name_of_its_own(runs, sparsify):
    answer = sparsify("prune --layers conv3 --ratios 0.5 --reverse")
    assert answer.code == 0
    assert "by magnitude-reversed: conv3" in answer.out
    assert [row["criterion"] for row in sweep_rows(run_of(runs, "sgd"))] == ["magnitude-reversed"]


def test_criteria_are_compared_and_nothing_is_swept(runs, sparsify, tmp_path):
    before = disk(tmp_path)
    answer = sparsify("prune lenet-digits-slbi-s --layers conv3,fc1 --ratios 0.3 --compare-criteria magnitude,l1,entry")
    assert answer.code == 0
    text = " ".join(answer.out.split())  # a title is as wide as its table
    assert "agreement on conv3 (120 grains)" in text
    assert "agreement on fc1 (10,080 grains)" in text
    assert "magnitude, l1 " in answer.out
    assert "Kendall's τ" in answer.out
    assert disk(tmp_path) == before


class Gram(nn.Module):
    """The outputs of the first layer can only go all together, but single weights of it can go."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Conv2d(1, 3, 5, 5), nn.Linear(9, 4), nn.Linear(4, 10)

    def forward(self, images):
        channels = self.first(images).flatten(2)
        return self.last(self.second((channels @ channels.mT).flatten(1)).relu())


@pytest.mark.parametrize(
    ("grain", "left_out", "compared"), [("neuron", "first (", ["second"]), ("weight", "last (", ["first", "second"])]
)
def test_a_comparison_says_what_all_leaves_out_at_its_grain(grain, left_out, compared, sparsify, monkeypatch):
    monkeypatch.setitem(NETS, "gram", NetworkSpec(lambda shape, classes, options: Gram(), "a Gram matrix"))
    assert sparsify("train --model gram --data digits --epochs 1 --device cpu --opt sgd").code == 0
    answer = sparsify(f"prune --layers all --ratios 0.5 --grain {grain} --compare-criteria magnitude,l1")
    assert answer.code == 0
    assert f"\nall leaves out: {left_out}" in answer.out
    text = " ".join(answer.out.split())  # a title is as wide as its table
    assert [name for name in ("first", "second", "last") if f"agreement on {name}" in text] == compared


def test_a_run_outside_of_runs_dir_is_swept_and_drawn_into_runs_dir(runs, sparsify, tmp_path):
    folder = run_of(runs, "slbi")
    (tmp_path / "models").mkdir()
    model = Path(shutil.move(folder, tmp_path / "models"))
    shutil.rmtree(runs)
    before = disk(tmp_path / "models")
    assert sparsify(f"prune models/{model.name} --layers conv3 --ratios 0.5").code == 0
    assert sweep_rows(runs / model.name)[0]["ratio"] == "0.5"
    assert sparsify(f"viz sweep models/{model.name}").code == 0
    assert (runs / model.name / "figures").is_dir()
    assert disk(tmp_path / "models") == before
    assert sparsify("prune --layers conv3 --ratios 0.5").code == 2, "what was measured on a run is no run"


@pytest.mark.parametrize("asked", [".", "../{name}", "./", "{path}", "../{name}/../{name}"])
def test_a_run_is_found_by_any_path_to_it(asked, runs, sparsify, monkeypatch):
    folder = run_of(runs, "sgd")
    monkeypatch.chdir(folder)
    asked = asked.format(name=folder.name, path=folder)
    answer = sparsify(f"prune {asked} --layers conv3 --ratios 0.5 --runs-dir ..")
    assert answer.code == 0
    assert folder.name in answer.out
    assert sweep_rows(folder)[0]["ratio"] == "0.5"
    answer = sparsify(f"prune {asked} --layers conv3 --ratios 0.5 --runs-dir elsewhere")
    assert answer.code == 0
    assert [path.name for path in (folder / "elsewhere").iterdir()] == [folder.name]


def test_a_run_is_found_by_the_beginning_of_its_name(runs, sparsify, refused):
    name = run_of(runs, "slbi").name
    for beginning in (name, name[:-1], "lenet-digits-slbi-s"):
        answer = sparsify(f"prune {beginning} --layers conv3 --ratios 0.5")
        assert answer.code == 0
        assert name in answer.out
    refused("prune lenet-digits-slbi --layers conv3", "'lenet-digits-slbi'", name, run_of(runs, "slbi-adam").name)
    refused("prune enet --layers conv3", "'enet'", name)


def test_a_name_that_is_whole_is_not_ambiguous(runs, sparsify):
    folder = run_of(runs, "sgd")
    shutil.copytree(folder, runs / f"{folder.name}-copy")
    answer = sparsify(f"prune {folder.name} --layers conv3 --ratios 0.5")
    assert answer.code == 0
    assert f"runs/{folder.name}/sweep-" in answer.out


@pytest.mark.parametrize(
    ("line", "way"),
    [
        ("prune a --layers conv3 fc1 conv1", "--layers conv3,fc1"),
        ("prune a --layers=conv3 fc1", "--layers conv3,fc1"),
        ("prune a --layers fc1 --ratios 0 0.3", "--ratios 0,0.3"),
        ("train --record loss gradients", "--record loss,gradients"),
        ("train --seeds 3 4", "--seeds 3,4"),
    ],
)
def test_a_list_with_spaces_is_refused_with_the_way_to_write_it(line, way, refused):
    refused(line, f"is left over; a list has commas and no spaces, as in {way} (see: ")


@pytest.mark.parametrize(
    ("line", "way"),
    [
        ("prune --layers conv3 fc1", "--layers conv3,fc1"),
        ("prune --layers fc1 --ratios=0 0.3", "--ratios 0,0.3"),
        ("ticket --seeds 3 4", "--seeds 3,4"),
    ],
)
def test_the_last_of_a_list_with_spaces_is_taken_for_the_run_and_the_error_says_how_a_list_is_written(
    line, way, runs, refused
):
    last = line.split()[-1]
    hint = f"; '{last}' follows a list; a list has commas and no spaces, as in {way}\n"
    refused(line, f"unknown run '{last}' in runs; ", hint)


def test_an_unknown_run_that_follows_no_list_has_no_word_of_lists(runs, refused):
    assert "a list" not in refused("prune --layers conv3 --criterion l1 fc1", "unknown run 'fc1'").err
    assert "a list" not in refused("prune fc1 --layers conv3", "unknown run 'fc1'").err


def test_what_is_left_over_behind_no_list_is_named(refused):
    refused("prune a b --layers conv3", "Unused Tokens: ['b']")
    refused("prune a --layers conv3 --criterion l1 l2", "Unused Tokens: ['l2']")


@pytest.mark.parametrize("command", ["prune", "mask", "ticket", "predict", "compare", "viz net"])
def test_the_folder_of_a_shrunk_network_is_no_run(command, tmp_path, refused):
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "shrunk.json").write_text("{}")
    others = {"predict": " a.png", "compare": " a"}.get(command, "")
    takes = "sparsify export small --onnx and sparsify.load() take it"
    refused(f"{command} small{others}", f"small is the folder of a shrunk network, no run: {takes}")


def test_sweeping_does_not_make_a_run_the_newest_but_asking_again_does(runs, sparsify):
    newest, older = run_of(runs, "sgd").name, run_of(runs, "slbi").name
    assert sparsify(f"prune {older} --layers conv3 --ratios 0.5").code == 0
    assert f"run: {newest} (the newest)" in sparsify("prune --layers conv3 --ratios 0.5").out
    assert sparsify(f"train {QUICK} --opt slbi").code == 0
    assert f"run: {older} (the newest)" in sparsify("prune --layers conv3 --ratios 0.5").out


def test_latency_is_printed_once_a_point_and_written_beside_the_sweep(runs, sparsify):
    done = sparsify("prune --layers conv3,fc1 --ratios 0,0.6 --latency")
    assert done.code == 0
    assert done.out.count("run: ") == 1
    (path,) = [line.removeprefix("written: ") for line in done.out.splitlines() if line.endswith("-latency.csv")]
    with open(path, newline="") as file:
        assert [(row["ratio"], row["batch"]) for row in csv.DictReader(file)] == [
            ("0.0", "1"),
            ("0.0", "64"),
            ("0.6", "1"),
            ("0.6", "64"),
        ]
    assert sparsify("viz sweep").code == 0


def test_a_mask_is_written_that_can_be_trained_under(runs, sparsify, refused):
    refused("mask --ratio 2", "ratio 2")
    refused("mask --layers conv9", "unknown layer 'conv9'")
    done = sparsify("mask --layers conv3 --ratio 0.4 --device cpu")
    assert "keeps 72 of 120 grains" in done.out
    path = done.out.split("written: ")[1].split(";")[0].replace("\n", "")
    kept = load_mask(Path(path))["conv3.weight"].flatten(1)
    assert kept.all(1).sum() == 72
    assert kept.any(1).sum() == 72
    assert sparsify(f"train {QUICK} --opt sgd --mask {path}").code == 0
    nothing = sparsify("mask --layers conv3 --ratio 1 --device cpu")  # as `prune` measures a ratio of 1
    assert (nothing.code, "keeps 0 of 120 grains" in nothing.out) == (0, True)
