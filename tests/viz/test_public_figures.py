"""The public figures: of runs and sweeps as they are, with or without labels of one's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from summaries import SUMMARY
from sweeps import sweep_of
from torch import nn

from sparsify import Split, Subject, make_mask, train, viz
from sparsify.analysis.weights import TrainedNetwork
from sparsify.config import Config
from sparsify.errors import SparsifyError
from sparsify.pruning.outcomes import Outcomes
from sparsify.pruning.sweep import Sweep, SweepRow
from sparsify.runs import METRICS, Run
from sparsify.viz.figures import filter_panel


def run(folder: Path, opt: str = "sgd", accuracy: float = 0.5, seed: int = 0) -> Run:
    config = Config(data="digits", opt=opt, seed=seed)
    made = Run(folder / config.name)
    made.write_json("config.json", config.to_dict())
    made.write_json("summary.json", SUMMARY | {"accuracy": accuracy})
    row = dict.fromkeys(METRICS, 0.1) | {"epoch": 1, "step": 9, "val_accuracy": None, "test_accuracy": accuracy}
    made.write_metrics([row, row | {"epoch": 2, "step": 18}])
    return made


def sweep(*accuracies: float) -> Sweep:
    """Of two images of class 0 and two of class 1; the first ones are right."""
    rows = [
        SweepRow("l1", "filter", "layer", "conv3", ratio / 2, 0, round(4 * a), 4, a, 9, 9, 1.0 + ratio, 1.0)
        for ratio, a in enumerate(accuracies)
    ]
    labels = np.array([0, 1, 0, 1])
    right = np.arange(4) < 4 * np.array(accuracies)[:, None]
    return sweep_of(rows, outcomes={"accuracy": Outcomes.of(labels, np.where(right, labels, 1 - labels))})


def lines(figure, axis: int) -> dict[str, list[float]]:
    drawn = {line.get_label(): line.get_ydata().tolist() for line in figure.axes[axis].lines}
    return {label: values for label, values in drawn.items() if not label.startswith("_")}


def test_runs_without_labels_are_named_by_optimizers_or_else_by_themselves(tmp_path):
    one, other, again = run(tmp_path), run(tmp_path, "slbi", 0.75), run(tmp_path, seed=1)
    assert lines(viz.curves(one), 1) == {"sgd (n = 1)": [50, 50]}
    both = viz.curves([one, other])
    assert lines(both, 1) == {"sgd (n = 1)": [50, 50], "slbi (n = 1)": [75, 75]}
    assert both.get_suptitle().startswith("lenet on digits ")
    assert list(lines(viz.curves([one, again]), 1)) == [f"{named.name} (n = 1)" for named in (one, again)]


def test_sweeps_without_labels_are_refused():
    with pytest.raises(SparsifyError, match="the sweeps are a list; they must be one Sweep, or a dict by label"):
        viz.sweep([sweep(1, 0.5)])


def test_a_label_without_runs_or_sweeps_is_refused():
    for draw, what in ((viz.curves, "run"), (viz.sweep, "sweep")):
        with pytest.raises(SparsifyError, match=rf"^'mine' has no {what} to draw$"):
            draw({"mine": []})
    with pytest.raises(SparsifyError, match=r"^'mine' has no run to draw$"):
        viz.losses({"mine": []}, title="")


def test_filters_that_go_with_others_are_ranked_and_struck_out_with_them(tmp_path):
    """Of two layers whose outputs are added; the norms of the one that is shown say another order."""
    config = Config(data="colour-digits", model="resnet-speed", net="width=0.0625", opt="sgd", epochs=1)
    trained = train(config, device="cpu", runs_dir=tmp_path)
    name = "stage2.residual.conv"
    panel = filter_panel(TrainedNetwork(trained), name, ratio=0.5)
    model = trained.model()
    gone = ~make_mask(model, torch.zeros(1, 3, 32, 32), layers=name, ratio=0.5)[f"{name}.weight"].flatten(1).any(1)
    assert panel.marked.tolist() == gone.tolist()
    alone = model.get_parameter(f"{name}.weight").flatten(1).norm(dim=1).argsort()[:4]
    assert gone.nonzero().flatten().tolist() != sorted(alone.tolist())


def test_pictures_are_drawn_of_images_in_bytes():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    for images, kind in (
        (torch.rand(3, 1, 2, 2), r"\(1, 2, 2\) of float32"),
        (torch.zeros(3, 4).byte(), r"\(4,\) of uint8"),
    ):
        subject = Subject(model, Split(images, torch.tensor([0, 1, 0])))
        with pytest.raises(SparsifyError, match=rf"^the network takes {kind}; pictures are drawn of uint8 images"):
            viz.predictions(subject, classes=["a", "b"])


def test_runs_of_one_label_are_one_line_of_their_mean(tmp_path):
    seeds = [run(tmp_path, accuracy=0.5), run(tmp_path, accuracy=0.75, seed=1)]
    drawn = viz.curves({"mine": seeds, "other": run(tmp_path, "slbi")}, title="title")
    assert lines(drawn, 1) == {"mine (n = 2)": [62.5, 62.5], "other (n = 1)": [50, 50]}
    assert drawn.get_suptitle().startswith("title")


def test_a_sweep_is_named_by_its_order_and_several_by_their_labels():
    assert lines(viz.sweep(sweep(1.0, 0.5)), 0) == {"l1 (n = 1)": [100, 50]}
    together = viz.sweep({"one": sweep(1.0, 0.5), "two": [sweep(0.5, 0.5), sweep(1.0, 0.0)]}, held_out="val")
    assert lines(together, 0) == {"one (n = 1)": [100, 50], "two (n = 2)": [75, 25]}
    assert together.axes[0].get_ylabel().startswith("val accuracy")
    (line,) = viz.sweep(sweep(1.0, 0.5), against="compression").axes[0].lines
    assert line.get_xdata().tolist() == [1, 2]
    with pytest.raises(SparsifyError, match="unknown measure 'finetuned_accuracy' in l1"):
        viz.sweep(sweep(1.0), measure="finetuned_accuracy")


def test_classes_are_drawn_before_and_after():
    (axis,) = viz.classes(sweep(1.0, 0.75), layers="conv3", ratio=0.5, names=["cat", "dog"]).axes
    whole, pruned = axis.lines
    assert [text.get_text() for text in axis.get_yticklabels()] == ["dog", "cat"]  # dog loses one of two
    assert (whole.get_xdata().tolist(), pruned.get_xdata().tolist()) == ([100, 100], [50, 100])
    with pytest.raises(SparsifyError, match=r"conv3 at 0\.1 is not in this sweep"):
        viz.classes(sweep(1.0, 0.75), layers="conv3", ratio=0.1, names=["cat", "dog"])
    with pytest.raises(SparsifyError, match="has no outcomes of single images"):
        viz.classes(sweep_of(sweep(1.0, 0.75).rows), layers="conv3", ratio=0.5, names=["cat", "dog"])


def test_a_run_that_selects_nothing_has_no_path(tmp_path):
    with pytest.raises(SparsifyError, match="has no path: sgd selects nothing; take a run of one of: slbi"):
        viz.path(run(tmp_path), layer="conv3")
