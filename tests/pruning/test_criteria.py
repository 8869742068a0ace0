"""Criteria: a literal example of each; torch.nn.utils.prune and Torch-Pruning as oracles."""

from __future__ import annotations

import dataclasses
import functools
import math

import pytest
import torch
import torch.nn.functional as F
import torch.nn.utils.prune as torch_prune
import torch_pruning as tp
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from sparsify.data.dataset import Split
from sparsify.devices import generator
from sparsify.errors import SparsifyError
from sparsify.nets.layers import find_layers
from sparsify.nets.mask import lowest, removed_count
from sparsify.nets.units import Unit
from sparsify.pruning.criteria import CRITERIA, PathState, Scored, lexicographic
from sparsify.pruning.cuts import units_by_name
from sparsify.pruning.ranking import score
from sparsify.pruning.subject import Subject

INF = math.inf
RATIOS = [0, 0.1, 0.25, 0.5, 0.9, 1]


def scored(
    weight: object,
    grain: str,
    *,
    gradient: object = None,
    fisher: object = None,
    per_epoch: int | None = None,
    **path: object,
) -> Scored:
    weight = torch.as_tensor(weight, dtype=torch.float32)
    state = None
    if path:
        given = {name: torch.as_tensor(value, dtype=torch.float32) for name, value in path.items()}
        tensors = {name: torch.zeros_like(weight) for name in ("entry", "gamma", "z")} | given
        state = PathState(**tensors, per_epoch=per_epoch)
    first, second = (None if one is None else torch.as_tensor(one, dtype=torch.float32) for one in (gradient, fisher))
    return Scored("conv1", weight, grain, generator(0), state, gradient=lambda: first, fisher=lambda: second)


def filters(*rows: list[float]) -> Tensor:
    """(n, 1, 1, k)"""
    return torch.tensor(rows)[:, None, None]


def scores(criterion: str, *args: object, **path: object) -> list:
    return CRITERIA[criterion].score(scored(*args, **path)).tolist()


def ranks(criterion: str, *args: object, **path: object) -> list:
    """Which grain goes first (0), second, …; ties by index."""
    found = CRITERIA[criterion].score(scored(*args, **path))
    return found.flatten().argsort(stable=True).argsort().view(found.shape).tolist()


def test_magnitude_is_the_l2_norm_of_a_filter_or_neuron_and_the_size_of_a_weight():
    assert scores("magnitude", filters([3, -4], [0, 1]), "filter") == [5, 1]
    assert scores("magnitude", [[3, -4], [0, 1]], "neuron") == [5, 1]
    assert scores("magnitude", [[3, -4], [0, 1]], "weight") == [[3, 4], [0, 1]]
    assert scores("magnitude", filters([3, -4], [0, 1]), "weight") == [[[[3, 4]]], [[[0, 1]]]]


def test_l1_is_the_l1_norm_of_a_filter_or_neuron_and_the_size_of_a_weight():
    assert scores("l1", filters([3, -4], [0, 1]), "filter") == [7, 1]
    assert scores("l1", [[3, -4], [0, 1]], "neuron") == [7, 1]
    assert scores("l1", [[3, -4], [0, 1]], "weight") == [[3, 4], [0, 1]]


def test_magnitude_and_l1_can_differ():
    """‖(3, 3)‖₁ = 6 > 5 = ‖(0, 5)‖₁, and √18 < 5."""
    assert scores("l1", filters([3, 3], [0, 5]), "filter") == [6, 5]
    magnitude = scores("magnitude", filters([3, 3], [0, 5]), "filter")
    assert magnitude[0] < magnitude[1]


def test_entry_keeps_what_entered_first_and_among_equals_the_largest():
    """What never entered goes first, then what entered at 10, then of the two that entered at 3 the smaller norm."""
    weight = filters([9, 0], [0, 2], [1, 0], [0, 5])
    assert ranks("entry", weight, "filter", entry=[INF, 3, 3, 10]) == [0, 3, 2, 1]


