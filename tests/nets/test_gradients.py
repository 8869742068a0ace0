"""Gradients of the mean training loss: against one backward pass; nothing is left behind."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsify.data.dataset import Split
from sparsify.nets.evaluation import loss_gradients, squared_gradients


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


def test_the_mean_of_the_squared_gradients_of_single_images_is_a_literal_one():
    """As above: (½·1)² and (½·3)², the mean of which is 1.25; the square of the mean gradient is 0.25."""
    model = nn.Linear(1, 2, bias=False)
    nn.init.zeros_(model.weight)
    found = squared_gradients(model, Split(torch.tensor([[1.0], [3.0]]), torch.tensor([0, 1])))
    assert {name: square.tolist() for name, square in found.items()} == {"weight": [[1.25], [1.25]]}


def test_of_a_linear_regression_with_residuals_of_1_it_is_the_hessian():
    """Of the mean of ½(y − wx)², the Hessian is the mean of x², (1 + 4 + 9) / 3, whatever w is."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 2.0)
    x = torch.tensor([[1.0], [2.0], [3.0]])
    split = Split(x, 2 * x + torch.tensor([[1.0], [-1.0], [1.0]]))
    found = squared_gradients(model, split, loss=lambda output, y: ((y - output) ** 2 / 2).mean())
    hessian = torch.autograd.functional.hessian(lambda w: ((split.labels - x * w) ** 2 / 2).mean(), torch.tensor(2.0))
    assert found["weight"].item() == pytest.approx(14 / 3) == hessian.item()


def test_it_is_that_of_vmap():
    model, images = network().eval(), split()

    def loss(parameters: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        return F.cross_entropy(torch.func.functional_call(model, parameters, (image[None],)), label[None])

    parameters = {name: p.detach() for name, p in model.named_parameters()}
    each = torch.func.vmap(torch.func.grad(loss), (None, 0, 0))(parameters, normalise(images.images), images.labels)
    found = squared_gradients(model, images, normalise)
    assert found.keys() == each.keys()
    for name, gradients in each.items():
        torch.testing.assert_close(found[name].float(), gradients.square().mean(0), rtol=1e-4, atol=1e-9)


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
