"""SLBI in Hugging Face's Trainer: a tiny BERT, interrupted and resumed from the Trainer's own checkpoint.

Embeddings and the classifier are left out of the structure.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import torch
from torch.optim.lr_scheduler import LinearLR
from torch.utils.data import Dataset
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

from sparsify import SLBI, parameter_groups

STEPS = 12


class Sentences(Dataset):
    """Random words, and whether the first is from the first half of the vocabulary."""

    words = torch.randint(0, 20, (32, 6), generator=torch.Generator().manual_seed(0))

    def __len__(self) -> int:
        return len(self.words)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.words[index], "labels": (self.words[index][0] < 10).long()}


def fit(folder: Path, checkpoint: Path | None = None) -> tuple[BertForSequenceClassification, SLBI]:
    torch.manual_seed(1)
    sizes = {"hidden_size": 8, "intermediate_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1}
    model = BertForSequenceClassification(BertConfig(vocab_size=20, max_position_embeddings=8, **sizes))
    optimizer = SLBI(parameter_groups(model, leave_out=("embeddings", "output")), lr=0.05, mu=0.01)
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=STEPS,
        save_steps=STEPS // 2,
        per_device_train_batch_size=4,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        logging_strategy="no",
    )
    schedule = LinearLR(optimizer, 1.0, 0.1, STEPS)
    trainer = Trainer(model, arguments, train_dataset=Sentences(), optimizers=(optimizer, schedule))
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    return model, optimizer


def main(folder: Path) -> None:
    whole, uninterrupted = fit(folder / "whole")
    again, resumed = fit(folder / "again", folder / "whole" / f"checkpoint-{STEPS // 2}")

    for p, q in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(p, q)
    name = "bert.encoder.layer.0.intermediate.dense"
    inside = resumed.support(name)
    assert inside.any()
    assert torch.equal(inside, uninterrupted.support(name))
    assert torch.equal(resumed.gamma(name), uninterrupted.gamma(name))
    assert resumed.penalty("bert.embeddings.word_embeddings") is None
    assert resumed.penalty("classifier") is None


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(Path(sys.argv[1]))
    print("equal")
