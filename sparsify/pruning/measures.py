"""Measures: the kinds of accuracy that a sweep can hold."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """A kind of accuracy that a sweep can hold.

    `column` is its column in the rows of a sweep. `words` says how the network was treated after it was pruned;
    `suffix` is put in the names of its files. Both are "" for the network as it was pruned.
    """

    column: str
    words: str
    suffix: str

    @property
    def clause(self) -> str:
        """The words with a comma before them, to end a title with: ", fine-tuned"; "" without words."""
        return f", {self.words}" if self.words else ""


MEASURES = {
    measure.column: measure
    for measure in (
        Measure("accuracy", "", ""),
        Measure("recalibrated_accuracy", "BatchNorm recalibrated on training images", "-recalibrated"),
        Measure("finetuned_accuracy", "fine-tuned", "-finetuned"),
    )
}
"""Every kind of accuracy, by the name of its column."""
