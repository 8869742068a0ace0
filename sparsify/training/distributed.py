"""One training by several processes, as torchrun starts them: each has its share of every batch, and one writes."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from sparsify.config import Config, Places
from sparsify.devices import has_streams, resolve_device
from sparsify.errors import SparsifyError, first_line
from sparsify.folders import held
from sparsify.runs import Run


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together: number `rank` of `size`. One that trains alone is 0 of 1."""

    rank: int = 0
    size: int = 1

    @property
    def writes(self) -> bool:
        """Whether this is the process that writes the run."""
        return self.rank == 0

    def share(self, batch: Tensor) -> Tensor:
        """Return what of a batch is this process's: each `size`-th image."""
        return batch if self.size == 1 else batch[self.rank :: self.size]

    def part(self, loss: Tensor, count: int, whole: int) -> Tensor:
        """Return the mean loss of `count` of `whole` images such that its mean over the processes is that of all.

        That is loss · size · count / whole, because DistributedDataParallel averages gradients.
        """
        return loss if self.size == 1 else loss * (self.size * count / whole)

    def wrapped(self, model: nn.Module) -> nn.Module:
        """Return the network such that its backward pass averages the gradients over the processes."""
        return model if self.size == 1 else DistributedDataParallel(model)

    def add(self, *sums: Tensor) -> None:
        """Replace each tensor by its sum over the processes."""
        for one in sums if self.size > 1 else ():
            distributed.all_reduce(one)

    def wait(self) -> None:
        """Wait for all of them."""
        if self.size > 1:
            distributed.barrier()

    @contextlib.contextmanager
    def writing(self, run: Run) -> Iterator[None]:
        """Within it the process that writes has the run's folder to itself. Raises SparsifyError as `Run.lock` does."""
        if not self.writes:
            yield
            return
        with run.lock(), held(run.path, run.path / ".lock"):
            yield


def ranks() -> Ranks:
    """Return which of the processes that train together this is."""
    if distributed.is_available() and distributed.is_initialized():
        return Ranks(distributed.get_rank(), distributed.get_world_size())
    return Ranks()


def started_together() -> bool:
    """Whether torchrun has started this process beside others."""
    return distributed.is_available() and distributed.is_torchelastic_launched() and int(os.environ["WORLD_SIZE"]) > 1


@contextlib.contextmanager
def joined(places: Places) -> Iterator[Places]:
    """Within it this process trains with the others that torchrun has started, if it has; gives its own places.

    They speak by gloo on the CPU, by NCCL on CUDA, where each has the GPU of its number. Raises SparsifyError for other
    devices, and if another one of them has ended.
    """
    if not started_together():
        yield places
        return
    device = resolve_device(places.device)
    if has_streams(device):
        number = int(os.environ["LOCAL_RANK"])
        torch.cuda.set_device(number)
        places = dataclasses.replace(places, device=f"cuda:{number}")
    elif device.type != "cpu":
        raise SparsifyError(f"several processes cannot train on {device}; --device can be cpu or cuda")
    distributed.init_process_group("nccl" if has_streams(device) else "gloo")
    try:
        with warnings.catch_warnings():
            # of weights of one channel, whose strides are said in two ways
            warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
            yield places
    except RuntimeError as error:
        if not isinstance(error, distributed.DistError) and "gloo" not in str(error):
            raise
        reason = first_line(error).rpartition("] ")[2].partition(". ")[0]
        raise SparsifyError(
            f"another process of this training has ended ({reason}); the same command goes on from the last checkpoint"
        ) from error
    finally:
        distributed.destroy_process_group()


def draws_random(model: nn.Module, images: Tensor) -> bool:
    """Return whether a network draws random numbers in training, as dropout does."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        before = torch.get_rng_state()
        model.train()(images)
        return not torch.equal(before, torch.get_rng_state())


def require_shares(config: Config, model: nn.Module, images: Tensor, count: int) -> None:
    """Raise SparsifyError unless a training on `count` images can be shared, and gives what one process gives.

    `images` are some of them, normalised. It is so for every network if the training is not shared.
    """
    size = ranks().size
    if size == 1:
        return
    last = count % config.batch_size or config.batch_size
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules()):
        why = f"{config.model} has BatchNorm, whose statistics would be those of a part of a batch"
    elif draws_random(model, images):
        why = f"{config.model} draws random numbers, as for dropout, which would be others"
    elif config.record:
        why = f"--record {config.record} sees the part of a batch that one process has"
    elif last < size:
        why = f"--batch-size {config.batch_size} leaves a last batch of {last} images"
    else:
        return
    raise SparsifyError(f"{size} processes cannot train this Config as one does: {why}")
