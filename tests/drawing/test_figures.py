"""Figures: what is drawn, not how it looks."""

import dataclasses
import itertools
import re
from collections import Counter
from types import SimpleNamespace
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from sweeps import sweep_of
from torch import nn

from sparsify.analysis.weights import TrainedNetwork
from sparsify.config import Config
from sparsify.drawing.classes import ClassDamage, classes_figure
from sparsify.drawing.curves import curves_figure
from sparsify.drawing.filters import FilterPanel, filters_figure
from sparsify.drawing.losses import losses_figure
from sparsify.drawing.panels import MOST_LINES
from sparsify.drawing.paths import _simplified, path_figure
from sparsify.drawing.style import COLOURS, MARKERS, PALETTE, heading, legend_below, looks, save
from sparsify.drawing.svg import PAPER, contrast, in_the_dark
from sparsify.drawing.sweeps import sweep_figure
from sparsify.errors import SparsifyError
from sparsify.optim.inclusion import InclusionPath
from sparsify.optim.registry import OPTIMIZERS
from sparsify.pruning.sweep import SweepRow
from sparsify.viz.figures import filter_panel


def panel(weight, marked=None, mark=""):
    return FilterPanel("some run", weight, marked, mark)


def images(figure):
    return [image for axis in figure.axes for image in axis.images]


GREY_FRAME = (0xB0, 0xB0, 0xB0, 255)


def steps(figure):
    """For each panel of slices the weights, row by row, as steps of the scale: 0 is the lowest, 5 is 0, 10 the highest.

    Frames and the white between input channels are left out.
    """
    colours = mpl.colormaps["RdBu_r"].resampled(11)(range(11), bytes=True).tolist()
    others = (GREY_FRAME, (255, 255, 255, 255))
    pixels = ([tuple(one) for one in image.get_array().reshape(-1, 4).tolist()] for image in images(figure))
    return [[colours.index(list(one)) for one in panel if one not in others] for panel in pixels]


def test_all_panels_share_one_symmetric_scale():
    few, many = ([2.0, -2.0, 0.0, 0.0], [10.0, -10.0, 2.0, 0.0])
    figure = filters_figure([panel(torch.tensor(one).reshape(1, 1, 2, 2)) for one in (few, many)], layer="conv1")
    assert steps(figure) == [[6, 4, 5, 5], [10, 0, 6, 5]]
    assert figure.axes[-1].get_ylim() == (-10, 10)  # the bar that says what the colours are


def test_norm_panels_share_one_scale_from_zero():
    figure = filters_figure([panel(torch.randn(8, 4, 3, 3)), panel(torch.ones(8, 4, 3, 3))], layer="c", show="norms")
    assert {image.get_clim()[0] for image in images(figure)} == {0}
    assert len({image.get_clim() for image in images(figure)}) == 1


def test_norms_are_per_input_channel_and_sorted_by_filter():
    weight = torch.zeros(3, 2, 1, 2)
    weight[2, 0] = torch.tensor([3.0, 4.0])  # norm 5
    weight[0, 1] = torch.tensor([0.0, 1.0])  # norm 1
    (image,) = images(filters_figure([panel(weight)], layer="c", show="norms"))
    assert image.get_array().tolist() == [[5, 0], [0, 1], [0, 0]]


def test_slices_are_sorted_by_norm_the_largest_first():
    weight = torch.stack([torch.full((1, 2, 2), value) for value in (1.0, 3.0, 2.0, 0.0)])
    (drawn,) = steps(filters_figure([panel(weight)], layer="c", show="slices"))
    assert drawn == [10, 10, 9, 9] * 2 + [7, 7, 5, 5] * 2  # 3 and 2 above 1 and 0


def test_the_title_counts_near_zero_and_marked_filters():
    weight = torch.ones(4, 1, 3, 3)
    weight[1] *= 0.0099
    weight[2] *= 0.0101
    figure = filters_figure([panel(weight, torch.tensor([False, True, True, False]), "pruned at 50%")], layer="c")
    title = figure.axes[0].get_title()
    assert "near zero: 1 of 4 filters (25%)" in title
    assert "pruned at 50%: 2 of 4" in title


def test_the_ratio_of_what_is_marked_is_not_rounded(tmp_path):
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 2))
    summary = {"accuracy": 0.5, "shape": (1, 4, 4)}
    config = Config(data="digits", opt="sgd")
    run = SimpleNamespace(name="it", model=lambda: model, summary=summary, config=config, inclusion_path=None, z=None)
    assert filter_panel(TrainedNetwork(run), "0", ratio=0.125).mark == "pruned at 12.5%"