def test_entry_breaks_the_ties_of_what_never_entered_by_norm():
    assert ranks("entry", filters([2, 0], [1, 0], [3, 0]), "filter", entry=[INF, INF, INF]) == [1, 0, 2]


def test_entry_of_single_weights():
    weight, entry = [[5, 1], [2, 9]], [[INF, 7], [7, INF]]
    assert ranks("entry", weight, "weight", entry=entry) == [[0, 2], [3, 1]]


def test_a_neuron_enters_with_its_first_weight():
    entry = [[INF, 7], [5, INF], [INF, INF]]
    assert ranks("entry", [[1, 1], [1, 1], [9, 9]], "neuron", entry=entry) == [1, 2, 0]


def test_a_single_weight_of_a_convolution_enters_with_its_filter():
    assert ranks("entry", filters([5, 1], [2, 9]), "weight", entry=[4, INF]) == [[[[3, 2]]], [[[0, 1]]]]


def test_entry_norm_is_the_norm_minus_the_epoch_of_entry():
    """Steps 0 to 10 are epoch 0 and 11 to 20 epoch 1; what never entered counts as in epoch 2000."""
    weight = filters([3, 4], [0, 1], [0.5, 0], [6, 8], [0.25, 0], [9, 12])
    found = scores("entry-norm", weight, "filter", entry=[0, 1, 10, 11, INF, 20], per_epoch=10)
    assert found == [5, 1, 0.5, 9, 0.25 - 2000, 14]


def test_a_norm_larger_by_more_than_1_makes_up_for_an_epoch_but_not_in_the_order_of_steps():
    weight, entry = filters([0.5, 0], [1, 0], [2, 0]), [1, 4, 9]
    assert ranks("entry-norm", weight, "filter", entry=entry, per_epoch=4) == [1, 2, 0]
    assert ranks("entry", weight, "filter", entry=entry) == [2, 1, 0]


def test_entry_norm_of_single_weights_and_of_neurons_and_of_a_filters_weights():
    entry = [[INF, 7], [5, INF], [INF, INF]]
    weight = [[0.5, -0.25], [2, 1], [0, -4]]
    assert scores("entry-norm", weight, "weight", entry=entry, per_epoch=5) == [
        [0.5 - 2000, 0.25 - 1],
        [2, 1 - 2000],
        [-2000, 4 - 2000],
    ]
    neurons = scores("entry-norm", [[3, 4], [0, 1], [5, 12]], "neuron", entry=entry, per_epoch=5)
    assert neurons == [5 - 1, 1, 13 - 2000]
    assert scores("entry-norm", filters([5, 1], [2, 9]), "weight", entry=[4, INF], per_epoch=5) == [
        [[[5, 1]]],
        [[[2 - 2000, 9 - 2000]]],
    ]


def test_entry_norm_tells_small_weights_that_never_entered_apart():
    """float32 has steps of 0.0001 at 2000."""
    assert ranks("entry-norm", [[3e-6, 1e-6, 2e-6]], "weight", entry=[[INF] * 3], per_epoch=1) == [[2, 0, 1]]


def test_entry_norm_needs_to_know_how_long_an_epoch_is():
    with pytest.raises(SparsifyError) as caught:
        CRITERIA["entry-norm"].score(scored(filters([1, 2]), "filter", entry=[1]))
    assert str(caught.value).startswith(
        "criterion 'entry-norm' needs the number of steps of an epoch, and the path of conv1 has none; choose from: "
    )


def test_gamma_orders_by_gamma_and_then_by_z():
    """The first two filters are outside the support; the first's Z is nearer to entering."""
    weight = filters([9, 9], [9, 9], [1, 1], [1, 2])
    gamma, z = filters([0, 0], [0, 0], [2, 0], [0, 0.5]), filters([0.5, 0], [0.2, 0], [3, 0], [0, 1.5])
    assert ranks("gamma", weight, "filter", gamma=gamma, z=z) == [1, 0, 3, 2]


