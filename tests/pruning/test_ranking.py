"""Ranking: exact counts in each layer or of all together, either order, controls with the counts of another; and how
layers that go together are scored as one."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from sparsify.data.dataset import Split
from sparsify.errors import SparsifyError
from sparsify.nets.layers import find_layers
from sparsify.nets.mask import lowest, removed_count
from sparsify.nets.units import Unit
from sparsify.pruning.criteria import CRITERIA, Criterion, PathState
from sparsify.pruning.cuts import units_by_name
from sparsify.pruning.measuring import prune
from sparsify.pruning.ranking import Ranking, Scorer, path_of, scale_of, score
from sparsify.pruning.subject import Subject

SCORES = {"a": torch.tensor([1.0, 5, 3]), "b": torch.tensor([[2.0, 3], [3, 0]])}
"""Together, the lowest first: b₃, a₀, b₀, a₂, b₁, b₂, a₁; three grains tie at 3."""


def gone(selection: Ranking, ratio: float) -> dict[str, list[int]]:
    return {name: drop.flatten().nonzero().flatten().tolist() for name, drop in selection.drops(ratio).items()}


def test_each_layer_loses_the_ratio_of_its_own_grains():
    assert gone(Ranking("m", SCORES), 0.5) == {"a": [0, 2], "b": [0, 3]}
    assert gone(Ranking("m", SCORES, reverse=True), 0.5) == {"a": [1, 2], "b": [1, 2]}


def test_globally_the_lowest_of_all_go_and_ties_by_layer_and_then_by_index():
    found = [gone(Ranking("m", SCORES, "global"), count / 7) for count in range(8)]
    assert found == [
        {"a": [], "b": []},
        {"a": [], "b": [3]},
        {"a": [0], "b": [3]},
        {"a": [0], "b": [0, 3]},
        {"a": [0, 2], "b": [0, 3]},
        {"a": [0, 2], "b": [0, 1, 3]},
        {"a": [0, 2], "b": [0, 1, 2, 3]},  # b is gone: that is measured
        {"a": [0, 1, 2], "b": [0, 1, 2, 3]},
    ]


def test_globally_reversed_the_highest_go_and_ties_by_layer_and_then_by_index_all_the_same():
    found = [gone(Ranking("m", SCORES, "global", reverse=True), count / 7) for count in range(1, 5)]
    assert found == [
        {"a": [1], "b": []},
        {"a": [1, 2], "b": []},
        {"a": [1, 2], "b": [1]},
        {"a": [1, 2], "b": [1, 2]},
    ]


def test_a_control_takes_as_many_of_each_layer_as_what_it_controls():
    """4 of 7 are 2 and 2 globally; of 0.9, 6 of 7, all of b go."""
    base = Ranking("m", SCORES, "global")
    opposite = Ranking("m", SCORES, "global", reverse=True, like=base)
    assert gone(opposite, 4 / 7) == {"a": [1, 2], "b": [1, 2]}
    assert gone(opposite, 6 / 7) == {"a": [1, 2], "b": [0, 1, 2, 3]}
    assert gone(Ranking("m", SCORES, "global", reverse=True), 6 / 7) == {"a": [0, 1, 2], "b": [0, 1, 2]}


def test_the_name_says_which_order():
    assert Ranking("lamp", SCORES).name == "lamp"
    assert Ranking("lamp", SCORES, reverse=True).name == "lamp-reversed"


LAYERS = st.lists(st.lists(st.integers(-3, 3), min_size=1, max_size=9), min_size=1, max_size=4)
RATIOS = st.floats(0, 1)


def scores_of(layers: list[list[int]]) -> dict[str, torch.Tensor]:
    return {str(index): torch.tensor(values, dtype=torch.float32) for index, values in enumerate(layers)}


@given(LAYERS, RATIOS, st.booleans())
def test_counts_are_exact_in_each_layer(layers, ratio, reverse):
    found = Ranking("m", scores_of(layers), "layer", reverse).drops(ratio)
    assert [int(drop.sum()) for drop in found.values()] == [round(ratio * len(values)) for values in layers]


@given(LAYERS, RATIOS, st.booleans())
def test_globally_the_grains_that_go_are_those_of_one_sorted_list(layers, ratio, reverse):
    grains = [(value, layer, index) for layer, values in enumerate(layers) for index, value in enumerate(values)]
    order = sorted(grains, key=lambda grain: (-grain[0] if reverse else grain[0], *grain[1:]))
    expected = {(layer, index) for _, layer, index in order[: round(ratio * len(grains))]}
    found = Ranking("m", scores_of(layers), "global", reverse).drops(ratio)
    assert {(int(name), i) for name, drop in found.items() for i in drop.nonzero().flatten().tolist()} == expected


@given(LAYERS, RATIOS, st.booleans(), st.sampled_from(["layer", "global"]))
def test_more_goes_at_a_higher_ratio_and_what_went_stays_gone(layers, ratio, reverse, scope):
    selection = Ranking("m", scores_of(layers), scope, reverse)
    less, more = selection.drops(ratio / 2), selection.drops(ratio)
    assert all((more[name] >= less[name]).all() for name in more)


@given(LAYERS, RATIOS, st.sampled_from(["layer", "global"]))
def test_controls_have_identical_counts_in_each_layer(layers, ratio, scope):
    base = Ranking("m", scores_of(layers), scope)
    other = {name: torch.rand(values.shape) for name, values in base.scores.items()}
    controls = [
        Ranking("random", other, scope, like=base),
        Ranking("m", base.scores, scope, reverse=True, like=base),
    ]
    for control in controls:
        for name, drop in control.drops(ratio).items():
            assert drop.sum() == base.drops(ratio)[name].sum()


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=20), RATIOS)
def test_in_one_layer_both_scopes_are_the_same(values, ratio):
    scores = scores_of([values])
    assert torch.equal(Ranking("m", scores).drops(ratio)["0"], Ranking("m", scores, "global").drops(ratio)["0"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64])
def test_the_highest_go_in_every_kind_of_score(dtype):
    scores = torch.tensor([2, 7, -9, 7, 0], dtype=dtype)
    assert lowest(scores, removed_count(0.6, 5), reverse=True).tolist() == [True, True, False, True, False]


# layers that go together ---------------------------------------------------------------------------------------------

INF = math.inf


class Added(nn.Module):
    """3 filters of a, added to the 3 of b in the opposite order; each behind a BatchNorm, if it has one."""

    def __init__(self, *, norms: str = "ab") -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 3, (1, 2)), nn.Conv2d(1, 3, (1, 2))
        self.bn_a = nn.BatchNorm2d(3) if "a" in norms else nn.Identity()
        self.bn_b = nn.BatchNorm2d(3) if "b" in norms else nn.Identity()
        self.fc = nn.Linear(3, 2)
        with torch.no_grad():
            self.a.weight[:, 0, 0] = torch.tensor([[3.0, 4], [0, 3], [1, 0]])
            self.b.weight[:, 0, 0] = torch.tensor([[0.0, 0], [4, 0], [12, 0]])
            if "a" in norms:
                self.bn_a.weight[:] = torch.tensor([2.0, -4, 6])
            if "b" in norms:
                self.bn_b.weight[:] = torch.tensor([6.0, 2, 1])

    def forward(self, x: Tensor) -> Tensor:
        return self.fc((self.bn_a(self.a(x)) + self.bn_b(self.b(x)).flip(1)).relu().mean((2, 3)))


def subject(model: nn.Module | None = None, shape: tuple[int, ...] = (1, 1, 2, 3), **more: object) -> Subject:
    model = Added() if model is None else model
    return Subject(model.eval(), Split(torch.zeros(shape), torch.zeros(1, dtype=torch.long)), **more)


def unit(of: Subject, layers: str = "a,b", grain: str = "auto") -> Unit:
    return units_by_name(of, find_layers(of.model, layers), grain)[layers]


def scored(criterion: str, of: Subject | None = None, layers: str = "a,b", **more: object) -> list[float]:
    """The scores of the grains: a's filters 0, 1 and 2 with b's filters 2, 1 and 0."""
    of = subject() if of is None else of
    return score(of, unit(of, layers), criterion=criterion, **more).tolist()


def rows(*values: list[float]) -> Tensor:
    """In the shape of a weight of `Added`."""
    return torch.tensor(values, dtype=torch.float)[:, None, None]


def first_to_go(criterion: str, of: Subject, layers: str = "a,b", grain: str = "auto") -> list[int]:
    return score(of, unit(of, layers, grain), criterion=criterion).argsort(stable=True).tolist()


def test_the_norm_of_what_goes_together_is_the_norm_of_the_parts_norms():
    """5 and 12, 3 and 4, 1 and 0."""
    assert scored("magnitude") == [13, 5, 1]
    assert scored("l1") == [7 + 12, 3 + 4, 1 + 0]
    assert scored("lamp") == pytest.approx([1, 25 / (25 + 169), 1 / (1 + 25 + 169)])


GRADIENTS = {"a.weight": rows([1, 1], [2, 2], [5, 9]), "b.weight": rows([7, 7], [-1, 3], [-0.5, 0])}


def test_the_change_of_the_loss_is_summed_over_all_parts():
    """3 + 4 − 6, 6 − 4 and 5 + 0: what one part takes off the loss the other can add."""
    assert scored("taylor", gradients=lambda: GRADIENTS) == [1, 2, 5]


def test_the_damage_is_summed_over_all_parts():
    """½·2·(9 + 16 + 144), ½·2·(9 + 16), ½·2·1."""
    fisher = {name: torch.full_like(rows([1, 1], [2, 2], [5, 9]), 2.0) for name in ("a.weight", "b.weight")}
    assert scored("obd", fisher=lambda: fisher) == [25 + 144, 9 + 16, 1]


def test_without_the_gradients_of_one_part_there_is_no_change_of_the_loss():
    for name in GRADIENTS:
        with pytest.raises(SparsifyError, match="criterion 'taylor' needs gradients"):
            scored("taylor", gradients=lambda name=name: {name: GRADIENTS[name]})


def test_distances_are_between_the_parts_side_by_side():
    """(3, 4, 12, 0), (0, 3, 4, 0) and (1, 0, 0, 0)."""
    far, near, middle = math.sqrt(4 + 16 + 144), math.sqrt(1 + 9 + 16), math.sqrt(9 + 1 + 64)
    assert scored("fpgm") == pytest.approx([middle + far, middle + near, far + near])
    without = scored("fpgm", gone=torch.tensor([False, True, False]))
    assert without == pytest.approx([far, middle + near, far])


def test_the_scale_is_the_mean_of_those_behind_each_relative_to_its_layers_times_the_mean_of_all():
    """2, 4, 6 are 1/2, 1, 3/2 of their mean of 4; 1, 2, 6 are 1/3, 2/3, 2 of 3; the mean of 4 and 3 is 7/2."""
    expected = [(1 / 2 + 1 / 3) / 2 * 7 / 2, (1 + 2 / 3) / 2 * 7 / 2, (3 / 2 + 2) / 2 * 7 / 2]
    assert scored("bn-scale") == pytest.approx(expected)
    of = subject()
    assert scale_of(of, unit(of)).tolist() == pytest.approx(expected)


@pytest.mark.parametrize(("norms", "expected"), [("a", [2, 4, 6]), ("b", [1, 2, 6])])
def test_where_only_one_part_has_a_norm_behind_it_the_scale_is_its(norms, expected):
    for layers in ("a", "a,b"):
        assert scored("bn-scale", subject(Added(norms=norms)), layers) == pytest.approx(expected)


def test_without_any_norm_there_is_no_scale():
    with pytest.raises(SparsifyError, match="criterion 'bn-scale' needs a normalisation with a scale behind a"):
        scored("bn-scale", subject(Added(norms="")))


def entering(**steps: list[float]) -> dict[str, PathState]:
    return {f"{name}.weight": PathState(torch.tensor(values)) for name, values in steps.items()}


def test_a_grain_enters_with_the_first_of_its_parts():
    """At min(5, 7), min(1, 2) and min(∞, 9)."""
    of = subject(path=entering(a=[5, 1, INF], b=[9, 2, 7]))
    assert path_of(of, unit(of)).entry.tolist() == [5, 1, 9]
    assert first_to_go("entry", of) == [2, 0, 1]


def test_what_entered_at_once_goes_by_the_norm_of_all_parts():
    assert first_to_go("entry", subject(path=entering(a=[3, 3, 3], b=[3, 3, 3]))) == [2, 1, 0]


def test_a_part_without_a_path_says_nothing_of_when_a_grain_entered():
    of = subject(path=entering(b=[INF, 2, 7]))
    assert path_of(of, unit(of)).entry.tolist() == [7, 2, INF]
    assert path_of(of, unit(of)).gamma is None
    none = subject(path=entering(fc=[1, 1]))
    assert path_of(none, unit(none)) is None


def test_gamma_and_z_are_those_of_all_parts_side_by_side():
    """‖Γ‖ is 5, 0 and 0; of the last two ‖Z‖ is √10 and 2."""
    entry = torch.zeros(3)
    states = {
        "a.weight": PathState(entry, rows([3, 0], [0, 0], [0, 0]), rows([4, 0], [1, 0], [0, 2])),
        "b.weight": PathState(entry, rows([0, 0], [0, 0], [0, 4]), rows([0, 0], [0, 3], [0, 5])),
    }
    of = subject(path=states)
    state = path_of(of, unit(of))
    assert state.gamma.tolist() == [[3, 0, 0, 4], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert state.z.tolist() == [[4, 0, 0, 5], [1, 0, 0, 3], [0, 2, 0, 0]]
    assert first_to_go("gamma", of) == [2, 1, 0]


def test_grains_that_the_scales_select_have_the_path_of_the_scales():
    """With the structure "bn-scale" γ has a path, and not the weight: one number a filter."""
    states = {
        "bn_a.weight": PathState(torch.tensor([4.0, 9, INF]), torch.tensor([3.0, 0, 0]), torch.tensor([4.0, 1, 0])),
        "bn_b.weight": PathState(torch.tensor([INF, 9, 3]), torch.tensor([0.0, 0, 4]), torch.tensor([1.0, 1, 5])),
    }
    of = subject(path=states)
    state = path_of(of, unit(of))
    assert state.entry.tolist() == [3, 9, INF]
    assert state.gamma.tolist() == [[3, 4], [0, 0], [0, 0]]
    assert first_to_go("entry", of) == [2, 1, 0]
    assert first_to_go("gamma", of) == [2, 1, 0]


class AddedNeurons(nn.Module):
    """2 neurons of a, added to the 2 of b."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.fc = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc((self.a(x) + self.b(x)).relu())


