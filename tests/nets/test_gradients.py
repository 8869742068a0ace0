"""Gradients of the mean training loss: against one backward pass; nothing is left behind."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsify.data.dataset import Split
from sparsify.nets.evaluation import loss_gradients


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(1), nn.Linear(12, 4)
    )


def split() -> Split:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (37, 1, 4, 4), generator=generator, dtype=torch.uint8)
    return Split(images, torch.arange(37) % 4)


def normalise(images: Tensor) -> Tensor:
    return images.float() / 255


def test_a_literal_example():
    """Two logits w₁x, w₂x at w = 0: the gradient is x·(½ − [class]), and the mean of x = 1 in class 0, 3 in class 1."""
    model = nn.Linear(1, 2, bias=False)
    nn.init.zeros_(model.weight)
    found = loss_gradients(model, Split(torch.tensor([[1.0], [3.0]]), torch.tensor([0, 1])))
    assert {name: gradient.tolist() for name, gradient in found.items()} == {"weight": [[0.5], [-0.5]]}


@pytest.mark.parametrize("batch_size", [1, 10, 37, 500])
def test_batches_add_up_to_one_backward_pass_in_evaluation_mode(batch_size):
    model, images = network().double(), split()
    pixels = images.images.double() / 255
    found = loss_gradients(model, Split(pixels, images.labels), Tensor.double, batch_size=batch_size)
    F.cross_entropy(model.eval()(pixels), images.labels).backward()
    assert found.keys() == dict(model.named_parameters()).keys()
    for name, p in model.named_parameters():
        # the logits alone are rounded to float32, which changes the softmax by less than 1e-7 of them
        torch.testing.assert_close(found[name], p.grad, rtol=1e-5, atol=1e-7)


def test_nothing_is_left_behind():
    model = network()
    model[0].weight.requires_grad_(False)
    model[5].weight.grad = torch.ones(4, 12)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        found = loss_gradients(model, split(), normalise)
    assert found["0.weight"].any()
    assert model.training
    assert not model[0].weight.requires_grad
    assert model[5].weight.requires_grad
    assert torch.equal(model[5].weight.grad, torch.ones(4, 12))
    assert model[0].weight.grad is None
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_parameter_without_influence_has_no_gradient():
    model = nn.Linear(3, 2)
    model.idle = nn.Linear(1, 1)
    assert loss_gradients(model, Split(torch.rand(4, 3), torch.tensor([0, 1, 1, 0]))).keys() == {"weight", "bias"}
