"""Pruning sweeps on the device: one pass against masks one by one, the same twice, and shrunk networks' latency."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable

from torch import Tensor

from benchmarks.gpu.common import DEVICE, PRECISIONS, TINY, batch_of, data_of, made_images
from benchmarks.gpu.trainings import trained
from benchmarks.gpu.verdicts import Found
from sparsify.config import Config, Places
from sparsify.nets.deployment import deploy
from sparsify.nets.evaluation import evaluate
from sparsify.nets.mask import masked
from sparsify.nets.prediction import predict_masked
from sparsify.pruning.cuts import cuts_of, make_mask
from sparsify.pruning.measuring import prune
from sparsify.pruning.plan import PointPlan
from sparsify.pruning.subject import Subject, subject_of
from sparsify.pruning.sweep import Sweep
from sparsify.runs import Run


def one_pass() -> Found:
    """Equal right answers mask by mask and in one pass, and equal sweeps when they are done twice."""
    found: Found = {}
    for name, run in _networks().items():
        subject = subject_of(run, Places(device=DEVICE))
        for precision in PRECISIONS:
            together, alone = _right_answers(subject, precision)
            found[f"{name} {precision}"] = "equal" if together == alone else f"DIFFERS: {together} and {alone}"
        began = time.perf_counter()
        for title, sweep in _sweeps(run).items():
            once, twice = ([row.correct for row in sweep().rows] for _ in range(2))
            found[f"{name} {title}"] = "same twice" if once == twice else "DIFFERS from run to run"
        found[f"{name}, seconds of the sweeps"] = round(time.perf_counter() - began, 2)
    return found


def deployed() -> Found:
    """The latency of a whole and a shrunk network."""
    run = _lenet() if TINY else _vgg()
    subject = subject_of(run, Places(device=DEVICE))
    cuts = cuts_of(subject, PointPlan(layers="conv3,fc1", ratio=0.6))
    batches = (1, 8) if TINY else (1, 64, 512)
    rows = deploy(subject.structure, [("conv3,fc1", 0.6, cuts)], device=DEVICE, batches=batches)
    fields = ("batch", "whole", "shrunk", "theoretical", "measured")
    return {"rows": [{field: getattr(row, field) for field in fields} for row in rows]}


def _lenet() -> Run:
    epochs = 1 if TINY else 4
    return trained(
        Config(data=data_of("digits"), opt="slbi", epochs=epochs, batch_size=batch_of(256), lr=0.05, mu=5.0), "onepass"
    )


def _vgg() -> Run:
    config = Config(model="vgg-a-bn", data=made_images(), opt="slbi", epochs=2, batch_size=32, lr=0.01)
    return trained(config, "onepass")


def _networks() -> dict[str, Run]:
    return {"lenet": _lenet()} if TINY else {"lenet": _lenet(), "vgg-a-bn": _vgg()}


def _right_answers(subject: Subject, precision: str) -> tuple[list[int], list[int]]:
    """At each of nine masks: counted for all masks in one pass, and for each by itself."""
    model, split, normalise = subject.model, subject.split, subject.normalise
    assert isinstance(split.images, Tensor)
    assert normalise is not None
    example = normalise(split.images[:1])
    points = [(layers, ratio) for layers in ("conv3", "conv3,fc1", "conv2,fc1") for ratio in (0.0, 0.3, 0.6)]
    masks = [make_mask(model, example, layers=layers, ratio=ratio) for layers, ratio in points]
    answers = predict_masked(model, split.images, masks, normalise, precision=precision, batch_size=1000)
    alone = []
    for mask in masks:
        with masked(model, mask) as network:
            evaluation = evaluate(network, split, normalise, precision=precision, batch_size=1000)
        alone.append(evaluation.correct)
    return (answers == split.labels).sum(1).tolist(), alone


def _sweeps(run: Run) -> dict[str, Callable[[], Sweep]]:
    """Sweeps of each kind: by gradients, by medians, of single weights, by the path, with epochs after each round."""
    sweep = functools.partial(prune, run, layers=["conv3", "conv3,fc1"], ratios="0:0.6:0.2", device=DEVICE)
    sweeps: dict[str, Callable[[], Sweep]] = {
        "taylor, controls": functools.partial(sweep, criterion="taylor", controls=True)
    }
    if not TINY:
        sweeps["fpgm"] = functools.partial(sweep, criterion="fpgm")
        sweeps["lamp, global"] = functools.partial(sweep, criterion="lamp", scope="global", grain="weight")
        sweeps["entry"] = functools.partial(sweep, criterion="entry")
        sweeps["two rounds"] = functools.partial(sweep, finetune_epochs=1, rounds=2)
        if run.config.model != "lenet":
            sweeps["recalibrated"] = functools.partial(sweep, recalibrate_bn=True)
    return sweeps
