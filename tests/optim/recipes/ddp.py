"""SLBI under DistributedDataParallel on two processes: interrupted and resumed from one file."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from sparsify import SLBI, parameter_groups

STEPS = 10


def build() -> tuple[DistributedDataParallel, SLBI]:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 4))
    model = DistributedDataParallel(net)
    return model, SLBI(parameter_groups(net), lr=0.1, mu=1.0, threshold=0.05)


def batch(step: int) -> tuple[Tensor, Tensor]:
    """What this process sees at a step."""
    generator = torch.Generator().manual_seed(100 * step + dist.get_rank())
    images = torch.rand(8, 1, 8, 8, generator=generator)
    return images, F.avg_pool2d(images, 4).flatten(1).argmax(1)


def train(model: nn.Module, optimizer: SLBI, steps: range) -> None:
    for step in steps:
        images, labels = batch(step)
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()


def main(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=2)
    whole, uninterrupted = build()
    train(whole, uninterrupted, range(STEPS))

    model, optimizer = build()
    train(model, optimizer, range(STEPS // 2))
    if rank == 0:
        torch.save({"model": model.module.state_dict(), "optimizer": optimizer.state_dict()}, folder / "half.pt")
    dist.barrier()

    again, resumed = build()
    saved = torch.load(folder / "half.pt", weights_only=True)
    again.module.load_state_dict(saved["model"])
    resumed.load_state_dict(saved["optimizer"])
    train(again, resumed, range(STEPS // 2, STEPS))

    for p, q in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(p, q)
        same = [torch.empty_like(q.data) for _ in range(2)]
        dist.all_gather(same, q.data)
        assert torch.equal(*same)
    for name in ("0", "3"):
        inside = resumed.support(name)
        assert inside.any()
        assert torch.equal(inside, uninterrupted.support(name))
        assert torch.equal(resumed.gamma(name), uninterrupted.gamma(name))
    dist.destroy_process_group()


if __name__ == "__main__":
    # forked, so that torch is imported once
    torch.multiprocessing.start_processes(main, (Path(sys.argv[1]),), nprocs=2, start_method="fork")
    print("equal")