def test_neurons_that_are_added_enter_with_the_first_weight_of_any():
    """A path has the step of each single weight: the first ones are 5 and 2."""
    states = {
        "a.weight": PathState(torch.tensor([[INF, 5], [7, 8]])),
        "b.weight": PathState(torch.tensor([[9, 6], [INF, 2]])),
    }
    of = subject(AddedNeurons(), (1, 2), path=states)
    assert path_of(of, unit(of, grain="neuron")).entry.tolist() == [5, 2]
    assert first_to_go("entry", of, grain="neuron") == [0, 1]


@pytest.mark.parametrize("criterion", CRITERIA)
def test_a_layer_is_scored_with_what_goes_with_it_whether_that_is_asked_for_or_not(criterion):
    entry = torch.tensor([1.0, 2, 3])
    path = {
        f"{name}.weight": PathState(entry, rows([1, 2], [0, 0], [3, 4]), rows([1, 2], [3, 4], [5, 6]), per_epoch=1)
        for name in "ab"
    }
    of = subject(path=path)
    more = {"gradients": lambda: GRADIENTS, "fisher": lambda: GRADIENTS}
    both = scored(criterion, of, "a,b", **more)
    assert len(both) == 3
    assert scored(criterion, of, "a", **more) == both
    if criterion != "random":  # drawn in the order of b's own filters
        assert scored(criterion, of, "b", **more) == both[::-1]