def test_gamma_of_single_weights_and_neurons():
    """The second neuron's Z is the larger, but nothing of it is in the support."""
    gamma, z = [[0, -0.2], [0, 0]], [[-0.5, -1.2], [0.95, 0.9]]
    assert ranks("gamma", torch.ones(2, 2), "weight", gamma=gamma, z=z) == [[0, 3], [2, 1]]
    assert ranks("gamma", torch.ones(2, 2), "neuron", gamma=gamma, z=z) == [1, 0]


def test_taylor_is_the_first_order_change_of_the_loss():
    """3·1 − 4·2 = −5 and 0·7 + 1·0.5; single weights |3·1|, |−4·2|, |0·7|, |1·0.5|."""
    weight, gradient = [[3, -4], [0, 1]], [[1, 2], [7, 0.5]]
    assert scores("taylor", weight, "neuron", gradient=gradient) == [5, 0.5]
    assert scores("taylor", filters(*map(list, weight)), "filter", gradient=filters(*gradient)) == [5, 0.5]
    assert scores("taylor", weight, "weight", gradient=gradient) == [[3, 8], [0, 0.5]]


def test_taylor_does_not_vanish_with_small_weights():
    """(g·w)² of 1e-24 and 2e-24 would be 0 in float32."""
    assert ranks("taylor", [[2e-12, 1e-12]], "weight", gradient=[[1e-12, 1e-12]]) == [[1, 0]]


def test_taylor_without_gradients_is_refused():
    with pytest.raises(SparsifyError) as caught:
        CRITERIA["taylor"].score(scored(filters([1, 2]), "filter"))
    assert str(caught.value) == (
        "criterion 'taylor' needs gradients on training images with labels, and there are none for conv1; choose from: "
        + ", ".join(name for name in CRITERIA if name != "taylor")
    )


def test_obd_is_half_of_the_curvature_times_the_square_of_the_weight():
    """½·2·3² = 9 and ½·1·4² = 8 of the first; ½·7·0² and ½·4·1² = 2 of the second."""
    weight, fisher = [[3, -4], [0, 1]], [[2, 1], [7, 4]]
    assert scores("obd", weight, "weight", fisher=fisher) == [[9, 8], [0, 2]]
    assert scores("obd", weight, "neuron", fisher=fisher) == [17, 2]
    assert scores("obd", filters(*weight), "filter", fisher=filters(*fisher)) == [17, 2]


def test_obd_does_not_vanish_with_small_weights():
    assert ranks("obd", [[2e-18, 1e-18]], "weight", fisher=[[1e-18, 1e-18]]) == [[1, 0]]


def test_obd_without_gradients_is_refused():
    with pytest.raises(SparsifyError, match="criterion 'obd' needs gradients on training images with labels, and ther"):
        CRITERIA["obd"].score(scored(filters([1, 2]), "filter"))


def test_fpgm_is_the_sum_of_the_distances_to_the_others():
    """Of (0, 0), (3, 4), (0, 8): 5 + 8, 5 + 5, 8 + 5; of 4, −1, 0, 4: 5 + 4 + 0, 5 + 1 + 5, 4 + 1 + 4, 0 + 5 + 4."""
    assert scores("fpgm", filters([0, 0], [3, 4], [0, 8]), "filter") == [13, 10, 13]
    assert scores("fpgm", [[0, 0], [3, 4], [0, 8]], "neuron") == [13, 10, 13]
    assert scores("fpgm", [[4, -1], [0, 4]], "weight") == [[9, 11], [9, 9]]


def test_fpgm_of_equal_filters_is_exactly_equal():
    """More than 25 of them: torch.cdist would take matrix products."""
    weight = drawn((1, 3, 3, 3), 0).expand(40, 3, 3, 3)
    assert scores("fpgm", weight, "filter") == [0.0] * 40


@given(st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=40))
def test_fpgm_of_single_weights_is_the_sum_over_all_pairs(values):
    weight = torch.tensor([values])
    expected = (weight.double().T - weight.double()).abs().sum(0, keepdim=True)
    torch.testing.assert_close(CRITERIA["fpgm"].score(scored(weight, "weight")), expected)