def test_each_filter_has_a_frame_and_marked_ones_are_struck_out():
    """Four filters of 3 × 3, sorted by norm: 4, 3 above 2, 1; those of norm 4 and 1 are gone."""
    weight = torch.stack([torch.full((1, 3, 3), value) for value in (2.0, 4.0, 3.0, 1.0)])
    figure = filters_figure([panel(weight, torch.tensor([False, True, False, True]), "gone")], layer="c")
    (image,) = images(figure)
    framed = (image.get_array() == GREY_FRAME).all(2)
    lines = np.isin(np.arange(9), (0, 4, 8))
    assert (framed == (lines[:, None] | lines)).all()
    (strokes,) = figure.axes[0].collections
    assert [one.tolist() for one in strokes.get_segments()] == [
        [[0.5, 3.5], [3.5, 0.5]],
        [[4.5, 7.5], [7.5, 4.5]],
    ]


@pytest.mark.parametrize("shape", [(7, 1, 3), (5, 3, 1, 1), (4, 2, 3, 3, 3), (1, 1, 5, 5), (512, 512, 3, 3)])
def test_filters_of_any_convolution_are_drawn(shape, tmp_path):
    figure = filters_figure([panel(torch.randn(shape))] * 2, layer="c")
    assert all(path.stat().st_size > 0 for path in save(figure, tmp_path, "f"))


def test_a_layer_of_zeros_is_drawn(tmp_path):
    save(filters_figure([panel(torch.zeros(6, 1, 5, 5))], layer="c"), tmp_path, "zeros")


def test_a_fully_connected_layer_has_no_filters():
    with pytest.raises(SparsifyError, match="fc1 has no filters"):
        filters_figure([panel(torch.randn(4, 3))], layer="fc1")
    with pytest.raises(SparsifyError, match="unknown way to show filters 'slice'; did you mean 'slices'"):
        filters_figure([panel(torch.randn(4, 3, 1, 1))], layer="c", show="slice")


def sweep(accuracies, ratios=(0.0, 0.5)):
    rows = [
        SweepRow("magnitude", "auto", "layer", "conv3", r, 0, int(a * 100), 100, a, 10, 10, 1.0, 1.0)
        for r, a in zip(ratios, accuracies, strict=True)
    ]
    return sweep_of(rows)


def test_the_sweep_figure_draws_the_mean_in_percent():
    figure = sweep_figure({"sgd": [sweep((0.9, 0.5)).table(), sweep((0.8, 0.3)).table()]}, title="t")
    line, *dots = figure.axes[0].lines
    assert line.get_xdata().tolist() == [0, 50]
    assert line.get_ydata() == pytest.approx([85, 40])
    assert line.get_label() == "sgd (n = 2)"
    assert [one.get_ydata().tolist() for one in dots] == [pytest.approx([90, 50]), pytest.approx([80, 30])]
    assert {(one.get_linestyle(), one.get_marker(), one.get_color()) for one in dots} == {
        ("None", "o", line.get_color())
    }
    assert {tuple(one.get_xdata().tolist()) for one in dots} == {(0.0, 50.0)}
    assert not figure.axes[0].collections  # no band
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["sgd (n = 2)"]
    low, high = figure.axes[0].get_ylim()
    assert low < 30 < 90 < high  # each seed is within the panel
    assert figure.axes[0].get_ylabel() == "test accuracy (%), log scale of the error"


def test_the_dots_of_several_labels_stand_side_by_side():
    """Two labels, points 50 apart: a quarter of half the gap to the left and to the right."""
    two = [sweep((0.9, 0.5)).table(), sweep((0.8, 0.3)).table()]
    lines = sweep_figure({"sgd": two, "slbi": two}, title="t").axes[0].lines
    dots = [line.get_xdata().tolist() for line in lines if line.get_linestyle() == "None"]
    assert dots == [[-6.25, 43.75]] * 2 + [[6.25, 56.25]] * 2


@pytest.mark.parametrize("worse", ["conv3", "fc1"])
def test_all_panels_show_the_accuracies_of_all(worse):
    """Whichever panel is drawn last."""
    rows = [
        SweepRow("magnitude", "auto", "layer", layers, r, 0, 0, 100, a, 10, 10, 1.0, 1.0)
        for layers in ("conv3", "fc1")
        for r, a in ((0.0, 0.9), (0.5, 0.2 if layers == worse else 0.8))
    ]
    for axis in sweep_figure({"sgd": [sweep_of(tuple(rows), ()).table()]}, title="t").axes:
        low, high = axis.get_ylim()
        assert low < 20 < 90 < high


