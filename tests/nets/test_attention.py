"""NarrowAttention against torch's own MultiheadAttention: with all of its heads it computes the same."""

import copy
import itertools

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sparsify.nets.attention import NarrowAttention

WIDTH, HEADS, IMAGES, LENGTH, KEYS = 12, 3, 2, 5, 7


def narrow(attention: nn.MultiheadAttention, heads: list[int]) -> NarrowAttention:
    """The attention with only these heads."""
    whole = np.ones(attention.embed_dim, dtype=bool)
    kept = np.zeros((attention.num_heads, attention.head_dim), dtype=bool)
    kept[heads] = True
    return NarrowAttention.of("attention", attention, (whole, whole), (kept,) * 3).train(attention.training)


def attention_of(**options: bool) -> nn.MultiheadAttention:
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(WIDTH, HEADS, **options).double().eval()
    for parameter in attention.parameters():
        nn.init.normal_(parameter)  # the biases too, which torch sets to 0
    return attention


def inputs_of(batch_first: bool) -> list[Tensor]:
    """A query, a key and a value."""
    torch.manual_seed(1)
    shapes = [(IMAGES, length, WIDTH) for length in (LENGTH, KEYS, KEYS)]
    inputs = [torch.randn(shape, dtype=torch.float64) for shape in shapes]
    return inputs if batch_first else [one.transpose(0, 1) for one in inputs]


MASKS = {
    "none": {},
    "bool": {"attn_mask": torch.arange(LENGTH)[:, None] < torch.arange(KEYS) - 2},
    "float": {"attn_mask": torch.linspace(-1, 1, LENGTH * KEYS, dtype=torch.float64).view(LENGTH, KEYS)},
    "by head": {
        "attn_mask": torch.linspace(-1, 1, IMAGES * HEADS * LENGTH * KEYS, dtype=torch.float64).view(-1, LENGTH, KEYS)
    },
    "padding": {"key_padding_mask": torch.tensor([[False] * 5 + [True] * 2, [False] * 7])},
}
MASKS["both"] = MASKS["bool"] | MASKS["padding"]


@pytest.mark.parametrize(("bias", "batch_first", "needed"), list(itertools.product([True, False], repeat=3)))
@pytest.mark.parametrize("masks", MASKS)
def test_with_all_heads_it_is_torchs(masks: str, bias: bool, batch_first: bool, needed: bool) -> None:
    attention = attention_of(bias=bias, batch_first=batch_first)
    inputs = inputs_of(batch_first)
    for average in (True, False):
        expected, shares = attention(*inputs, need_weights=needed, average_attn_weights=average, **MASKS[masks])
        actual, own = narrow(attention, [0, 1, 2])(
            *inputs, need_weights=needed, average_attn_weights=average, **MASKS[masks]
        )
        torch.testing.assert_close(actual, expected)
        assert (own is None) == (shares is None)
        if own is not None:
            torch.testing.assert_close(own, shares)


@pytest.mark.parametrize("bias", [True, False])
def test_of_one_sequence_with_itself_it_is_torchs(bias: bool) -> None:
    attention, x = attention_of(bias=bias, batch_first=True), inputs_of(batch_first=True)[0]
    torch.testing.assert_close(narrow(attention, [0, 1, 2])(x, x, x), attention(x, x, x))


@pytest.mark.parametrize("needed", [True, False])
def test_without_a_batch_it_is_torchs(needed: bool) -> None:
    attention = attention_of()
    inputs = [one[:, 0] for one in inputs_of(batch_first=False)]
    padding = MASKS["padding"]["key_padding_mask"][0]
    expected = attention(*inputs, need_weights=needed, key_padding_mask=padding)
    actual = narrow(attention, [0, 1, 2])(*inputs, need_weights=needed, key_padding_mask=padding)
    torch.testing.assert_close(actual, expected)


def test_without_a_head_it_is_torchs_with_that_head_at_zero() -> None:
    attention = attention_of(batch_first=True)
    inputs = inputs_of(batch_first=True)
    masked = copy.deepcopy(attention)
    with torch.no_grad():
        masked.out_proj.weight[:, 4:8] = 0  # what head 1 gives goes nowhere
    torch.testing.assert_close(narrow(attention, [0, 2])(*inputs)[0], masked(*inputs)[0])


def test_dropout_is_only_in_training() -> None:
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(WIDTH, HEADS, dropout=0.5, batch_first=True)
    inputs = [one.float() for one in inputs_of(batch_first=True)]
    training = narrow(attention, [0, 1, 2])
    for needed in (True, False):
        first, second = (training(*inputs, need_weights=needed)[0] for _ in range(2))
        assert not torch.equal(first, second)
        first, second = (training.eval()(*inputs, need_weights=needed)[0] for _ in range(2))
        assert torch.equal(first, second)
        training.train()


def test_what_is_frozen_stays_frozen_and_nothing_is_shared() -> None:
    attention = attention_of()
    attention.in_proj_weight.requires_grad_(False)
    small = narrow(attention, [0])
    assert not small.in_proj.weight.requires_grad
    assert small.in_proj.bias.requires_grad
    with torch.no_grad():
        small.out_proj.weight.zero_()
        small.in_proj.weight.zero_()
    assert attention.out_proj.weight.all()
    assert attention.in_proj_weight.all()
