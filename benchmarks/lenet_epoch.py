"""How much faster the shipped optimizers and the training loop are than a plain reference, on LeNet and MNIST.

    python benchmarks/lenet_epoch.py --data-dir ../shared/data

(a) the optimizer's step on LeNet's parameters, against the loop over parameters of tests/reference.py; (b) training,
batch 128, as `sparsify train` does it, the recording of the path included, against that optimizer fed by torchvision's
MNIST through a DataLoader, on a contiguous network with ReLU before pooling. Before anything is timed, both arms must
reach the same weights. Nothing here fails for being slow. Writes benchmarks/results/lenet-epoch-<date>.json.
"""

from __future__ import annotations

import argparse
import datetime
import os
import sys
import tempfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from measure import Arm, save, summarise, table, take_turns
from rich.console import Console
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from sparsify.config import Config
from sparsify.data import load_dataset
from sparsify.data.dataset import Dataset
from sparsify.devices import exactly, keep_freed_memory, resolve_device
from sparsify.environment import describe_environment
from sparsify.optim.groups import parameter_groups
from sparsify.optim.slbi import SLBI
from sparsify.optim.slbi_adam import SLBIAdam
from sparsify.runs import Run
from sparsify.seeds import permutation
from sparsify.training import _Training, initial_model

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))
from reference import ReferenceSLBI, ReferenceSLBIAdam  # noqa: E402 - the one definition, shared with the tests

BATCH = 128
STEPS = {"optimizer": 20, "loop": 78}  # a turn; an epoch of MNIST has 6 · 78 whole batches
GATE_STEPS = 20
# Float32 keeps 1e-7 of a weight; sums in another order differ by a few of these at each of the steps.
STEP_TOLERANCE, TRAINING_TOLERANCE = 1e-5, 1e-4


CONFIG = Config(data="mnist", batch_size=BATCH)  # what `sparsify train --data mnist` trains


class Disagreement(Exception):
    """Two arms do not compute the same."""


def plain_lenet(weights: dict[str, Tensor]) -> nn.Module:
    """LeNet in the textbook's order, ReLU before pooling, with the weights of ours."""
    model = nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, 6, 5, padding=2),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(6, 16, 5),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            conv3=nn.Conv2d(16, 120, 5),
            relu3=nn.ReLU(),
            flatten=nn.Flatten(1),
            fc1=nn.Linear(120, 84),
            relu4=nn.ReLU(),
            fc2=nn.Linear(84, 10),
        )
    )
    model.load_state_dict(weights)
    return model


def distance(one: nn.Module, other: nn.Module) -> float:
    """The largest difference of two networks' weights, relative to the largest weight of the layer."""
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return max(((a - b).abs().max() / b.abs().max()).item() for a, b in pairs)


def check(what: str, difference: float, tolerance: float) -> float:
    """The correctness gate; NaN does not pass."""
    if not difference <= tolerance:
        raise Disagreement(
            f"{what}: the weights differ by {difference:.2g} after {GATE_STEPS} steps, not {tolerance:g}"
        )
    return difference


class OptimizerArm:
    """An optimizer on LeNet's parameters; the gradients are small random numbers."""

    def __init__(self, kind: type[Optimizer], model: nn.Module, *, channels_last: bool, device: torch.device) -> None:
        self.model = model.to(device, memory_format=torch.channels_last if channels_last else torch.contiguous_format)
        self.optimizer = kind(self.model.parameters())
        generator = torch.Generator().manual_seed(0)
        for p in self.model.parameters():
            p.grad = torch.empty_like(p).copy_(1e-3 * torch.randn(p.shape, generator=generator))

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.optimizer.step()


def optimizer_step(device: torch.device, turns: int, data_dir: str, console: Console) -> dict[str, object]:
    """Part (a)."""
    rows, gate = [], {}
    for reference, shipped in ((ReferenceSLBI, SLBI), (ReferenceSLBIAdam, SLBIAdam)):
        baseline = f"{shipped.__name__}, reference"
        kinds = {
            baseline: (reference, False),
            shipped.__name__: (shipped, False),
            f"{shipped.__name__}, channels last": (shipped, True),  # as `sparsify train` keeps the weights
        }
        arms, measured = [], {}
        for name, (kind, channels_last) in kinds.items():
            model = initial_model(CONFIG, data_dir)
            measured[name] = OptimizerArm(kind, model, channels_last=channels_last, device=device)
            measured[name].run(GATE_STEPS)
            if name != baseline:
                gate[name] = check(name, distance(measured[name].model, measured[baseline].model), STEP_TOLERANCE)
            arms.append(Arm(name, measured[name].run, None if name == baseline else baseline))
        with exactly("exact"):
            rows += summarise(arms, take_turns(arms, turns, STEPS["optimizer"], device))
    console.print(table(f"(a) the optimizer's step on LeNet's 61,706 parameters, {STEPS['optimizer']} a turn", rows))
    console.print(f"same weights after {GATE_STEPS} steps, but for {max(gate.values()):.1g} of the largest\n")
    return {"gate_steps": GATE_STEPS, "gate_largest_relative_difference": gate, "arms": rows}


