"""Checkpoints: copies of the state, written beside the training, and how often."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from torch import nn

from sparsify.runs import Run
from sparsify.training import checkpoint
from sparsify.training.checkpoint import Checkpoint, Saver


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The epochs of each checkpoint that is written."""
    epochs: list[int] = []
    monkeypatch.setattr(checkpoint, "save_checkpoint", lambda _folder, one: epochs.append(len(one.rows)))
    monkeypatch.setattr(Run, "write_metrics", lambda _run, _rows: None)
    return epochs


def after(epochs: int) -> Checkpoint:
    return Checkpoint({}, [{} for _ in range(epochs)])


def test_the_copy_is_of_the_moment() -> None:
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    model.weight.grad = torch.ones(1, 2)
    optimizer.step()
    recorded, rows = {"entry": torch.zeros(1)}, []
    kept = {name: p.clone() for name, p in model.state_dict().items()}
    taken = Checkpoint.of(model, optimizer, recorded, rows)
    optimizer.step()
    recorded["entry"].fill_(3)
    rows.append({})
    assert all(torch.equal(taken.tensors[f"model/{name}"], tensor) for name, tensor in kept.items())
    assert taken.tensors["optimizer/weight/momentum_buffer"].tolist() == [[1, 1]]
    assert taken.tensors["path/entry"].tolist() == [0]
    assert taken.rows == []


@pytest.mark.parametrize(("part", "seconds", "found"), [(1.0, 4.9, [1, 2]), (1.0, 5.2, [1]), (0.5, 2.6, [1])])
def test_writing_takes_at_most_a_twentieth_of_the_time(
    part: float, seconds: float, found: list[int], written: list[int]
) -> None:
    """The last one was begun 100 s ago, and took so many seconds; the first is always written."""
    with Saver(Run(Path()), part) as saver:
        saver.offer(after(1))
        saver.wait()
        saver._began, saver._seconds = time.perf_counter() - 100, seconds
        saver.offer(after(2))
        saver.wait()
        assert written == found


def test_what_stops_a_training_has_the_newest_written(written: list[int]) -> None:
    def stopped() -> None:
        with Saver(Run(Path())) as saver:
            for epochs in (1, 2, 3):
                saver.offer(after(epochs))
                saver.wait()
                saver._seconds = 1000.0
            assert written == [1]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert written == [1, 3]


def test_at_the_end_nothing_is_left_to_write(written: list[int]) -> None:
    with Saver(Run(Path())) as saver:
        saver.offer(after(1))
        saver.wait()
        saver._seconds = 1000.0
        saver.offer(after(2))
    assert written == [1]


def test_what_fails_in_the_thread_is_raised_and_nothing_more_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    def full(_folder: Path, one: Checkpoint) -> None:
        tries.append(len(one.rows))
        raise OSError(28, "No space left on device")

    def two_epochs() -> None:
        with Saver(Run(Path())) as saver:
            saver.offer(after(1))
            while not saver._writing.done():
                time.sleep(0.01)
            saver.offer(after(2))

    monkeypatch.setattr(checkpoint, "save_checkpoint", full)
    with pytest.raises(OSError, match="No space left"):
        two_epochs()
    assert tries == [1]
