"""How much faster sparsify trains than the usual loop: one command, every arm in turn in one process.

    python benchmarks/run.py --data-dir DIR [--images FOLDER] [--only step,lenet,vgg]

`step`: the optimizers' step on the parameters of LeNet and VGG-A, against the loop over parameters of
tests/reference.py. `lenet` (MNIST) and `vgg` (VGG-A on CIFAR-10, or on a folder of images): training, batch 128, as
(i) the reference optimizer fed by a DataLoader, (ii) torch's SGD fed by it, (iii) images on the device and torch's
fused SGD, (iv) sparsify exact, (v) sparsify fast, (vi) sparsify with several seeds at once, a seed's share. (i) and
(iv) to (vi) train with SLBI. Before anything is timed, arms that claim the same mathematics must reach the same
weights. Nothing here fails for being slow. Writes benchmarks/results/<part>-<date>.json.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import sys
from pathlib import Path
from typing import Any

import torch
from loops import LoaderLoop, OverlappingLoops, ResidentLoop, SeveralLoops, ShippedLoop
from measure import Arm, machine, peak, save, summarise, table, take_turns
from rich.console import Console
from torch import Tensor, nn
from torch.optim import Optimizer

from sparsify.config import Config
from sparsify.data.registry import load_dataset
from sparsify.devices import exactly, keep_freed_memory, resolve_device
from sparsify.nets.registry import NETS
from sparsify.nets.structure import Structure
from sparsify.optim.slbi import SLBI, SLBIAdam
from sparsify.training.starting import initial_model

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))
from reference import ReferenceSLBI, ReferenceSLBIAdam  # noqa: E402 - the one definition, shared with the tests

# Float32 keeps 1e-7 of a weight; sums in another order differ by a few of these at each of the steps, and where a ReLU
# then passes what it did not, a little more: VGG-A goes 2e-3 of its way elsewhere in three steps.
STEP_TOLERANCE, TRAINING_TOLERANCE = 1e-5, 1e-2
GATE_STEPS = {"step": 20, "lenet": 20, "vgg": 3}
CAPTURED = 5  # steps at least on CUDA, so that a graph is replayed
STEPS = {"lenet-step": 20, "vgg-step": 3, "lenet": 78, "vgg": 2}  # a turn
SEEDS = {"cpu": {"lenet": 2, "vgg": 2}, "cuda": {"lenet": 32}}  # `train --seeds` overlaps small networks alone


class Disagreement(Exception):
    """Two arms do not compute the same."""


def distance(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """The largest difference of two networks' tensors, relative to the largest number of the tensor."""
    pairs = zip(one.values(), other.values(), strict=True)
    return max(((a.cpu() - b.cpu()).abs().max() / b.abs().max().clamp(min=1e-12)).item() for a, b in pairs)


def detour(one: nn.Module, other: nn.Module, start: nn.Module) -> float:
    """‖W_one − W_other‖₂ / ‖W_other − W_start‖₂ over all parameters: what share of the way two trainings are apart."""
    a, b, begin = (
        torch.cat([p.detach().cpu().double().flatten() for p in model.parameters()]) for model in (one, other, start)
    )
    return ((a - b).norm() / (b - begin).norm()).item()


def check(what: str, difference: float, tolerance: float) -> float:
    """The correctness gate; NaN does not pass."""
    if not difference <= tolerance:
        raise Disagreement(f"{what}: the weights differ by {difference:.2g}, not at most {tolerance:g}")
    return difference


class StepArm:
    """An optimizer on a network's parameters; the gradients are small random numbers."""

    def __init__(self, kind: type[Optimizer], model: nn.Module, *, channels_last: bool, device: torch.device) -> None:
        self.model = model.to(device, memory_format=torch.channels_last if channels_last else torch.contiguous_format)
        self.optimizer = kind(self.model.parameters())
        generator = torch.Generator().manual_seed(0)
        for p in self.model.parameters():
            p.grad = torch.empty_like(p).copy_(1e-3 * torch.randn(p.shape, generator=generator))

    def run(self, steps: int) -> None:
        """`steps` updates by the same gradient."""
        for _ in range(steps):
            self.optimizer.step()


def step(device: torch.device, turns: int, console: Console) -> dict[str, Any]:
    """The optimizers' step, on weights in both memory formats; `sparsify train` keeps them channels last."""
    result: dict[str, Any] = {}
    for net, shape, name in (("lenet", (1, 28, 28), "LeNet"), ("vgg-a", (3, 32, 32), "VGG-A")):
        rows, gate = [], {}
        pairs = [(ReferenceSLBI, SLBI), (ReferenceSLBIAdam, SLBIAdam)]
        if device.type == "cuda":
            from sparsify.optim.fused import FusedSLBI

            pairs.append((ReferenceSLBI, FusedSLBI))
        for reference, shipped in pairs:
            for channels_last in (True, False):
                arms, measured = [], {}
                layout = "channels last" if channels_last else "contiguous"
                baseline = f"{shipped.__name__}, {layout}, reference"
                for label, kind in ((baseline, reference), (f"{shipped.__name__}, {layout}", shipped)):
                    torch.manual_seed(0)
                    arm = StepArm(kind, NETS[net].build(shape, 10), channels_last=channels_last, device=device)
                    arm.run(GATE_STEPS["step"])
                    measured[label] = arm.model.state_dict()
                    if label != baseline:
                        gate[label] = check(label, distance(measured[label], measured[baseline]), STEP_TOLERANCE)
                    arms.append(Arm(label, arm.run, None if label == baseline else baseline))
                with exactly("exact"):
                    steps = STEPS[f"{net.split('-')[0]}-step"]
                    rows += summarise(arms, take_turns(arms, turns, steps, device))
        count = sum(p.numel() for p in NETS[net].build(shape, 10).parameters())
        console.print(table(f"the optimizer's step on {name}'s {count:,} parameters", rows))
        console.print(f"same weights after {GATE_STEPS['step']} steps, but for {max(gate.values()):.1g}\n")
        result[net] = {"gate_largest_relative_difference": gate, "arms": rows}
    return result


