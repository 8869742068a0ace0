"""A study as large as the largest ones in models/, made up: 5 arms and seeds, 14 ratios, paths of 5 layers."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from sparsify.config import Config
from sparsify.optim.inclusion import InclusionPath, record_steps
from sparsify.pruning.outcomes import Outcomes
from sparsify.pruning.plan import SweepPlan
from sparsify.pruning.ratios import parse_ratios
from sparsify.pruning.sweep import Sweep, SweepRow
from sparsify.runs import Run
from sparsify.runs.records import Epoch
from sparsify.study.design import Arm, Study
from sparsify.study.results import ArmResult, StudyResult
from sparsify.training.launch import train

ARMS = {"sgd": "sgd", "sgd-pull": "sgd-pull", "slbi": "slbi", "slbi-adam": "slbi-adam", "as published": "slbi-adam"}
SEEDS, EPOCHS, STEPS, IMAGES = 5, 40, 20_000, 10_000
SETS = ("conv3", "conv1,conv2,conv3,fc1,fc2")
PLAN = SweepPlan(layers=SETS, ratios=parse_ratios("0:0.975:0.075"))


def large_study(folder: Path) -> StudyResult:
    """Networks of one epoch, with paths, curves and sweeps that are drawn at random."""
    random = np.random.default_rng(0)
    arms, designs = [], []
    for label, opt in ARMS.items():
        first = train(Config(opt=opt, data="digits", epochs=1), device="cpu", runs_dir=folder / "trained")
        configs = [Config(opt=opt, data="digits", epochs=EPOCHS, seed=seed) for seed in range(SEEDS)]
        runs = tuple(_run(first, one, folder / f"{opt}-{len(arms)}-{one.seed}", random) for one in configs)
        arms.append(ArmResult(label, runs, (tuple(_sweep(random) for _ in runs),)))
        designs.append(Arm(label, tuple(configs)))
    study = Study("large", "A large study", tuple(designs), (PLAN,))
    return StudyResult(study, tuple(arms), folder / "studies" / "large")


def _run(first: Run, config: Config, path: Path, random: np.random.Generator) -> Run:
    """A copy of a run, with a longer training and a longer path."""
    generator = torch.Generator().manual_seed(0)
    shutil.copytree(first.path, path)
    run = Run(path)
    run.write_json("config.json", config.to_dict())
    found = np.exp(-np.linspace(0, 4, EPOCHS)) + 0.02 * random.random((2, EPOCHS))
    rows: list[Epoch] = [
        {
            "epoch": epoch + 1,
            "step": (epoch + 1) * STEPS // EPOCHS,
            "lr": 0.1,
            "train_loss": train,
            "train_accuracy": 1 - train / 2,
            "val_loss": None,
            "val_accuracy": None,
            "test_loss": test,
            "test_accuracy": 1 - test / 2,
            "seconds": 1.0,
        }
        for epoch, (train, test) in enumerate(found.T.tolist())
    ]
    run.write_metrics(rows)
    weights = first.tensors("model.safetensors")
    for name, weight in weights.items():
        if weight.ndim > 1:  # as after a training some filters are large, and most weights small
            weights[name] = weight**3 * torch.rand(len(weight), *[1] * (weight.ndim - 1), generator=generator)
    save_file(weights, path / "model.safetensors")
    if first.inclusion_path is not None:
        _path(first.inclusion_path, random).save(path / "path.npz")
    sums = first.summary["sha256"]
    summary = {key: value for key, value in first.summary.items() if key not in ("sha256", "format")}
    more = {"epochs": EPOCHS, "steps": STEPS, "count": IMAGES, "accuracy": 1 - found[1, -1] / 2}
    run.write_summary({**summary, **more}, [name for name in sums if name != "summary.json" and (path / name).exists()])
    return run


def _path(first: InclusionPath, random: np.random.Generator) -> InclusionPath:
    """As many records as a training of STEPS steps has; each norm grows to a height of its own, not quite smoothly."""
    steps = record_steps(STEPS)
    path = InclusionPath(steps, 1e-3 * steps, {}, {}, {})
    for name, before in first.entry.items():
        entered = random.random(before.shape) < 0.8
        path.entry[name] = np.where(entered, random.integers(1, STEPS // 2, before.shape), np.inf)
        shape = (len(steps), first.weight_norm[name].shape[1])
        grown = random.random(shape[1]) * (1 - np.exp(-4 * steps / STEPS))[:, None]
        path.weight_norm[name] = (grown + random.normal(0, 0.002, shape)).clip(0).astype("f4")
        late = steps[:, None] >= path.entry[name] if shape[1] > 1 else np.ones(shape)
        path.gamma_norm[name] = (grown * late).astype("f4")
    return path


def _sweep(random: np.random.Generator) -> Sweep:
    labels = np.arange(IMAGES) % 10
    predictions, rows = [], []
    for layers, ratio in _points():
        wrong = random.random(IMAGES) < 0.01 + 0.5 * ratio**4 + 0.02 * random.random()
        predictions.append(np.where(wrong, (labels + random.integers(1, 10, IMAGES)) % 10, labels))
        correct = int((~wrong).sum())
        params, macs = round(61_706 * (1 - 0.9 * ratio)), round(416_520 * (1 - 0.9 * ratio))
        saved = 61_706 / params, 416_520 / macs
        measured = correct, IMAGES, correct / IMAGES, params, macs, *saved
        rows.append(SweepRow("magnitude", "auto", PLAN.scope, layers, ratio, 0, *measured))
    return Sweep(PLAN, tuple(rows), (), {"accuracy": Outcomes.of(labels, np.array(predictions))})


def _points() -> Iterator[tuple[str, float]]:
    return ((layers, ratio) for layers in PLAN.layers for ratio in PLAN.ratios)
