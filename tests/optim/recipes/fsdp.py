"""The family under FSDP2 on two processes: equal to one process, interrupted and resumed from a sharded checkpoint.

FSDP2 makes a DTensor of each parameter, sharded along its first dimension: filters stay whole. Other placements are the
same by DTensor's own arithmetic: a norm over a dimension that is sharded is summed over the processes.
"""

from __future__ import annotations

import importlib.util
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Shard

from sparsify import SLBI, AdaBreg, LinBreg, ProxSGD, SLBIAdam, SparsifyError, parameter_groups
from sparsify.optim.base import SelectingOptimizer

STEPS = 10
OPTIONS: dict[type[SelectingOptimizer], dict[str, Any]] = {
    SLBI: {"lr": 0.1, "mu": 1.0, "threshold": 0.05},
    SLBIAdam: {"lr": 0.01, "mu": 2.0, "threshold": 0.05},
    LinBreg: {"lr": 0.2, "strength": 0.05},
    AdaBreg: {"lr": 0.01, "strength": 0.05},
    ProxSGD: {"lr": 0.02, "strength": 0.02},
}


def network(dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(1, 5, 4), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 36, 4)).to(dtype)


def groups(model: nn.Module) -> list[dict[str, Any]]:
    return parameter_groups(model, weight_decay=0.01)


def across(parameter: nn.Parameter) -> Shard:
    """A placement that divides every filter over the processes."""
    return Shard(parameter.ndim - 1)


def build(
    kind: type[SelectingOptimizer],
    placement: Callable[[nn.Parameter], Shard] | None = None,
    dtype: torch.dtype = torch.float32,
) -> tuple[nn.Module, SelectingOptimizer]:
    model = network(dtype)
    fully_shard(model, mesh=init_device_mesh("cpu", (2,)), shard_placement_fn=placement)
    return model, kind(groups(model), **OPTIONS[kind])


def train(model: nn.Module, optimizer: SelectingOptimizer, steps: range) -> None:
    """Both processes see the same images, so that the mean of their gradients is that of one."""
    for step in steps:
        images = torch.rand(8, 1, 9, 9, generator=torch.Generator().manual_seed(step))
        labels = F.avg_pool2d(images, 4).flatten(1).argmax(1)
        optimizer.zero_grad()
        F.cross_entropy(model(images.to(next(model.parameters()).dtype)), labels).backward()
        optimizer.step()


def full(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def resumes(kind: type[SelectingOptimizer], folder: Path, dtype: torch.dtype = torch.float32) -> None:
    whole, uninterrupted = build(kind, dtype=dtype)
    train(whole, uninterrupted, range(STEPS))

    model, optimizer = build(kind, dtype=dtype)
    train(model, optimizer, range(STEPS // 2))
    weights, state = get_state_dict(model, optimizer)
    dcp.save({"model": weights, "optimizer": state}, checkpoint_id=folder)

    again, resumed = build(kind, dtype=dtype)
    weights, state = get_state_dict(again, resumed)
    dcp.load({"model": weights, "optimizer": state}, checkpoint_id=folder)
    set_state_dict(again, resumed, model_state_dict=weights, optim_state_dict=state)
    train(again, resumed, range(STEPS // 2, STEPS))

    for p, q in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(full(p), full(q)), kind
        assert uninterrupted.state[p].keys() == resumed.state[q].keys(), kind
        for key, value in uninterrupted.state[p].items():
            assert value.dtype == resumed.state[q][key].dtype, (kind, key)
            assert torch.equal(full(value), full(resumed.state[q][key])), (kind, key)
    for name in ("0", "3"):
        inside = full(resumed.support(name))
        assert inside.any(), (kind, name)
        assert torch.equal(inside, full(uninterrupted.support(name)))


def equals_one_process(
    kind: type[SelectingOptimizer], placement: Callable[[nn.Parameter], Shard] | None = None
) -> None:
    sharded, ours = build(kind, placement)
    train(sharded, ours, range(STEPS))
    model = network()
    theirs = kind(groups(model), **OPTIONS[kind])
    train(model, theirs, range(STEPS))
    for p, q in zip(sharded.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(full(p), q, rtol=1e-4, atol=1e-5)
    for name in ("0", "3"):
        inside = theirs.support(name)
        assert inside.any(), (kind, name)
        assert torch.equal(full(ours.support(name)), inside), (kind, name)
        torch.testing.assert_close(full(ours.sizes(name)), theirs.sizes(name), rtol=1e-4, atol=1e-5)


def refused_by_the_fused_step() -> None:
    if importlib.util.find_spec("triton") is None:
        return
    from sparsify.optim.fused import FusedSLBI

    model, _ = build(SLBI)
    with pytest.raises(SparsifyError, match="is a DTensor, which FusedSLBI's kernels cannot read"):
        FusedSLBI(model.parameters())


def main(rank: int, folder: Path) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=2)
    for kind in OPTIONS:
        equals_one_process(kind)
        resumes(kind, folder / kind.__name__)
    resumes(SLBI, folder / "bfloat16", torch.bfloat16)
    for kind in (SLBI, ProxSGD):
        equals_one_process(kind, across)
    refused_by_the_fused_step()
    dist.destroy_process_group()


if __name__ == "__main__":
    # forked, so that torch is imported once
    torch.multiprocessing.start_processes(main, (Path(sys.argv[1]),), nprocs=2, start_method="fork")
    print("equal")
