"""A network on a split: its accuracy, its BatchNorm re-estimated, and the gradients of its loss."""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Callable, Iterator, Mapping, ValuesView
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from sparsify.data.dataset import Data, Inputs, Split, each, mapped, part_of
from sparsify.devices import autocast, exactly, halving, safe_convolutions, widest
from sparsify.errors import SparsifyError, unknown
from sparsify.nets.losses import LOSSES, cross_entropy
from sparsify.nets.outputs import Loss, class_numbers, logits_of, predicted

Normaliser = Callable[[Any], Any]
"""A function of a batch of a split's images that returns what the network is called with."""

PREDICTION_BATCH = 1000
RECALIBRATION_BATCH = 500  # part of the definition: the mean over batches of another size is another one
GRADIENT_BATCH = 500

LARGEST = 2**29
"""The most bytes of the largest activation of a batch that is only predicted; a few of its size exist at a time."""

KEPT = 2**32
"""The most bytes of all activations of a batch whose gradients are taken; all of them are kept."""


@dataclass(frozen=True)
class Evaluation:
    """The mean loss, without label smoothing, and the number of correct answers for `count` images.

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


def call(model: nn.Module, inputs: Inputs) -> Any:
    """Return `model(x)` for a tensor x, `model(*x)` for a tuple of tensors, `model(**x)` for a dict of tensors."""
    if isinstance(inputs, Tensor):
        return model(inputs)
    return model(**inputs) if isinstance(inputs, dict) else model(*inputs)


def normaliser(model: nn.Module, normalise: Normaliser | None = None) -> Normaliser:
    """Return `normalise`, or else the default: floating-point inputs and uint8 in the type of the network's parameters.

    Other inputs, such as the int64 of token ids, are left as they are. The type is that of the first parameter with
    floating-point numbers, float32 without one.
    """
    if normalise is not None:
        return normalise
    own = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)

    def in_own_type(tensor: Tensor) -> Tensor:
        return tensor.to(own) if tensor.is_floating_point() or tensor.dtype == torch.uint8 else tensor

    return lambda inputs: mapped(in_own_type, inputs)


def data_for(model: nn.Module, data: Data) -> Split[Inputs]:
    """Return a Split as it is, and other data as `Split.of` reads it, on the device of the network."""
    if isinstance(data, Split):
        return data
    parameter = next(model.parameters(), None)
    return Split.of(data).to("cpu" if parameter is None else parameter.device)


def require_shapes(model: nn.Module, name: str = "the network") -> None:
    """Raise SparsifyError if the network has lazy modules whose shapes are not known before it has run."""
    tensors = (*model.named_parameters(), *model.named_buffers())
    lazy = dict.fromkeys(path.rpartition(".")[0] for path, tensor in tensors if is_lazy(tensor))
    if lazy:
        raise SparsifyError(
            f"the shapes of {', '.join(lazy)} in {name} are not known yet, because they are lazy modules; run it once, "
            "as in model(images[:1])"
        )


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


def require_batches(model: nn.Module, image: Inputs, images: int, batch_size: int, flag: str) -> None:
    """Raise SparsifyError if the last batch is a single image and a BatchNorm cannot train on it.

    It cannot if the channels of the image have shrunk to one pixel each. `images` is the number of images; `image` is
    one normalised image, (1, …).
    """
    if (images - 1) % batch_size or not batch_norms(model):
        return
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            call(copy.deepcopy(model).train(), image)
    except ValueError as error:
        raise SparsifyError(
            f"{flag}: batches of {batch_size} leave 1 of {images} images over, too few for BatchNorm ({error})"
        ) from error


def batch_size_for(model: nn.Module, example: Inputs, wanted: int, *, gradients: bool = False) -> int:
    """Return `wanted`, or as many images as `LARGEST` has room for, or `KEPT` with `gradients`; one at least.

    `example` is one input. The result depends on the network alone, so that every machine takes the same batches.
    """
    largest, total = activations(model, example)
    room = KEPT // total if gradients else LARGEST // largest
    return max(1, min(wanted, room))


@torch.inference_mode()
def activations(model: nn.Module, example: Inputs) -> tuple[int, int]:
    """Return the bytes of the largest output of a module, and of all of them together, for one `example`.

    The modules are those without others in them, and the network itself.
    """
    sizes = [1]

    def note(_module: nn.Module, _inputs: object, output: object) -> None:
        several = output.values() if isinstance(output, Mapping) else output
        tensors = several if isinstance(several, (tuple, list, ValuesView)) else [output]
        sizes.append(sum(one.numel() * one.element_size() for one in tensors if isinstance(one, Tensor)))

    chosen = [module for module in model.modules() if module is model or next(module.children(), None) is None]
    handles = [module.register_forward_hook(note) for module in chosen]
    try:
        with evaluating(model):
            call(model, example)
    finally:
        for handle in handles:
            handle.remove()
    return max(sizes), sum(sizes)


@contextlib.contextmanager
def recalibrated(
    model: nn.Module,
    images: Inputs,
    normalise: Normaliser | None = None,
    *,
    batch_size: int = RECALIBRATION_BATCH,
    precision: str = "exact",
) -> Iterator[nn.Module]:
    """Re-estimate the statistics of the network's BatchNorm layers on `images`, as the mean over the batches.

    The statistics are restored afterwards.
    """
    prepare = normaliser(model, normalise)
    norms = batch_norms(model)
    kept = [({name: b.clone() for name, b in norm.named_buffers()}, norm.momentum) for norm in norms]
    first = each(images)[0]
    try:
        with evaluating(model), exactly(precision), autocast(precision, first.device), torch.no_grad():
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None  # a cumulative mean
                norm.training = True
            for start in range(0, len(first), batch_size):
                call(model, prepare(part_of(images, slice(start, start + batch_size))))
        yield model
    finally:
        for norm, (buffers, momentum) in zip(norms, kept, strict=True):
            norm.momentum = momentum
            for name, buffer in norm.named_buffers():
                buffer.copy_(buffers[name])


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    split: Data,
    normalise: Normaliser | None = None,
    *,
    batch_size: int = PREDICTION_BATCH,
    precision: str = "exact",
    loss: str = "cross-entropy",
) -> Evaluation:
    """Evaluate a network with (n, classes) logits, or (n, 1) or (n,) for two classes, in evaluation mode.

    `split` is a Split on the network's device, or data as `Split.of` takes it, such as a DataLoader or (images,
    labels); labels are as `class_numbers` takes them. `normalise` is applied to each batch of images; the default is
    that of `normaliser`. `loss` is "cross-entropy", or "nll" for log-probabilities. The logits are those of
    `output_tensor`; of two classes the second is right where the one logit is above 0. The mode of each module is
    restored afterwards. Raises SparsifyError for other outputs and labels, and for an unknown loss.

    >>> data = sparsify.load_dataset("digits")
    >>> sparsify.evaluate(run.model(), data.test, data.normalise).accuracy == run.summary["accuracy"]
    True
    """
    if loss not in LOSSES:
        raise unknown("loss", loss, LOSSES)
    require_shapes(model)
    split, prepare = data_for(model, split), normaliser(model, normalise)
    if not len(split):
        raise SparsifyError("there are no images to evaluate the network on")
    device = split.device
    losses = torch.zeros((), dtype=widest(device), device=device)
    correct = torch.zeros((), dtype=torch.int64, device=device)
    labels: Tensor | None = None
    with evaluating(model), exactly(precision), autocast(precision, device):
        for start in range(0, len(split), batch_size):
            place = slice(start, start + batch_size)
            batch = split[place]
            logits = logits_of(call(model, prepare(batch.images)), len(batch)).float()
            if labels is None:  # the first logits say how many classes there are
                labels = class_numbers(split.labels, logits.shape[1])
            losses += LOSSES[loss](logits, labels[place], reduction="sum")
            correct += (predicted(logits) == labels[place]).sum()
    return Evaluation(losses.item() / len(split), int(correct.item()), len(split))


def loss_gradients(
    model: nn.Module,
    split: Split[Inputs],
    normalise: Normaliser | None = None,
    *,
    loss: Loss | None = None,
    batch_size: int | None = None,
) -> dict[str, Tensor]:
    """Return the gradient of the mean loss over all images, by parameter name; without a `loss`, the cross-entropy.

    The batches are of 500 images, or of fewer where the memory has no room for them (`batch_size_for`, `halving`).

    Parameters that do not influence the loss are left out. The network is in evaluation mode, because with the
    statistics of a batch g·w sums to 0 over every filter before a BatchNorm. Afterwards the network is as it was,
    `grad` and `requires_grad` included. Raises SparsifyError, without a `loss`, as `evaluate` does.
    """
    prepare = normaliser(model, normalise)
    if batch_size is not None:
        return _loss_gradients(model, split, prepare, loss, batch_size)
    size = batch_size_for(model, prepare(split[:1].images), GRADIENT_BATCH, gradients=True)
    return halving(functools.partial(_loss_gradients, model, split, prepare, loss), size)[0]


def _loss_gradients(
    model: nn.Module, split: Split[Inputs], prepare: Normaliser, loss: Loss | None, batch_size: int
) -> dict[str, Tensor]:
    sums: dict[str, Tensor] = {}
    for gradients in _gradients(model, split, prepare, loss, batch_size, of=len(split)):
        for name, gradient in gradients.items():
            sums[name] = sums[name] + gradient if name in sums else gradient
    return sums


def squared_gradients(
    model: nn.Module, split: Split[Inputs], normalise: Normaliser | None = None, *, loss: Loss | None = None
) -> dict[str, Tensor]:
    """Return the mean over the images of the squared gradient of each image's own loss, by parameter name.

    That is the diagonal of the empirical Fisher matrix. The images go one by one, in evaluation mode, so that their
    gradients are those of any network; it takes as many backward passes as there are images. The sums are float64 where
    the device has it. Otherwise as `loss_gradients`.
    """
    sums: dict[str, Tensor] = {}
    for gradients in _gradients(model, split, normaliser(model, normalise), loss, 1, of=1):
        for name, gradient in gradients.items():
            square = gradient.to(widest(gradient.device)).square_()
            sums[name] = sums[name].add_(square) if name in sums else square
    return {name: total.div_(len(split)) for name, total in sums.items()}


def _gradients(
    model: nn.Module, split: Split[Inputs], prepare: Normaliser, loss: Loss | None, batch_size: int, *, of: int
) -> Iterator[dict[str, Tensor]]:
    """Yield the gradients of the summed loss of each batch divided by `of`, by parameter name."""
    named = dict(model.named_parameters())
    required = {name: p.requires_grad for name, p in named.items()}
    labels: Tensor | None = None
    try:
        with evaluating(model), exactly("exact"), safe_convolutions(model), torch.enable_grad():
            for p in named.values():
                p.requires_grad_(True)
            for start in range(0, len(split), batch_size):
                place = slice(start, start + batch_size)
                batch = split[place]
                output = call(model, prepare(batch.images))
                if loss is None:
                    logits = logits_of(output, len(batch)).float()
                    if labels is None:  # the first logits say how many classes there are
                        labels = class_numbers(split.labels, logits.shape[1])
                    value = cross_entropy(logits, labels[place], reduction="sum")
                else:
                    value = loss(output, batch.labels) * len(batch)
                gradients = torch.autograd.grad(value / of, list(named.values()), allow_unused=True)
                found = zip(named, gradients, strict=True)
                yield {name: gradient for name, gradient in found if gradient is not None}
    finally:
        for name, was_required in required.items():
            named[name].requires_grad_(was_required)
