"""Masks: exact counts, ties by index, and a network that is afterwards what it was, to the bit."""

from __future__ import annotations

import pytest
import torch
import torch.nn.utils.prune as torch_prune
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from sparsify.errors import SparsifyError
from sparsify.nets.mask import apply_mask, lowest, masked, removed_count

ODD = [-0.0, 0.0, float("inf"), -float("inf"), 1e-45, -1e-39, 1.5, -3.0]


def bits(tensor: Tensor) -> list[int]:
    return tensor.detach().contiguous().view(torch.int32).flatten().tolist()


def odd_network() -> nn.Module:
    """Weights whose bits arithmetic would change, two NaNs with payloads among them."""
    model = nn.Linear(5, 2)
    with torch.no_grad():
        model.weight.view(-1)[:8] = torch.tensor(ODD)
        model.weight.view(-1).view(torch.int32)[8:] = torch.tensor([0x7FC12345, 0x7F812345], dtype=torch.int32)
        model.bias.copy_(torch.tensor([-0.0, 1e-45]))
    return model


@pytest.mark.parametrize(
    ("ratio", "count", "expected"),
    [(0, 7, 0), (1, 7, 7), (0.9, 10, 9), (0.6, 120, 72), (0.5, 3, 2), (0.5, 5, 2), (0.25, 2, 0), (0.3, 0, 0)],
)
def test_how_many_grains_go(ratio, count, expected):
    """Ties to even: half of 3 is 2, and half of 5 is 2."""
    assert removed_count(ratio, count) == expected


@given(st.floats(0, 1), st.integers(1, 60))
def test_counts_are_those_of_torchs_own_pruning(ratio, count):
    layer = nn.Linear(count, 1)
    layer.weight.data = torch.arange(1.0, count + 1)[None]
    torch_prune.l1_unstructured(layer, "weight", amount=ratio)
    assert removed_count(ratio, count) == int((layer.weight_mask == 0).sum())


def test_ties_go_by_index():
    assert lowest(torch.tensor([1.0, 0.0, 1.0, 0.0, 1.0]), 3).tolist() == [True, True, False, True, False]
    assert lowest(torch.zeros(4), 2).tolist() == [True, True, False, False]


def test_minus_zero_ties_with_zero():
    assert lowest(torch.tensor([0.0, -0.0, 0.0]), 1).tolist() == [True, False, False]


def test_a_score_that_is_no_number_goes_last():
    assert lowest(torch.tensor([float("nan"), 2.0, float("inf")]), 2).tolist() == [False, True, True]


def test_the_answer_has_the_shape_of_the_scores():
    drop = lowest(torch.tensor([[3.0, 1.0], [2.0, 4.0]]), 2)
    assert drop.dtype == torch.bool
    assert drop.tolist() == [[False, True], [True, False]]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=80), st.floats(0, 1))
def test_the_lowest_go_in_exact_counts(values, ratio):
    """The oracle sorts (score, index); most scores tie."""
    count = removed_count(ratio, len(values))
    drop = lowest(torch.tensor(values, dtype=torch.float32), count)
    expected = sorted(range(len(values)), key=lambda index: (values[index], index))[:count]
    assert drop.nonzero().flatten().tolist() == sorted(expected)


@given(st.integers(1, 3000), st.floats(0, 1))
def test_counts_are_exact_where_everything_ties(size, ratio):
    assert int(lowest(torch.zeros(size), removed_count(ratio, size)).sum()) == round(ratio * size)


def test_ratio_0_changes_no_bit():
    model = odd_network()
    before = bits(model.weight)
    apply_mask(model, {"weight": ~lowest(model.weight.detach(), removed_count(0, 10))})
    assert bits(model.weight) == before


def test_ratio_1_leaves_zeros_only():
    """+0, not −0, and no NaN: nothing is multiplied."""
    model = odd_network()
    apply_mask(model, {"weight": ~lowest(model.weight.detach(), removed_count(1, 10))})
    assert bits(model.weight) == [0] * 10
    assert bits(model.bias) == bits(odd_network().bias)


