"""SLBI in a Lightning module: trained at once, and interrupted and resumed from Lightning's own checkpoint."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import lightning
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import DataLoader, TensorDataset

from sparsify import SLBI, parameter_groups

EPOCHS, BATCHES = 4, 5


class Classifier(lightning.LightningModule):
    """Which of four quarters of an image is the brightest."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 4))

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        images, labels = batch
        return F.cross_entropy(self.net(images), labels)

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = SLBI(parameter_groups(self), lr=0.1, mu=1.0, threshold=0.05)
        schedule = CosineAnnealingLR(optimizer, EPOCHS * BATCHES)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def batches() -> DataLoader:
    images = torch.rand(8 * BATCHES, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    quarters = F.avg_pool2d(images, 4).flatten(1)
    return DataLoader(TensorDataset(images, quarters.argmax(1)), batch_size=8)


def fit(folder: Path, epochs: int, checkpoint: Path | None = None) -> tuple[Classifier, SLBI, lightning.Trainer]:
    torch.manual_seed(1)
    model = Classifier()
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    trainer.fit(model, batches(), ckpt_path=checkpoint)
    (optimizer,) = trainer.optimizers
    assert isinstance(optimizer, SLBI)
    return model, optimizer, trainer


def main(folder: Path) -> None:
    whole, uninterrupted, _ = fit(folder, EPOCHS)
    _, _, trainer = fit(folder, EPOCHS // 2)
    trainer.save_checkpoint(folder / "half.ckpt")
    again, resumed, _ = fit(folder, EPOCHS, folder / "half.ckpt")

    for p, q in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(p, q)
    for name in ("net.0", "net.3"):
        inside = resumed.support(name)
        assert inside.any()
        assert torch.equal(inside, uninterrupted.support(name))
        assert torch.equal(resumed.gamma(name), uninterrupted.gamma(name))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(Path(sys.argv[1]))
    print("equal")