@pytest.mark.cuda
@pytest.mark.parametrize("criterion", ["lamp", "fpgm"])
def test_running_sums_are_the_same_each_time_on_a_gpu(criterion):
    """torch has no deterministic cumsum on CUDA, and says so."""
    weight = torch.randn(200, 300, generator=torch.Generator().manual_seed(0))
    layer = dataclasses.replace(scored(weight.tolist(), "weight"), weight=weight.cuda())
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        assert CRITERIA[criterion].score(layer).is_cuda
    finally:
        torch.use_deterministic_algorithms(before)


def test_lamp_divides_by_the_squares_that_are_not_smaller():
    """1/(1 + 4 + 4 + 16), 4/(4 + 4 + 16), 4/(4 + 16), 16/16: of two equal ones the first goes first."""
    expected = torch.tensor([[4 / 24, 1.0], [1 / 25, 4 / 20]], dtype=torch.float64)
    torch.testing.assert_close(CRITERIA["lamp"].score(scored([[2, -4], [1, -2]], "weight")), expected)
    found = CRITERIA["lamp"].score(scored([[3, 4], [0, 1], [0, 0]], "neuron"))
    torch.testing.assert_close(found, torch.tensor([1, 1 / 26, 0], dtype=torch.float64))
    assert scores("lamp", [[0, 0]], "weight") == [[0, 0]]


@given(st.lists(st.floats(-2, 2, width=32), min_size=1, max_size=40))
def test_lamp_orders_a_layer_as_magnitude_does(values):
    """Down to the smallest numbers, whose squares are 0 in float32."""
    assert ranks("lamp", [values], "weight") == ranks("magnitude", [values], "weight")


class TestTorchPruning:
    """Its importances of the outputs of one layer, as they are: the first member of the group, nothing normalised."""

    @staticmethod
    def trained() -> nn.Sequential:
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(2, 30, 3), nn.BatchNorm2d(30), nn.ReLU(), nn.Conv2d(30, 2, 3), nn.Flatten(1), nn.Linear(2, 3)
        )
        nn.init.normal_(model[1].weight)
        F.cross_entropy(model.eval()(torch.rand(4, 2, 5, 5)), torch.tensor([0, 1, 2, 0])).backward()
        return model

    def both(self, criterion: str, importance: tp.importance.Importance, model: nn.Module) -> tuple[Tensor, Tensor]:
        graph = tp.DependencyGraph().build_dependency(model, torch.rand(1, 2, 5, 5))
        group = graph.get_pruning_group(model[0], tp.prune_conv_out_channels, list(range(30)))
        known = scored(model[0].weight.detach(), "filter", gradient=model[0].weight.grad)
        known = dataclasses.replace(known, scale=lambda: model[1].weight.detach())
        return CRITERIA[criterion].score(known), importance(group)

    @pytest.mark.parametrize(
        ("criterion", "importance"),
        [
            ("l1", tp.importance.MagnitudeImportance(p=1, group_reduction="first", normalizer=None)),
            ("taylor", tp.importance.TaylorImportance(group_reduction="first", normalizer=None, multivariable=True)),
            ("lamp", tp.importance.LAMPImportance(group_reduction="first")),
            ("bn-scale", tp.importance.BNScaleImportance(normalizer=None)),
        ],
    )
    def test_has_the_same(self, criterion, importance):
        found, expected = self.both(criterion, importance, self.trained())
        # theirs is summed in float32: 18 products g·w of up to 1e-3, whose sum may be near 0
        torch.testing.assert_close(found.float(), expected.float(), rtol=1e-4, atol=1e-8)
        assert torch.equal(found.argsort(), expected.argsort())

    def test_has_the_same_fpgm_of_weights_that_are_not_negative(self):
        """Of others it takes the distances of |W|."""
        model = self.trained()
        model[0].weight.data.abs_()
        importance = tp.importance.FPGMImportance(p=1, group_reduction="first", normalizer=None)
        torch.testing.assert_close(*self.both("fpgm", importance, model), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("criterion", "needs"),
    [
        ("entry", "the path of a run trained with one of slbi, slbi-adam, random-release, linbreg, adabreg, prox-sgd"),
        (
            "entry-norm",
            "the path of a run trained with one of slbi, slbi-adam, random-release, linbreg, adabreg, prox-sgd",
        ),
        ("gamma", "Γ and Z of a run trained with one of slbi, slbi-adam, random-release"),
    ],
)
def test_what_needs_a_path_says_so_and_names_the_others(criterion, needs):
    lacking = ["entry", "entry-norm", "gamma", "taylor"]
    layer = dataclasses.replace(scored(filters([1, 2]), "filter"), lacking=lambda: lacking)
    with pytest.raises(SparsifyError) as caught:
        CRITERIA[criterion].score(layer)
    assert str(caught.value) == (
        f"criterion '{criterion}' needs {needs}; this one has none for conv1; choose from: "
        f"{', '.join(name for name in CRITERIA if name not in lacking)}"
    )