@pytest.mark.parametrize("criterion", ["magnitude", "l1", "fpgm", "lamp"])
def test_single_weights_of_layers_that_are_added_are_scored_by_themselves(criterion):
    of = subject()
    found: Mapping[str, Tensor] = Scorer(of)(units_by_name(of, find_layers(of.model, "a,b"), "weight"), criterion)
    alone = {name: Scorer(of)(units_by_name(of, find_layers(of.model, name), "weight"), criterion) for name in "ab"}
    assert found.keys() == {"a", "b"}
    assert all(torch.equal(found[name], alone[name][name]) for name in "ab")
    assert found["a"].shape == (3, 1, 1, 2)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (lambda layer: layer.norms(layer.weight)[:2], r"have the shape \(2,\), not \(4,\)"),
        (lambda layer: layer.weight, r"have the shape \(4, 1, 3, 3\), not \(4,\)"),
        (lambda layer: layer.norms(layer.weight) * math.nan, r"are not numbers \(NaN\)"),
        (lambda layer: [1.0, 2, 3, 4], "are of the type list, not a tensor"),
        (lambda layer: None, "are of the type NoneType, not a tensor"),
    ],
)
def test_scores_that_are_not_one_number_a_grain_are_refused(given, found, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CRITERIA, "mine", Criterion(given))
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(16, 2))
    data = torch.rand(4, 1, 4, 4), torch.tensor([0, 1, 0, 1])
    with pytest.raises(SparsifyError, match=f"criterion mine: the scores of 0, one for each filter, {found}"):
        prune(model, data=data, layers="0", ratios=[0.5], criterion="mine")
