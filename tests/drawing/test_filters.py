"""Which filters the figures of filters call near zero."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sparsify.drawing.filters import near_zero


def filters(*norms: float) -> Tensor:
    """(n, 1, 1, 2): a filter for each norm, as 3-4-5 triangles."""
    return torch.tensor([[0.6 * norm, 0.8 * norm] for norm in norms], dtype=torch.float64).view(-1, 1, 1, 2)


def test_filters_near_zero_are_counted():
    assert near_zero(filters(5, 0.0499, 0.0501, 0, 1)) == (2, 5)


def test_the_bound_itself_is_not_near_zero():
    assert near_zero(filters(100, 25, 24), relative=0.25) == (1, 3)


def test_the_bound_is_relative():
    assert near_zero(filters(5e-20, 0.0499e-20)) == (1, 2)
    assert near_zero(filters(1, 0.4, 0.6), relative=0.5) == (1, 3)


def test_a_layer_of_zeros_is_near_zero_as_a_whole():
    assert near_zero(torch.zeros(4, 3, 2, 2)) == (4, 4)


def test_a_layer_of_equal_filters_has_none_near_zero():
    assert near_zero(torch.ones(4, 3, 2, 2)) == (0, 4)


def test_rows_count_for_a_fully_connected_layer_and_parameters_will_do():
    layer = nn.Linear(2, 3)
    layer.weight.data = torch.tensor([[3.0, 4.0], [0.0, 0.0], [0.01, 0.0]])
    assert near_zero(layer.weight) == (2, 3)
