"""A network on a split: its accuracy, its BatchNorm re-estimated, and the gradients of its loss."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsify.data.dataset import Split
from sparsify.devices import exactly, safe_convolutions, widest
from sparsify.errors import SparsifyError

RECALIBRATION_BATCH = 500


@dataclass(frozen=True)
class Evaluation:
    """The mean cross-entropy and the number of correct answers for `count` images.

    >>> sparsify.Evaluation(loss=0.5, correct=9, count=10).accuracy
    0.9
    """

    loss: float
    correct: int
    count: int

    @property
    def accuracy(self) -> float:
        """The fraction of correct answers.

        >>> sparsify.Evaluation(loss=0.5, correct=9, count=10).accuracy
        0.9
        """
        return self.correct / self.count


@contextlib.contextmanager
def modes_kept(model: nn.Module) -> Iterator[None]:
    """Restore the mode, training or evaluation, of each of the network's modules afterwards."""
    modes = {module: module.training for module in model.modules()}
    try:
        yield
    finally:
        for module, training in modes.items():  # not model.train(): a frozen BatchNorm stays frozen
            module.training = training


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put the network into evaluation mode; afterwards the mode of each module is restored."""
    with modes_kept(model):
        model.eval()
        yield


def batch_norms(model: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """Return the BatchNorm layers that keep running statistics."""
    kind = nn.modules.batchnorm._BatchNorm
    return [m for m in model.modules() if isinstance(m, kind) and m.track_running_stats]


def require_batches(model: nn.Module, image: Tensor, images: int, batch_size: int, flag: str) -> None:
    """Raise SparsifyError if the last batch is a single image and a BatchNorm cannot train on it.

    It cannot if the channels of the image have shrunk to one pixel each. `images` is the number of images; `image` is
    one normalised image, (1, …).
    """
    if (images - 1) % batch_size or not batch_norms(model):
        return
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            copy.deepcopy(model).train()(image)
    except ValueError as error:
        raise SparsifyError(
            f"{flag}: batches of {batch_size} leave 1 of {images} images over, too few for BatchNorm ({error})"
        ) from error


@contextlib.contextmanager
def recalibrated(
    model: nn.Module,
    images: Tensor,
    normalise: Callable[[Tensor], Tensor] = Tensor.float,
    *,
    batch_size: int = RECALIBRATION_BATCH,
    precision: str = "exact",
) -> Iterator[nn.Module]:
    """Re-estimate the statistics of the network's BatchNorm layers on `images`, as the mean over the batches.

    The statistics are restored afterwards.
    """
    norms = batch_norms(model)
    kept = [({name: b.clone() for name, b in norm.named_buffers()}, norm.momentum) for norm in norms]
    autocast = torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "fast")
    try:
        with evaluating(model), exactly(precision), autocast, torch.no_grad():
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None  # a cumulative mean
                norm.training = True
            for batch in images.split(batch_size):
                model(normalise(batch))
        yield model
    finally:
        for norm, (buffers, momentum) in zip(norms, kept, strict=True):
            norm.momentum = momentum
            for name, buffer in norm.named_buffers():
                buffer.copy_(buffers[name])


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    split: Split,
    normalise: Callable[[Tensor], Tensor] = Tensor.float,
    *,
    batch_size: int = 1000,
    precision: str = "exact",
) -> Evaluation:
    """Evaluate any module that maps (n, …) inputs to (n, classes) logits, in evaluation mode.

    `normalise` is applied to each batch of `split.images`. Data and model must be on one device. The mode of each
    module is restored afterwards.

    >>> data = sparsify.load_dataset("digits")
    >>> sparsify.evaluate(run.model(), data.test, data.normalise).accuracy == run.summary["accuracy"]
    True
    """
    device = split.images.device
    loss = torch.zeros((), dtype=widest(device), device=device)
    correct = torch.zeros((), dtype=torch.int64, device=device)
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=precision == "fast")
    with evaluating(model), exactly(precision), autocast:
        for start in range(0, len(split), batch_size):
            batch = split[slice(start, start + batch_size)]
            logits = model(normalise(batch.images)).float()
            loss += F.cross_entropy(logits, batch.labels, reduction="sum")
            correct += (logits.argmax(1) == batch.labels).sum()
    return Evaluation(loss.item() / len(split), int(correct.item()), len(split))


def loss_gradients(
    model: nn.Module, split: Split, normalise: Callable[[Tensor], Tensor] = Tensor.float, *, batch_size: int = 500
) -> dict[str, Tensor]:
    """Return the gradient of the mean cross-entropy over all images, by parameter name.

    Parameters that do not influence the loss are left out. The network is in evaluation mode, because with the
    statistics of a batch g·w sums to 0 over every filter before a BatchNorm. Afterwards the network is as it was,
    `grad` and `requires_grad` included.
    """
    named = dict(model.named_parameters())
    required = {name: p.requires_grad for name, p in named.items()}
    sums: dict[str, Tensor] = {}
    try:
        with evaluating(model), exactly("exact"), safe_convolutions(model), torch.enable_grad():
            for p in named.values():
                p.requires_grad_(True)
            for start in range(0, len(split), batch_size):
                batch = split[slice(start, start + batch_size)]
                loss = F.cross_entropy(model(normalise(batch.images)).float(), batch.labels, reduction="sum")
                gradients = torch.autograd.grad(loss / len(split), list(named.values()), allow_unused=True)
                for name, gradient in zip(named, gradients, strict=True):
                    if gradient is not None:
                        sums[name] = sums[name] + gradient if name in sums else gradient
    finally:
        for name, value in required.items():
            named[name].requires_grad_(value)
    return sums