@pytest.mark.parametrize(
    ("accuracies", "ticks"), [((0.8, 0.7), 4), ((0.992, 0.5), 4), ((0.9, 0.9), 2), ((1.0, 0.1), 4)]
)
def test_an_accuracy_can_be_read_off(accuracies, ticks):
    (axis,) = sweep_figure({"sgd": [sweep(accuracies).table()]}, title="t").axes
    low, high = axis.get_ylim()
    shown = [float(label.get_text()) for label in axis.get_yticklabels()]
    assert shown == pytest.approx(axis.get_yticks())
    assert sum(low <= tick <= high for tick in shown) >= ticks
    assert high - low < 1.5 * 100 * (accuracies[0] - accuracies[1]) + 2  # the lines fill the panel


def test_where_nothing_is_left_an_empty_panel_is_drawn():
    rows = (SweepRow("l1", "auto", "layer", "c", 1.0, 0, 0, 100, 0.1, 10, 10, float("inf"), 1.0),)
    (axis,) = sweep_figure({"sgd": [sweep_of(rows, ()).table()]}, title="t", against="compression").axes
    assert axis.lines[0].get_xdata().tolist() == []


def test_the_sweep_figure_draws_controls_in_the_colour_of_what_they_control():
    rows = [
        SweepRow(criterion, "neuron", "global", "conv3,fc1", r, draw, 0, 100, a, 10, 10, 1.0, 1.0)
        for criterion, draw, accuracies in (
            ("l1", 0, (0.9, 0.8)),
            ("random", 0, (0.9, 0.4)),
            ("random", 1, (0.9, 0.6)),
            ("l1-reversed", 0, (0.9, 0.1)),
        )
        for r, a in zip((0.0, 0.5), accuracies, strict=True)
    ]
    figure = sweep_figure({"sgd": [sweep_of(tuple(rows), ()).table()]}, title="t")
    (axis,) = figure.axes
    assert [line.get_label() for line in axis.lines] == [
        "sgd (n = 1)",
        "_sgd, random",
        "_sgd, l1-reversed",
    ]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["sgd (n = 1)", "random", "l1-reversed"]
    assert [line.get_ydata()[1] for line in axis.lines] == pytest.approx([80, 50, 10])
    assert [line.get_linestyle() for line in axis.lines] == ["-", "--", ":"]
    assert len({line.get_color() for line in axis.lines}) == 1
    assert not axis.collections  # of many arms, bands of controls as well would hide what they surround
    assert axis.get_xlabel() == "removed from conv3 and fc1 together (%)"
    three = [dataclasses.replace(row, layers="conv1,conv3,fc1") for row in sweep((0.9, 0.5)).rows]
    (axis,) = sweep_figure({"sgd": [sweep_of(tuple(three), ()).table()]}, title="t").axes
    assert axis.get_xlabel() == "removed from conv1, conv3 and fc1 each (%)"
    five = [dataclasses.replace(row, layers="conv1,conv2,conv3,fc1,fc2") for row in sweep((0.9, 0.5)).rows]
    (axis,) = sweep_figure({"sgd": [sweep_of(tuple(five), ()).table()]}, title="t").axes
    assert axis.get_xlabel() == "removed from 5 layers each (%)"


def test_the_sweep_figure_draws_a_star_for_the_support_of_each_sweep():
    tables = [
        pd.concat(
            [sweep((0.9, 0.5)).table(), sweep((alone,), (ratio,)).table().assign(criterion="support")],
            ignore_index=True,
        )
        for alone, ratio in ((0.7, 0.25), (0.6, 0.35))
    ]
    figure = sweep_figure({"slbi": tables}, title="t")
    (axis,) = figure.axes
    stars = [line for line in axis.lines if line.get_marker() == "*"]
    assert axis.lines[0].get_ydata().tolist() == [90, 50]
    assert [(*star.get_xdata(), *star.get_ydata(), star.get_marker()) for star in stars] == [
        (25, 70, "*"),
        (35, 60, "*"),
    ]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["slbi (n = 2)", "support"]


def test_the_sweep_figure_draws_accuracy_against_what_is_saved():
    def one(compression, accuracy):
        points = zip((0.0, 0.5, 1.0), (1.0, compression, float("inf")), (0.9, accuracy, 0.1), strict=True)
        rows = [SweepRow("l1", "auto", "layer", "c", r, 0, 0, 100, a, 10, 10, x, x / 2) for r, x, a in points]
        return sweep_of(tuple(rows), ()).table()

    sweeps = {"sgd": [one(2.0, 0.8), one(4.0, 0.6)]}
    (axis,) = sweep_figure(sweeps, title="t", against="compression").axes
    line, *dots = axis.lines
    assert [one.get_xdata().tolist() for one in dots] == [[1, 3]] * 2
    assert line.get_xdata().tolist() == [1, 3]  # the mean of 2 and 4; where nothing is left there is no point
    assert line.get_ydata() == pytest.approx([90, 70])
    assert axis.get_xlabel() == "compression: parameters before ÷ after (×)"
    (axis,) = sweep_figure(sweeps, title="t", against="speedup").axes
    assert axis.lines[0].get_xdata().tolist() == [0.5, 1.5]
    with pytest.raises(SparsifyError, match="unknown axis 'speed'; did you mean 'speedup'"):
        sweep_figure(sweeps, title="t", against="speed")


