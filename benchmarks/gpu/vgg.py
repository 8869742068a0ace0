"""The trainings of the study vgg-cifar10, several processes at once on one GPU, for as long as there is time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.gpu.common import BEGAN, DATA, DEVICE, RUNS, TINY, made_images, tell
from sparsify.config import Config, Places
from sparsify.study.planning import Planner
from sparsify.study.toml import load_study
from sparsify.training.launch import train

WORKERS = int(os.environ.get("WORKERS", "5"))


@dataclass(frozen=True)
class Working:
    """A process that trains one Config."""

    process: subprocess.Popen[str]
    config: Config


def vgg(settings: list[str]) -> None:
    """Train what is missing of the study with these settings, until $SECONDS_LEFT are over.

    What does not end in time is stopped, and its checkpoint stays.
    """
    until = time.perf_counter() + float(os.environ.get("SECONDS_LEFT", "100"))
    if TINY:
        made_images()
    plan = Planner(load_study("vgg-cifar10", settings), Places(runs_dir=RUNS, data_dir=Path(DATA))).plan()
    waiting = [task.config for task in plan.tasks if task.trainable]
    total = len(waiting)
    running: list[Working] = []
    ended: list[tuple[str, int, float]] = []
    while (waiting or running) and time.perf_counter() < until:
        while waiting and len(running) < WORKERS:
            running.append(_start(waiting.pop(0)))
        time.sleep(0.5)
        for worker in running:
            if worker.process.poll() is not None:
                seconds = round(time.perf_counter() - BEGAN, 1)
                ended.append((worker.config.opt, worker.process.returncode, seconds))
                print("ended:", ended[-1], flush=True)
        running = [worker for worker in running if worker.process.returncode is None]
    for worker in running:
        worker.process.terminate()
    for worker in running:
        worker.process.wait()
    tell(
        "vgg-cifar10",
        {
            "runs": total,
            "ended": ended,
            "stopped": [worker.config.opt for worker in running],
            "not_begun": len(waiting),
            "settings": settings,
        },
    )


def one() -> None:
    """Train the Config whose JSON is the standard input."""
    torch.set_num_threads(2)
    config = Config.from_dict(json.loads(sys.stdin.read()))
    run = train(config, device=DEVICE, runs_dir=RUNS, data_dir=Path(DATA))
    summary = run.summary
    found = {"accuracy": summary["accuracy"], "seconds_per_epoch": summary["seconds_per_epoch"]}
    tell("vgg run", {"run": run.name, **found})


def _start(config: Config) -> Working:
    command = [sys.executable, "-m", "benchmarks.gpu.probe", "one"]
    # this package, without a shell
    process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True)  # nosec B603
    assert process.stdin is not None
    process.stdin.write(json.dumps(config.to_dict()))
    process.stdin.close()
    return Working(process, config)