def test_a_path_without_gamma_has_an_order_of_entry_and_says_that_it_has_no_gamma():
    layer = dataclasses.replace(scored(filters([1, 2], [3, 4]), "filter"), path=PathState(torch.tensor([2.0, 1.0])))
    assert CRITERIA["entry"].score(layer).argsort().tolist() == [0, 1]
    with pytest.raises(
        SparsifyError, match=r"needs Γ and Z of a run .* this one has none for conv1; .*, entry, entry-norm, random"
    ):
        CRITERIA["gamma"].score(layer)


@pytest.mark.parametrize("criterion", ["magnitude", "l1", "random", "fpgm", "lamp"])
def test_what_needs_no_path_works_without_one(criterion):
    assert CRITERIA[criterion].score(scored(filters([1, 2], [3, 4]), "filter")).shape == (2,)


def test_lexicographic_orders_by_the_first_and_then_by_the_second():
    """In order: (0, 2), (0, 5), and twice (1, 5)."""
    found = lexicographic(torch.tensor([1.0, 0, 1, 0]), torch.tensor([5.0, 5, 5, 2]))
    assert found.argsort(stable=True).tolist() == [3, 1, 0, 2]
    assert found[0] == found[2]


FLOATS = st.one_of(
    st.sampled_from([-INF, INF, -0.0, 0.0, 1e-45, -1e-45, 3e38, 16777217.0]), st.integers(-3, 3), st.floats(width=32)
).filter(lambda value: value == value)


@given(st.lists(st.tuples(FLOATS, FLOATS), min_size=1, max_size=40))
def test_lexicographic_is_pythons_order_of_tuples(pairs):
    """Of any float32, and with equal numbers for equal pairs, so that grains of several layers compare."""
    first, second = torch.tensor(pairs, dtype=torch.float32).T
    numbers = lexicographic(first, second).tolist()
    pairs = list(zip(first.tolist(), second.tolist(), strict=True))
    assert sorted(range(len(pairs)), key=lambda i: (pairs[i], i)) == sorted(
        range(len(pairs)), key=lambda i: (numbers[i], i)
    )
    assert [[a == b for a in pairs] for b in pairs] == [[a == b for a in numbers] for b in numbers]


