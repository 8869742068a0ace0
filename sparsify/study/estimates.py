"""Estimates of the time and disk space that the missing parts of a study take, before anything is trained."""

from __future__ import annotations

import functools
import math
import statistics
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from sparsify.config import Config
from sparsify.data.dataset import Dataset
from sparsify.devices import describe, resolve_device
from sparsify.nets.layers import prunable_layers
from sparsify.optim.inclusion import RECORDS
from sparsify.optim.registry import OPTIMIZERS
from sparsify.pruning.plan import SweepPlan
from sparsify.pruning.subject import SAMPLE
from sparsify.runs import Run, finished_runs
from sparsify.study.planning import Planner
from sparsify.study.tasks import Plan, Task
from sparsify.training.launch import time_iteration
from sparsify.training.many import processes_for

NUMBER = 4
"""The size of a float32, in bytes."""

FORWARD = 1 / 3
"""The cost of a network's output as a fraction of a training step, which computes gradients as well."""


@dataclass(frozen=True)
class TaskCost:
    """The cost of one run: seconds of training and of sweeps, bytes that are kept, and bytes of its checkpoint."""

    training: float = 0.0
    sweeping: float = 0.0
    kept: int = 0
    checkpoint: int = 0


@dataclass(frozen=True)
class PlanCost:
    """The cost of each task of a plan, in the same order; if tasks share a run, its cost is that of the first one.

    `processes` is the number of trainings that run at the same time.
    """

    tasks: tuple[TaskCost, ...]
    processes: int

    @property
    def seconds(self) -> float:
        """The estimated time of the whole plan, in seconds: trainings run in parallel, sweeps one by one."""
        training = sum(one.training for one in self.tasks)
        return training / self.processes + sum(one.sweeping for one in self.tasks)

    @property
    def kept(self) -> int:
        """The bytes that stay on the disk when the plan is done."""
        return sum(one.kept for one in self.tasks)

    @property
    def checkpoints(self) -> int:
        """The largest number of bytes that checkpoints take at a time; they are deleted when the trainings end."""
        return sum(sorted((one.checkpoint for one in self.tasks), reverse=True)[: self.processes])


def estimate_cost(planner: Planner, plan: Plan) -> PlanCost:
    """Estimate the cost of a plan.

    The time of an epoch is the median over the finished runs with the same network, data, augmentation, batch size and
    precision that were trained on this kind of device (on a CPU, with as many threads): those of the same optimizer, or
    else of any. If there is no such run, a few real training steps are timed.
    """
    where = resolve_device(planner.places.device)
    processes, threads = processes_for(len(plan.tasks), where)
    clock = _Clock(planner, where, threads)
    seen: set[Path] = set()
    found = []
    for task in plan.tasks:
        shared = task.run is not None and task.run.path in seen
        found.append(TaskCost() if task.done or shared else _task(task, planner.networks[task.arm], clock))
        seen |= {task.run.path} if task.run is not None else set()
    return PlanCost(tuple(found), processes)


def _task(task: Task, network: nn.Module, clock: _Clock) -> TaskCost:
    config, untrained = task.config, task.status == "unfinished"
    dataset = clock.dataset(config)
    epoch = clock.epoch(config)
    held = round(config.val * len(dataset.train))
    images, measured = len(dataset.train) - held, held or len(dataset.test)
    forward = FORWARD * epoch / images
    missing = [task.sweeps[number] for number in (task.sweeps if untrained else task.missing)]
    epochs = config.epochs - task.epochs_done if untrained else 0
    weights = NUMBER * sum(tensor.numel() for tensor in network.state_dict().values())
    path = _path_bytes(network, weights) if OPTIMIZERS[config.opt].selects else 0
    return TaskCost(
        training=epochs * (epoch + forward * measured),
        sweeping=sum(_sweep_seconds(plan, epoch, forward, measured, images) for plan in missing),
        kept=(weights + path) * untrained + sum(plan.networks * measured for plan in missing),  # one byte per outcome
        checkpoint=(2 * weights + path) * untrained,  # the weights, and as much for the optimizer's state
    )


def _sweep_seconds(plan: SweepPlan, epoch: float, forward: float, measured: int, images: int) -> float:
    again = min(SAMPLE, images) + measured if plan.recalibrate_bn else 0
    return plan.networks * (forward * (measured + again) + plan.rounds * plan.finetune_epochs * epoch)


def _path_bytes(network: nn.Module, weights: int) -> int:
    """Return the bytes of a path: Z, at most as much for the entry steps, and two norms per filter and record."""
    filters = sum(layer.outputs for layer in prunable_layers(network) if layer.is_convolution)
    return 2 * weights + 2 * NUMBER * RECORDS * filters


class _Clock:
    """Knows the time of an epoch on a device, from finished runs or from a short measurement."""

    def __init__(self, planner: Planner, device: torch.device, threads: int) -> None:
        self.planner, self.runs_dir = planner, planner.places.runs_dir
        self.device, self.threads = device, threads
        self.measured: dict[tuple[object, ...], float] = {}

    def dataset(self, config: Config) -> Dataset:
        """Return the data set of a Config, as the planner looks at it."""
        return self.planner.data(config, self.planner.places.data_dir)

    def epoch(self, config: Config) -> float:
        """Return the time of one epoch in seconds, as `estimate_cost` describes it."""
        known = [run for run in self._runs if _kind(run.config) == _kind(config)]
        same = [run for run in known if run.config.opt == config.opt]
        if known:
            return statistics.median(run.summary["seconds_per_epoch"] for run in same or known)
        kind = (*_kind(config), config.opt)
        if kind not in self.measured:
            self.measured[kind] = self._measure(config)
        return self.measured[kind]

    @functools.cached_property
    def _runs(self) -> list[Run]:
        """The finished runs that were trained on the same kind of device; on a CPU, with as many threads."""
        here = {"device": describe(self.device)} | ({"threads": self.threads} if self.device.type == "cpu" else {})
        return [run for run in finished_runs(self.runs_dir) if here.items() <= run.environment.items()]

    def _measure(self, config: Config) -> float:
        dataset = self.dataset(config)
        threads = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            steps = math.ceil((1 - config.val) * len(dataset.train) / config.batch_size)
            return steps * time_iteration(config, dataset, self.device)
        finally:
            torch.set_num_threads(threads)


def _kind(config: Config) -> tuple[object, ...]:
    network = (config.model, config.net)
    return *network, config.data, config.resize, config.augment, config.batch_size, config.precision
