"""A bit that flips in any byte of any file of a run is named in one line."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest

import sparsify
from benchmarks.fuzzing import runs
from sparsify.config import Places
from sparsify.pruning.plan import PointPlan
from sparsify.pruning.shrunk import PointShrinker, the_point
from sparsify.pruning.subject import subject_of
from sparsify.pruning.tickets import masks_of
from sparsify.training.trainer import Progress

ROOT = Path(__file__).parents[2]


class Stop(Exception):
    pass


@pytest.fixture(scope="module", autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def test_every_file_of_a_finished_run_is_covered(tmp_path: Path) -> None:
    """A run with a path, a sweep with its ledger and outcomes, a mask and a shrunk network."""
    places = Places(device="cpu", runs_dir=tmp_path)
    run = sparsify.train(sparsify.Config(data="digits", opt="slbi", epochs=1), places)
    plan = sparsify.SweepPlan(layers=("conv3",), ratios=(0.0, 0.5), recalibrate_bn=False)
    subject = subject_of(run, places)
    shrinker = PointShrinker(run, subject, the_point(plan), lambda _: None)
    sweep = sparsify.prune(subject, plan, visit=shrinker)
    shrinker.facts.save(sweep.save(run.path).with_name(f"shrunk-{sweep.id}"), shrinker.network)
    masks_of(run, PointPlan(layers="conv3", ratio=0.5), places)
    counts, unnamed = runs.flips(run.path, every=2003)
    assert unnamed == []
    kinds = {Path(name).name.replace(sweep.id, "ID").split("-")[0 if "mask" in name else -1] for name in counts}
    assert {"summary.json", "config.json", "environment.json", "metrics.csv", "path.npz"} <= kinds
    assert {"ID.csv", "ID.json", "ledger.csv", "outcomes.npz", "mask", "shrunk.json"} <= kinds


def test_every_file_of_an_unfinished_run_that_it_goes_on_from_is_covered(tmp_path: Path) -> None:
    def stop(progress: Progress) -> None:
        if progress.epoch == 2:
            raise Stop

    config = sparsify.Config(data="digits", opt="sgd", epochs=2)
    with pytest.raises(Stop):
        sparsify.train(config, device="cpu", runs_dir=tmp_path, listener=stop)
    folder = tmp_path / config.name
    (folder / "metrics.csv").unlink()  # a copy of the rows in the checkpoint, written anew from them
    counts, unnamed = runs.flips(folder, every=2003)
    assert unnamed == []
    assert set(counts) == {"checkpoint.safetensors", "config.json", "environment.json"}


def test_the_counts_are_a_table(tmp_path: Path) -> None:
    flip = runs.Flip("metrics.csv", 3, "it passed")
    path = runs.record("a-run", 100, {"config.json": 7, "metrics.csv": 5}, [flip], tmp_path)
    assert json.loads(path.read_text())["unnamed"] == [{"file": "metrics.csv", "byte": 3, "answer": "it passed"}]
    text = path.with_suffix(".md").read_text()
    assert [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()[-2:]] == [
        ["config.json", "7", "7"],
        ["metrics.csv", "5", "4"],
    ]
    assert "the header and one in 100" in text


def test_the_table_that_is_published_is_that_of_its_numbers() -> None:
    path = max((ROOT / "benchmarks" / "results").glob("flips-*.json"))
    content = json.loads(path.read_text())
    assert runs.overview(content) == path.with_suffix(".md").read_text()
    assert content["unnamed"] == []