def test_the_sweep_figure_draws_another_measure_without_controls():
    rows = [
        SweepRow(name, "auto", "layer", "c", r, 0, 0, 100, 0.1, 10, 10, 1.0, 1.0, recalibrated_accuracy=0.7)
        for name in ("l1", "random")
        for r in (0.0, 0.5)
    ]
    figure = sweep_figure({"sgd": [sweep_of(tuple(rows), ()).table()]}, title="t", measure="recalibrated_accuracy")
    (line,) = figure.axes[0].lines
    assert line.get_ydata() == pytest.approx([70, 70])


def test_each_class_has_a_ring_and_a_dot_and_the_one_that_loses_most_is_on_top():
    whole = np.array([[0.9, 1.0, np.nan], [0.7, 1.0, np.nan]])
    pruned = np.array([[0.8, 0.5, np.nan], [0.6, 0.5, np.nan]])
    groups = {"sgd": ClassDamage(whole, pruned), "slbi": ClassDamage(whole, whole)}
    figure = classes_figure(groups, classes=["cat", "dog", "none"], title="t")
    first, second = figure.axes
    rings, dots = first.lines
    assert [label.get_text() for label in first.get_yticklabels()] == ["dog", "cat"]
    assert rings.get_xdata() == pytest.approx([100, 80])
    assert dots.get_xdata() == pytest.approx([50, 70])
    assert first.get_title() == "sgd (n\xa0=\xa02)"
    assert first.get_xlim() == second.get_xlim()
    assert first.get_ylim()[0] > first.get_ylim()[1]


def test_the_classes_of_many_labels_stand_in_rows():
    """Seven: four and three, an x label below the lowest of each column, and nothing in the place that is left."""
    damage = ClassDamage(np.ones((1, 2)), np.ones((1, 2)) / 2)
    figure = classes_figure({f"arm {n}": damage for n in range(7)}, classes=["cat", "dog"], title="t")
    assert [axis.get_title() for axis in figure.axes] == [*(f"arm {n} (n\xa0=\xa01)" for n in range(7)), ""]
    assert [bool(axis.get_xlabel()) for axis in figure.axes] == [False] * 3 + [True] * 4 + [False]
    assert len({axis.get_position().y0 for axis in figure.axes}) == 2
    assert not figure.axes[7].axison


def test_of_many_classes_those_that_lose_most_are_drawn():
    whole = np.ones((1, 40))
    damage = ClassDamage(whole, whole - np.arange(40) / 100)
    figure = classes_figure({"sgd": damage}, classes=[str(n) for n in range(40)], title="t")
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == [str(n) for n in range(39, 9, -1)]
    assert figure.get_suptitle().replace("\n", " ") == "t; of 40 classes the 30 that lose most"
    with pytest.raises(SparsifyError, match="no outcomes to draw"):
        classes_figure({}, classes=[], title="t")


def test_an_optimizer_has_one_colour_and_no_two_labels_look_alike():
    assert looks(["mine", "slbi"])["slbi"] == looks(["slbi", "sgd"])["slbi"]
    assert list(looks(["mine", "slbi", "sgd"])) == ["mine", "slbi", "sgd"]
    colours = [look["color"] for look in looks(["a", "b", "sgd", "slbi", "c", "d", "e"]).values()]
    assert sorted(colours) == sorted(COLOURS)
    several = looks(["backward", *OPTIMIZERS, "forward"])
    assert [several[opt] for opt in OPTIMIZERS] == [looks([opt])[opt] for opt in OPTIMIZERS]
    assert len({look["color"] for look in several.values()}) == len(OPTIMIZERS) + 2
    many = looks([f"arm {n}" for n in range(len(PALETTE) * len(MARKERS))]).values()
    assert len({(look["color"], look["marker"]) for look in many}) == len(PALETTE) * len(MARKERS)


