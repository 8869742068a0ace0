"""How much faster a sweep in one pass is than evaluating every point from scratch, on LeNet and MNIST's test images.

    python -m benchmarks.sweep --data-dir DIR

14 points, conv3 and conv3+fc1 at 0:0.6:0.1 by magnitude, on the weights of models/lenet-mnist-slbi. The baseline
evaluates the network under one mask after the other with `evaluate`, the data set in memory; the masks are given to it.
It is compared with the same masks in one pass, and with `prune` as a whole, which makes its masks and tables as well.
Before anything is timed, all of them must count the same right answers: where they do not, the results say so, and the
exit status is 1 at the end. Nothing here fails for being slow. Writes benchmarks/results/sweep-<date>.json, or to the
folder --results.
"""

from __future__ import annotations

import argparse
import datetime
import os
import sys
from pathlib import Path

import torch
from rich.console import Console
from safetensors.torch import load_file

from benchmarks.measure import Arm, Gates, machine, save, summarise, table, take_turns
from sparsify.data.registry import load_dataset
from sparsify.devices import keep_freed_memory, resolve_device
from sparsify.nets.evaluation import evaluate
from sparsify.nets.mask import masked
from sparsify.nets.prediction import predict_masked
from sparsify.nets.registry import network
from sparsify.pruning.cuts import make_mask
from sparsify.pruning.measuring import prune
from sparsify.pruning.subject import Subject
from sparsify.pruning.sweep import Sweep

HERE = Path(__file__).parent
LAYERS, RATIOS, FEW_RATIOS = ["conv3", "conv3,fc1"], "0:0.6:0.1", "0:0.6:0.6"


class Sweeps:
    """Three ways to the right answers of every point."""

    def __init__(self, data: str, ratios: str, data_dir: str, device: torch.device) -> None:
        self.ratios = ratios
        dataset = load_dataset(data, data_dir)
        model = network("lenet", dataset.shape, len(dataset.classes))
        model.load_state_dict(load_file(HERE.parent / "models" / "lenet-mnist-slbi" / "model.safetensors"))
        model = model.to(device).to(memory_format=torch.channels_last)  # as `subject_of` does
        split = dataset.test.to(device)
        self.subject = Subject(model, split, dataset.normalise)
        example = dataset.normalise(split.images[:1])
        points = [(row.layers, row.ratio) for row in self.sweep().rows]
        self.masks = [make_mask(model, example, layers=layers, ratio=ratio) for layers, ratio in points]

    def sweep(self) -> Sweep:
        """The sweep as a user asks for it."""
        return prune(self.subject, layers=LAYERS, ratios=self.ratios)

    def whole(self) -> list[int]:
        """By `prune`."""
        return [round(row.correct) for row in self.sweep().rows]

    def scratch(self) -> list[int]:
        """One mask after the other."""
        counts = []
        for mask in self.masks:
            with masked(self.subject.model, mask) as model:
                counts.append(evaluate(model, self.subject.split, self.subject.normalise).correct)
        return counts

    def one_pass(self) -> list[int]:
        """All masks at once."""
        split = self.subject.split
        predictions = predict_masked(self.subject.model, split.images, self.masks, self.subject.normalise)
        return (predictions == split.labels).sum(1).tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", required=True, help="the folder that holds MNIST/raw")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2, help="torch's threads")
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--results", type=Path, default=HERE / "results", help="the folder that is written to")
    parser.add_argument("--tiny", action="store_true", help="try it out, on the digits instead of MNIST")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = resolve_device(arguments.device)
    if device.type == "cpu":
        keep_freed_memory()  # of use to all arms: they share this process
    console = Console(width=110)
    now = datetime.datetime.now(datetime.UTC)
    result = machine(device, now)
    if hasattr(os, "getloadavg"):
        result["load_average_before"] = os.getloadavg()[0]  # what else the machine was doing
    console.print(f"{result['device']}, {result['threads']} threads, torch {result['torch']}, {now:%Y-%m-%d}\n")

    data, ratios = ("digits", FEW_RATIOS) if arguments.tiny else ("mnist", RATIOS)
    sweeps = Sweeps(data, ratios, arguments.data_dir, device)
    ways = {"from scratch": sweeps.scratch, "one pass": sweeps.one_pass, "prune()": sweeps.whole}
    counts = {name: way() for name, way in ways.items()}
    gates = Gates()
    for name, found in counts.items():
        apart = max(abs(one - other) for one, other in zip(found, counts["from scratch"], strict=True))
        gates.check(f"right answers, {name}", apart, 0)

    def arm(name: str) -> Arm:
        def run(steps: int) -> None:
            for _ in range(steps):
                ways[name]()

        return Arm(name, run, None if name == "from scratch" else "from scratch")

    arms = [arm(name) for name in ways]
    rows = summarise(arms, take_turns(arms, arguments.turns, 1, device))
    images = len(sweeps.subject.split)
    console.print(table(f"{len(sweeps.masks)} points of LeNet on {images:,} images; a step is a sweep", rows))
    console.print(f"the right answers at every point: {', '.join(map(str, counts['from scratch']))}")
    result |= {"layers": LAYERS, "ratios": ratios, "images": images, "correct": counts["from scratch"]}
    result |= {"arms": [row.to_dict() for row in rows], "gates_failed": gates.failed}
    path = arguments.results / f"sweep-{now:%Y%m%dT%H%M%SZ}.json"
    save(path, result)
    console.print(f"saved {path}")
    if gates.failed:
        sys.exit("\n".join(["gates failed:", *gates.failed]))


if __name__ == "__main__":
    main()
