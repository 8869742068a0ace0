"""Trainings in processes that can be killed; each is forked from one that has imported torch, which takes seconds."""

from __future__ import annotations

import multiprocessing
import warnings
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from sparsify import Config, SparsifyError, train


def _train(config: Config, runs_dir: Path, threads: int, steps: Connection) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(threads)
    try:
        train(config, runs_dir=runs_dir, listener=lambda progress: steps.send(progress.step))
    except SparsifyError as error:
        steps.send(str(error))


def training(config: Config, runs_dir: Path) -> tuple[BaseProcess, Connection]:
    """A process that has begun to train, with as many threads as this one, and where it says each step, or why not."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["sparsify.training.launch"])
    heard, said = context.Pipe(duplex=False)
    process = context.Process(target=_train, args=(config, runs_dir, torch.get_num_threads(), said))
    process.start()
    said.close()  # so that it ends with the process
    return process, heard
