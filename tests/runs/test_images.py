"""Folders of images: their place is in no file of a run, and the run finds them all the same."""

from __future__ import annotations

import getpass
import json
import platform
import re
import shutil
import socket
from pathlib import Path

import numpy as np
import platformdirs
import pytest
from PIL import Image

import sparsify
from sparsify.errors import SparsifyError, SparsifyWarning
from sparsify.report.commands import train_command, without_places
from sparsify.runs import Run


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda *_, **__: tmp_path / "cache")
    monkeypatch.delenv("SPARSIFY_DATA", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Two classes of noise, in a folder whose place is nobody's business."""
    folder = tmp_path / "secret place" / "My Photos"
    pixels = np.random.default_rng(0).integers(0, 256, (2, 2, 4, 28, 28), dtype=np.uint8)
    for part, of_part in zip(("train", "test"), pixels, strict=True):
        for label, of_class in zip("ab", of_part, strict=True):
            (folder / part / label).mkdir(parents=True)
            for number, image in enumerate(of_class):
                Image.fromarray(image).save(folder / part / label / f"{number}.png")
    return folder


@pytest.fixture
def run(images: Path, cache: Path, tmp_path: Path) -> Run:
    config = sparsify.Config(data=f"folder:{images}", opt="sgd", epochs=1, batch_size=4)
    return sparsify.train(config, device="cpu", runs_dir=tmp_path / "runs")


def sweep(run: Run, data_dir: Path | None = None) -> sparsify.Sweep:
    return sparsify.prune(run, layers="conv3", ratios="0.5", device="cpu", data_dir=data_dir)


def test_nothing_of_a_run_says_where_it_was_made(run: Run) -> None:
    sweep(run).save(run.path)
    private = ("secret place", socket.gethostname(), platform.release(), getpass.getuser())
    for file in (file for file in run.path.iterdir() if file.suffix in (".json", ".csv")):
        words = re.findall(r"[\w.\- ]+", file.read_text())
        assert [one for one in private if one in words] == [], file
    assert not any(b"secret place" in file.read_bytes() for file in run.path.iterdir())
    assert json.loads((run.path / "config.json").read_text())["data"] == "folder:My Photos"


def test_nothing_of_a_study_says_where_its_images_are(images: Path, cache: Path, tmp_path: Path) -> None:
    text = f"draw = []\n[base]\ndata = 'folder:{images}'\nepochs = 1\nbatch_size = 4\n[[arms]]\nopt = 'sgd'\n"
    (tmp_path / "mine.toml").write_text(text + "[sweep]\nlayers = 'conv3'\nratios = [0.5]\n")
    result = sparsify.run_study(
        sparsify.load_study(str(tmp_path / "mine.toml")), device="cpu", runs_dir=tmp_path / "runs"
    )
    page = sparsify.write_study(result)
    assert not any(b"secret place" in file.read_bytes() for file in page.parent.iterdir())
    assert set(result.table().data) == {"folder:My Photos"}
    assert result.arms[0].runs[0].config.data == f"folder:{images}"


def test_the_same_machine_finds_the_images_again(run: Run, images: Path, tmp_path: Path) -> None:
    again = Run(run.path)
    assert again.config.data == f"folder:{images}"
    assert again.config.name == run.path.name
    before = sweep(again)
    elsewhere = Run(run.path.rename(tmp_path / "renamed"))
    assert sweep(elsewhere) == before


def test_elsewhere_they_are_found_by_their_name_and_compared(
    run: Run, images: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sweep(run)
    shutil.rmtree(cache)
    moved = tmp_path / "elsewhere" / "My Photos"
    shutil.move(images, moved)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SparsifyError, match=r"^folder:My Photos is not in .*; name the folder .* with --data-dir$"):
        sweep(Run(run.path))
    assert sweep(Run(run.path), moved.parent) == before
    monkeypatch.chdir(moved.parent)
    assert sweep(Run(run.path)) == before
    others = Path(shutil.copytree(moved, tmp_path / "others" / "My Photos"))
    Image.fromarray(np.zeros((28, 28), dtype=np.uint8)).save(others / "test" / "a" / "0.png")
    shutil.rmtree(moved)
    with pytest.raises(SparsifyError, match=r"are not those that .* was trained on"):
        sweep(Run(run.path), others.parent)


def test_a_folder_that_cannot_be_noted_is_said_to_be(images: Path, cache: Path, tmp_path: Path) -> None:
    cache.mkdir()
    (cache / "folders").write_bytes(b"")  # in the way
    config = sparsify.Config(data=f"folder:{images}", opt="sgd", epochs=1, batch_size=4)
    with pytest.warns(SparsifyWarning, match=r"My Photos is could not be noted .*; sweeps of the run take --data-dir"):
        sparsify.train(config, device="cpu", runs_dir=tmp_path / "runs")


def test_runs_from_before_have_the_whole_path(run: Run, images: Path) -> None:
    values = json.loads((run.path / "config.json").read_text())
    (run.path / "summary.json").unlink()
    run.write_json("config.json", values | {"data": f"folder:{images}"})
    assert Run(run.path).config == run.config


@pytest.mark.parametrize(("old", "new"), [('"epochs": 1', '"epochs": 3'), ("My Photos", "My Photot"), ("{", "{ ")])
def test_a_config_of_an_unfinished_run_that_has_changed_is_named(old: str, new: str, run: Run) -> None:
    (run.path / "summary.json").unlink()
    assert Run(run.path).config == run.config
    text = (run.path / "config.json").read_text()
    (run.path / "config.json").write_text(text.replace(old, new, 1))
    with pytest.raises(SparsifyError, match=r"config.json is damaged: its SHA-256 sum is not the one in environment"):
        Run(run.path).config  # noqa: B018
    environment = json.loads((run.path / "environment.json").read_text())
    del environment["config_sha256"]  # a run from before
    run.write_json("environment.json", environment)
    assert Run(run.path).config.opt == "sgd"


def test_commands_in_a_report_have_no_places() -> None:
    config = sparsify.Config(data="folder:/home/me/My Photos", opt="sgd")
    assert train_command(config) == ["sparsify", "train", "--data", "folder:My Photos", "--opt", "sgd"]
    words = ["sparsify", "study", "/home/me/a.toml", "--set", "data=folder:/mnt/x/photos", "--data-dir", "~/images/d"]
    assert without_places(words) == ["sparsify", "study", "a.toml", "--set", "data=folder:photos", "--data-dir", "d"]
    assert without_places(["sparsify", "study", "quick", "--set", "lr=0.1"])[2:] == ["quick", "--set", "lr=0.1"]
    # as the Tab key leaves them, and quoted in a value
    words = ["--runs-dir", "/home/me/runs/", "--data-dir=/home/me/d/", "arms.init='/home/me/r/x'"]
    assert without_places(words) == ["--runs-dir", "runs", "--data-dir=d", "arms.init='x'"]


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("/home/me/a=b/c,d/runs", "runs"),
        ("--data-dir=/home/me, you/lr=0.1/d", "--data-dir=d"),
        ("data=folder:/home/o'brien/it: all/photos", "data=folder:photos"),
        ("arms.init=['/home/me/a=1,x/a', \"/home/me/o'b/b/\"]", "arms.init=['a', \"b/\"]"),
        ("arms.data=['folder:/mnt/x,y/a','folder:/mnt/x/b']", "arms.data=['folder:a','folder:b']"),
        ("init={ of = '/home/me/a\nb/c' }", "init={ of = 'c' }"),
        ("lr=0.1,0.2", "lr=0.1,0.2"),
        ("studies/a=b/mine.toml", "studies/a=b/mine.toml"),
    ],
)
def test_a_path_is_cut_whatever_characters_are_in_it(word: str, shown: str) -> None:
    assert without_places([word]) == [shown]


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        (r"C:\Users\me\runs", "runs"),
        ("C:\\Users\\me\\runs\\", "runs"),
        ("c:/Users/me/runs", "runs"),
        (r"\\server\share\runs", "runs"),
        (r"~\runs", "runs"),
        (r"data=folder:D:\me\My Photos", "data=folder:My Photos"),
        (r"arms.init=['C:\me\a','C:\me\b']", "arms.init=['a','b']"),
        (r"--data-dir=C:\me\d", "--data-dir=d"),
        (r"studies\mine.toml", r"studies\mine.toml"),
        ("lr=0.1", "lr=0.1"),
    ],
)
def test_commands_in_a_report_have_no_places_of_windows(word: str, shown: str) -> None:
    assert without_places([word]) == [shown]
