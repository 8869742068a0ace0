"""One iteration of a training: executed on the CPU, replayed from a graph on CUDA."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sparsify.data.augmentation import Augmentation
from sparsify.data.dataset import Dataset
from sparsify.devices import autocast, has_streams, safe_convolutions
from sparsify.errors import SparsifyWarning, first_line
from sparsify.nets.outputs import Loss
from sparsify.optim.inclusion import PathRecorder
from sparsify.training.distributed import ranks
from sparsify.training.recording import Recorder

WARM_UP = 3
"""Iterations with a batch size before its graph is captured, in which libraries choose kernels and state is made."""

Capture = Callable[[Callable[[], None]], Callable[[], None]]
"""Records what a function does on the device, and returns a function that repeats it on the same memory."""


class Iteration:
    """One iteration: forward, backward, the optimizer's step, and the sums of the loss and of correct answers.

    It never waits for the device, and only its arguments change from call to call.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        data: Dataset,
        augment: Augmentation,
        loss: Loss,
        precision: str,
        recorder: PathRecorder | None,
        recorders: Sequence[Recorder] = (),
    ) -> None:
        self.model, self.optimizer, self.data = model, optimizer, data
        self.augment, self.loss = augment, loss
        self.precision, self.recorder, self.recorders = precision, recorder, recorders
        self.device = data.train.labels.device
        self.ranks = ranks()
        self.shared = self.ranks.wrapped(model)
        self.loss_sum = torch.zeros((), device=self.device)
        self.correct = torch.zeros((), dtype=torch.int64, device=self.device)

    def __call__(self, index: Tensor, draws: Tensor, step: float | Tensor) -> None:
        """Train on the images with these indices, each with its row of `draws`; `step` counts from 1."""
        count = len(index)
        index, draws = self.ranks.share(index), self.ranks.share(draws)
        loss, logits, labels = self.forward(self.shared, index, draws)
        self.optimizer.zero_grad()
        self.ranks.part(loss, len(index), count).backward()
        for one in self.recorders:
            one.see(step, loss)
        if self.recorder is None:
            self.optimizer.step()
        else:
            self.recorder.advance(step)
        self.loss_sum += loss.detach() * len(index)
        self.correct += (logits.detach().argmax(1) == labels).sum()

    def forward(self, model: nn.Module, index: Tensor, draws: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the loss of `model`, which is the network or like it, on these images, with its logits and labels."""
        batch = self.data.train[index]
        images, labels = self.data.normalise(self.augment(batch.images, draws)), batch.labels
        with autocast(self.precision, self.device), safe_convolutions(self.model):
            logits = model(images.contiguous(memory_format=torch.channels_last))
            return self.loss(logits, labels), logits, labels

    def look(self, index: Tensor, draws: Tensor, rate: float, step: int) -> None:
        """Have the recorders look at the training before iteration `step`."""
        for one in self.recorders:
            one.look(step, rate, lambda model: self.forward(model, index, draws)[0])

    def sums(self) -> tuple[float, int]:
        """Return the sums of loss and correct answers since the last call, of all processes. Waits for the device."""
        self.ranks.add(self.loss_sum, self.correct)
        found = self.loss_sum.item(), int(self.correct.item())
        self.loss_sum.zero_()
        self.correct.zero_()
        return found


class Eager:
    """Executes each iteration at its learning rate; `step` counts from 1."""

    def __init__(self, iteration: Iteration) -> None:
        self.iteration = iteration

    def __call__(self, index: Tensor, draws: Tensor, *, rate: float, step: int) -> None:
        for group in self.iteration.optimizer.param_groups:
            group["lr"] = rate
        self.iteration(index, draws, step)


class Replayed:
    """Replays each iteration from a graph that is captured once for each batch size, that of the last batch included.

    What changes is copied to the memory that the captured kernels read: the images' indices, the draws, the learning
    rate (a tensor of no dimension in every param group) and the step. About a hundred launches become one.
    """

    def __init__(self, iteration: Iteration, capture: Capture) -> None:
        self.iteration, self.capture = iteration, capture
        self.rate = torch.zeros((), device=iteration.device)
        self.step = torch.zeros((), device=iteration.device)
        self.sizes: dict[int, _OneSize] = {}

    def __call__(self, index: Tensor, draws: Tensor, *, rate: float, step: int) -> None:
        for group in self.iteration.optimizer.param_groups:
            group["lr"] = self.rate
        self.rate.fill_(rate)
        self.step.fill_(step)
        if len(index) not in self.sizes:
            self.sizes[len(index)] = _OneSize(torch.empty_like(index), torch.empty_like(draws))
        size = self.sizes[len(index)]
        size.index.copy_(index)
        size.draws.copy_(draws)
        if size.replay is None and size.done >= WARM_UP:
            self.iteration.optimizer.zero_grad()  # so that the gradients' memory is the graph's own
            size.replay = self.capture(lambda: self.iteration(size.index, size.draws, self.step))
        if size.replay is None:
            self.iteration(size.index, size.draws, self.step)
        else:
            size.replay()
        size.done += 1


@dataclass
class _OneSize:
    """The memory that the iterations of one batch size read, the number of iterations so far, and their replay."""

    index: Tensor
    draws: Tensor
    done: int = 0
    replay: Callable[[], None] | None = None


def cuda_graph(run: Callable[[], None], pool: Any = None) -> Callable[[], None]:
    """Capture `run` in the current stream. Warns, and returns `run` itself, if it cannot be captured.

    Graphs that are never replayed at the same time can share the memory of a `pool`. Raises what stops the program,
    such as KeyboardInterrupt, if that comes while it is captured.
    """
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
    try:
        with torch.cuda.graph(graph, pool=pool, stream=stream):
            run()
    except RuntimeError as error:
        _capture_something(stream)
        stopped = _stopped(error)
        if stopped is not None:
            raise stopped from None
        reason = first_line(error.__context__ or error)  # the end of a capture fails after what failed in it
        warnings.warn(
            f"an iteration cannot be captured as a CUDA graph ({reason}); each is launched kernel by kernel, which is "
            "slower and computes the same",
            SparsifyWarning,
            stacklevel=2,
        )
        return run
    return graph.replay


def _capture_something(stream: torch.cuda.Stream) -> None:
    """Capture a sum: after a failed capture torch's generator may believe that it is captured, until one succeeds.

    Until then dropout and torch.randn raise.
    """
    total = torch.zeros(1, device=stream.device)
    total += 1  # loads the kernel
    with torch.cuda.graph(torch.cuda.CUDAGraph(), stream=stream):
        total += 1


def _stopped(error: BaseException | None) -> BaseException | None:
    """Return what stops the program among the errors that led to this one: the end of a capture fails after it."""
    while error is not None and isinstance(error, Exception):
        error = error.__context__
    return error


def stepper(iteration: Iteration) -> Eager | Replayed:
    """Return the stepper for the iteration's device."""
    # of torch's own, Adafactor has neither: its step reads numbers back from the device
    captured = {"capturable", "fused"} & iteration.optimizer.defaults.keys()
    if not has_streams(iteration.device) or not captured:
        return Eager(iteration)
    # a graph cannot take images from outside of the device, nor change them there, nor speak with other processes
    if iteration.data.train.streamed or iteration.augment.one_by_one or iteration.ranks.size > 1:
        return Replayed(iteration, lambda run: run)
    return Replayed(iteration, functools.partial(cuda_graph, pool=torch.cuda.graph_pool_handle()))
