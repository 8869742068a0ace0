"""`sparsify study`: the list, what it says is missing, stopping and going on, what it writes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from commandline import files

from sparsify import load_study, read_study, run_study, write_study
from sparsify.study.jsonschema import study_schema
from sparsify.study.planning import Planner
from sparsify.study.tasks import Plan
from sparsify.study.toml import built_in_studies

pytestmark = pytest.mark.filterwarnings("ignore:the path may be too short")
TEXT = """
title = "Mine"
draw = ["curves"]
[base]
data = "digits"
batch_size = 32
[[arms]]
label = "early"
opt = "sgd"
epochs = 2
stage = true
[[arms]]
label = "late"
opt = "sgd"
epochs = 1
init = "early"
mask = { of = "early", layers = "conv3", ratio = 0.5 }
[[arms]]
label = "chosen"
opt = "sgd"
epochs = 1
[arms.select]
lr = [0.01, 0.05]
val = 0.2
[sweep]
layers = "conv3"
ratios = "0,0.5"
"""


@pytest.fixture(autouse=True)
def _study(tmp_path: Path) -> None:
    """The study in the working folder."""
    (tmp_path / "mine.toml").write_text(TEXT)


def test_the_built_in_studies_are_listed_and_nothing_is_written(sparsify, tmp_path):
    answer = sparsify("study --list")
    assert (answer.code, answer.err) == (0, "")
    assert [name for name in built_in_studies() if f"\n {name} " not in answer.out] == []
    assert [path.name for path in tmp_path.iterdir()] == ["mine.toml"]
    for line in ("study quick --list", "study --list --dry-run", "study --list --set epochs=2"):
        refused = sparsify(line)
        assert refused.code == 2
        assert refused.err == "error: --list lists every built-in study; leave the rest out\n"


def test_a_worker_that_would_only_look_is_refused(sparsify, tmp_path):
    refused = sparsify("study quick --worker --dry-run")
    assert refused.err == "error: --worker works on what --dry-run only prints; leave one of them out\n"
    assert refused.code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["mine.toml"]


def test_a_dry_run_says_what_is_missing_and_writes_nothing(sparsify, tmp_path):
    answer = sparsify("study mine.toml --dry-run --set batch_size=128 --device cpu")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith("Mine (batch_size 128): what is missing")
    for arm, cells in {
        "early ": ("lenet-digits-sgd-s0-", "train 2 epochs "),
        "late ": ("after 'early'", "train 1 epoch, sweep"),
        "chosen: lr 0.01 ": ("lenet-digits-sgd-s0-", "train 1 epoch "),
        "chosen ": ("after the selection", "train 1 epoch, sweep"),
    }.items():
        (line,) = (line for line in answer.out.splitlines() if line.strip().startswith(arm))
        assert all(cell in line for cell in cells)
    assert "missing: 5 trainings and 2 sweeps; about " in answer.out
    assert [path.name for path in tmp_path.iterdir()] == ["mine.toml"]


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ("auto", "mnist is not on the disk: 12 MB would be fetched to {}"),
        ("cifar10", "cifar10 is not on the disk: 170 MB would be fetched to {}"),
    ],
)
def test_a_dry_run_fetches_nothing_and_plans_without_the_data(data, line, sparsify, tmp_path, monkeypatch):
    monkeypatch.setattr("platformdirs.user_cache_path", lambda _: tmp_path / "cache")
    monkeypatch.setattr("sparsify.data.vision.unreachable", lambda url: pytest.fail(f"{url} is asked"))
    answer = sparsify(f"study mine.toml --dry-run --set data={data} --set batch_size=2 --device cpu")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.splitlines()[0] == line.format(tmp_path / "cache")
    assert "missing: 5 trainings and 2 sweeps; about " in answer.out
    assert [path.name for path in tmp_path.iterdir()] == ["mine.toml"]


def test_a_study_that_is_stopped_goes_on_and_says_what_is_missing_until_nothing_is(
    sparsify, ctrl_c_in_epoch_2, tmp_path
):
    with ctrl_c_in_epoch_2():
        stopped = sparsify("study mine.toml --device cpu")
    assert (stopped.code, stopped.err.startswith("stopped; the same command goes on from here")) == (130, True)
    answer = sparsify("study mine.toml --device cpu")
    assert (answer.code, answer.err) == (0, "")
    assert "train from epoch 2 of 2" in answer.out
    assert "1/5 " in answer.out
    assert "5/5 " in answer.out
    assert "epoch 1/2" not in answer.out
    assert "Mine: the settings of chosen, selected by accuracy" in answer.out
    folder = tmp_path / "runs" / "studies" / "mine"
    assert {path.name for path in folder.iterdir()} == {
        *("table.md", "table.csv", "selection.csv", "curves.png", "curves.svg", "report.html"),
        *("cells.csv", "contrasts.csv", "affordable.csv", "outcomes.npz", "study.json", "report.json"),
    }
    assert "selected by accuracy on a held-out 20% of the training images" in (folder / "table.md").read_text()
    written = files(folder)
    looks: list[Planner] = []
    look = Planner.plan

    def noted(planner: Planner) -> Plan:
        looks.append(planner)
        return look(planner)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Planner, "plan", noted)
        again = sparsify("study mine.toml --device cpu")
    assert len(looks) == 1  # where nothing is missing
    assert "missing" not in again.out
    assert "epoch" not in again.out
    assert sparsify("study mine.toml --dry-run").out.rstrip().endswith("nothing is missing")
    shutil.rmtree(folder)
    result = run_study(load_study("mine.toml"), device="cpu")
    assert write_study(result, command=["sparsify", "study", "mine.toml"]) == Path("runs/studies/mine/report.html")
    before, after = ({name: content for name, (content, _) in one.items()} for one in (written, files(folder)))
    assert before.pop("report.html")
    assert after.pop("report.html")  # it has the day in it
    assert after == before
    assert read_study("mine") == result


def test_the_schema_is_printed_and_nothing_else(sparsify, tmp_path):
    answer = sparsify("study --schema")
    assert (answer.code, answer.err) == (0, "")
    assert json.loads(answer.out) == study_schema()
    assert [path.name for path in tmp_path.iterdir()] == ["mine.toml"]
    for line in ("study quick --schema", "study --schema --dry-run", "study --schema --set epochs=2"):
        refused = sparsify(line)
        assert refused.code == 2
        assert refused.err == "error: --schema prints what any study's TOML can hold; leave the rest out\n"
    assert sparsify("study --schema --list").err == "error: --list lists every built-in study; leave the rest out\n"


@pytest.mark.parametrize(
    ("old", "new", "fragment"),
    [
        ('of = "early"', 'of = "erly"', "unknown arm 'erly' in late; did you mean 'early'?"),
        ('label = "early"', 'label = "early"\ninit = "late"', "arms start from each other in a circle: early → late"),
        ("conv3", "conv9", "unknown layer 'conv9' in lenet"),
        ("lr = [0.01, 0.05]", "mu = [1]", "study mine.toml: --mu 1 has no effect with --opt sgd; it is an option of"),
    ],
)
def test_a_study_that_cannot_be_is_one_line_and_nothing_is_written(old, new, fragment, sparsify, tmp_path):
    (tmp_path / "mine.toml").write_text(TEXT.replace(old, new))
    answer = sparsify("study mine.toml --device cpu")
    assert answer.code == 2
    assert answer.err.startswith("error: ")
    assert answer.err.count("\n") == 1
    assert fragment in answer.err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.toml"]


@pytest.mark.parametrize("way", ["in the file", "in a grid", "with --set"])
def test_where_a_run_is_that_arms_start_from_is_in_nothing_that_is_shared(way, sparsify, tmp_path):
    assert sparsify("train --data digits --opt sgd --epochs 1 --batch-size 64 --runs-dir begun").code == 0
    (run,) = (tmp_path / "begun").iterdir()
    place = tmp_path / "secret-place"
    place.mkdir()
    run = run.rename(place / "my-run")
    path = f"{run}@{json.loads((run / 'summary.json').read_text())['sha256']['model.safetensors'][:8]}"
    init = f'init = "{path}"\n' if way == "in the file" else ""
    base = f'[base]\ndata = "digits"\nepochs = 1\nbatch_size = 64\n{init}'
    grid = f'[grid]\nopt = ["sgd"]\nlr = [0.01, 0.02]\ninit = ["{run}", "{path}"]\n'
    drawn = 'draw = ["curves"]\n' if way == "in the file" else "draw = []\n"  # one figure is looked at, too
    text = drawn + base + (grid if way == "in a grid" else '[[arms]]\nopt = "sgd"\nlr = 0.01\n')
    (tmp_path / "mine.toml").write_text(text + '[sweep]\nlayers = "conv3"\nratios = [0.5]\n')
    command = "study mine.toml" + (f" --set init={path}" if way == "with --set" else "")
    assert sparsify(command).code == 0
    (folder,) = (tmp_path / "runs" / "studies").iterdir()
    assert [one for one in files(tmp_path / "runs") if "secret-place" in str(one)] == []
    for file in (one for one in (tmp_path / "runs").rglob("*") if one.is_file() and one.suffix != ".npz"):
        assert b"secret-place" not in file.read_bytes(), file
    design = json.loads((folder / "study.json").read_text())["design"]
    named = {one["configs"]["shared"]["init"].partition("@")[0] for one in design}
    assert named == {"my-run"}
    weights = {name: one for name, one in files(tmp_path / "runs").items() if name.endswith("model.safetensors")}
    assert len(weights) == (2 if way == "in a grid" else 1)
    assert sparsify(command).code == 0  # what is there is found again
    assert [one.name for one in (tmp_path / "runs" / "studies").iterdir()] == [folder.name]
    after = files(tmp_path / "runs")
    assert {name: one for name, one in after.items() if name.endswith("model.safetensors")} == weights
    assert read_study(folder.name).arms[0].finished
