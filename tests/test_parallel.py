"""Several trainings at once: the runs, their order, their errors."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file

from sparsify.config import Config, parse_seeds
from sparsify.errors import SparsifyError, SparsifyWarning
from sparsify.parallel import processes_for, train_all
from sparsify.training import Progress, train

pytestmark = pytest.mark.filterwarnings("ignore:the path may be too short")
TINY = Config(data="digits", opt="slbi", epochs=2, batch_size=256, lr=0.05, mu=5)


@pytest.mark.parametrize(
    ("text", "seeds"), [("1", (0,)), ("3", (0, 1, 2)), ("3,5", (3, 5)), ("5, 3", (5, 3)), ("0,7", (0, 7))]
)
def test_seeds_as_people_write_them(text: str, seeds: tuple[int, ...]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "0", "-1", "3,", "a", "1.5", "2,2", "0:3", "²"])
def test_other_seeds_are_refused(text: str) -> None:
    with pytest.raises(SparsifyError, match=f"--seeds '{text}'"):
        parse_seeds(text)


def test_a_cpu_gets_one_thread_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: set(range(8)), raising=False)
    cpu, cuda = torch.device("cpu"), torch.device("cuda", 0)
    assert [processes_for(count, cpu) for count in (1, 2, 32)] == [(1, 8), (2, 4), (8, 1)]
    assert processes_for(32, cuda) == (4, 2)


def test_runs_are_those_of_training_them_alone(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: {0, 1}, raising=False)
    configs = [dataclasses.replace(TINY, seed=seed) for seed in (0, 2, 1)]
    heard: list[Progress] = []
    with pytest.warns(SparsifyWarning, match="the path may be too short"):
        runs = train_all(configs, device="cpu", runs_dir=tmp_path / "together", listener=heard.append)
    assert [run.name for run in runs] == [config.name for config in configs]
    assert sorted({p.run for p in heard}) == sorted(run.name for run in runs)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        alone = [train(config, device="cpu", runs_dir=tmp_path / "alone") for config in configs]
    finally:
        torch.set_num_threads(threads)
    for one, other in zip(runs, alone, strict=True):
        for name in ("model.safetensors", "z.safetensors"):
            ours, theirs = load_file(one.path / name), load_file(other.path / name)
            assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
        assert json.loads((one.path / "environment.json").read_text())["threads"] == 1
    again: list[Progress] = []
    assert train_all(configs, device="cpu", runs_dir=tmp_path / "together", listener=again.append) == runs
    assert not again


def test_an_error_in_one_training_is_raised_here(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: {0, 1}, raising=False)
    wrong = dataclasses.replace(TINY, data=f"folder:{tmp_path}/nowhere")
    with pytest.raises(SparsifyError, match="nowhere"):
        train_all([dataclasses.replace(TINY, epochs=10_000), wrong], device="cpu", runs_dir=tmp_path / "runs")