@pytest.mark.parametrize(
    "optimizers", [[], ["sgd"], ["sgd", "slbi"], ["slbi-adam", "sgd", "linbreg"]], ids=lambda names: " ".join(names)
)
def test_labels_that_are_no_optimizers_have_markers_of_their_own_while_there_are_some(optimizers):
    """Then each marker comes as often as any other, but for once, as long as there are colours."""
    labels = ["slbi, 5 epochs", *optimizers, *"abcdef"]
    markers = [look["marker"] for look in looks(labels[: len(MARKERS)]).values()]
    assert sorted(markers) == sorted(MARKERS)
    for count in range(len(PALETTE) - len(labels) + 1):
        often = Counter(look["marker"] for look in looks([*labels, *(f"arm {n}" for n in range(count))]).values())
        assert max(often.values()) - min(often.values()) <= 1


SIGHT = {
    "normal": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
"""What is seen of linear sRGB (Machado, Oliveira & Fernandes 2009)."""


def lab(colour: str, sight: str) -> np.ndarray:
    """A colour in CIELAB, white D65, as it is seen."""
    srgb = np.array(to_rgb(colour))
    linear = np.clip(SIGHT[sight] @ np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4), 0, 1)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ linear
    x, y, z = np.where((t := xyz / [0.9505, 1, 1.089]) > 216 / 24389, np.cbrt(t), (24389 / 27 * t + 16) / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("drawn", [str, in_the_dark], ids=["light", "dark"])
def test_the_colours_of_all_optimizers_can_be_told_apart(sight, drawn):
    """By 10 in CIELAB, of which about 2 are just seen; markers tell lines apart, too."""
    colours = [drawn(look["color"]) for look in looks(OPTIMIZERS).values()]
    for one, other in itertools.combinations(colours, 2):
        assert np.linalg.norm(lab(one, sight) - lab(other, sight)) > 10, (one, other)


def test_every_colour_of_a_line_stands_out_from_white_and_from_dark_paper():
    """Also those of more arms than there are colours, which are darker ones."""
    colours = {look["color"] for look in looks(f"arm {n}" for n in range(2 * len(PALETTE))).values()}
    assert len(colours) > len(PALETTE)
    assert {colour for colour in colours if contrast(colour, "#ffffff") < 3} == set()
    assert {colour for colour in colours if contrast(in_the_dark(colour), PAPER) < 3} == set()


def test_dollars_in_a_title_are_no_formula(tmp_path):
    save(sweep_figure({"$\\frac$": [sweep((0.9, 0.5)).table()]}, title="from $1 to $2^$"), tmp_path, "dollars")


def test_filters_are_coloured_by_their_order_of_entry(tmp_path):
    path = make_path(np.array([1, np.inf, 3, 3]))
    split = dataclasses.replace(path, gamma_norm={"c.weight": path.gamma_norm["c.weight"] / 2})
    figure = path_figure(split, parameter="c.weight", title="c")
    left, right, bar = figure.axes
    _, coloured = left.collections
    first, second, third = map(tuple, coloured.get_colors())
    assert first != second == third
    assert [label.get_text() for label in bar.get_yticklabels()] == ["first\nT = 0.1", "last\nT = 0.3"]
    assert left.get_ylim() == right.get_ylim()
    save(path_figure(make_path(np.array([5.0, np.inf])), parameter="c.weight", title="one entered"), tmp_path, "one")


def test_training_curves_name_the_split():
    rows = [
        {"epoch": e, "train_loss": 1 / e, "train_accuracy": 0.9, "test_loss": 1 / e, "test_accuracy": 0.8}
        | {"val_loss": None, "val_accuracy": None}
        for e in (1.0, 2.0)
    ]
    figure = curves_figure({"sgd": [pd.DataFrame(rows)]}, title="t")
    assert "solid: test" in figure.get_suptitle()
    assert figure.axes[1].lines[0].get_ydata().tolist() == [80, 80]


def test_training_curves_of_runs_with_and_without_val_have_their_own_split():
    def rows(**measured):
        return pd.DataFrame([{"epoch": 1.0, "train_loss": 1.0, "train_accuracy": 0.9, **measured}])

    test = rows(test_loss=0.5, test_accuracy=0.8, val_loss=None, val_accuracy=None)
    val = rows(test_loss=None, test_accuracy=None, val_loss=0.6, val_accuracy=0.5)
    for groups in ({"a": [test], "b": [val]}, {"b": [val], "a": [test]}):
        figure = curves_figure(groups, title="t")
        lines = {line.get_label(): line.get_ydata().tolist() for line in figure.axes[1].lines}
        assert (lines["a, test (n = 1)"], lines["b, val (n = 1)"]) == ([80], [50])
        assert figure.axes[1].get_ylim()[0] < 50
    assert "solid: val or test" in figure.get_suptitle()


@pytest.mark.parametrize(("first", "up"), [(0.6, "accuracy (%), axis begins at 70%"), (0.72, "accuracy (%)")])
@pytest.mark.parametrize("arms", [1, len(COLOURS) + 1])
def test_an_axis_of_accuracies_that_begins_above_some_says_where(first, up, arms):
    """Of 80% at the end half of the way to 100% is below it: from 70% on. Many arms have one label for all panels."""
    rows = [
        {"epoch": epoch, "train_loss": 1.0, "train_accuracy": accuracy, "test_loss": 1.0, "test_accuracy": accuracy}
        | {"val_loss": None, "val_accuracy": None}
        for epoch, accuracy in ((1.0, first), (2.0, 0.8))
    ]
    figure = curves_figure({f"arm {n}": [pd.DataFrame(rows)] for n in range(arms)}, title="t")
    shown = figure.axes[1].get_ylabel() if arms == 1 else figure.subfigs[1].get_supylabel()
    assert shown == up
    assert figure.axes[-1].get_ylim()[0] == 70


def make_path(entry):
    norms = np.linspace(0, 1, 3)[:, None] * np.ones((1, len(entry) if entry.ndim == 1 else 1))
    return InclusionPath(
        np.array([0, 5, 10]), np.array([0, 0.5, 1.0]), {"c.weight": entry}, {"c.weight": norms}, {"c.weight": norms}
    )


def test_the_path_figure_counts_what_entered():
    figure = path_figure(make_path(np.array([1, np.inf, 3])), parameter="c.weight", title="c")
    assert "2 of 3 filters entered" in figure.get_suptitle()
    grey, coloured = figure.axes[0].collections
    assert (len(grey.get_segments()), len(coloured.get_segments())) == (1, 2)


def test_filters_that_left_the_support_are_counted_and_dashed():
    """As of prox-sgd, where all are there at the start: of three, the second is 0 at the end."""
    path = make_path(np.zeros(3))
    norms = path.weight_norm["c.weight"].copy()
    norms[-1, 1] = 0
    path = dataclasses.replace(path, gamma_norm={"c.weight": norms}, weight_norm={"c.weight": norms})
    figure = path_figure(path, parameter="c.weight", title="c")
    assert "3 of 3 filters entered the support, 1 left it again" in figure.get_suptitle().replace("\n", " ")
    (panel,) = figure.axes  # all entered at once: no scale of when
    stayed, left = panel.collections
    assert (len(stayed.get_segments()), len(left.get_segments())) == (2, 1)
    assert stayed.get_linestyle()[0][1] is None
    assert left.get_linestyle()[0][1] is not None
    again = path_figure(make_path(np.array([0.0, np.inf])), parameter="c.weight", title="c")
    assert "left" not in again.get_suptitle()


def test_the_path_of_single_weights_is_the_share_that_entered():
    figure = path_figure(make_path(np.array([[5, np.inf], [10, np.inf]])), parameter="c.weight", title="c")
    assert figure.axes[0].lines[0].get_ydata().tolist() == [0, 25, 50]


def test_the_path_of_filters_without_a_norm_each_is_the_share_that_entered():
    """As of the scales behind filters: of two filters one enters."""
    whole = make_path(np.array([[5, np.inf]]))
    figure = path_figure(
        dataclasses.replace(whole, entry={"c.weight": np.array([5, np.inf])}), parameter="c.weight", title="c"
    )
    assert figure.axes[0].lines[0].get_ydata().tolist() == [0, 50, 50]
    assert figure.axes[0].get_ylabel() == "filters that have entered (%)"
    assert "1 of 2 filters entered" in figure.get_suptitle()


def test_weights_that_are_sparse_themselves_are_drawn_once():
    """‖Γ‖ and ‖W‖ are the same there; in a path of DessiLBI they differ, and both are drawn."""
    filters = make_path(np.array([1, np.inf, 0]))
    weights = make_path(np.array([[5, np.inf], [10, np.inf]]))
    split = dataclasses.replace(filters, gamma_norm={"c.weight": filters.gamma_norm["c.weight"] / 2})
    drawn = {
        "filters": path_figure(filters, parameter="c.weight", title="c"),
        "weights": path_figure(weights, parameter="c.weight", title="c"),
        "split": path_figure(split, parameter="c.weight", title="c"),
    }
    assert [axis.get_ylabel() for axis in drawn["filters"].axes[:-1]] == ["‖Wᵢ‖ of each filter"]
    assert [axis.get_ylabel() for axis in drawn["split"].axes[:-1]] == ["‖Γᵢ‖ of each filter", "‖Wᵢ‖ of each filter"]
    assert [line.get_label() for line in drawn["weights"].axes[1].lines] == ["‖W‖"]
    assert drawn["filters"].axes[0].get_xlabel() == "path time T = Σ α"
    assert drawn["split"].axes[0].get_xlabel() == "path time T = Σ αₚ/μ"


def test_optimizers_keep_their_looks_and_no_two_labels_look_alike():
    def looks(*labels):
        figure = sweep_figure({label: [sweep((0.9, 0.5)).table()] for label in labels}, title="t")
        panels = [axis.lines for axis in figure.axes if axis.lines]
        lines = panels[0] if len(panels) == 1 else [own for own, _ in panels]
        return {label: (line.get_color(), line.get_marker()) for label, line in zip(labels, lines, strict=True)}

    alone = {opt: looks(opt)[opt] for opt in OPTIMIZERS}
    assert looks(*OPTIMIZERS) == alone
    many = looks("sgd, no BatchNorm", *OPTIMIZERS, "a", "b")
    assert {opt: many[opt] for opt in OPTIMIZERS} == alone
    assert len(set(many.values())) == len(many)
    some = looks("slbi", "sgd", "slbi-adam, published")
    assert len({colour for colour, _ in some.values()}) == 3


def test_a_line_of_a_path_has_only_the_points_that_are_seen():
    """A jump stays where it is, a slope is its ends, and noise of less than half a point is none."""
    line = np.array([[0, 0], [1, 0.4], [2, 0], [3, 8], [4, 9.2], [5, 10], [6, 10.3], [7, 10]])
    assert _simplified(line, 0.5).tolist() == [[0, 0], [2, 0], [3, 8], [5, 10], [7, 10]]
    assert _simplified(line, 0.1).tolist() == line.tolist()
    assert _simplified(line[:1], 0.5).tolist() == [[0, 0]]


def test_a_path_in_which_nothing_entered_is_drawn(tmp_path):
    save(path_figure(make_path(np.full(3, np.inf)), parameter="c.weight", title="c"), tmp_path, "empty")


def test_figures_leave_no_global_state(tmp_path):
    before = dict(mpl.rcParams)
    save(sweep_figure({"sgd": [sweep((0.9, 0.5)).table()]}, title="t"), tmp_path, "s")
    assert dict(mpl.rcParams) == before


def test_the_same_figure_is_the_same_file(tmp_path):
    for name in ("a", "b"):
        save(sweep_figure({"sgd": [sweep((0.9, 0.5)).table()]}, title="t"), tmp_path, name)
    for suffix in ("png", "svg"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


def test_a_notebook_shows_what_the_file_holds(tmp_path):
    drawing = sweep_figure({"sgd": [sweep((0.9, 0.5)).table()]}, title="t")
    png, _ = save(drawing, tmp_path, "s")
    assert drawing._repr_png_() == png.read_bytes()


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", [""]),
        ("one two", ["one two"]),
        ("one two three four", ["one two", "three four"]),  # not 13 characters and 4
        ("a " + "b" * 15, ["a " + "b" * 11, "b" * 4]),
    ],
)
def test_the_lines_of_a_title_are_about_as_long(text, lines):
    drawing = Figure(figsize=(1, 1))
    heading(drawing, text)
    assert drawing.get_suptitle().split("\n") == lines


