"""Processes of a test's own, each forked from one that has imported torch, which takes seconds."""

from __future__ import annotations

import multiprocessing
import os
import shlex
import signal
import sys
import tempfile
import warnings
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch

from sparsify import Config, SparsifyError, train
from sparsify.cli.app import main
from sparsify.training.display import TrainingDisplay
from sparsify.training.trainer import Progress

FORKS = "forkserver" in multiprocessing.get_all_start_methods()
in_processes = pytest.mark.skipif(not FORKS, reason="there are no processes to fork from here")
_get_context = multiprocessing.get_context  # also where a test puts another one in its place


def forks() -> BaseContext:
    """What starts a process as a fork of one that has imported torch."""
    context = _get_context("forkserver")
    # the first step of an optimizer imports torch._dynamo, which takes as long as torch
    slow = ["sparsify.training.many", "sklearn.datasets", "torch._dynamo", "torch.distributed.fsdp"]
    context.set_forkserver_preload(slow)
    with pytest.MonkeyPatch.context() as patch:  # it knows no other places to import from
        here = Path(__file__).parent
        patch.setenv("PYTHONPATH", os.pathsep.join([str(here), str(here.parent)]), prepend=os.pathsep)
        forkserver.ensure_running()
    return context


def _say_to(out: Path, err: Path) -> None:
    for stream, path in enumerate((out, err), 1):
        with path.open("a") as file:
            os.dup2(file.fileno(), stream)


def _run(program: str, arguments: tuple[str, ...], environment: dict[str, str], said: Path) -> None:
    _say_to(said, said)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[:] = ["-c", *arguments]
    torch.set_num_threads(int(environment.get("OMP_NUM_THREADS", "1")))
    exec(program, {"__name__": "__main__"})


MODULES = """
import runpy, shlex, sys

for command in sys.argv[1:]:
    sys.argv[:] = shlex.split(command)
    try:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code:
            sys.exit(f"{command}: {end.code}")
print("all ended well")
"""
"""A program: modules one after the other, each as `python -m` runs it, until one ends with another status than 0."""


def said_by(program: str, *arguments: str, **environment: str) -> str:
    """What a program prints, on both streams, and its traceback if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        said = Path(folder) / "said"
        context = forks() if FORKS else _get_context("spawn")
        process = context.Process(target=_run, args=(program, arguments, {**os.environ, **environment}, said))
        process.start()
        process.join()
        return said.read_text() + ("" if process.exitcode == 0 else f"\nexit {process.exitcode}")


def _command(words: list[str], folder: Path, kill_in_epoch: int | None) -> None:
    _say_to(folder / "out", folder / "err")
    os.chdir(folder)
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    heard = TrainingDisplay.__call__

    def killed(display: TrainingDisplay, progress: Progress) -> None:
        heard(display, progress)
        if progress.epoch == kill_in_epoch and progress.row is not None:
            os.kill(os.getpid(), signal.SIGKILL)

    TrainingDisplay.__call__ = killed  # type: ignore[method-assign]
    sys.exit(main(words))


def started(line: str, folder: Path, kill_in_epoch: int | None = None) -> BaseProcess:
    """A process that runs a command of `sparsify` in a folder, where it writes what it prints to the files out and err.

    It is killed at the end of an epoch of its first training, if that is given.
    """
    process = forks().Process(target=_command, args=(shlex.split(line), folder, kill_in_epoch))
    process.start()
    return process


def _train(config: Config, runs_dir: Path, threads: int, steps: Connection) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(threads)
    try:
        train(config, runs_dir=runs_dir, listener=lambda progress: steps.send(progress.step))
    except SparsifyError as error:
        steps.send(str(error))


def training(config: Config, runs_dir: Path) -> tuple[BaseProcess, Connection]:
    """A process that has begun to train, with as many threads as this one, and where it says each step, or why not."""
    context = forks()
    heard, said = context.Pipe(duplex=False)
    process = context.Process(target=_train, args=(config, runs_dir, torch.get_num_threads(), said))
    process.start()
    said.close()  # so that it ends with the process
    return process, heard
