"""How much faster sparsify trains than the usual loop: one command, every arm in turn in one process.

    python -m benchmarks.run --data-dir DIR [--images FOLDER] [--only step,lenet,vgg]

`step`: the optimizers' step on the parameters of LeNet and VGG-A, against the loop over parameters of
reference.py. `lenet` (MNIST) and `vgg` (VGG-A on CIFAR-10, or on a folder of images): training, batch 128, as
(i) the reference optimizer fed by a DataLoader, (ii) torch's SGD fed by it, (iii) images on the device and torch's
fused SGD, (iv) sparsify exact, (v) sparsify fast, (vi) sparsify with several seeds at once, a seed's share. (i) and
(iv) to (vi) train with SLBI. Before anything is timed, arms that claim the same mathematics must reach the same
weights: where they do not, the results say so, and the exit status is 1 at the end. Nothing here fails for being slow.
Writes benchmarks/results/<part>-<date>.json, or to the folder --results.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn
from torch.optim import Optimizer

from benchmarks.loops import LoaderLoop, Loop, LoopOfOne, OverlappingLoops, ResidentLoop, SeveralLoops, ShippedLoop
from benchmarks.measure import Arm, Gates, machine, peak, save, summarise, table, take_turns
from benchmarks.reference import ReferenceSLBI, ReferenceSLBIAdam
from sparsify.config import Config
from sparsify.data.registry import load_dataset
from sparsify.devices import arithmetic, exactly, keep_freed_memory, resolve_device
from sparsify.nets.registry import network
from sparsify.nets.structure import Structure
from sparsify.optim.slbi import SLBI, SLBIAdam
from sparsify.training.starting import initial_model

HERE = Path(__file__).parent

# Float32 keeps 1e-7 of a weight; sums in another order differ by a few of these at each of the steps, and where a ReLU
# then passes what it did not, a little more: VGG-A goes 2e-3 of its way elsewhere in three steps.
STEP_TOLERANCE, TRAINING_TOLERANCE = 1e-5, 1e-2


@dataclass(frozen=True)
class Sizes:
    """How many steps an arm does, by the part of the benchmark, and how many seeds train at once."""

    turn: Mapping[str, int]  # steps of a turn
    gate: Mapping[str, int]  # steps before the weights are compared
    seeds: Mapping[str, int]  # `train --seeds` overlaps small networks alone
    product: int  # the size of the matrices whose product says what the hardware can do
    overlap: bool  # whether seeds take turns in one process; otherwise each has a process
    batch: int = 128
    vgg: str = "vgg-a"


CPU = Sizes(
    turn={"lenet-step": 20, "vgg-step": 3, "lenet": 78, "vgg": 2},
    gate={"step": 20, "lenet": 20, "vgg": 3},
    seeds={"lenet": 2, "vgg": 2},
    product=2048,
    overlap=False,
)
# On a GPU a step takes a millisecond, a graph is replayed from the fourth step on, and a product of 2048×2048 is bound
# by its launch.
CUDA = Sizes(
    turn={"lenet-step": 200, "vgg-step": 100, "lenet": 96, "vgg": 40},
    gate={"step": 20, "lenet": 20, "vgg": 5},
    seeds={"lenet": 32, "vgg": 1},
    product=8192,
    overlap=True,
)
TINY = Sizes(
    turn={"lenet-step": 1, "vgg-step": 1, "lenet": 2, "vgg": 1},
    gate={"step": 2, "lenet": 2, "vgg": 1},
    seeds={"lenet": 2, "vgg": 1},
    product=256,
    overlap=True,
    batch=8,
    vgg="vgg-a-light",
)


def distance(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """The largest difference of two networks' tensors, relative to the largest number of the tensor."""
    pairs = zip(one.values(), other.values(), strict=True)
    return max(((a.cpu() - b.cpu()).abs().max() / b.abs().max().clamp(min=1e-12)).item() for a, b in pairs)


def detour(one: nn.Module, other: nn.Module, start: nn.Module) -> float:
    """‖W_one − W_other‖₂ / ‖W_other − W_start‖₂ over all parameters: what share of the way two trainings are apart."""
    a, b, begin = (
        torch.cat([p.detach().cpu().double().flatten() for p in model.parameters()]) for model in (one, other, start)
    )
    return float((a - b).norm() / (b - begin).norm())


Kind = Callable[[Iterable[nn.Parameter]], Optimizer]


