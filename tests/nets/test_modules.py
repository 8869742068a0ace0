"""Modules that compute what torch's own do, in less time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sparsify.nets.modules import Conv3x3, FullConv2d


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
