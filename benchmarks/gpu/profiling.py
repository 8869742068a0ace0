"""Where the time of a training's iterations goes: the kernels, the gaps between them, and the host."""

from __future__ import annotations

import dataclasses
import json
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu.common import CUDA, DATA, DEVICE, PRECISIONS, TINY, TMP, batch_of, check, data_of, synchronize
from benchmarks.gpu.speed import VGG
from benchmarks.gpu.verdicts import Found
from sparsify.config import Config
from sparsify.data.registry import load_dataset
from sparsify.devices import exactly, resolve_device
from sparsify.runs import Run
from sparsify.training.starting import initial_model
from sparsify.training.trainer import Trainer

STEPS, WARM_UP, TURNS = (2, 3, 1) if TINY else (50, 20, 5)


class Span(NamedTuple):
    """A kernel, or an operation on a CPU: when it began and ended, in microseconds, and its name."""

    start: float
    stop: float
    name: str


def profiles() -> None:
    """LeNet and VGG-A, which are bound by launches and by arithmetic."""
    lenet = Config(data=data_of("mnist"), opt="slbi", epochs=2, batch_size=batch_of(128))
    sgd = Config(data=data_of("mnist"), opt="sgd", epochs=2, batch_size=batch_of(128))
    vgg = Config(model=VGG, data=data_of("cifar10"), opt="slbi", lr=0.01, epochs=2, batch_size=batch_of(128))
    check("profile LeNet slbi exact", profiled, lenet)
    check("profile LeNet sgd exact", profiled, sgd)
    for precision in reversed(PRECISIONS):
        check(f"profile VGG-A slbi {precision}", profiled, dataclasses.replace(vgg, precision=precision))
    if not TINY:
        scales = dataclasses.replace(
            vgg, model="vgg-a-bn", precision="fast", augment="crop-flip", structure="bn-scale", mu=4.5, kappa=2.75
        )
        check("profile VGG-A-BN slbi fast", profiled, scales)


class Steps:
    """A training's iterations on one batch, in the middle of its schedule."""

    def __init__(self, config: Config, device: torch.device) -> None:
        data = load_dataset(config.data, DATA).to(device)
        self.training = Trainer(Run(TMP / "profile"), config, data, initial_model(config, DATA).to(device), device)
        self.training.model.train()
        self.number = max(1, self.training.total // 2)
        count = min(config.batch_size, len(data.train))
        order = torch.randperm(len(data.train))[:count]
        self.index: Tensor = order.to(device)
        self.draws: Tensor = self.training.augment.draw(order, 0, 1).to(device)

    def run(self, count: int) -> None:
        """`count` iterations; does not wait for the device."""
        for _ in range(count):
            self.training.step(self.number, self.index, self.draws)


def profiled(config: Config) -> Found:
    """The time of an iteration, that of the host alone, and the kernels that take most of it."""
    device = resolve_device(DEVICE)
    stream = torch.cuda.Stream(device) if CUDA else None
    activities = [ProfilerActivity.CPU, ProfilerActivity.CUDA] if CUDA else [ProfilerActivity.CPU]
    walls, hosts = [], []
    with exactly(config.precision), torch.cuda.stream(stream):
        steps = Steps(config, device)
        synchronize()
        steps.run(WARM_UP)
        synchronize()
        for _ in range(TURNS):
            began = time.perf_counter()
            steps.run(STEPS)
            hosts.append((time.perf_counter() - began) / STEPS)
            synchronize()
            walls.append((time.perf_counter() - began) / STEPS)
        with profile(activities=activities) as recorded:
            steps.run(STEPS)
            synchronize()
    trace = TMP / "trace.json"
    recorded.export_chrome_trace(str(trace))
    found = {"step_us": float(np.median(walls)) * 1e6, "host_us": float(np.median(hosts)) * 1e6}
    return found | _described(_spans(trace))


def _spans(trace: Path) -> list[Span]:
    """The kernels of a trace in their order; on a CPU its operations."""
    kinds = ("kernel", "gpu_memcpy", "gpu_memset") if CUDA else ("cpu_op",)
    events = json.loads(trace.read_text())["traceEvents"]
    return sorted(
        Span(event["ts"], event["ts"] + event["dur"], event["name"])
        for event in events
        if event.get("ph") == "X" and event.get("cat") in kinds
    )


def _described(spans: list[Span]) -> Found:
    """The share of the time that some kernel runs in, the gaps, and the fifteen kernels that take most, a step."""
    busy, gaps = _busy_and_gaps(spans)
    by_name: dict[str, list[float]] = defaultdict(list)
    for span in spans:
        by_name[span.name].append(span.stop - span.start)
    most = sorted(by_name.items(), key=lambda item: -sum(item[1]))[:15]
    top = [
        {"us_a_step": round(sum(times) / STEPS, 2), "n": round(len(times) / STEPS, 1), "kernel": name[:130]}
        for name, times in most
    ]
    for row in top:
        print(f"{row['us_a_step']:9.2f} us {row['n']:6.1f}x  {row['kernel']}", flush=True)
    return {
        "kernels_a_step": len(spans) / STEPS,
        "busy_fraction": busy / (max(span.stop for span in spans) - spans[0].start) if spans else None,
        "busy_us_a_step": busy / STEPS,
        "gap_us": {
            "median": float(np.median(gaps)) if gaps else None,
            "p90": float(np.quantile(gaps, 0.9)) if gaps else None,
            "over_5": sum(gap > 5 for gap in gaps) / STEPS,
        },
        "top": top,
    }


def _busy_and_gaps(spans: list[Span]) -> tuple[float, list[float]]:
    """The length of the union of the spans, and the gaps between what does not overlap, in microseconds."""
    busy, gaps = 0.0, []
    end = spans[0].start if spans else 0.0
    for number, span in enumerate(spans):
        if number > 0 and span.start >= end:
            gaps.append(span.start - end)
        busy += max(0.0, span.stop - max(span.start, end))
        end = max(end, span.stop)
    return busy, gaps