def drawn(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("criterion", ["magnitude", "l1"])
def test_single_weights_go_as_in_torchs_l1_unstructured(criterion, seed, ratio):
    layer = nn.Linear(7, 9)
    layer.weight.data = drawn((9, 7), seed)
    found = lowest(CRITERIA[criterion].score(scored(layer.weight.detach(), "weight")), removed_count(ratio, 63))
    torch_prune.l1_unstructured(layer, "weight", amount=float(ratio))
    assert torch.equal(found, layer.weight_mask == 0)


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("criterion", "order"), [("magnitude", 2), ("l1", 1)])
@pytest.mark.parametrize("shape", [(11, 3, 5, 5), (11, 8)], ids=["filters", "neurons"])
def test_filters_and_neurons_go_as_in_torchs_ln_structured(criterion, order, seed, ratio, shape):
    module = nn.Module()
    module.weight = nn.Parameter(drawn(shape, seed))
    grain = "filter" if len(shape) == 4 else "neuron"
    found = lowest(CRITERIA[criterion].score(scored(module.weight.detach(), grain)), removed_count(ratio, 11))
    torch_prune.ln_structured(module, "weight", amount=float(ratio), n=order, dim=0)
    assert torch.equal(found, (module.weight_mask == 0).flatten(1).all(1))
    assert torch.equal(~found, (module.weight_mask == 1).flatten(1).all(1))


@pytest.mark.parametrize("criterion", ["magnitude", "l1", "fpgm", "lamp"])
def test_the_memory_format_of_a_weight_does_not_change_a_bit_of_its_scores(criterion):
    weight = drawn((16, 24, 5, 5), 0)
    plain = CRITERIA[criterion].score(scored(weight, "filter"))
    assert torch.equal(CRITERIA[criterion].score(scored(weight.to(memory_format=torch.channels_last), "filter")), plain)


class Three(nn.Module):
    """Two convolutions and a layer of neurons, each of 2 channels of 4×4 and with 12 outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(2, 12, 3), nn.Conv2d(2, 12, 3), nn.Linear(4, 12)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.a(x).flatten(1), self.b(x).flatten(1), self.c(x[:, 0, 0])], 1)


class TestRandom:
    """`random` through `score`, which keys it."""

    @staticmethod
    @functools.cache
    def unit(name: str, seed: int, grain: str) -> tuple[Subject, Unit]:
        subject = Subject(Three(), Split(torch.zeros(1, 2, 4, 4), torch.zeros(1)), seed=seed)
        return subject, units_by_name(subject, find_layers(subject.model, name), grain)[name]

    def draw(self, name: str = "a", seed: int = 0, draw: int = 0, grain: str = "auto") -> Tensor:
        return score(*self.unit(name, seed, grain), criterion="random", draw=draw)

    def test_repeats_for_the_same_seed_draw_and_layer(self):
        assert torch.equal(self.draw(), self.draw())

    def test_differs_by_draw_layer_and_seed(self):
        orders = [self.draw(), self.draw(draw=1), self.draw(name="b"), self.draw(seed=1)]
        assert len({tuple(order.argsort().tolist()) for order in orders}) == 4

    def test_has_a_score_for_every_grain(self):
        assert self.draw().shape == (12,)
        assert self.draw(grain="weight").shape == (12, 2, 3, 3)
        assert self.draw("c").shape == (12, 4)
        assert self.draw("c", grain="neuron").shape == (12,)
        assert len(set(self.draw(grain="weight").flatten().tolist())) == 216

    def test_neither_reads_nor_moves_the_global_generator(self):
        torch.manual_seed(1)
        first = self.draw()
        after = torch.rand(3)
        torch.manual_seed(1)
        assert torch.equal(torch.rand(3), after)
        torch.manual_seed(2)
        assert torch.equal(self.draw(), first)

    def test_removes_every_grain_about_equally_often(self):
        """400 draws of 6 among 12: each goes 200 ± 10 times; five standard deviations are 50."""
        removed = sum(lowest(self.draw(draw=draw), 6).long() for draw in range(400))
        assert removed.sum() == 400 * 6
        assert 150 < removed.min() <= removed.max() < 250

    @pytest.mark.parametrize("ratio", RATIOS)
    def test_removes_as_many_as_torchs_random_structured(self, ratio):
        layer = nn.Conv2d(2, 12, 3)
        torch_prune.random_structured(layer, "weight", amount=float(ratio), dim=0)
        expected = int((layer.weight_mask == 0).flatten(1).all(1).sum())
        assert int(lowest(self.draw(), removed_count(ratio, 12)).sum()) == expected
