"""Evaluation: how a network is called."""

import torch
from torch import Tensor, nn

from sparsify.nets.evaluation import call


class _Difference(nn.Module):
    def forward(self, first: Tensor, second: Tensor | None = None) -> Tensor:
        return first if second is None else first - second


def test_a_tensor_is_the_argument_a_tuple_the_arguments_and_a_dict_the_keywords() -> None:
    one, three = torch.tensor([1.0]), torch.tensor([3.0])

    assert call(_Difference(), three).tolist() == [3.0]
    assert call(_Difference(), (three, one)).tolist() == [2.0]
    assert call(_Difference(), {"second": three, "first": one}).tolist() == [-2.0]
