"""Progress: what is shown of trainings and sweeps, on a terminal, in a notebook and elsewhere."""

from __future__ import annotations

import importlib.util
import io
import math
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import nn

from sparsify import progress
from sparsify.config import Config
from sparsify.data.dataset import Split
from sparsify.progress import counting, has_bars
from sparsify.pruning.measuring import prune
from sparsify.pruning.subject import Subject
from sparsify.training import display
from sparsify.training.display import TrainingDisplay, shown
from sparsify.training.launch import train
from sparsify.training.many import train_all
from sparsify.training.trainer import Progress

ROW = {
    "train_loss": 1.0,
    "val_loss": None,
    "val_accuracy": None,
    "test_loss": 1.0,
    "test_accuracy": 0.5,
    "seconds": 1,
}


def console(*, terminal: bool, width: int = 120) -> tuple[Console, io.StringIO]:
    text = io.StringIO()
    return Console(file=text, force_terminal=terminal, force_jupyter=False, width=width, highlight=False), text


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What is shown by who makes no console of their own, on a terminal."""
    made, text = console(terminal=True)
    for module in (display, progress):
        monkeypatch.setattr(module, "Console", lambda **_: made)
    return text


def test_the_bar_of_a_training_goes_when_it_ends_also_by_diverging():
    shows = TrainingDisplay(2)
    for loss, steps, left in ((1.0, 20, ["a"]), (math.nan, 20, []), (1.0, 10, [])):
        shows(Progress("a", 1, 2, 5, steps))
        shows(Progress("a", 1, 2, 10, steps, ROW | {"train_loss": loss}))
        assert [task.description.split()[1] for task in shows._bars.tasks] == left


def test_a_terminal_has_a_bar_with_the_time_left_and_no_lines():
    out, text = console(terminal=True)
    with TrainingDisplay(console=out) as shows:
        shows(Progress("some-run", 1, 2, 5, 20))
        shows(Progress("some-run", 1, 2, 10, 20, ROW))
    assert "some-run epoch 1/2 50.0%" in text.getvalue()
    assert "left" in text.getvalue()
    assert "loss" not in text.getvalue()


def test_elsewhere_each_epoch_is_a_line():
    out, text = console(terminal=False, width=20)
    with TrainingDisplay(console=out) as shows, counting("pruning", console=out) as count:
        shows(Progress("some-run", 1, 2, 5, 20))
        shows(Progress("some-run", 1, 2, 10, 20, ROW))
        count(1, 2)
    assert text.getvalue() == "some-run epoch 1/2 · loss 1.0000 · test 50.00% · 1.0 s\n"


@pytest.mark.parametrize("widgets", [True, False])
def test_a_notebook_has_bars_if_it_has_what_they_need(widgets, monkeypatch):
    find = importlib.util.find_spec
    spec = find("torch") if widgets else None
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec if name == "ipywidgets" else find(name))
    assert has_bars(Console(force_jupyter=True)) is widgets
    assert not has_bars(Console(force_jupyter=False, force_terminal=False))


def test_what_is_shown_is_heard_as_well():
    out, text = console(terminal=True)
    heard: list[tuple[int, int]] = []
    begun: list[str] = []
    with shown(lambda *news: heard.append(news), counting("sweeping", lambda: begun.append("now"), out)) as listener:
        assert begun == []
        for done in range(3):
            listener(done, 2)
    assert heard == [(0, 2), (1, 2), (2, 2)]
    assert begun == ["now"]
    assert "sweeping" in text.getvalue()
    assert "2/2" in text.getvalue()
    with shown(None, None) as listener:
        assert listener is None


def test_train_shows_its_progress_only_if_it_is_asked_to(terminal, tmp_path: Path, capsys):
    config = Config(model="lenet", data="digits", opt="sgd", epochs=1)
    heard: list[Progress] = []
    run = train(config, device="cpu", runs_dir=tmp_path, progress=True, listener=heard.append)
    assert run.name in terminal.getvalue()
    assert [one.ended for one in heard][-1:] == [True]
    terminal.truncate(0)
    train(Config(model="lenet", data="digits", opt="sgd", epochs=1, seed=1), device="cpu", runs_dir=tmp_path)
    assert (terminal.getvalue(), *capsys.readouterr()) == ("", "", "")
    (again,) = train_all(
        [Config(model="lenet", data="digits", opt="sgd", epochs=1, seed=2)],
        device="cpu",
        runs_dir=tmp_path,
        progress=True,
    )
    assert again.name in terminal.getvalue()


def test_prune_shows_its_progress_only_if_it_is_asked_to(terminal, capsys):
    split = Split(torch.zeros(4, 1, 4, 4, dtype=torch.uint8), torch.zeros(4, dtype=torch.long))
    subject = Subject(nn.Sequential(nn.Conv2d(1, 3, 3), nn.Flatten(), nn.Linear(12, 2)), split)
    prune(subject, layers="0", ratios=(0, 0.5))
    assert (terminal.getvalue(), *capsys.readouterr()) == ("", "", "")
    prune(subject, layers="0", ratios=(0, 0.5), progress=True)
    assert "pruning" in terminal.getvalue()
    assert "2/2" in terminal.getvalue()