def training(part: str, config: Config, data_dir: str, device: torch.device, turns: int, console: Console) -> dict:
    """Arms (i) to (vi) on one network."""
    seeds = SEEDS[device.type].get(part, 1)
    steps = -(-STEPS[part] // seeds) * seeds  # of which each seed does as many
    gate_steps = max(GATE_STEPS[part], CAPTURED) if device.type == "cuda" else GATE_STEPS[part]
    sgd = Config(**{**config.to_dict(), "opt": "sgd", "kappa": None, "mu": None, "path_scale": None})
    fast = dataclasses.replace(config, precision="fast")
    loops = {
        "(i) reference SLBI + DataLoader": LoaderLoop(config, data_dir, device),
        "(ii) torch's SGD + DataLoader": LoaderLoop(sgd, data_dir, device),
        "(iii) on the device, fused SGD": ResidentLoop(sgd, data_dir, device),
        "(iv) sparsify, exact": ShippedLoop(config, data_dir, device),
        "(v) sparsify, fast": ShippedLoop(fast, data_dir, device),
    }
    first, second, third, fourth, _ = loops.values()
    gate = {}
    if config.augment == "none":  # else each loop draws its own crops
        for loop in (first, second, third, fourth):
            loop.run(gate_steps)
        pairs = {"(iv) and (i)": (fourth, first), "(iii) and (ii)": (third, second)}
        start = initial_model(config, data_dir)
        for name, (one, other) in pairs.items():
            gate[name] = check(name, detour(one.model, other.model, start), TRAINING_TOLERANCE)
    if seeds > 1:
        several = (
            SeveralLoops(config, data_dir, seeds)
            if device.type == "cpu"
            else OverlappingLoops(config, data_dir, device, seeds)
        )
        loops[f"(vi) sparsify, {seeds} seeds, each"] = several
        several.run(seeds * gate_steps)
        one, other = several.weights()
        gate["(vi), two of its networks"] = check("(vi)", distance(one, other), 0.0)
    names = list(loops)
    arms = [Arm(name, loop.run, None if name == names[0] else names[0]) for name, loop in loops.items()]
    seconds = take_turns(arms, turns, steps, device)
    rows = summarise(arms, seconds)
    dataset = load_dataset(config.data, data_dir)
    macs = Structure(initial_model(config, data_dir), torch.zeros(1, *dataset.shape)).remove([])[1].macs
    flops = 6 * macs * config.batch_size  # a product and a sum, forward, for the inputs' and for the weights' gradient
    peaks = {"exact": peak(torch.float32, device), "fast": peak(torch.bfloat16, device)}
    against_sgd = summarise([Arm(arm.name, arm.run, names[1]) for arm in arms], seconds)
    for row, versus in zip(rows, against_sgd, strict=True):
        row["epoch_seconds"] = row["median_seconds"] * len(dataset.train) / config.batch_size
        row["speedup_over_sgd_median"] = versus["speedup_median"]
        floor = flops / peaks["fast" if "fast" in row["arm"] else "exact"]
        row["share_of_floor"] = floor / row["median_seconds"]
    console.print(table(f"{config.model} on {config.data_name}, batch {config.batch_size}, {steps} steps a turn", rows))
    for row in rows:
        console.print(
            f"{row['arm']}: {row['epoch_seconds']:.2f} s an epoch, {row['speedup_over_sgd_median']:.2f}× arm (ii), "
            f"{row['share_of_floor']:.0%} of the floor"
        )
    console.print(f"the floor: 6 · {macs:,} MACs an image at the peak of a matrix product; gates passed: {gate}\n")
    return {"gate_share_of_the_way": gate, "steps_a_turn": steps, "macs": macs, "peak_flops": peaks, "arms": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", required=True, help="the folder that holds MNIST/raw")
    parser.add_argument("--images", help="a folder of 32×32 images in the place of CIFAR-10")
    parser.add_argument("--only", default="step,lenet,vgg")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=2, help="torch's threads")
    parser.add_argument("--turns", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = resolve_device(arguments.device)
    torch.backends.cudnn.allow_tf32 = False  # float32 is float32 in every arm; `exactly` sets what (v) wants
    if device.type == "cpu":
        keep_freed_memory()  # of use to all arms: they share this process
    console = Console(width=120)
    now = datetime.datetime.now(datetime.UTC)
    about = machine(device, now)
    console.print(f"{about['device']}, {about['threads']} threads, torch {about['torch']}, {now:%Y-%m-%d}\n")
    data = f"folder:{arguments.images}" if arguments.images else "cifar10"
    configs = {"lenet": Config(data="mnist"), "vgg": Config(model="vgg-a", data=data, lr=0.01)}
    for part in arguments.only.split(","):
        if part == "step":
            result = step(device, 5 * arguments.turns, console)
        else:
            result = training(part, configs[part], arguments.data_dir, device, arguments.turns, console)
        path = HERE / "results" / f"{part}-{now:%Y%m%dT%H%M%SZ}.json"
        save(path, {**about, **result})
        console.print(f"saved {path.relative_to(HERE.parent)}\n")


if __name__ == "__main__":
    main()
