"""`sparsify runs` and `sparsify viz`: what they answer and what they refuse."""

from __future__ import annotations

import json
import shutil
import time

import pytest
from commandline import QUICK, run_of


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
        ("filters --fold-bn", ["--fold-bn", "no BatchNorm is behind conv3", "lenet-digits-slbi"]),
        ("filters nobody", ["'nobody'", "lenet-digits-sgd-s0"]),
        ("curves nobody", ["'nobody'", "lenet-digits-sgd-s0"]),
        ("curves lenet-digits-sgd-s0 nobody", ["'nobody'", "lenet-digits-sgd-s0"]),
        ("sweep nobody", ["'nobody'", "lenet-digits-sgd-s0"]),
        ("sweep lenet-digits-sgd-s0", ["lenet-digits-sgd-s0", "sparsify prune"]),
        ("sweep", ["no sweep", "sparsify prune"]),
        ("path nobody", ["'nobody'", "lenet-digits-sgd-s0"]),
        (
            "path lenet-digits-sgd-s0",
            ["lenet-digits-sgd-s0", "slbi, slbi-adam, random-release, linbreg, adabreg, prox-sgd"],
        ),
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


def test_runs_lists_the_newest_first_and_every_name_can_be_copied(runs, sparsify):
    answer = sparsify("runs")
    assert answer.code == 0
    assert answer.err == ""
    assert "…" not in answer.out
    names = [run_of(runs, opt).name for opt in ("sgd", "slbi", "slbi-adam", "sgd-pull")]
    for name in names:
        assert name in answer.out, "folded or cut off"
        accuracy = json.loads((runs / name / "summary.json").read_text())["accuracy"]
        assert f"{100 * accuracy:.2f}" in answer.out
    assert sorted(names, key=answer.out.index) == names


@pytest.mark.parametrize("what", ["filters --layer conv1", "curves", "sweep", "path"])
def test_viz_draws_one_run_beside_it(what, runs, sparsify):
    folder = run_of(runs, "slbi")
    assert sparsify(f"prune {folder.name} --layers conv3 --layers fc1 --ratios 0,0.5").code == 0
    word, *rest = what.split()
    answer = sparsify(f"viz {word} {folder.name} {' '.join(rest)}")
    assert answer.code == 0
    assert answer.err == ""
    drawn = sorted((folder / "figures").iterdir())
    assert [path.suffix for path in drawn] == [".png", ".svg"]
    assert drawn[0].read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in drawn[1].read_bytes()
    for path in drawn:
        assert f"runs/{folder.name}/figures/{path.name}" in answer.out


@pytest.mark.usefixtures("no_drawing")
def test_viz_without_names_takes_the_newest_of_each_optimizer_of_the_newest_ones_kind(runs, sparsify):
    for line in ("--opt slbi --seed 1", "--opt sgd --lr 0.01", "--opt sgd-pull --lr 1e20", "--opt slbi --lr 0.01"):
        sparsify(f"train {QUICK} {line}")
        time.sleep(0.01)
    sparsify(f"train {QUICK} --opt sgd")
    answer = sparsify("viz filters")
    assert answer.code == 0
    (slbi,) = (
        path.name
        for path in runs.glob("lenet-digits-slbi-s0-*")
        if json.loads((path / "config.json").read_text())["lr"] == 0.01
    )
    (sgd,) = (
        path.name
        for path in runs.glob("lenet-digits-sgd-s0-*")
        if json.loads((path / "config.json").read_text())["lr"] != 0.01
    )
    (pull,) = (
        path.name
        for path in runs.glob("lenet-digits-sgd-pull-s0-*")
        if json.loads((path / "config.json").read_text())["lr"] != 1e20
    )
    expected = [sgd, pull, slbi, run_of(runs, "slbi-adam").name]
    assert answer.out.splitlines()[0] == f"runs: {', '.join(expected)}"
    drawn = list((runs / "studies").glob("*/*"))
    assert sorted(path.suffix for path in drawn) == [".png", ".svg"]
    assert all("filters" in path.name and "conv3" in path.name for path in drawn)


@pytest.mark.usefixtures("no_drawing")
def test_viz_path_without_a_name_takes_the_newest_run_with_a_path(runs, sparsify):
    answer = sparsify("viz path --layer fc1")
    assert answer.code == 0
    assert run_of(runs, "slbi").name in answer.out


@pytest.mark.usefixtures("no_drawing")
def test_viz_sweep_says_which_runs_were_left_out(runs, sparsify):
    assert sparsify("prune lenet-digits-slbi-s --layers conv3 --ratios 0,0.5").code == 0
    answer = sparsify("viz sweep")
    assert answer.code == 0
    assert f"left out: {run_of(runs, 'sgd').name}" in answer.out
    assert f"left out: {run_of(runs, 'slbi').name}" not in answer.out