def test_what_cannot_be_printed_is_escaped_so_that_the_svg_is_well_formed(tmp_path):
    drawing = Figure()
    (line,) = drawing.subplots().plot([0, 1], label="\x1b[31mred\x00")
    heading(drawing, "a\x07title")
    legend_below(drawing, [line])
    _, svg = save(drawing, tmp_path, "figure")
    texts = "".join(ElementTree.parse(svg).getroot().itertext())
    assert "\\x1b[31mred\\x00" in texts
    assert "a\\x07title" in texts


def test_an_svg_keeps_its_text_and_has_coordinates_of_two_decimals(tmp_path):
    drawing = Figure()
    drawing.subplots().plot([0, 1 / 3, 1], [0, 1 / 7, 1])
    heading(drawing, "1.23456 <d> 'x' 100%")
    _, svg = save(drawing, tmp_path, "figure")
    text = svg.read_text(encoding="utf-8")
    assert "1.23456 <d> 'x' 100%" in "".join(ElementTree.fromstring(text).itertext())
    places = re.findall(r' (?:d|x|y)="([^"]*)"', text)
    assert places
    assert not any(re.search(r"\.\d{3}", place) for place in places)
    assert any(re.search(r"\.\d{2}", place) for place in places)


def test_many_panels_show_norms_so_that_each_can_be_seen():
    panel = FilterPanel("run", torch.randn(32, 64, 3, 3))
    few, many = (filters_figure([panel] * count, layer="conv") for count in (6, 7))
    assert "weight" in few.axes[-1].get_ylabel()
    assert "L2 norm" in many.axes[-1].get_ylabel()


