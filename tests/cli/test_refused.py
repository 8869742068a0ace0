"""`sparsify prune` and `sparsify viz`: bad input is one line, and nothing is written."""

from __future__ import annotations

import shlex

import pytest

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
    "an empty set": ("--layers ''", "''", "conv1"),
    "an empty name": ("--layers conv3,", "''", "conv1"),
    "layers without a value": ("--layers", "--layers"),
    "criterion": ("--layers conv3 --criterion magnitud", "'magnitud'", "magnitude"),
    "grain": ("--layers conv3 --grain filters", "'filters'", "filter"),
    "no draws": ("--layers conv3 --criterion random --draws 0", "--draws", "0"),
    "draws of what is not random": ("--layers conv3 --draws 3", "--draws", "3", "magnitude"),
    "half a draw": ("--layers conv3 --criterion random --draws 1.5", "--draws", "1.5"),
    "scope": ("--layers conv3 --scope layers", "'layers'", "global"),
    "a glob without a match": ("--layers 'vonv*'", "'vonv*'", "conv1"),
    "a glob that only the output layer fits": ("--layers 'fc2*'", "'fc2*'", "output layer, fc2"),
    "controls of random": ("--layers conv3 --criterion random --controls", "--controls", "random"),
    "no draws of a control": ("--layers conv3 --controls --draws 0", "--draws", "0"),
    "one criterion to compare": ("--layers conv3 --compare-criteria l1", "'l1'", "magnitude", "fpgm"),
    "an unknown criterion to compare": ("--layers conv3 --compare-criteria l1,fpg", "'fpg'", "'fpgm'"),
    "controls of a comparison": ("--layers conv3 --compare-criteria l1,fpgm --controls", "--controls"),
    "a criterion and a comparison": ("--layers conv3 --compare-criteria l1,fpgm --criterion lamp", "--criterion"),
    "no rounds": ("--layers conv3 --rounds 0", "--rounds is 0", "at least 1"),
    "half a round": ("--layers conv3 --rounds 1.5", "--rounds", "1.5"),
    "rounds of a comparison": ("--layers conv3 --compare-criteria l1,fpgm --rounds 2", "--rounds"),
    "controls in global rounds": ("--layers 'conv*' --rounds 2 --controls --scope global", "--rounds 2", "layer"),
    "latency of what trains": ("--layers conv3 --rounds 2 --finetune 1 --latency", "--latency", "--rounds 2"),
    "shrinking what trains": ("--layers conv3 --ratios 0.5 --rounds 2 --finetune 1 --shrink", "--shrink", "--rounds 2"),
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


@pytest.mark.parametrize(
    ("line", "fragments"),
    [
        ("filters --layer conv4", ["'conv4'", "conv3"]),
        ("filters --layer fc1", ["fc1"]),
        ("filters --layer ''", ["''", "conv3"]),
        ("filters --show slice", ["'slice'", "slices"]),
        ("filters --ratio 1.5", ["1.5"]),
        ("filters --ratio -0.5", ["-0.5"]),
        ("filters --ratio nan", ["nan"]),
        ("filters --ratio half", ["half"]),
        ("filters nobody", ["'nobody'", "lenet-digits-sgd-s0"]),
        ("curves nobody", ["'nobody'", "lenet-digits-sgd-s0"]),
        ("curves lenet-digits-sgd-s0 nobody", ["'nobody'", "lenet-digits-sgd-s0"]),
        ("sweep nobody", ["'nobody'", "lenet-digits-sgd-s0"]),
        ("sweep lenet-digits-sgd-s0", ["lenet-digits-sgd-s0", "sparsify prune"]),
        ("sweep", ["no sweep", "sparsify prune"]),
        ("path nobody", ["'nobody'", "lenet-digits-sgd-s0"]),
        ("path lenet-digits-sgd-s0", ["lenet-digits-sgd-s0", "slbi, slbi-adam, linbreg, adabreg, prox-sgd"]),
        ("path --layer conv4", ["'conv4'", "conv3"]),
        ("path --layer conv3,fc1", ["'conv3,fc1'", "conv3"]),
    ],
)
def test_viz_refuses(line, fragments, runs, refused):
    refused(f"viz {line}", *fragments)


@pytest.mark.parametrize("command", ["prune --layers conv3", "viz filters", "viz curves", "viz sweep", "viz path"])
def test_without_a_run_there_is_a_hint_how_to_train_one(command, refused):
    refused(command, "runs", "sparsify train")


def test_runs_without_a_run_says_so(sparsify, tmp_path):
    answer = sparsify("runs")
    assert answer.code == 0
    assert "sparsify train" in answer.out
    assert list(tmp_path.iterdir()) == []
