"""Targets of `python -m benchmarks.fuzz`: options of their own, figures, pictures, and what trainings recorded.

See `benchmarks.fuzzing.inputs`.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import warnings
from typing import Any

import numpy as np
import torch

from benchmarks.fuzzing.inputs import folder, tensors, text_of
from sparsify.cli.app import main
from sparsify.config import Config
from sparsify.data.registry import augmentation
from sparsify.drawing import style
from sparsify.errors import SparsifyError, SparsifyWarning
from sparsify.nets.registry import NETS, network
from sparsify.optim.registry import OPTIMIZERS
from sparsify.optim.schedules import SCHEDULES, learning_rates
from sparsify.optim.spec import Steps
from sparsify.pruning.predicting import read_pictures
from sparsify.runs import Run
from sparsify.runs.records import FACTORS, RECORDED
from sparsify.training.launch import train
from sparsify.viz import trainings


def _of_each(content: bytes, names: list[str], field: str, key: str) -> list[tuple[str, Config]]:
    """The Configs that take the text as an option of one of `names`; the error of the last if none does."""
    found, reason = [], None
    for name in names:
        try:
            values: dict[str, Any] = {"opt": "sgd", key: name, field: text_of(content)}
            found.append((name, Config(**values)))
        except SparsifyError as error:
            reason = error
    if not found and reason is not None:
        raise reason
    return found


def net(content: bytes) -> None:
    """`--net`, of each network."""
    for name, config in _of_each(content, [name for name, spec in NETS.items() if spec.settings], "net", "model"):
        assert Config(opt="sgd", model=name, net=config.net) == config
        size = 64 if name == "alexnet" else 32
        with torch.device("meta"):  # shapes, without numbers
            network(name, (3, size, size), 10, config.net)


def opt_options(content: bytes) -> None:
    """`--opt-options`, of each optimizer."""
    for name, config in _of_each(content, list(OPTIMIZERS), "opt_options", "opt"):
        assert Config(opt=name, opt_options=config.opt_options) == config
        model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))  # slimming needs one
        optimizer = OPTIMIZERS[name].build(model, config)
        model(torch.arange(6.0).view(2, 3)).sum().backward()
        optimizer.step()


def schedule_options(content: bytes) -> None:
    """`--schedule-options`, of each schedule."""
    refused = None
    for name, config in _of_each(content, list(SCHEDULES), "schedule_options", "schedule"):
        try:
            rates = learning_rates(name, 0.1, Steps(3, 5), config.schedule_options)
        except SparsifyError as error:
            refused = error
            continue
        assert rates.shape == (15,)
        assert np.isfinite(rates).all()
    if refused is not None:
        raise refused


def augment(content: bytes) -> None:
    """`--augment`."""
    config = Config(opt="sgd", augment=text_of(content))
    chosen, images = augmentation(config.augment), torch.zeros(2, 3, 9, 9, dtype=torch.uint8)
    changed = chosen(images, chosen.draw(torch.arange(2), 0, 1))
    assert (changed.shape, changed.dtype) == (images.shape, torch.uint8)


def records(content: bytes) -> None:
    """`--record`."""
    config = Config(opt="sgd", record=text_of(content))
    assert Config(opt="sgd", record=config.record) == config


def figure(content: bytes) -> None:
    """The words behind `sparsify viz`, one a line: figures are made, but not written."""
    said = io.StringIO()
    kept = style.save
    style.save = lambda *_: []
    try:
        with contextlib.chdir(folder()), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            status = main(["viz", *text_of(content).split("\n")])
    finally:
        style.save = kept
    lines = said.getvalue().splitlines()
    assert status in (0, 2), said.getvalue()
    if status:
        *before, last = lines
        assert last.startswith("error: "), lines
        assert all(line.startswith("warning: ") for line in before), lines


def picture(content: bytes) -> None:
    """A picture of `sparsify predict`."""
    path = folder() / "picture.png"
    path.write_bytes(content)
    for shape in ((1, 28, 28), (3, 32, 32)):
        assert read_pictures([path], shape).shape == (1, *shape)


@functools.cache
def _recorded() -> Run:
    with warnings.catch_warnings(action="ignore", category=SparsifyWarning):
        config = Config(data="digits", opt="sgd", epochs=1, batch_size=512, record="loss,gradients,landscape")
        return train(config, device="cpu", runs_dir=folder() / "runs")


def recorded(content: bytes) -> None:
    """records.safetensors of a run whose sums are right, and its figures."""
    run = Run(_recorded().path)
    (run.path / "records.safetensors").write_bytes(content)
    run.write_summary(run.summary, [name for name in run.summary["sha256"] if name != "summary.json"])
    groups = {"sgd": [Run(run.path)]}
    assert trainings.losses(groups, title="")
    assert trainings.landscape(groups, title="")


def _records() -> bytes:
    """A file of records as a training of three steps leaves it, all 0."""
    header, at, sizes = {}, 0, {"steps": 3, "places": 3, "factors": len(FACTORS)}
    for record, shapes in RECORDED.items():
        for name, dimensions in shapes.items():
            kind, width = ("I64", 8) if name == "step" else ("F32", 4)
            shape = [sizes[one] for one in dimensions]
            end = at + width * int(np.prod(shape))
            header[f"{record}/{name}"] = {"dtype": kind, "shape": shape, "data_offsets": [at, end]}
            at = end
    return tensors(json.dumps(header).encode(), bytes(at))


def _png() -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (5, 3)).save(file, "PNG")
    return file.getvalue()


SEEDS: dict[str, list[bytes]] = {
    "net": [b"norm=batch,dropout=0.3", b"dropout=0.5", b"norm=none"],
    "opt_options": [b"betas=0.9+0.99,amsgrad=true", b"nesterov=true", b"dampening=0.5", b"eps=1e-6"],
    "schedule_options": [b"step_size=5,gamma=0.5", b"milestones=1+2", b"T_0=2", b"power=2", b"top=0.5"],
    "augment": [b"mirror+crop+autoaugment:0.6", b"none", b"crop-flip"],
    "records": [b"loss,gradients", b"landscape", b""],
    "figure": [
        b"schedule\n--schedule\ncosine,step-lr\n--schedule-options\nstep_size=5\n--epochs\n3\n--steps-per-epoch\n4",
        b"optimizers\n--opt\nsgd,slbi\n--steps\n20\n--lr\n0.01",
        b"net\n--layers\nconv3\n--ratio\n0.5",
        b"landscape\na-run\nanother",
    ],
    "picture": [_png()],
    "recorded": [_records()],
}
