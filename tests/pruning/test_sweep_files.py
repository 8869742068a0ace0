"""Files of sweeps: what is written and read, what they are called, and what is damaged."""

from __future__ import annotations

import csv
import dataclasses
import math
import os

import pytest
from sweeps import subject, sweep_of

from sparsify.errors import SparsifyError
from sparsify.pruning.measuring import prune
from sparsify.pruning.plan import SweepPlan
from sparsify.pruning.sweep import Sweep, list_sweeps

pytestmark = pytest.mark.filterwarnings("ignore:the path may be too short")


@pytest.fixture(scope="module")
def sweep() -> Sweep:
    return prune(subject(), layers=["conv1,fc1", "conv1,conv2,fc1,fc2"], ratios="0,0.1,1", grain="neuron")


def test_what_is_saved_is_read(sweep, tmp_path):
    """Speed-ups that are infinite and ratios such as 0.1 included."""
    path = sweep.save(tmp_path)
    assert math.inf in {row.speedup for row in sweep.rows}
    assert path == tmp_path / f"sweep-{sweep.id}.csv"
    others = [f"sweep-{sweep.id}.json", f"sweep-{sweep.id}-ledger.csv", f"sweep-{sweep.id}-outcomes.npz"]
    assert sorted(os.listdir(tmp_path)) == sorted([path.name, *others, ".lock", "sums.json"])
    assert Sweep.read(path) == sweep
    assert Sweep.read(path).id == sweep.id


def test_the_columns_are_those_of_the_design(sweep, tmp_path):
    path = sweep.save(tmp_path)
    header = "criterion,grain,scope,layers,ratio,draw,correct,count,accuracy,params,macs,compression,speedup"
    header += ",recalibrated_accuracy,finetune_epochs,finetuned_accuracy,rounds"
    assert path.read_text().splitlines()[0] == header
    ledger = tmp_path / f"sweep-{sweep.id}-ledger.csv"
    assert ledger.read_text().splitlines()[0] == "criterion,layers,ratio,draw,layer,grain,removed,total,coupled"
    with open(path, newline="") as file:
        assert [row["layers"] for row in csv.DictReader(file)] == [row.layers for row in sweep.rows]


ASKED = {"layers": ["conv3", "conv3,fc1"], "ratios": [0, 0.5]}


def test_the_id_of_a_sweep_does_not_change_from_release_to_release():
    """A changed id orphans every sweep on people's disks."""
    assert SweepPlan(**ASKED).id == SweepPlan(**ASKED, rounds=1).id == "113ccfd1"
    assert SweepPlan(**ASKED, rounds=2).id != SweepPlan(**ASKED, rounds=3).id


@pytest.mark.parametrize(
    "changed",
    [
        {"criterion": "l1"},
        {"reverse": True},
        {"grain": "weight"},
        {"scope": "global"},
        {"layers": ["conv3"]},
        {"layers": ["conv3,fc1", "conv3"]},
        {"ratios": [0, 0.6]},
        {"criterion": "random", "draws": 2},
        {"criterion": "random", "draws": 3},
        {"controls": True},
        {"recalibrate_bn": True},
        {"finetune_epochs": 1},
    ],
    ids=str,
)
def test_the_id_depends_on_everything_that_is_asked(changed):
    assert SweepPlan(**{**ASKED, **changed}).id != SweepPlan(**ASKED).id


def test_the_id_is_that_of_what_was_asked_and_not_of_what_came_out(sweep):
    sets = ["conv1,fc1", "conv1,conv2,fc1,fc2"]
    assert sweep.id == SweepPlan(layers=sets, ratios=[0.0, 0.1, 1.0], grain="neuron").id
    drawn = prune(subject(), layers="fc1", ratios="0.5", criterion="random", draws=3)
    assert drawn.id == SweepPlan(layers=["fc1"], ratios=[0.5], criterion="random", draws=3).id
    worse = sweep_of(tuple(dataclasses.replace(row, correct=0, accuracy=0.0) for row in sweep.rows), sweep.ledger)
    assert worse.id == sweep.id


def cut(content: bytes) -> bytes:
    return content[: content.rindex(b",")]


DAMAGE = {
    "empty": lambda content: b"",
    "header only": lambda content: content.splitlines(keepends=True)[0],
    "cut in a row": cut,
    "a column is missing": lambda content: b"\n".join(line.partition(b",")[2] for line in content.splitlines()),
    "words for numbers": lambda content: content.replace(b",0,", b",zero,"),
    "no text": lambda content: bytes(range(256)) * 4,
    "zeros": lambda content: content + b"\0" * 100,
    "one endless cell": lambda content: content + b"x" * 200_000,
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("which", ["", "-ledger"])
def test_a_damaged_file_is_named(sweep, tmp_path, damage, which):
    path = sweep.save(tmp_path)
    file = tmp_path / f"sweep-{sweep.id}{which}.csv"
    file.write_bytes(DAMAGE[damage](file.read_bytes()))
    with pytest.raises(SparsifyError) as caught:
        Sweep.read(path)
    assert str(caught.value).startswith(f"{file} is damaged or missing (")


@pytest.mark.parametrize("which", ["", "-ledger"])
def test_a_missing_file_is_named(sweep, tmp_path, which):
    path = sweep.save(tmp_path)
    (tmp_path / f"sweep-{sweep.id}{which}.csv").unlink()
    with pytest.raises(SparsifyError, match=rf"sweep-{sweep.id}{which}\.csv is damaged or missing"):
        Sweep.read(path)


def test_sweeps_are_listed_newest_first(sweep, tmp_path):
    other = sweep_of(tuple(dataclasses.replace(row, criterion="l1") for row in sweep.rows), sweep.ledger)
    old, new = sweep.save(tmp_path / "a"), other.save(tmp_path / "b")
    for path, age in ((old, 1000), (new, 2000)):
        os.utime(path, (age, age))
    assert list_sweeps(tmp_path / "a", tmp_path / "b", tmp_path / "a", tmp_path / "none") == [other, sweep]
    os.utime(old, (3000, 3000))
    assert list_sweeps(tmp_path / "a", tmp_path / "b") == [sweep, other]


def test_the_accuracy_of_a_point_that_was_not_swept_is_refused(sweep):
    assert sweep.accuracy("conv1,fc1", 0.1) == sweep.rows[1].accuracy
    with pytest.raises(SparsifyError, match=r"conv1 at 0\.1 is not in this sweep of conv1,fc1, conv1,conv2,fc1,fc2"):
        sweep.accuracy("conv1", 0.1)
    with pytest.raises(SparsifyError, match=r"conv1,fc1 at 0\.3 is not in this sweep"):
        sweep.accuracy("conv1,fc1", 0.3)