@pytest.mark.usefixtures("no_drawing")
def test_viz_sweep_draws_the_newest_sweep_that_is_a_curve_and_says_which(runs, sparsify):
    """Not what --shrink measured since; the newest of all only if none is over several ratios."""
    folder = run_of(runs, "sgd")
    sweep = "[0-9a-f]" * 8
    single = "prune lenet-digits-sgd-s0 --layers conv3 --ratios 0.5"
    assert sparsify(f"{single} --shrink").code == 0
    (point,) = (path.stem.removeprefix("sweep-") for path in folder.glob(f"sweep-{sweep}.csv"))
    assert f"sweep: {point}: magnitude, 50% of conv3, 1 point\n" in sparsify("viz sweep lenet-digits-sgd-s0").out
    assert sparsify("prune lenet-digits-sgd-s0 --layers conv3 --ratios 0,0.5").code == 0
    (curve,) = {path.stem.removeprefix("sweep-") for path in folder.glob(f"sweep-{sweep}.csv")} - {point}
    time.sleep(0.01)
    assert sparsify(single).code == 0
    said = sparsify("viz sweep lenet-digits-sgd-s0").out
    assert said.startswith(f"sweep: {curve}: magnitude, 0% to 50% of conv3, 2 points\n")
    assert f"not drawn, of a single ratio: {point}: magnitude, 50% of conv3, 1 point\n" in said
    assert f"sweep-{curve}.png" in said


@pytest.mark.usefixtures("no_drawing")
@pytest.mark.parametrize("what", ["curves", "filters", "sweep"])
def test_two_runs_of_one_name_are_two(what, runs, sparsify, tmp_path, monkeypatch):
    """A run under models/ and one of the same name in runs/ are both drawn, and can be told apart."""
    from matplotlib.figure import Figure

    folder = run_of(runs, "sgd")
    shutil.copytree(folder, tmp_path / "models" / folder.name)
    sparsify(f"prune {folder.name} --layers conv3 --ratios 0,0.5")
    sparsify(f"prune models/{folder.name} --layers conv3 --ratios 0,0.5 --runs-dir models")
    shown, save = [], Figure.savefig  # which draws nothing
    monkeypatch.setattr(
        Figure,
        "savefig",
        lambda self, buffer, **options: (shown.append(_labels(self)), save(self, buffer, **options)),
    )
    assert sparsify(f"viz {what} runs/{folder.name} models/{folder.name}").code == 0
    assert len(shown[0]) == len(set(shown[0])) == 2


def _labels(figure) -> list[str]:
    """What tells the runs apart: the titles of panels, or the entries of the legend."""
    for legend in figure.legends:
        return [text.get_text() for text in legend.get_texts()]
    return [axis.get_title().split("\n")[0] for axis in figure.axes if axis.get_title()]


def test_a_schedule_is_drawn_where_it_is_asked_for(sparsify, tmp_path):
    line = "viz schedule --schedule cosine,step-lr --schedule noam --schedule-options step_size=5 --epochs 3"
    answer = sparsify(f"{line} --steps-per-epoch 4 --output pictures/rates.png")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.splitlines() == ["written: pictures/rates.png", "written: pictures/rates.svg"]
    assert (tmp_path / "pictures" / "rates.png").read_bytes().startswith(b"\x89PNG")
    text = (tmp_path / "pictures" / "rates.svg").read_text(encoding="utf-8")
    assert [name for name in ("cosine", "step-lr, step_size=5", "noam") if f">{name}</text>" not in text] == []


@pytest.mark.usefixtures("no_drawing")
def test_optimizers_are_drawn_without_a_run(sparsify, tmp_path):
    answer = sparsify("viz optimizers --opt sgd --opt adam,slbi --steps 5")
    assert (answer.code, answer.err) == (0, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["optimizers.png", "optimizers.svg"]


@pytest.mark.parametrize(
    ("line", "fragments"),
    [
        ("schedule --schedule cosin", ["'cosin'", "cosine"]),
        ("schedule --schedule step-lr --schedule-options every=3", ["'every'", "step_size"]),
        ("schedule --epochs 1.5", ["1.5"]),
        ("optimizers --opt adams", ["'adams'", "adam"]),
        ("optimizers --steps 0", ["--steps is 0"]),
    ],
)
def test_viz_without_a_run_refuses(line, fragments, refused):
    refused(f"viz {line}", *fragments)
