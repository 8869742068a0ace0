"""Outputs and labels: what is taken, and what is refused in one line."""

from __future__ import annotations

import math
from collections import OrderedDict
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from sparsify.errors import SparsifyError
from sparsify.nets.losses import cross_entropy
from sparsify.nets.outputs import class_numbers, logits_of, output_tensor, predicted, scores_of

LOGITS = torch.tensor([[1.0, 2.0], [4.0, 3.0]])


class Named(NamedTuple):
    aux: Tensor
    logits: Tensor


@pytest.mark.parametrize(
    "output",
    [
        LOGITS,
        SimpleNamespace(logits=LOGITS, loss=None),
        Named(torch.zeros(1), LOGITS),
        {"loss": torch.zeros(()), "logits": LOGITS},
        (LOGITS, "state"),
        [LOGITS],
    ],
    ids=["tensor", "attribute", "attribute of a tuple", "key", "tuple", "list"],
)
def test_the_tensor_of_an_output(output):
    assert output_tensor(output) is LOGITS


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (OrderedDict(out=LOGITS, aux=LOGITS), "the network gives a OrderedDict of out, aux; it must be a tensor"),
        (None, "the network gives a NoneType; it must be"),
        (({"boxes": LOGITS},), "the network gives a tuple; it must be"),
        ((), "the network gives a tuple; it must be"),
    ],
)
def test_another_output_is_refused_by_its_type(output, words):
    with pytest.raises(SparsifyError) as caught:
        output_tensor(output)
    assert words in str(caught.value)
    assert "score(output, labels)" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_logit_may_have_no_dimension_of_its_own():
    assert logits_of(torch.tensor([1.0, -2.0]), 2).tolist() == [[1.0], [-2.0]]
    assert logits_of((LOGITS,), 2) is LOGITS


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((2, 21, 8, 8), r"gives \(2, 21, 8, 8\), and accuracy is defined for logits \(images, classes\); .*score"),
        ((1, 20), r"gives \(1, 20\) for 2 images; the number of images must come first"),
        ((), r"gives \(\) for 2 images"),
        ((2, 0), r"gives \(2, 0\), and accuracy is defined for logits"),
    ],
)
def test_an_output_of_another_shape_is_refused(shape, words):
    with pytest.raises(SparsifyError, match=words):
        logits_of(torch.zeros(shape), 2)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (torch.tensor([2, 0]), 3),
        (torch.tensor([2, 0], dtype=torch.uint8), 3),
        (torch.tensor([2.0, 0.0]), 3),
        (torch.tensor([[2], [0]]), 3),
        (torch.tensor([[0, 0, 1], [1, 0, 0]]), 3),
        (torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]), 3),
        (torch.tensor([[False, False, True], [True, False, False]]), 3),
    ],
)
def test_labels_become_class_numbers(labels, classes):
    numbers = class_numbers(labels, classes)
    assert numbers.dtype == torch.int64
    assert numbers.tolist() == [2, 0]


def test_labels_of_one_logit_are_0_and_1():
    assert class_numbers(torch.tensor([[1.0], [0.0]]), 1).tolist() == [1, 0]
    assert class_numbers(torch.tensor([True, False]), 1).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("labels", "classes", "words"),
    [
        ([1, 2, 3], 3, "the labels are 1 to 3 and the network has 3 logits: classes count from 0; subtract 1"),
        ([1, 2], 1, "the labels are 1 to 2 and the network has 1 logit: classes count from 0; subtract 1"),
        ([-1, 1], 1, "the labels are -1 to 1 and the network has 1 logit; they must be from 0 to 1"),
        ([0, 3], 3, "the labels are 0 to 3 and the network has 3 logits; they must be from 0 to 2"),
        ([0.5, 1.0], 3, "the labels hold 0.5; they must be class numbers, or let the Subject bring a score"),
        ([math.nan], 3, "the labels hold nan; they must be class numbers"),
        ([[0.5, 0.5]], 2, "the labels are (1, 2), but not one-hot: each row must hold a single 1"),
        ([[1, 1]], 2, "the labels are (1, 2), but not one-hot"),
        ([[0, 1, 2]], 2, "the labels are (1, 3) and the network has 2 logits; they must be class numbers (n,)"),
        ([[[0]]], 2, "the labels are (1, 1, 1) and the network has 2 logits"),
    ],
)
def test_labels_of_other_classes_are_refused(labels, classes, words):
    with pytest.raises(SparsifyError) as caught:
        class_numbers(torch.tensor(labels), classes)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_class_of_several_logits_and_of_one():
    assert predicted(LOGITS).tolist() == [1, 0]
    assert predicted(torch.tensor([[0.1], [0.0], [-0.1]])).tolist() == [1, 0, 0]


def test_the_loss_of_one_logit_is_that_of_the_logits_0_and_z():
    """σ(z) is the softmax of (0, z)."""
    logit, labels = torch.tensor([[0.0], [math.log(3)]]), torch.tensor([1, 0])
    assert cross_entropy(logit, labels).item() == pytest.approx((math.log(2) + math.log(4)) / 2)
    two = torch.cat([torch.zeros(2, 1), logit], 1)
    torch.testing.assert_close(cross_entropy(logit, labels, reduction="sum"), cross_entropy(two, labels) * 2)


def test_scores_are_one_number_from_0_to_1_for_each_image():
    labels = torch.zeros(2, 8, 8)
    assert scores_of(lambda *_: torch.tensor([0.25, 1.0]), None, labels).tolist() == [0.25, 1.0]
    for wrong, words in (
        (torch.tensor(0.5), r"the score is \(\) for 2 images; it must be a tensor \(2,\)"),
        (0.5, r"the score is a float for 2 images"),
        (torch.tensor([0.5, 1.5]), r"the score of an image is 1\.5; it must be from 0 to 1"),
        (torch.tensor([0.5, math.nan]), "the score of an image is nan"),
    ):
        with pytest.raises(SparsifyError, match=words):
            scores_of(lambda *_, wrong=wrong: wrong, None, labels)
