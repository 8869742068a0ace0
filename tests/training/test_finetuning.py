"""Fine-tuning under a mask."""

import pytest
import torch
from torch import nn

from sparsify.data.dataset import Split
from sparsify.training.finetuning import Recipe, finetune


def problem() -> tuple[nn.Sequential, Split, dict[str, torch.Tensor]]:
    """Two classes of 2×2 images that differ in their brightness, and a network that starts by knowing nothing."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % 2
    images = (torch.rand(40, 1, 2, 2, generator=generator) + labels.view(-1, 1, 1, 1)).mul(100).byte()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(1), nn.Linear(4, 2))
    mask = {name: torch.ones_like(p, dtype=torch.bool) for name, p in model.named_parameters() if name != "4.bias"}
    for name in ("0.weight", "0.bias", "1.weight", "1.bias"):
        mask[name][1] = False
    mask["4.weight"][:, 2] = False
    return model, Split(images, labels), mask


def test_it_learns_and_what_is_masked_stays_exactly_zero() -> None:
    model, train, mask = problem()
    zeros: list[bool] = []
    model[0].register_forward_pre_hook(
        lambda *_: zeros.append(not any(p[~mask[n]].any() for n, p in model.named_parameters() if n in mask))
    )
    model.eval()
    finetune(model, mask, train, lambda images: images.float() / 100, recipe=Recipe(epochs=20, lr=0.1, batch_size=16))
    assert len(zeros) == 60 and all(zeros)  # noqa: PT018
    assert not any(p[~mask[n]].any() for n, p in model.named_parameters() if n in mask)
    assert not model.training
    correct = (model(train.images.float() / 100).argmax(1) == train.labels).float().mean()
    assert correct > 0.9


@pytest.mark.parametrize("precision", ["exact", "fast"])
def test_it_repeats_to_the_bit_and_differs_by_seed(precision: str) -> None:
    def weights(seed: int) -> torch.Tensor:
        model, train, mask = problem()
        finetune(model, mask, train, recipe=Recipe(epochs=1, batch_size=16), seed=seed, precision=precision)
        return model[4].weight.detach()

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


def test_no_epochs_only_apply_the_mask() -> None:
    model, train, mask = problem()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    finetune(model, mask, train, recipe=Recipe(epochs=0))
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name] * mask.get(name, torch.tensor(1)))
