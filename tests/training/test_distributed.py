"""One training by several processes: what one process makes, to rounding, and what is refused."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from processes import forks, in_processes
from safetensors.torch import load_file

from sparsify import Config, Run, SparsifyError, train
from sparsify.cli.app import main
from sparsify.nets.registry import network
from sparsify.training import distributed
from sparsify.training.distributed import Ranks, require_shares

pytestmark = pytest.mark.filterwarnings("ignore:the path may be too short", "ignore:run .* goes on elsewhere")
CONFIG = Config(data="digits", opt="slbi", lr=0.01, mu=5, epochs=3, batch_size=100)
COMMAND = "train --data digits --opt slbi --lr 0.01 --mu 5 --epochs 3 --batch-size 100 --device cpu"


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """What one process makes."""
    return train(CONFIG, device="cpu", runs_dir=tmp_path_factory.mktemp("alone"))


def same(run: Run, alone: Run) -> None:
    """Assert that two runs have the same files, and the same values in them to rounding."""
    assert {path.name for path in run.path.iterdir()} == {path.name for path in alone.path.iterdir()}
    for file in ("model.safetensors", "z.safetensors"):
        found, expected = load_file(run.path / file), load_file(alone.path / file)
        for name, tensor in expected.items():
            torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=1e-5)
    for name in ("train_loss", "test_loss"):
        assert list(run.metrics[name]) == pytest.approx(list(alone.metrics[name]), rel=1e-3)
    assert list(run.metrics["train_accuracy"]) == pytest.approx(list(alone.metrics["train_accuracy"]), abs=3e-3)


def test_torchrun_makes_what_one_process_makes(alone: Run, tmp_path: Path) -> None:
    started = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "sparsify"]
    answer = subprocess.run(
        [*started, *COMMAND.split(), "--runs-dir", str(tmp_path)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([os.getcwd(), *sys.path[1:]])},
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr
    assert [line.split(" · ")[0].split()[-1] for line in answer.stdout.splitlines() if " · loss" in line] == [
        "1/3",
        "2/3",
        "3/3",
    ]  # one process says it
    run = Run(tmp_path / alone.name)
    same(run, alone)
    assert (run.environment["world_size"], alone.environment["world_size"]) == (2, 1)
    run.verify()


def _be_one(rank: int, size: int, port: int, folder: str) -> None:
    """Train as torchrun would have it, with what is said in files of its own."""
    os.chdir(folder)
    for number, name in ((1, f"out-{rank}"), (2, f"err-{rank}")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT, 0o644), number)
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in names.items()})
    os.environ.update({"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_RUN_ID": "test"})
    torch.set_num_threads(1)
    os._exit(main(COMMAND.split()))


@in_processes
def test_one_that_dies_ends_all_with_one_line_and_another_number_of_them_goes_on(alone: Run, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    size = 3
    processes = [forks().Process(target=_be_one, args=(rank, size, port, str(tmp_path))) for rank in range(size)]
    for process in processes:
        process.start()
    run = Run(tmp_path / "runs" / alone.name)
    while not (run.path / "checkpoint.safetensors").exists():
        assert all(process.is_alive() for process in processes), (tmp_path / "err-0").read_text()
        time.sleep(0.01)
    os.kill(processes[2].pid, signal.SIGKILL)
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [2, 2, -signal.SIGKILL]
    for rank in (0, 1):
        said = (tmp_path / f"err-{rank}").read_text().splitlines()
        (line,) = (line for line in said if not line.startswith("warning: the path may be too short"))
        assert line.startswith("error: another process of this training has ended (")
        assert "by peer" in line
        assert line.endswith("); the same command goes on from the last checkpoint")
    assert run.status == "unfinished"
    assert not list(run.path.glob(".*.tmp"))
    assert 1 <= run.epochs_done < 3
    same(train(CONFIG, device="cpu", runs_dir=tmp_path / "runs"), alone)


def test_shares_are_a_batch_and_their_losses_its_mean() -> None:
    batch, ranks = torch.arange(7.0), [Ranks(rank, 3) for rank in range(3)]
    shares = [one.share(batch) for one in ranks]
    assert sorted(torch.cat(shares).tolist()) == batch.tolist()
    losses = [one.part(share.mean(), len(share), 7) for one, share in zip(ranks, shares, strict=True)]
    assert torch.stack(losses).mean().item() == pytest.approx(3.0)
    assert [one.writes for one in ranks] == [True, False, False]
    assert Ranks().share(batch) is batch
    loss = batch.mean()
    assert Ranks().part(loss, 7, 7) is loss


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (Config(model="vgg-a-bn", data="cifar10"), "vgg-a-bn has BatchNorm, whose statistics would be those of a part"),
        (Config(model="alexnet", data="digits"), "alexnet draws random numbers, as for dropout"),
        (Config(data="digits", record="loss"), "--record loss sees the part of a batch that one process has"),
        (Config(data="digits", batch_size=99), "--batch-size 99 leaves a last batch of 1 images"),
    ],
)
def test_what_would_not_be_the_same_is_refused(config: Config, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    size = 224 if config.model == "alexnet" else 32
    model = network(config.model, (3 if config.model != "lenet" else 1, size, size), 10, config.net)
    images = torch.rand(2, 3 if config.model != "lenet" else 1, size, size)
    require_shares(config, model, images, 100)  # one process does it all
    monkeypatch.setattr(distributed, "ranks", lambda: Ranks(0, 2))
    with pytest.raises(SparsifyError, match=f"^2 processes cannot train this Config as one does: {reason}"):
        require_shares(config, model, images, 100)


def test_several_seeds_are_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(distributed, "started_together", lambda: True)
    assert main(["train", "--data", "digits", "--seeds", "2"]) == 2
    assert "--seeds 2: several processes train one Config together; name one --seed" in capsys.readouterr().err
