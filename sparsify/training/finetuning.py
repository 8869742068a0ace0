"""Training a pruned network further, by the same plain recipe for every network."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.optim import SGD

from sparsify.data.dataset import Inputs, Split
from sparsify.devices import autocast, exactly, permutation, safe_convolutions
from sparsify.nets.evaluation import Normaliser, call, modes_kept, normaliser
from sparsify.nets.losses import cross_entropy
from sparsify.nets.mask import Mask, apply_mask
from sparsify.nets.outputs import Loss, logits_of
from sparsify.optim.schedules import cosine


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """SGD with momentum 0.9 and a cosine schedule from `lr` to 0, without weight decay and augmentation."""

    epochs: int
    lr: float = 0.01
    batch_size: int = 128


def finetune(
    model: nn.Module,
    mask: Mask,
    train: Split[Inputs],
    normalise: Normaliser | None = None,
    *,
    recipe: Recipe,
    loss: Loss | None = None,
    seed: int = 0,
    precision: str = "exact",
) -> None:
    """Train the network in place under a mask: what the mask removes is exactly 0 before, between and after the steps.

    Data and model must be on one device. Without a `loss`, it is the cross-entropy, and the labels are class numbers.
    The order of the images is keyed by the seed.
    """
    prepare = normaliser(model, normalise)
    optimizer = SGD(model.parameters(), recipe.lr, momentum=0.9)
    optimizer.register_step_post_hook(lambda *_: apply_mask(model, mask))
    apply_mask(model, mask)
    steps = recipe.epochs * -(-len(train) // recipe.batch_size)
    step = 0
    with modes_kept(model), exactly(precision), torch.enable_grad():
        model.train()
        for epoch in range(recipe.epochs):
            order = permutation(len(train), seed, "fine-tuning", epoch).to(train.labels.device)
            for index in order.split(recipe.batch_size):
                optimizer.param_groups[0]["lr"] = recipe.lr * cosine(step / steps)
                batch = train[index]
                inputs = prepare(batch.images)
                with autocast(precision, batch.device), safe_convolutions(model):
                    output = call(model, inputs)
                    if loss is None:
                        value = cross_entropy(logits_of(output, len(batch)), batch.labels)
                    else:
                        value = loss(output, batch.labels)
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
                step += 1