def test_few_labels_share_a_panel_and_more_than_it_can_show_have_one_each():
    few = {f"arm {n}": [sweep((0.9, 0.5 + n / 100)).table()] for n in range(MOST_LINES)}
    assert len(sweep_figure(few, title="t").axes) == 1
    many = few | {"one more": [sweep((0.8, 0.1)).table()]}
    figure = sweep_figure(many, title="t")
    panels = [axis for axis in figure.axes if axis.get_title()]
    assert [axis.get_title().replace("\xa0", " ") for axis in panels] == [f"{label} (n = 1)" for label in many]
    assert len({axis.get_ylim() for axis in panels}) == len({axis.get_xlim() for axis in panels}) == 1
    assert figure.legends == []
    for axis, label in zip(panels, many, strict=True):
        own, behind = axis.lines
        assert own.get_ydata().tolist() == [100 * a for a in many[label][0].accuracy]
        assert behind.get_zorder() < own.get_zorder()
        values = behind.get_ydata()
        assert values[np.isfinite(values)].tolist() == [100 * a for (one,) in many.values() for a in one.accuracy]


def test_curves_and_losses_of_many_labels_have_a_panel_each():
    rows = [{"epoch": n, "train_loss": 1 / n, "test_loss": 1 / n, "val_loss": np.nan} for n in (1, 2, 3)]
    accuracies = [{"train_accuracy": 0.5, "test_accuracy": 0.5, "val_accuracy": np.nan} for _ in rows]
    metrics = pd.DataFrame([one | other for one, other in zip(rows, accuracies, strict=True)])
    labels = [f"arm {n}" for n in range(MOST_LINES + 1)]
    drawing = curves_figure({label: [metrics] for label in labels}, title="t")
    titles = [axis.get_title() for axis in drawing.axes if axis.get_title()]
    assert titles == 2 * [f"{label} (n\xa0=\xa01)" for label in labels]
    ticks = [axis.yaxis.get_tick_params(which="minor").get("left") for axis in drawing.axes[: len(labels)]]
    assert [place for place, shown in enumerate(ticks) if shown is not False] == [0, 4]  # the first of each row
    drawing = losses_figure({label: [np.ones(250)] for label in labels}, title="t")
    assert [axis.get_title() for axis in drawing.axes if axis.get_title()] == [
        f"{label} (n\xa0=\xa01)" for label in labels
    ]
    assert drawing.legends == []


