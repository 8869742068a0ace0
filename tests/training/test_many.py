"""Several trainings at once: the runs, their order, their errors."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from processes import forks, in_processes
from refusals import read_or_refused
from safetensors.torch import load_file
from torch import nn

from sparsify.cli.options import parse_seeds
from sparsify.config import Config, Places
from sparsify.data.places import DataNotFoundError
from sparsify.errors import SparsifyError, SparsifyWarning
from sparsify.training.launch import train, train_side_by_side
from sparsify.training.many import overlap, processes_for, train_all
from sparsify.training.spawning import without_running_the_script_again
from sparsify.training.trainer import Progress, Trainer

pytestmark = pytest.mark.filterwarnings("ignore:the path may be too short")
TINY = Config(data="digits", opt="slbi", epochs=2, batch_size=256, lr=0.05, mu=5)


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes are not spawned, but forked from one that has imported torch, which takes seconds."""
    monkeypatch.setattr(multiprocessing, "get_context", lambda _method: forks())


@pytest.mark.parametrize(
    ("text", "seeds"), [("1", (0,)), ("3", (0, 1, 2)), ("3,5", (3, 5)), ("5, 3", (5, 3)), ("0,7", (0, 7))]
)
def test_seeds_as_people_write_them(text: str, seeds: tuple[int, ...]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "0", "-1", "3,", "a", "1.5", "2,2", "0:3", "²"])
def test_other_seeds_are_refused(text: str) -> None:
    with pytest.raises(SparsifyError, match=f"--seeds '{text}'"):
        parse_seeds(text)


NUMBERS = st.lists(st.integers(0, 20).map(str), min_size=1, max_size=4).map(", ".join)


@given(NUMBERS | st.text("0123,- ", max_size=12) | st.text(max_size=5))
def test_any_text_is_seeds_that_can_be_written_again_or_an_error_of_one_line(text: str) -> None:
    seeds = read_or_refused(parse_seeds, text)
    if seeds is None:
        return
    assert seeds == (tuple(map(int, text.split(","))) if "," in text else tuple(range(int(text))))
    assert len(set(seeds)) == len(seeds) > 0
    assert parse_seeds(",".join(map(str, seeds)) if "," in text else str(len(seeds))) == seeds


def test_a_cpu_gets_one_thread_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: set(range(8)), raising=False)
    cpu, cuda = torch.device("cpu"), torch.device("cuda", 0)
    assert [processes_for(count, cpu) for count in (1, 2, 32)] == [(1, 8), (2, 4), (8, 1)]
    assert processes_for(32, cuda) == (1, 8)


def test_on_a_gpu_those_that_can_overlap_are_trained_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """The choice alone: nothing is trained."""
    asked: list[list[Config]] = []

    def side_by_side(configs, _places, **_how):
        asked.append(configs)
        return [config.name for config in configs]

    monkeypatch.setattr("sparsify.training.many.train_side_by_side", side_by_side)
    monkeypatch.setattr("sparsify.training.many.resolve_device", lambda _name: torch.device("cuda", 0))
    monkeypatch.setattr("sparsify.training.many.overlap", lambda config, _: config.model == "lenet")
    small = [dataclasses.replace(TINY, seed=seed) for seed in (0, 1)]
    fast = [dataclasses.replace(config, precision="fast") for config in small]
    large = [dataclasses.replace(config, model="vgg-a", data="cifar10") for config in small]
    configs = [small[0], large[0], fast[0], small[1], large[1], fast[1]]
    assert train_all(configs) == [config.name for config in configs]
    assert asked == [small, large[:1], large[1:], fast]


@pytest.mark.parametrize(("model", "small"), [("lenet", True), ("vgg-a-dropout", False), ("vgg-a", False)])
def test_only_small_networks_without_dropout_overlap_on_a_gpu(model: str, small: bool, tmp_path: Path) -> None:
    data = "digits" if model == "lenet" else f"folder:{colour_folder(tmp_path)}"
    assert overlap(dataclasses.replace(TINY, model=model, data=data)) == small


def colour_folder(tmp_path: Path) -> Path:
    """Two images of 32×32 a split."""
    for split in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / split / name).mkdir(parents=True)
            Image.new("RGB", (32, 32), "red" if name == "a" else "blue").save(tmp_path / split / name / "0.png")
    return tmp_path


def test_a_network_with_dropout_does_not_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Dropout(0.1), nn.Linear(784, 10))
    monkeypatch.setattr("sparsify.training.many.build", lambda *_: net)
    assert not overlap(TINY)
    net[1].p = 0.0
    assert overlap(TINY)


def test_side_by_side_is_bit_for_bit_what_it_is_alone_and_is_resumed(tmp_path: Path) -> None:
    configs = [dataclasses.replace(TINY, seed=seed) for seed in (0, 1)] + [
        Config(data="digits", opt="slbi-adam", batch_size=200)
    ]
    configs = [dataclasses.replace(config, epochs=3) for config in configs]

    class Stop(Exception):
        pass

    def stop(progress: Progress) -> None:
        if progress.row is not None and progress.epoch == 2:
            raise Stop

    with pytest.raises(Stop):
        train_side_by_side(configs, Places(device="cpu", runs_dir=tmp_path / "together"), listener=stop)
    together = train_side_by_side(configs, Places(device="cpu", runs_dir=tmp_path / "together"))
    alone = [train(config, device="cpu", runs_dir=tmp_path / "alone") for config in configs]
    for one, other in zip(together, alone, strict=True):
        assert one.metrics.drop(columns="seconds").equals(other.metrics.drop(columns="seconds"))
        for name in ("model.safetensors", "z.safetensors"):
            ours, theirs = load_file(one.path / name), load_file(other.path / name)
            assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


