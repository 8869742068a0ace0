"""Modules that compute what torch's own do, in less time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sparsify.nets.modules import Conv3x3, FullConv2d, WhiteningConv2d


def compute(layer: nn.Module, inputs: Tensor) -> list[Tensor]:
    """The outputs, and the gradients of a function of them with respect to the inputs and the parameters."""
    outputs = layer(inputs)
    weights = torch.arange(outputs.numel(), dtype=outputs.dtype).view_as(outputs).cos()
    return [outputs, *torch.autograd.grad((weights * outputs).sum(), [inputs, *layer.parameters()])]


@pytest.mark.parametrize(
    ("layer", "size"), [(FullConv2d(3, 5, 4), 4), (Conv3x3(3, 5), 2), (Conv3x3(3, 5), 3)], ids=["full", "2×2", "3×3"]
)
def test_a_quick_convolution_is_the_same_as_an_ordinary_one(layer: nn.Conv2d, size: int) -> None:
    layer = layer.to(torch.float64, memory_format=torch.channels_last)
    inputs = torch.randn(2, 3, size, size, dtype=torch.float64, requires_grad=True)
    usual = nn.Conv2d(3, 5, layer.kernel_size, padding=layer.padding, dtype=torch.float64)
    usual.load_state_dict(layer.state_dict())
    expected = compute(usual, inputs)
    for training in (True, False):
        torch.testing.assert_close(compute(layer.train(training), inputs), expected)


def test_a_quick_convolution_is_in_bfloat16_where_its_inputs_are() -> None:
    layer, inputs = Conv3x3(3, 5), torch.randn(2, 3, 2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        quick, usual = layer(inputs.bfloat16()), layer.eval()(inputs)
    assert quick.dtype == usual.dtype == torch.bfloat16
    torch.testing.assert_close(quick, usual, atol=0.03, rtol=0.03)


def test_what_is_whitened_has_no_correlations_and_both_signs_of_each_direction() -> None:
    draw = torch.Generator().manual_seed(0)
    noise = torch.randn(200, 3, 12, 12, generator=draw)
    images = nn.functional.avg_pool2d(noise, 3, 1, 1) * torch.tensor([3.0, 1.0, 2.0]).view(3, 1, 1)  # smooth
    layer = WhiteningConv2d(3, 24, 2)
    layer.whiten(images)
    assert torch.equal(layer.weight[12:], -layer.weight[:12])
    outputs = nn.functional.conv2d(images, layer.weight[:12]).transpose(0, 1).flatten(1)
    products = outputs @ outputs.T / outputs.shape[1]
    values = torch.linalg.eigvalsh(patches(images) @ patches(images).T / patches(images).shape[1]).flip(0)
    torch.testing.assert_close(products, torch.diag(values / (values + 5e-4)).float(), atol=1e-3, rtol=1e-3)
    assert (layer.weight[:12].flatten(1).gather(1, layer.weight[:12].flatten(1).abs().argmax(1)[:, None]) > 0).all()


def patches(images: Tensor) -> Tensor:
    """All patches of 2×2, in columns."""
    parts = [images[:, :, p : p + 11, q : q + 11] for p in (0, 1) for q in (0, 1)]
    return torch.stack(parts, 2).double().permute(1, 2, 0, 3, 4).flatten(2).flatten(0, 1)


def test_of_one_colour_and_two_pixels_it_is_the_mean_and_the_difference() -> None:
    """Two neighbours a and b with E[a²] = E[b²] = 1 and E[ab] = ½: λ is 3/2 of (1, 1)/√2 and 1/2 of (1, −1)/√2."""
    pairs = torch.tensor([[1.5**0.5, 1.5**0.5], [0.5**0.5, -(0.5**0.5)]])
    layer = WhiteningConv2d(1, 4, (1, 2))
    layer.whiten(pairs.view(2, 1, 1, 2))
    first, second = ((value + 5e-4) ** -0.5 / 2**0.5 for value in (1.5, 0.5))
    torch.testing.assert_close(layer.weight[0].flatten(), torch.tensor([first, first]))
    torch.testing.assert_close(layer.weight[1].flatten().abs(), torch.tensor([second, second]))