def test_a_short_training_has_ten_times_as_many_points_of_its_loss():
    losses = np.arange(1.0, 26.0)
    for length, points in ((25, 3), (1000, 10)):
        (line,) = losses_figure({"sgd": [np.resize(losses, length)]}, title="t").axes[0].lines
        assert len(line.get_xdata()) == points
    (line,) = losses_figure({"sgd": [losses]}, title="t").axes[0].lines
    assert line.get_xdata().tolist() == [10, 20, 25]
    assert line.get_ydata().tolist() == [5.5, 15.5, 23]


def test_a_loss_that_is_far_above_most_others_is_cut_but_for_the_last_and_the_axis_says_where():
    def metrics(*losses):
        alike = {"val_loss": np.nan, "train_accuracy": 0.5, "test_accuracy": 0.5, "val_accuracy": np.nan}
        return pd.DataFrame([{"epoch": n, "train_loss": a, "test_loss": 1.0, **alike} for n, a in enumerate(losses, 1)])

    for first, cut in ((2000.0, True), (15.0, False)):
        for losses in ((first, 2, 1), (2, first, 1)):
            groups = {"a": [metrics(2, 2, 1)], "b": [metrics(*losses)], "c": [metrics(2, 2, 1)]}
            loss = curves_figure(groups, title="t").axes[0]
            assert bool(loss.get_ylim()[1] < first) is cut
            assert loss.get_ylim()[1] >= (20 if cut else 15)
            assert loss.get_ylabel() == ("cross-entropy, axis ends at 20" if cut else "cross-entropy")
    diverged = curves_figure({"a": [metrics(1, 1, 1)] * 3, "b": [metrics(1, 1, 2000)]}, title="t").axes[0]
    assert diverged.get_ylim()[1] >= 2000
    assert diverged.get_ylabel() == "cross-entropy"
    many = {f"arm {number}": [metrics(2000, 2, 1)] for number in range(len(COLOURS) + 1)}
    assert curves_figure(many, title="t").subfigs[0].get_supylabel() == "cross-entropy, axis ends at 20"