@in_processes
@pytest.mark.usefixtures("two_cores", "forked")
def test_runs_are_those_of_training_them_alone(tmp_path: Path) -> None:
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


def test_the_data_that_is_not_named_is_looked_for_once(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else MNIST could come within reach between two of the trainings."""
    looked: list[str] = []

    def nowhere(name: str, _data_dir: object) -> None:
        looked.append(name)
        raise DataNotFoundError("MNIST is nowhere")

    monkeypatch.setattr("sparsify.training.starting.load_dataset", nowhere)
    monkeypatch.setattr("sparsify.training.many.processes_for", lambda _count, _device: (1, 1))
    monkeypatch.setattr("sparsify.training.many._in_one_process", lambda configs, *_: configs)
    configs = [Config(seed=0), Config(data="digits", seed=1), Config(seed=2)]
    with pytest.warns(SparsifyWarning, match="DIGITS INSTEAD OF MNIST: MNIST is nowhere") as warned:
        found = train_all(configs, device="cpu", runs_dir=tmp_path)
    assert [(config.data, config.seed) for config in found] == [("digits", 0), ("digits", 1), ("digits", 2)]
    assert (looked, len(warned)) == (["mnist"], 1)


@in_processes
@pytest.mark.usefixtures("two_cores", "forked")
def test_an_error_in_one_training_is_raised_here(tmp_path: Path) -> None:
    wrong = dataclasses.replace(TINY, data=f"folder:{tmp_path}/nowhere")
    with pytest.raises(SparsifyError, match="nowhere"):
        train_all([dataclasses.replace(TINY, epochs=10_000), wrong], device="cpu", runs_dir=tmp_path / "runs")


def test_side_by_side_leaves_torchs_generator_and_shares_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second passes with each step of any of them, and each second is counted once."""
    passed, step = 0, Trainer.step

    def ticking(*given: Any) -> None:
        nonlocal passed
        passed += 1
        step(*given)

    monkeypatch.setattr(Trainer, "step", ticking)
    monkeypatch.setattr("sparsify.training.trainer.time", SimpleNamespace(perf_counter=lambda: passed))
    configs = [dataclasses.replace(TINY, seed=seed, batch_size=64) for seed in (0, 1)]
    before = torch.get_rng_state()
    runs = train_side_by_side(configs, Places(device="cpu", runs_dir=tmp_path))
    assert torch.equal(before, torch.get_rng_state())
    assert sum(run.metrics.seconds.sum() for run in runs) == pytest.approx(passed, abs=len(runs))
    assert passed > 20


@in_processes
@pytest.mark.usefixtures("two_cores", "forked")
def test_the_callers_own_processes_live_on(tmp_path: Path) -> None:
    own = forks().Process(target=time.sleep, args=(60,))
    own.start()
    try:
        wrong = dataclasses.replace(TINY, init="nowhere")
        with pytest.raises(SparsifyError, match="unknown run 'nowhere'"):
            train_all([dataclasses.replace(TINY, epochs=10_000), wrong], device="cpu", runs_dir=tmp_path)
        assert multiprocessing.active_children() == [own]
        assert own.is_alive()
    finally:
        own.terminate()
        own.join()


SCRIPT = """
import sys
from sparsify import Config, train_all

print("begins")
configs = [Config(data="digits", epochs=1, batch_size=512, seed=seed) for seed in (0, 1)]
print([run.status for run in train_all(configs, device="cpu", runs_dir=sys.argv[1])])
"""


def test_a_module_needs_no_guard_and_runs_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "study_of_mine.py").write_text(SCRIPT, encoding="utf-8")
    # two cores, so that there are processes
    (tmp_path / "sitecustomize.py").write_text("import os\nos.sched_getaffinity = lambda _pid: {0, 1}\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    command = [sys.executable, "-W", "ignore", "-m", "study_of_mine", "runs"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout.splitlines() == ["begins", "['finished', 'finished']"], done.stderr


@pytest.mark.parametrize(
    ("text", "kept"),
    [("if __name__ == '__main__':\n    pass\n", True), ("print()\n", False), (None, False)],
    ids=["with a guard", "without", "not to be read, as <stdin>"],
)
def test_only_a_script_with_a_guard_is_imported_by_the_processes(
    text: str | None, kept: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """So that a network that it adds to NETS is known to them."""
    file = tmp_path / "script.py"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    main = ModuleType("__main__")
    main.__file__ = str(file)
    monkeypatch.setitem(sys.modules, "__main__", main)
    with without_running_the_script_again():
        assert (sys.modules["__main__"] is main) is kept
    assert sys.modules["__main__"] is main


def test_a_notebook_stays_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    main = ModuleType("__main__")  # it has no file
    monkeypatch.setitem(sys.modules, "__main__", main)
    with without_running_the_script_again():
        assert sys.modules["__main__"] is main