class ShippedTraining:
    """What `sparsify train` does at each step: batches gathered from memory, the path recorded."""

    def __init__(self, dataset: Dataset, order: Tensor, device: torch.device, folder: Path, model: nn.Module) -> None:
        self.data, self.order, self.device = dataset.to(device), order.to(device), device
        self.training = _Training(Run(folder), CONFIG, self.data, model.to(device), device)
        self.model = self.training.model
        self.step = 0
        self.loss = torch.zeros((), device=device)

    def run(self, steps: int) -> None:
        train = self.data.train
        with exactly("exact"):
            for _ in range(steps):
                index = self.order[self.step * BATCH : (self.step + 1) * BATCH]
                loss, _ = self.training._step(self.step, train.images[index], train.labels[index])
                self.loss += loss
                self.step += 1


class ReferenceTraining:
    """The usual loop: torchvision's MNIST, ToTensor and Normalize for each image, a DataLoader, the reference."""

    def __init__(self, dataset: Dataset, order: Tensor, device: torch.device, data_dir: str, model: nn.Module) -> None:
        mean, std = dataset.normalise.mean[0] / 255, dataset.normalise.std[0] / 255
        transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((mean,), (std,))])
        images = datasets.MNIST(data_dir, train=True, transform=transform)
        self.batches: Iterator = iter(DataLoader(images, BATCH, sampler=order.tolist(), num_workers=0))
        self.model = plain_lenet(model.state_dict()).to(device)
        c = CONFIG
        self.optimizer = ReferenceSLBI(
            parameter_groups(self.model, weight_decay=c.weight_decay),
            c.lr,
            momentum=c.momentum,
            kappa=c.kappa,
            mu=c.mu,
            path_scale=c.path_scale,
        )
        self.device = device
        self.loss = torch.zeros((), device=device)

    def run(self, steps: int) -> None:
        for _ in range(steps):
            images, labels = next(self.batches)
            images, labels = images.to(self.device), labels.to(self.device)
            loss = F.cross_entropy(self.model(images), labels)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.loss += loss.detach()


def epoch(device: torch.device, data_dir: str, console: Console) -> dict[str, object]:
    """Part (b)."""
    dataset, steps = load_dataset("mnist", data_dir), STEPS["loop"]
    order = permutation(len(dataset.train), 0, 1, "order")
    turns = len(order) // BATCH // steps - 1  # one goes before and is not counted
    with tempfile.TemporaryDirectory() as folder:

        def start() -> tuple[ShippedTraining, ReferenceTraining]:
            one, other = initial_model(CONFIG, data_dir), initial_model(CONFIG, data_dir)
            shipped = ShippedTraining(dataset, order, device, Path(folder), one)
            return shipped, ReferenceTraining(dataset, order, device, data_dir, other)

        shipped, reference = start()
        shipped.run(GATE_STEPS)
        reference.run(GATE_STEPS)
        difference = check("training", distance(shipped.model, reference.model), TRAINING_TOLERANCE)
        shipped, reference = start()
        arms = [Arm("reference loop", reference.run), Arm("shipped loop", shipped.run, "reference loop")]
        rows = summarise(arms, take_turns(arms, turns, steps, device))
    console.print(table(f"(b) LeNet on MNIST, SLBI, batch {BATCH}, {steps} steps a turn", rows))
    console.print(f"same weights after {GATE_STEPS} steps, but for {difference:.1g} of the largest")
    for row in rows:
        row["epoch_seconds"] = row["median_seconds"] * len(order) / BATCH
        console.print(f"an epoch of {row['arm']}, from {turns} × {steps} of its steps: {row['epoch_seconds']:.2f} s")
    end = {"shipped": shipped.loss.item(), "reference": reference.loss.item()}
    console.print("mean loss meanwhile: " + ", ".join(f"{k} {v / (turns + 1) / steps:.4f}" for k, v in end.items()))
    return {"gate_steps": GATE_STEPS, "gate_largest_relative_difference": difference, "arms": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", required=True, help="the folder that holds MNIST/raw")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2, help="torch's threads")
    parser.add_argument("--turns", type=int, default=40, help="turns of the optimizers")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = resolve_device(arguments.device)
    if device.type == "cpu":
        keep_freed_memory()  # of use to both arms: they share this process
    console = Console(width=110)
    now = datetime.datetime.now(datetime.UTC)
    environment = describe_environment(device, "exact")
    kept = ("device", "threads", "torch", "torchvision", "python", "git_commit")
    result: dict[str, object] = {"date": now.isoformat(timespec="seconds"), "cores": os.cpu_count()}
    result |= {key: environment[key] for key in kept}
    console.print(f"{result['device']}, {result['threads']} threads, torch {result['torch']}, {now:%Y-%m-%d}\n")
    result["steps_a_turn"] = STEPS
    result["optimizer_step"] = optimizer_step(device, arguments.turns, arguments.data_dir, console)
    result["epoch"] = epoch(device, arguments.data_dir, console)
    path = HERE / "results" / f"lenet-epoch-{now:%Y%m%dT%H%M%SZ}.json"
    save(path, result)
    console.print(f"saved {path.relative_to(HERE.parent)}")


if __name__ == "__main__":
    main()
