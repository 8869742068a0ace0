"""Analysis: what can be read off weights and summaries."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from sparsify.analysis.weights import TrainedNetwork, support_shares


def filters(*norms: float) -> Tensor:
    """(n, 1, 1, 2): a filter for each norm, as 3-4-5 triangles."""
    return torch.tensor([[0.6 * norm, 0.8 * norm] for norm in norms], dtype=torch.float64).view(-1, 1, 1, 2)


def test_shares_of_the_support_are_those_of_each_run():
    first = {"conv1.weight": {"in": 1, "of": 4}, "fc1.weight": {"in": 0, "of": 10}}
    second = {"conv1.weight": {"in": 3, "of": 4}, "fc1.weight": {"in": 5, "of": 10}}
    runs = [SimpleNamespace(summary={"support": support}) for support in (first, second)]
    assert support_shares(runs) == {"conv1": [0.25, 0.75], "fc1": [0.0, 0.5]}


def test_runs_without_a_path_have_no_shares():
    assert support_shares([SimpleNamespace(summary={"support": {}})]) == {}


def run_of(model: nn.Module) -> SimpleNamespace:
    return SimpleNamespace(model=lambda: model.eval(), summary={"shape": [1, 4, 4]})


def test_folded_filters_are_what_the_network_applies():
    """Before BatchNorm (1, 1) and (2, 2) are the same filter; what is applied goes by γ and the variance."""
    convolution, norm = nn.Conv2d(1, 3, (1, 2), bias=False), nn.BatchNorm2d(3, eps=0.25)
    model = nn.Sequential(convolution, norm, nn.ReLU(), nn.Flatten(), nn.Linear(36, 2))
    convolution.weight.data = torch.tensor([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]).view(3, 1, 1, 2)
    norm.weight.data = torch.tensor([1.0, 1.0, 0.0])
    norm.bias.data.fill_(7)
    norm.running_mean.fill_(5)
    norm.running_var.copy_(torch.tensor([0.75, 3.75, 0.75]))
    assert TrainedNetwork(run_of(model)).folded_filters("0").flatten(1).tolist() == [[1, 1], [1, 1], [0, 0]]


def test_folded_filters_answer_as_the_convolution_and_its_batchnorm():
    model = nn.Sequential(nn.Conv2d(1, 5, 3), nn.BatchNorm2d(5), nn.Flatten(), nn.Linear(20, 2))
    for tensor in (model[1].weight.data, model[1].bias.data, model[1].running_mean, model[1].running_var):
        tensor.uniform_(0.5, 2)
    folded = TrainedNetwork(run_of(model)).folded_filters("0").double()
    images, nothing = torch.randn(2, 1, 4, 4, dtype=torch.float64), torch.zeros(1, 1, 4, 4, dtype=torch.float64)
    model.double()
    answers = model[:2](images) - model[:2](nothing)  # the part that depends on the image
    # the filters were folded in float32: 9 products of up to about 3, each to 2e-7 of it
    torch.testing.assert_close(nn.functional.conv2d(images, folded), answers, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "behind",
    [nn.Identity(), nn.BatchNorm2d(3, track_running_stats=False), nn.Sequential(nn.MaxPool2d(1), nn.BatchNorm2d(3))],
)
def test_nothing_is_folded_but_a_batchnorm_with_statistics_that_takes_in_what_the_layer_gives(behind):
    model = nn.Sequential(nn.Conv2d(1, 3, 3), behind, nn.ReLU(), nn.Flatten(), nn.Linear(12, 2))
    assert TrainedNetwork(run_of(model)).folded_filters("0") is None


def test_a_batchnorm_in_front_of_a_layer_is_not_behind_it():
    class Excited(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.squeeze = nn.BatchNorm2d(1), nn.Conv2d(1, 1, 1)

        def forward(self, images: Tensor) -> Tensor:
            normalised = self.norm(images)
            return normalised * self.squeeze(normalised)  # as in a squeeze-and-excitation block

    assert TrainedNetwork(run_of(Excited())).folded_filters("squeeze") is None
