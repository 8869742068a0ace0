"""The glossary of the report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sparsify.optim.registry import OPTIMIZERS


@dataclass(frozen=True)
class Term:
    """One term: its anchor on the page, how it is written, and what it means."""

    name: str
    written: str
    meaning: str


TERMS = (
    Term("arm", "arm", "One of the ways to train that a study compares."),
    Term("seed", "seed, n", "A seed fixes the random numbers of one training; n counts the seeds of an arm."),
    Term(
        "grain",
        "grain",
        "What is removed as one: mostly a filter of a convolution, or a single weight of a fully connected layer.",
    ),
    Term("ratio", "ratio", "The part of the grains of the named layers that is removed: 60% leaves 40%."),
    Term("criterion", "criterion", "The order in which grains go; by magnitude those with the smallest norm go first."),
    Term(
        "change",
        "change, points",
        "The accuracy with something removed less that with nothing removed, in points: from 98% to 97% is −1.00.",
    ),
    Term(
        "compression",
        "compression",
        "Parameters of the whole network before ÷ after, without the indices that a sparse format needs.",
    ),
    Term(
        "speedup",
        "theoretical speed-up",
        "Multiply-accumulates of convolutions and fully connected layers before ÷ after. It is counted, and no time.",
    ),
    Term(
        "p",
        "Holm’s p",
        "How often chance alone would give a difference as large as this if there were none, with allowance for the "
        "other comparisons of its family: the primary ones, fixed before the study was run, or the exploratory ones.",
    ),
    Term("tau", "Kendall’s τ", "How alike two orders are: 1 for the same, 0 for unrelated, −1 for opposite ones."),
    Term(
        "support",
        "support",
        "The grains that an optimizer has selected: those that are not 0 in the sparse copy Γ, or in weights that are "
        "sparse themselves.",
    ),
    Term(
        "gamma",
        "W and Γ, gamma",
        "W are the weights that the network computes with; Γ is the sparse copy of them that slbi and slbi-adam keep, "
        "exactly 0 outside the support.",
    ),
    Term(
        "threshold",
        "λ, threshold or strength",
        "What the norm of a grain has to exceed, in what has added up over the path, for it to be in the support.",
    ),
    Term("kappa", "κ, kappa", "The factor of the sparse copy, Γ = κ·prox(Z), and of each step of W by the gradient."),
    Term(
        "mu",
        "μ, mu",
        "How loosely W is coupled to Γ: the pull of W towards Γ is divided by it. The papers on DessiLBI write ν.",
    ),
    Term("path-scale", "path scale", "How much faster path time passes than the learning rate alone would have it."),
    Term(
        "path-time",
        "path time",
        "The sum over the steps of path scale × learning rate ÷ μ; of the learning rate where there is no Γ. The more "
        "of it passes, the more grains enter the support.",
    ),
    Term(
        "delta",
        "δ, delta",
        "With linbreg and adabreg, what κ is with slbi: the factor of the weights, which are sparse themselves. In "
        "their formulas τ is the learning rate.",
    ),
)
"""In the order in which a reader meets them."""


def optimizer_terms(names: Iterable[str]) -> list[Term]:
    """What each of these optimizers is, in the words of its entry in the registry."""
    return [Term(f"opt-{name}", name, f"{OPTIMIZERS[name].description}.") for name in dict.fromkeys(names)]
