"""`sparsify ticket` and `sparsify compare`: what they answer and what they refuse."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

from commandline import QUICK, run_of


def test_a_ticket_is_shown_beside_its_run_and_a_random_one(runs, sparsify):
    done = sparsify("ticket --layers conv3,fc1 --ratio 0.5")
    assert done.code == 0
    rows = [line.split() for line in done.out.splitlines() if line.split()[:1] in (["none"], ["magnitude"], ["random"])]
    assert [row[0] for row in rows] == ["none", "magnitude", "random"]
    assert rows[1][3:6] == rows[2][3:6] == ["5,100", "of", "10,200"]
    assert [row[1] for row in rows[1:]] == ["sgd", "sgd"]
    assert "the rows differ in the mask" in done.out
    name = done.out.splitlines()[0].removeprefix("run: ").removesuffix(" (the newest)")
    assert sparsify("prune --layers conv3 --ratios 0").out.startswith(f"run: {name} (the newest)")
    assert name in sparsify("viz curves").out.splitlines()[0]
    assert sparsify("ticket --ratio 2").code == 2


def test_a_ticket_that_collapses_is_said_and_has_no_accuracy(runs, sparsify, refused):
    """The pull that the whole network bears is too hard for a twentieth of it."""
    whole = "train --data digits --opt sgd-pull --lr 0.1 --mu 2 --epochs 10 --batch-size 64 --device cpu"
    assert sparsify(whole).code == 0
    done = sparsify("ticket --ratio 0.95 --criterion random --opt sgd-pull --device cpu")
    assert done.code == 0
    (row,) = (line.split() for line in done.out.splitlines() if line.split()[:1] == ["random"])
    assert row[6:9] == ["collapsed", "–", "0"]
    assert "collapsed and is no result: " in done.err
    assert "; the pull is too hard for what is left: try a larger --mu" in done.err
    assert "collapsed" in sparsify("runs").out
    refused("ticket --opt sdg", "unknown optimizer 'sdg'")
    refused("ticket --seeds many", "--seeds 'many' is malformed")


def test_a_ticket_rewinds_to_an_epoch_of_its_run(runs, sparsify, refused):
    assert sparsify("train --data digits --opt sgd --epochs 2 --device cpu").code == 0
    early = sparsify("ticket --layers conv3,fc1 --ratio 0.5 --rewind 1")
    assert early.out.count("5,100 of 10,200") == 2
    assert "tickets without 50%, rewound to epoch 1" in " ".join(early.out.split())
    assert {json.loads(path.read_text())["mask_from"] for path in runs.glob("*/config.json")} == {0, 1}
    refused(f"ticket {run_of(runs, 'sgd').name} --rewind 2", "--rewind is 2; it must be from 0 to ")


def test_two_runs_are_compared_on_the_same_images(runs, sparsify, refused):
    one, other = run_of(runs, "sgd").name, run_of(runs, "slbi").name
    refused(f"compare {one} runs/{one}", f"{one} is named twice: a run does not differ from itself; name two runs")
    pruned = sparsify(f"compare {one} {other} --layers conv3,fc1 --ratio 0.6")
    assert "both with 60% of conv3,fc1 pruned by magnitude" in pruned.out
    assert "they differ in: opt (sgd, slbi), lr (0.02, 0.05)" in pruned.out
    classes = [line.split() for line in pruned.out.split("by class")[1].splitlines()]
    assert sorted(cells[0] for cells in classes if len(cells) == 6) == [str(digit) for digit in range(10)]
    assert "this is about these two networks" in pruned.out
    accuracy = []
    for name in (one, other):
        out = sparsify(f"prune {name} --layers conv3,fc1 --ratios 0.6").out
        path = Path(out.split("written: ")[1].splitlines()[0])
        (row,) = csv.DictReader(path.read_text().splitlines())
        accuracy.append(float(row["accuracy"]))
    assert f"B − A: {100 * (accuracy[1] - accuracy[0]):+.2f} points".replace("-", "−") in pruned.out
    assert sparsify(f"compare {one} {other} --ratio 0.5").code == 2
    refused(f"compare {one} {other} --criterion l1", "--criterion l1 has no effect without --layers")
    refused(f"compare {one} {other} --criterion magnitude", "--criterion magnitude has no effect without --layers")
    assert sparsify(f"compare {one} nowhere").code == 2


def test_runs_of_one_name_are_told_apart_by_their_folders(runs, sparsify):
    run = run_of(runs, "sgd")
    shutil.copytree(run, runs.with_name("theirs") / run.name)
    answer = sparsify(f"compare runs/{run.name} theirs/{run.name}")
    assert answer.out.startswith(f"A: runs/{run.name}\nB: theirs/{run.name}\n")


def test_runs_of_other_images_are_not_compared(runs, sparsify, refused):
    """Another seed has the same test images, but holds out others."""
    test = run_of(runs, "sgd").name
    train = f"train {QUICK} --opt sgd"
    assert sparsify(f"{train} --seed 1").code == 0
    (again,) = (path.name for path in runs.glob("lenet-digits-sgd-s1-*"))
    assert "they differ in: seed (0, 1)\n" in sparsify(f"compare {test} {again}").out
    held_out = []
    for seed in (2, 3):
        assert sparsify(f"{train} --val 0.1 --seed {seed}").code == 0
        held_out += [path.name for path in runs.glob(f"lenet-digits-sgd-s{seed}-*")]
    same = "are not measured on the same images: digits"
    refused(f"compare {' '.join(held_out)}", same, "(0.1 held out by seed 2) and digits (0.1 held out by seed 3)")
    refused(f"compare {test} {held_out[0]}", same, "(test) and digits (0.1 held out by seed 2)")
