"""What is left of each layer: literal counts."""

import torch
from torch import nn

from sparsify.analysis.architecture import layers_left
from sparsify.drawing.architecture import LayerLeft, architecture_figure
from sparsify.nets.structure import Cut, Structure


def structure() -> Structure:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5), nn.ReLU(), nn.Linear(5, 2))
    return Structure(network.eval(), torch.zeros(1, 1, 4, 4))


def test_without_cuts_everything_is_left() -> None:
    assert layers_left(structure(), []) == [
        LayerLeft("0", "3×3, 1 → 4", 4, 4, 36, 36),
        LayerLeft("3", "16 → 5", 5, 5, 80, 80),
        LayerLeft("5", "5 → 2", 2, 2, 10, 10),
    ]


def test_with_a_filter_go_the_weights_that_see_it() -> None:
    found = structure()
    first = found.layers["0"]
    left = layers_left(found, [Cut(first, "filter", torch.tensor([True, False, False, True]))])
    assert [(one.outputs_left, one.weights_left) for one in left] == [(2, 18), (5, 40), (2, 10)]


def test_single_weights_take_an_output_only_with_the_last_of_them() -> None:
    found = structure()
    drop = torch.zeros(5, 16, dtype=torch.bool)
    drop[0] = True
    drop[1, :15] = True
    left = layers_left(found, [Cut(found.layers["3"], "weight", drop)])
    assert [(one.outputs_left, one.weights_left) for one in left] == [(4, 36), (4, 49), (2, 10)]


def test_a_layer_of_which_nothing_is_left_is_shown_as_such() -> None:
    """Such a network could not be shrunk, which is not asked for."""
    found = structure()
    left = layers_left(found, [Cut(found.layers["0"], "filter", torch.ones(4, dtype=torch.bool))])
    assert [(one.outputs_left, one.weights_left) for one in left] == [(0, 0), (5, 0), (2, 10)]


def test_a_bar_says_what_is_left() -> None:
    drawing = architecture_figure([LayerLeft("conv1", "3×3, 1 → 4", 4, 3, 36, 9)], title="A network")
    outputs, weights = drawing.axes
    assert [bar.get_width() for bar in outputs.patches] == [4, 3]
    assert outputs.texts[0].get_text() == "3 of 4 (75%)"
    assert weights.texts[0].get_text() == "9 of 36 (25%)"
