"""Trainings in processes that can be killed; each is forked from one that has imported torch, which takes seconds."""

from __future__ import annotations

import multiprocessing
import warnings
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from images import FEW, digits_of

from sparsify import Config, SparsifyError, train

in_processes = pytest.mark.skipif(
    "forkserver" not in multiprocessing.get_all_start_methods(), reason="there are no processes to fork from here"
)
_get_context = multiprocessing.get_context  # also where a test puts another one in its place


def forks() -> BaseContext:
    """What starts a process as a fork of one that has imported torch."""
    context = _get_context("forkserver")
    # the first step of an optimizer imports torch._dynamo, which takes as long as torch
    context.set_forkserver_preload(["sparsify.training.launch", "torch._dynamo", "torch.distributed.fsdp"])
    return context


def _train(config: Config, runs_dir: Path, threads: int, steps: Connection) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(threads)
    try:
        with digits_of(FEW):
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
