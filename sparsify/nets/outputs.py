"""Outputs of a network and their labels: the tensor that counts, the classes, the loss, and what is right."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sparsify.errors import SparsifyError, unknown
from sparsify.nets.losses import LOSSES

Score = Callable[[Any, Tensor], Tensor]
"""A function of a network's output for a batch, as it is, and the labels: a score from 0 to 1 for each image, (n,)."""

Loss = Callable[[Any, Tensor], Tensor]
"""A function of a network's output for a batch, as it is, and the labels: the mean loss of the images."""


def output_tensor(output: object) -> Tensor:
    """Return the tensor of a network's output that counts.

    It is the output itself, its `logits` (an attribute or a key), or the first of a tuple or list. Raises SparsifyError
    for anything else.
    """
    if isinstance(output, Tensor):
        return output
    found = getattr(output, "logits", None)
    if found is None and isinstance(output, Mapping):
        found = output.get("logits")
    elif found is None and isinstance(output, (tuple, list)) and output:
        found = output[0]
    if isinstance(found, Tensor):
        return found
    keys = f" of {', '.join(map(str, output))}" if isinstance(output, Mapping) else ""
    raise SparsifyError(
        f"the network gives a {type(output).__name__}{keys}; it must be a tensor, have logits, or be a tuple with a "
        "tensor first; a Subject may bring its own score(output, labels)"
    )


def logits_of(output: object, images: int) -> Tensor:
    """Return a network's logits for a number of images, (images, classes); one logit each may be (images,).

    Raises SparsifyError for an output of another shape.
    """
    logits = output_tensor(output)
    if logits.ndim == 1:
        logits = logits[:, None]
    shape = tuple(logits.shape)
    if logits.ndim == 0 or shape[0] != images:
        raise SparsifyError(f"the network gives {shape} for {images:,} images; the number of images must come first")
    if len(shape) != 2 or not shape[1]:
        raise SparsifyError(
            f"the network gives {shape}, and accuracy is defined for logits (images, classes); let the Subject bring "
            "its own score(output, labels), a number from 0 to 1 for each image"
        )
    return logits


def class_numbers(labels: Tensor, classes: int, what: str = "labels") -> Tensor:
    """Return labels as class numbers, (n,) int64, for a network of so many logits.

    With one logit there are two classes, 0 and 1. Labels are whole numbers, (n,) or (n, 1), or one-hot, (n, classes).
    Raises SparsifyError for labels of another shape, that are not whole, or that are not classes of the network.
    """
    if labels.ndim == 2 and labels.shape[1] == classes > 1:
        if not ((labels == 0) | (labels == 1)).all() or not (labels.sum(1) == 1).all():
            raise SparsifyError(f"the {what} are {tuple(labels.shape)}, but not one-hot: each row must hold a single 1")
        return labels.to(torch.uint8).argmax(1)  # no argmax of bools
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise SparsifyError(
            f"the {what} are {tuple(labels.shape)} and the network has {_logits(classes)}; they must be class numbers "
            "(n,) or one-hot; let the Subject bring its own score(output, labels) for any others"
        )
    numbers = labels.long()
    if not torch.equal(numbers.to(labels.dtype), labels):
        wrong = labels[numbers.to(labels.dtype) != labels][0].item()
        raise SparsifyError(f"the {what} hold {wrong:g}; they must be class numbers, or let the Subject bring a score")
    low, high = (int(end) for end in numbers.aminmax()) if len(numbers) else (0, 0)
    most = max(classes, 2) - 1
    if low == 1 and high == most + 1:
        raise SparsifyError(
            f"the {what} are 1 to {high} and the network has {_logits(classes)}: classes count from 0; subtract 1"
        )
    if low < 0 or high > most:
        raise SparsifyError(
            f"the {what} are {low} to {high} and the network has {_logits(classes)}; they must be from 0 to {most}"
        )
    return numbers


def _logits(classes: int) -> str:
    return "1 logit" if classes == 1 else f"{classes:,} logits"


def predicted(logits: Tensor) -> Tensor:
    """Return the class of each image, (n,) int64: the highest of several logits; of one, 1 where it is above 0."""
    return logits.argmax(1) if logits.shape[1] > 1 else (logits[:, 0] > 0).long()


def loss_named(name: str, label_smoothing: float = 0.0) -> Loss:
    """Return the mean loss `name` of a batch as a function of the network's output, (n, classes), and class numbers.

    With label smoothing s, of the cross-entropy alone, the label of each image is 1 − s of its class and s of all
    classes alike (Szegedy et al. 2016). Raises SparsifyError for an unknown name.
    """
    if name not in LOSSES:
        raise unknown("loss", name, LOSSES)
    if label_smoothing:
        return lambda output, labels: F.cross_entropy(output_tensor(output), labels, label_smoothing=label_smoothing)
    return lambda output, labels: LOSSES[name](output_tensor(output), labels)


def require_log_probabilities(output: Tensor, name: str) -> None:
    """Raise SparsifyError, which calls the network by `name`, unless its outputs (n, classes) are log-probabilities.

    The probabilities of each image must sum to 1, to a thousandth.
    """
    sums = output.double().exp().sum(1)
    wrong = sums[~((sums - 1).abs() < 1e-3)]  # NaN is wrong, too
    if len(wrong):
        raise SparsifyError(
            f"--loss nll needs log-probabilities, and what {name} gives for an image sums to {wrong[0].item():.3g} as "
            "probabilities, not to 1; let the network end in LogSoftmax, or take --loss cross-entropy"
        )


def scores_of(score: Score, output: object, labels: Tensor) -> Tensor:
    """Return `score(output, labels)`, (n,). Raises SparsifyError for other shapes, and for values outside 0 to 1."""
    found = score(output, labels)
    if not isinstance(found, Tensor) or found.shape != labels.shape[:1]:
        what = tuple(found.shape) if isinstance(found, Tensor) else f"a {type(found).__name__}"
        raise SparsifyError(f"the score is {what} for {len(labels):,} images; it must be a tensor ({len(labels)},)")
    outside = found[~((found >= 0) & (found <= 1))]  # NaN is outside, too
    if len(outside):
        raise SparsifyError(f"the score of an image is {outside[0].item():g}; it must be from 0 to 1")
    return found
