"""A tiny network that sweeps are measured on, and sweeps that are made up from their rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from sparsify.data.dataset import Split
from sparsify.pruning.outcomes import Outcomes
from sparsify.pruning.subject import Subject
from sparsify.pruning.sweep import LedgerRow, Sweep, SweepRow, plan_of_rows


def sweep_of(
    rows: Iterable[SweepRow], ledger: Iterable[LedgerRow] = (), outcomes: Mapping[str, Outcomes] | None = None
) -> Sweep:
    """A sweep whose plan is what its rows say."""
    rows = tuple(rows)
    return Sweep(plan_of_rows(rows), rows, tuple(ledger), outcomes or {})


class Tiny(nn.Module):
    """1×6×6 images, 4 filters at 4×4 positions, 6 at 2×2, 5 neurons, 6 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3)
        self.conv2 = nn.Conv2d(4, 6, 3, stride=(1, 2), padding=(0, 1))
        self.fc1 = nn.Linear(24, 5)
        self.dropout = nn.Dropout(0.5)
        self.fc2 = nn.Linear(5, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv2(self.conv1(x).relu()).relu()
        return self.fc2(self.dropout(self.fc1(x.flatten(1)).relu()))


def normalise(images: Tensor) -> Tensor:
    return images.float() / 128 - 1


def subject(**changes: object) -> Subject:
    """A network, and images that it classifies right: what pruning changes is seen at once."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = Tiny().eval()
        images = torch.randint(0, 256, (200, 1, 6, 6), dtype=torch.uint8)
        model.fc2.bias -= model(normalise(images)).mean(0)  # so that every class is seen
        labels = model(normalise(images)).argmax(1)
    return Subject(model, Split(images, labels), normalise, **changes)