class StepArm:
    """An optimizer on a network's parameters; the gradients are small random numbers."""

    def __init__(self, kind: Kind, model: nn.Module, *, channels_last: bool, device: torch.device) -> None:
        layout = torch.channels_last if channels_last else torch.contiguous_format
        self.model = model.to(device).to(memory_format=layout)
        self.optimizer = kind(self.model.parameters())
        generator = torch.Generator().manual_seed(0)
        for p in self.model.parameters():
            p.grad = torch.empty_like(p).copy_(1e-3 * torch.randn(p.shape, generator=generator))

    def run(self, steps: int) -> None:
        """`steps` updates by the same gradient."""
        for _ in range(steps):
            self.optimizer.step()


def step(device: torch.device, turns: int, sizes: Sizes, console: Console, failed: list[str]) -> dict[str, Any]:
    """Time the optimizers' step on weights in both memory formats; `sparsify train` keeps them channels last."""
    result: dict[str, Any] = {}
    for net, shape, name in (("lenet", (1, 28, 28), "LeNet"), (sizes.vgg, (3, 32, 32), "VGG-A")):
        rows, gates = [], Gates()
        pairs: list[tuple[type[Optimizer], type[Optimizer]]] = [
            (ReferenceSLBI, SLBI),
            (ReferenceSLBIAdam, SLBIAdam),
        ]
        if device.type == "cuda":
            from sparsify.optim.fused import FusedSLBI

            pairs.append((ReferenceSLBI, FusedSLBI))
        for reference, shipped in pairs:
            for channels_last in (True, False):
                layout = "channels last" if channels_last else "contiguous"
                label = f"{shipped.__name__}, {layout}"
                slow, fast = (_step_arm(kind, net, shape, channels_last, device) for kind in (reference, shipped))
                for arm in (slow, fast):
                    arm.run(sizes.gate["step"])
                gates.check(label, distance(fast.model.state_dict(), slow.model.state_dict()), STEP_TOLERANCE)
                arms = [Arm(f"{label}, reference", slow.run), Arm(label, fast.run, f"{label}, reference")]
                with exactly("exact"):
                    steps = sizes.turn[f"{net.split('-')[0]}-step"]
                    rows += summarise(arms, take_turns(arms, turns, steps, device))
        count = sum(p.numel() for p in network(net, shape, 10).parameters())
        console.print(table(f"the optimizer's step on {name}'s {count:,} parameters", rows))
        console.print(f"same weights after {sizes.gate['step']} steps, but for {max(gates.found.values()):.1g}\n")
        result[net] = {"gate_largest_relative_difference": gates.found, "arms": [row.to_dict() for row in rows]}
        failed += gates.failed
    return result


def _step_arm(kind: Kind, net: str, shape: tuple[int, int, int], channels_last: bool, device: torch.device) -> StepArm:
    torch.manual_seed(0)
    return StepArm(kind, network(net, shape, 10), channels_last=channels_last, device=device)


