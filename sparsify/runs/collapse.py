"""Collapse: how a training shows that its network has learned nothing, so that what is measured of it is no result."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sparsify.optim.registry import OPTIMIZERS
from sparsify.runs.records import Epoch, Summary
from sparsify.text import listed

EPOCHS = 3
"""A training of fewer epochs may not have got going yet: it is not judged by its loss."""

LAST = 2
"""The number of last epochs whose loss is looked at."""

TOLERANCE = 0.01
"""By what part the loss can be below that of guessing. Who answers 56% of a question with two answers right, and knows
it, is 1% below ln 2."""

MARGIN = 0.02
"""By how much an accuracy can be above chance, beside three standard deviations of the counts of right answers: the
shares of the classes are not known of every run, and the most frequent digit of MNIST is 11.2% of the images."""

VANISHED = 1e-3
"""The part of its initial norm below which a layer's weights have vanished, in a network that answers at chance. The
pull alone leaves e⁻ᵀ of a weight at path time T; the layers of networks that work have kept a tenth and more."""


NOT_FINITE = "the loss is not finite"
"""Why a training that diverged is no result."""

AFTER_DIVERGENCE = "try a lower --lr"
"""What to do when a training has diverged, whatever its optimizer."""


@dataclass(frozen=True)
class Guess:
    """What the best answer reaches that is the same for every image: its loss, and its accuracy, over so many classes.

    With the share π_k of each class and the smoothing s it is q = (1 − s)·π + s/K: its cross-entropy is the entropy of
    q, ln K if all classes are as frequent, and it is right on max π_k of the images.
    """

    loss: float
    accuracy: float
    classes: int

    @classmethod
    def of(cls, shares: Sequence[float], label_smoothing: float = 0.0) -> Guess:
        """The guess for classes with these shares of the training images."""
        smoothed = [(1 - label_smoothing) * share + label_smoothing / len(shares) for share in shares]
        return cls(-sum(q * math.log(q) for q in smoothed if q > 0), max(shares), len(shares))

    def reached(self, loss: float, accuracy: float, images: float) -> bool:
        """Whether the loss and the accuracy of an epoch over so many training images are no better than guessing."""
        if self.classes < 2:
            return False  # there is nothing to guess
        chance = self.accuracy
        most = chance + MARGIN + 3 * math.sqrt(chance * (1 - chance) / images)
        return loss >= (1 - TOLERANCE) * self.loss and accuracy <= most

    def stays(self, loss: float) -> str:
        """In words, how a training went whose loss ends at this: "loss stays at ln 10"."""
        even = math.isclose(self.loss, math.log(self.classes), rel_tol=TOLERANCE)
        named = f"ln {self.classes}" if even else f"{self.loss:.2f}, that of guessing"
        return f"loss stays {'at' if loss <= 1.05 * self.loss else 'above'} {named}"


def diverged(row: Epoch) -> bool:
    """Whether a loss of an epoch, a row of metrics.csv, is infinite or NaN."""
    losses = (row["train_loss"], row["val_loss"], row["test_loss"])
    return not all(math.isfinite(loss) for loss in losses if loss is not None)


def collapse(rows: Sequence[Epoch], guess: Guess, images: int, vanished: Sequence[str] = ()) -> str | None:
    """Why the training with these rows of metrics.csv is no result, in words; None if it is one.

    That is if a loss is not finite; if the network answers at chance in the last epoch, and layers' weights have
    `vanished`; and if its loss is not below that of guessing, and its accuracy on the `images` of the training at
    chance, in each of the last two epochs of three or more. A layer whose weights vanish in a network that does answer
    is no collapse: a selection can empty it, and a skip connection lead past it.
    """
    last = rows[-1]
    if diverged(last):
        return NOT_FINITE
    at_chance = [guess.reached(row["train_loss"], row["train_accuracy"], images) for row in rows[-LAST:]]
    if vanished and at_chance[-1]:
        return f"the weights of {listed(vanished)} vanish"
    return guess.stays(last["train_loss"]) if len(rows) >= EPOCHS and all(at_chance) else None


def collapse_before(summary: Summary) -> str | None:
    """The `collapse` of a run from before it was recorded, as its last epoch shows it.

    The classes are taken to be equally frequent, and the training images to be at least as many as those it was
    measured on.
    """
    loss, accuracy = summary.get("train_loss"), summary.get("train_accuracy")
    if loss is None or accuracy is None or summary["epochs"] < EPOCHS:
        return None
    classes = len(summary["classes"])
    guess = Guess.of([1 / classes] * classes)
    return guess.stays(loss) if guess.reached(loss, accuracy, summary["count"]) else None


def after_collapse(opt: str, *, masked: bool = False) -> str:
    """The likely reason of a collapse with this optimizer, and what to do."""
    spec = OPTIMIZERS[opt]
    left = " for what is left" if masked else ""
    if spec.couples:
        return f"the pull is too hard{left}: try a larger --mu"
    if "strength" in spec.defaults:
        return f"the penalty is too strong{left}: try a smaller --strength"
    return "try another --lr, a lower one first"