def test_what_is_kept_keeps_its_bits():
    model = odd_network()
    before = bits(model.weight)
    keep = torch.tensor([[True, False, True, True, False], [False, True, True, True, True]])
    apply_mask(model, {"weight": keep})
    assert bits(model.weight) == [bit if kept else 0 for bit, kept in zip(before, keep.flatten().tolist(), strict=True)]


def test_masked_gives_every_bit_back():
    model = odd_network()
    weight, before = model.weight, bits(model.weight)
    with masked(model, {"weight": torch.zeros(2, 5, dtype=torch.bool)}) as inside:
        assert inside is model
        assert bits(model.weight) == [0] * 10
    assert bits(model.weight) == before
    assert model.weight is weight


def test_masked_gives_every_bit_back_after_an_exception():
    model = odd_network()
    before = bits(model.weight)
    with pytest.raises(KeyboardInterrupt), masked(model, {"weight": torch.zeros(2, 5, dtype=torch.bool)}):
        raise KeyboardInterrupt
    assert bits(model.weight) == before


def test_masked_gives_back_what_was_changed_meanwhile():
    model = odd_network()
    before = bits(model.weight)
    with masked(model, {"weight": torch.ones(2, 5, dtype=torch.bool)}), torch.no_grad():
        model.weight.fill_(7)
    assert bits(model.weight) == before


def test_masks_nest():
    model = odd_network()
    before = bits(model.weight)
    first = torch.tensor([[False], [True]]).expand(2, 5)
    with masked(model, {"weight": first}):
        once = bits(model.weight)
        with masked(model, {"weight": ~first}):
            assert bits(model.weight) == [0] * 10
        assert bits(model.weight) == once
    assert bits(model.weight) == before


def test_masking_is_no_step_of_a_gradient():
    model = nn.Linear(3, 2)
    with masked(model, {"weight": torch.zeros(2, 3, dtype=torch.bool)}):
        assert model.weight.requires_grad
        assert model.weight.is_leaf
    assert model.weight.grad_fn is None
    assert model.weight.grad is None


def test_the_memory_format_is_kept():
    model = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    before, strides = model.weight.detach().clone(), model.weight.stride()
    with masked(model, {"weight": torch.zeros(4, 3, 3, 3, dtype=torch.bool)}):
        assert not model.weight.any()
    assert torch.equal(model.weight, before)
    assert model.weight.stride() == strides


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ({"wait": torch.zeros(2, 5, dtype=torch.bool)}, "the mask names 'wait', which the network does not have"),
        ({"weight": torch.zeros(5, 2, dtype=torch.bool)}, r"the mask of 'weight' is \(5, 2\), not \(2, 5\)"),
        ({"weight": torch.zeros(1, 5, dtype=torch.bool)}, r"the mask of 'weight' is \(1, 5\), not \(2, 5\)"),
        ({"weight": torch.tensor(False)}, r"the mask of 'weight' is \(\), not \(2, 5\)"),
    ],
)
@pytest.mark.parametrize("apply", [apply_mask, lambda model, mask: masked(model, mask).__enter__()])
def test_a_mask_that_does_not_fit_is_refused_and_changes_nothing(mask, message, apply):
    model = odd_network()
    with pytest.raises(SparsifyError, match=message):
        apply(model, {"bias": torch.zeros(2, dtype=torch.bool), **mask})
    assert bits(model.weight) == bits(odd_network().weight)
    assert bits(model.bias) == bits(odd_network().bias)


def test_a_mask_of_numbers_is_refused() -> None:
    model = nn.Linear(2, 2)
    with pytest.raises(SparsifyError, match="the mask of 'weight' holds float32, not bool"):
        apply_mask(model, {"weight": torch.ones(2, 2)})
