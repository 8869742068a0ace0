"""The networks compute what a textbook's own layers would, however they are computed."""

from __future__ import annotations

import copy
from collections import OrderedDict

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sparsify.nets import lenet


def textbook_lenet(channels: int, padding: int) -> nn.Module:
    """LeNet in the usual order, ReLU before pooling, of torch's own modules."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(channels, 6, 5, padding=padding),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(6, 16, 5),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            conv3=nn.Conv2d(16, 120, 5),
            relu3=nn.ReLU(),
            flatten=nn.Flatten(1),
            fc1=nn.Linear(120, 84),
            relu4=nn.ReLU(),
            fc2=nn.Linear(84, 10),
        )
    )


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("batch", [1, 4, 7, 12])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
def test_lenet_is_the_textbooks(shape: tuple[int, int, int], batch: int, training: bool) -> None:
    model = lenet(shape, 10).double().train(training)
    textbook = textbook_lenet(shape[0], (32 - shape[1]) // 2).double()
    textbook.load_state_dict(model.state_dict())
    images = torch.rand(batch, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(batch) % 10
    logits = []
    for network in (model, textbook):
        logits.append(network(images.clone()))
        F.cross_entropy(logits[-1], labels).backward()
    torch.testing.assert_close(*logits, rtol=0, atol=1e-12)
    for (name, p), q in zip(model.named_parameters(), textbook.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=0, atol=1e-12, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("training", [True, False])
def test_images_with_too_many_channels_are_not_taken_for_several(training: bool, batch: int) -> None:
    with pytest.raises(RuntimeError):
        lenet((1, 28, 28), 10).train(training)(torch.zeros(batch, 4, 28, 28))


def test_hooks_of_stacked_convolutions_run() -> None:
    """torch.nn.utils.prune computes the weight in one."""
    model = lenet((1, 28, 28), 10)
    masked = copy.deepcopy(model)
    with torch.no_grad():
        masked.conv2.weight[3] = 0
    nn.utils.prune.custom_from_mask(model.conv2, "weight", (masked.conv2.weight != 0).float())
    images = torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.conv2.weight_orig.mul_(2)
        masked.conv2.weight.mul_(2)
    assert torch.equal(model(images), masked(images))