def training(
    part: str, config: Config, options: Options, sizes: Sizes, console: Console, failed: list[str]
) -> dict[str, Any]:
    """Time arms (i) to (vi) on one network."""
    data_dir, device = options.data_dir, options.device
    seeds = sizes.seeds[part]
    steps = -(-sizes.turn[part] // seeds) * seeds  # of which each seed does as many
    sgd = dataclasses.replace(config, opt="sgd", kappa=None, mu=None, path_scale=None)
    fast = dataclasses.replace(config, precision="fast")
    alone: dict[str, LoopOfOne] = {
        "(i) reference SLBI + DataLoader": LoaderLoop(config, data_dir, device),
        "(ii) torch's SGD + DataLoader": LoaderLoop(sgd, data_dir, device),
        "(iii) on the device, fused SGD": ResidentLoop(sgd, data_dir, device),
        "(iv) sparsify, exact": ShippedLoop(config, data_dir, device),
        "(v) sparsify, fast": ShippedLoop(fast, data_dir, device),
    }
    first, second, third, fourth, _ = alone.values()
    loops: dict[str, Loop] = dict(alone)
    gates = Gates()
    if config.augment == "none":  # else each loop draws its own crops
        for loop in (first, second, third, fourth):
            loop.run(sizes.gate[part])
        start = initial_model(config, data_dir)
        gates.check("(iv) and (i)", detour(fourth.model, first.model, start), TRAINING_TOLERANCE)
        gates.check("(iii) and (ii)", detour(third.model, second.model, start), TRAINING_TOLERANCE)
    if seeds > 1:
        several = (
            OverlappingLoops(config, data_dir, device, seeds)
            if sizes.overlap
            else SeveralLoops(config, data_dir, seeds)
        )
        loops[f"(vi) sparsify, {seeds} seeds, each"] = several
        several.run(seeds * sizes.gate[part])
        one, other = several.weights()
        gates.check("(vi), two of its networks", distance(one, other), 0.0)
    failed += gates.failed
    names = list(loops)
    arms = [Arm(name, loop.run, None if name == names[0] else names[0]) for name, loop in loops.items()]
    seconds = take_turns(arms, options.turns, steps, device)
    rows = summarise(arms, seconds)
    dataset = load_dataset(config.data, data_dir)
    macs = Structure(initial_model(config, data_dir), torch.zeros(1, *dataset.shape)).remove([])[1].macs
    flops = 6 * macs * config.batch_size  # a product and a sum, forward, for the inputs' and for the weights' gradient
    types = {precision: arithmetic(precision, device) for precision in ("exact", "fast")}
    peaks = {precision: peak(getattr(torch, name), device, sizes.product) for precision, name in types.items()}
    against_sgd = summarise([Arm(arm.name, arm.run, names[1]) for arm in arms], seconds)
    console.print(table(f"{config.model} on {config.data_name}, batch {config.batch_size}, {steps} steps a turn", rows))
    described = []
    for row, versus in zip(rows, against_sgd, strict=True):
        epoch_seconds = row.median_seconds * len(dataset.train) / config.batch_size
        share = flops / peaks["fast" if "fast" in row.arm else "exact"] / row.median_seconds
        console.print(
            f"{row.arm}: {epoch_seconds:.2f} s an epoch, {versus.speedup_median:.2f}× arm (ii), "
            f"{share:.0%} of the floor"
        )
        beside = {"speedup_over_sgd_median": versus.speedup_median, "share_of_floor": share}
        described.append({**row.to_dict(), "epoch_seconds": epoch_seconds, **beside})
    console.print(f"the floor: 6 · {macs:,} MACs an image at the peak of a matrix product; gates: {gates.found}\n")
    return {
        "gate_share_of_the_way": gates.found,
        "steps_a_turn": steps,
        "macs": macs,
        "arithmetic": types,
        "peak_flops": peaks,
        "arms": described,
    }


@dataclass(frozen=True)
class Options:
    """What the command line asks for."""

    data_dir: str
    images: str | None
    parts: list[str]
    device: torch.device
    threads: int
    turns: int
    results: Path
    tiny: bool


def parse_options() -> Options:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", required=True, help="the folder that holds MNIST/raw")
    parser.add_argument("--images", help="a folder of 32×32 images in the place of CIFAR-10")
    parser.add_argument("--only", default="step,lenet,vgg")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=2, help="torch's threads")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--results", type=Path, default=HERE / "results", help="the folder that is written to")
    parser.add_argument("--tiny", action="store_true", help="try it out: a few small steps, digits instead of MNIST")
    given = parser.parse_args()
    return Options(
        given.data_dir,
        given.images,
        given.only.split(","),
        resolve_device(given.device),
        given.threads,
        given.turns,
        given.results,
        given.tiny,
    )


def sizes_for(options: Options) -> Sizes:
    """Those of the device, or the tiny ones."""
    if options.tiny:
        return TINY
    return CUDA if options.device.type == "cuda" else CPU


def main() -> None:
    options = parse_options()
    sizes, device = sizes_for(options), options.device
    torch.set_num_threads(options.threads)
    torch.backends.cudnn.allow_tf32 = False  # float32 is float32 in every arm; `exactly` sets what (v) wants
    if device.type == "cpu":
        keep_freed_memory()  # of use to all arms: they share this process
    console = Console(width=120)
    now = datetime.datetime.now(datetime.UTC)
    about = machine(device, now)
    console.print(f"{about['device']}, {about['threads']} threads, torch {about['torch']}, {now:%Y-%m-%d}\n")
    images = f"folder:{options.images}" if options.images else "cifar10"
    configs = {
        "lenet": Config(data="digits" if options.tiny else "mnist", batch_size=sizes.batch),
        "vgg": Config(model=sizes.vgg, data=images, lr=0.01, batch_size=sizes.batch),
    }
    all_failed = []
    for part in options.parts:
        failed: list[str] = []
        if part == "step":
            result = step(device, 5 * options.turns, sizes, console, failed)
        else:
            result = training(part, configs[part], options, sizes, console, failed)
        path = options.results / f"{part}-{now:%Y%m%dT%H%M%SZ}.json"
        save(path, {**about, **result, "gates_failed": failed})
        console.print(f"saved {path}\n")
        all_failed += failed
    if all_failed:
        sys.exit("\n".join(["gates failed:", *all_failed]))


if __name__ == "__main__":
    main()
