"""Evaluation: how a network is called, what it is given, and how it is scored."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from sparsify.data.dataset import Inputs, Split
from sparsify.errors import SparsifyError
from sparsify.nets.evaluation import (
    activations,
    batch_size_for,
    call,
    evaluate,
    loss_gradients,
    normaliser,
    recalibrated,
    require_shapes,
)
from sparsify.nets.prediction import predict_masked, score_masked


class Difference(nn.Module):
    """Its one logit is first − second, by a weight of 1."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Linear(1, 1, bias=False)
        nn.init.ones_(self.scale.weight)

    def forward(self, first: Tensor, second: Tensor | None = None) -> Tensor:
        return self.scale(first if second is None else first - second)


ONE, THREE = torch.tensor([[1.0], [3.0]]), torch.tensor([[3.0], [1.0]])


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [(ONE, [[1.0], [3.0]]), ((ONE, THREE), [[-2.0], [2.0]]), ({"second": ONE, "first": THREE}, [[2.0], [-2.0]])],
    ids=["a tensor", "a tuple", "a dict"],
)
def test_a_tensor_is_the_argument_a_tuple_the_arguments_and_a_dict_the_keywords(inputs: Inputs, expected):
    assert call(Difference(), inputs).tolist() == expected
    split = Split(inputs, torch.tensor([0, 1]))
    right = sum((logit > 0) == label for (logit,), label in zip(expected, [0, 1], strict=True))
    for batch_size in (1, 2):
        assert evaluate(Difference(), split, batch_size=batch_size).correct == right
        gone = {"scale.weight": torch.zeros(1, 1, dtype=torch.bool)}
        found = predict_masked(Difference(), inputs, [{}, gone], batch_size=batch_size)
        assert found.tolist() == [[int(logit > 0) for (logit,) in expected], [0, 0]]


def test_a_sequential_of_several_inputs_is_called_with_them():
    model = nn.Sequential(Difference(), nn.Flatten(0))
    gone = {"0.scale.weight": torch.zeros(1, 1, dtype=torch.bool)}

    class Starred(nn.Sequential):
        def forward(self, first: Tensor, second: Tensor) -> Tensor:
            return self[1](self[0](first, second))

    starred = Starred(*model)
    assert predict_masked(starred, (THREE, ONE), [{}, gone]).tolist() == [[1, 0], [0, 0]]


def test_one_logit_is_class_1_above_0_and_its_loss_the_binary_cross_entropy():
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Flatten(0))  # gives (n,)
    nn.init.ones_(model[0].weight)
    images = torch.tensor([[math.log(3)], [-1e9], [0.0]])
    found = evaluate(model, Split(images, torch.tensor([1, 0, 1])))
    assert (found.correct, found.count) == (2, 3)
    assert found.loss == pytest.approx((math.log(4 / 3) + 0 + math.log(2)) / 3)


def test_labels_are_checked_over_the_whole_split_and_not_by_batch():
    images, labels = torch.eye(3), torch.tensor([1, 2, 3])
    for function in (evaluate, loss_gradients):
        with pytest.raises(SparsifyError, match="the labels are 1 to 3 and the network has 3 logits"):
            function(nn.Linear(3, 3), Split(images, labels), batch_size=1)


def test_data_of_other_kinds_is_read():
    model = nn.Linear(2, 2, bias=False)
    nn.init.eye_(model.weight)
    images, labels = torch.tensor([[2.0, 1.0], [0.0, 3.0], [5.0, 4.0]]), torch.tensor([0, 1, 1])
    loader = DataLoader(TensorDataset(images, labels), batch_size=2)
    one_hot = nn.functional.one_hot(labels)
    for data in (loader, (images.numpy(), labels.numpy()), (images.tolist(), labels.tolist()), (images, one_hot)):
        assert evaluate(model, data).correct == 2
    with pytest.raises(SparsifyError, match="there are no images to evaluate the network on"):
        evaluate(model, (images[:0], labels[:0]))


@pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.bfloat16])
def test_pixels_and_numbers_become_the_networks_own_type_and_token_ids_stay(kind):
    given = {
        "pixels": torch.tensor([[255]], dtype=torch.uint8),
        "numbers": torch.tensor([[0.5]], dtype=torch.float16),
        "ids": torch.tensor([[7]]),
    }
    found = normaliser(nn.Linear(1, 1, dtype=kind))(given)
    assert (found["pixels"].dtype, found["numbers"].dtype, found["ids"].dtype) == (kind, kind, torch.int64)
    assert found["pixels"].item() == torch.tensor(255.0, dtype=kind).item()


def test_a_float64_network_is_evaluated_by_default():
    model = nn.Linear(1, 1, dtype=torch.float64)
    assert evaluate(model, (torch.ones(2, 1), [0, 1])).count == 2
    assert loss_gradients(model, Split(torch.ones(2, 1), torch.tensor([0, 1])))["weight"].dtype == torch.float64


def test_statistics_are_re_estimated_on_several_inputs():
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(1)

        def forward(self, first: Tensor, second: Tensor) -> Tensor:
            return self.norm(first - second)

    with recalibrated(Two(), (THREE, ONE), batch_size=2) as model:
        assert model.norm.running_mean.tolist() == [0.0]
        assert model.norm.running_var.tolist() == [8.0]  # of 2 and −2, over n − 1


def test_a_score_of_ones_own_is_of_each_image_and_sees_the_whole_output():
    class Segments(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 1)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"out": self.conv(x)}

    model = Segments()
    with torch.no_grad():
        model.conv.weight.copy_(torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1))
        model.conv.bias.zero_()
    pixels = torch.tensor([[1.0, 1.0, 1.0, -1.0], [1.0, -1.0, -1.0, -1.0]]).view(2, 1, 2, 2)
    split = Split(pixels, torch.ones(2, 2, 2, dtype=torch.long))

    def right_pixels(output: dict[str, Tensor], labels: Tensor) -> Tensor:
        return (output["out"].argmax(1) == labels).float().mean((1, 2))

    masks = [{}, {"conv.weight": torch.zeros(2, 1, 1, 1, dtype=torch.bool)}]
    for batch_size in (1, 2):
        found = score_masked(model, split, masks, score=right_pixels, batch_size=batch_size)
        assert found.tolist() == [[0.75, 0.25], [0.0, 0.0]]
    with pytest.raises(SparsifyError, match="the network gives a dict of out; it must be a tensor"):
        evaluate(model, split)


def test_a_loss_of_ones_own_has_the_gradient_of_its_mean_over_all_images():
    """d/dw of the mean of (w·x)² at w = 1 is the mean of 2x²."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    split = Split(torch.tensor([[1.0], [2.0], [3.0]]), torch.zeros(3, 1))
    for batch_size in (1, 2, None):
        found = loss_gradients(model, split, loss=nn.functional.mse_loss, batch_size=batch_size)
        assert found["weight"].item() == pytest.approx(2 * 14 / 3)


def test_lazy_modules_are_refused_by_name_and_stay_as_they_were():
    model = nn.Sequential(nn.LazyConv2d(2, 3), nn.LazyBatchNorm2d(), nn.ReLU())
    with pytest.raises(SparsifyError, match=r"^the shapes of 0, 1 in mine are not known yet, because they are lazy"):
        require_shapes(model, "mine")
    assert isinstance(model[0], nn.LazyConv2d)
    model(torch.zeros(1, 1, 4, 4))
    require_shapes(model)


def test_as_many_images_as_the_memory_has_room_for(monkeypatch):
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten())
    example = torch.zeros(1, 1, 6, 6)
    assert activations(model, example) == (4 * 16 * 4, 1 + 4 * 4 * 16 * 4)  # the Sequential's own output, too
    monkeypatch.setattr("sparsify.nets.evaluation.LARGEST", 10 * 256 + 255)
    assert batch_size_for(model, example, 1000) == 10
    assert batch_size_for(model, example, 3) == 3
    monkeypatch.setattr("sparsify.nets.evaluation.LARGEST", 255)
    assert batch_size_for(model, example, 1000) == 1
    assert batch_size_for(model, example, 500, gradients=True) == 500
