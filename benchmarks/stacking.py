"""Is it faster to train several LeNets as one? Forward and backward passes of K networks, stacked and one by one.

    python -m benchmarks.stacking                  # a minute; one thread

Stacked, the K networks are one: each convolution has K groups, each fully connected layer is a batched product, and
the weights are stacked anew in each step, so that every network stays one of its own. A step is one of all K. The
gradients of both ways are compared first; the exit status is 1 if they differ. Writes benchmarks/results/stacking.json.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Tensor, nn

from benchmarks.measure import Arm, Gates, machine, save, summarise, table, take_turns
from sparsify.devices import exactly
from sparsify.nets.registry import network

HERE = Path(__file__).parent
SIZE = 28


def one_by_one(models: list[nn.Module], images: Tensor, labels: Tensor) -> None:
    """Compute the gradients of each network by itself: images are (K, n, 1, 28, 28), labels (K, n)."""
    for model, mine, known in zip(models, images, labels, strict=True):
        F.cross_entropy(model(mine.contiguous(memory_format=torch.channels_last)), known).backward()


def stacked(models: list[nn.Module], images: Tensor, labels: Tensor, layout: torch.memory_format) -> None:
    """Compute the gradients of all networks in one pass, with grouped convolutions of this layout."""
    named = [dict(model.named_parameters()) for model in models]
    weights = {name: torch.stack([one[name] for one in named]) for name in named[0]}
    count, size = labels.shape
    outputs = images.transpose(0, 1).reshape(size, count, SIZE, SIZE).contiguous(memory_format=layout)
    for name, padding in (("conv1", 2), ("conv2", 0)):
        kernels, biases = weights[f"{name}.weight"].flatten(0, 1), weights[f"{name}.bias"].flatten()
        kernels = kernels.contiguous(memory_format=layout)
        outputs = F.relu(F.max_pool2d(F.conv2d(outputs, kernels, biases, padding=padding, groups=count), 2))
    rows = outputs.reshape(size, count, -1).transpose(0, 1)
    for name in ("conv3", "fc1", "fc2"):
        if name != "conv3":
            rows = F.relu(rows)
        rows = torch.baddbmm(weights[f"{name}.bias"][:, None], rows, weights[f"{name}.weight"].flatten(2).mT)
    losses = F.cross_entropy(rows.flatten(0, 1), labels.flatten(), reduction="none").view(count, size)
    losses.mean(1).sum().backward()


def gradients(models: list[nn.Module], compute: Callable[[], None]) -> Tensor:
    """The gradients of all networks, as one vector."""
    _repeat(models, compute, 1)
    found = (parameter.grad for model in models for parameter in model.parameters())
    return torch.cat([gradient.flatten() for gradient in found if gradient is not None])


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", type=int, default=8, help="K")
    parser.add_argument("--turns", type=int, default=15)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    device, now = torch.device("cpu"), datetime.datetime.now(datetime.UTC)
    gates, found = Gates(), {}
    for batch in (32, 128):
        torch.manual_seed(0)
        models = [network("lenet", (1, SIZE, SIZE), 10) for _ in range(asked.networks)]
        images = torch.randn(asked.networks, batch, 1, SIZE, SIZE)
        labels = torch.randint(10, (asked.networks, batch))
        ways: dict[str, Callable[[], None]] = {
            "one by one": functools.partial(one_by_one, models, images, labels),
            "stacked": functools.partial(stacked, models, images, labels, torch.contiguous_format),
            "stacked, channels last": functools.partial(stacked, models, images, labels, torch.channels_last),
        }
        with exactly("exact"):
            expected = gradients(models, ways["one by one"])
            for name in list(ways)[1:]:
                difference = (gradients(models, ways[name]) - expected).abs().max() / expected.abs().max()
                gates.check(f"{name}, batch {batch}", float(difference), 1e-5)
            arms = [
                Arm(name, functools.partial(_repeat, models, way), None if name == "one by one" else "one by one")
                for name, way in ways.items()
            ]
            rows = summarise(arms, take_turns(arms, asked.turns, 2, device))
        Console().print(table(f"{asked.networks} LeNets, batch {batch}: forward and backward", rows))
        found[f"batch {batch}"] = [row.to_dict() for row in rows]
    content = machine(device, now) | {"networks": asked.networks, "differences": gates.found, "times": found}
    save(HERE / "results" / "stacking.json", {**content, "gates_failed": gates.failed})
    sys.exit(min(len(gates.failed), 1))


def _repeat(models: list[nn.Module], compute: Callable[[], None], steps: int) -> None:
    for _ in range(steps):
        for model in models:
            model.zero_grad()
        compute()


if __name__ == "__main__":
    main()
