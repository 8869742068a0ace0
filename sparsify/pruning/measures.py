"""Measures: the kinds of accuracy that a sweep can hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sparsify.pruning.plan import SweepPlan


@dataclass(frozen=True)
class Measure:
    """A kind of accuracy that a sweep can hold.

    `column` is its column in the rows of a sweep. `words` says how the network was treated after it was pruned;
    `suffix` is put in the names of its files; `asked` is the field of a SweepPlan that asks for it. All three are ""
    for the network as it was pruned.
    """

    column: str
    words: str
    suffix: str
    asked: str

    @property
    def clause(self) -> str:
        """The words with a comma before them, to end a title with: ", fine-tuned"; "" without words."""
        return f", {self.words}" if self.words else ""


MEASURES = {
    measure.column: measure
    for measure in (
        Measure("accuracy", "", "", ""),
        Measure(
            "recalibrated_accuracy", "BatchNorm recalibrated on training images", "-recalibrated", "recalibrate_bn"
        ),
        Measure("finetuned_accuracy", "fine-tuned", "-finetuned", "finetune_epochs"),
    )
}
"""Every kind of accuracy, by the name of its column."""


def measured_by(plan: SweepPlan) -> list[str]:
    """Return the columns of the accuracies that a sweep by this plan has; without BatchNorm not the second."""
    return [name for name, measure in MEASURES.items() if not measure.asked or getattr(plan, measure.asked)]
