"""Sweep: its rows as a frame, and how it is shown."""

from __future__ import annotations

import dataclasses
import math
from html.parser import HTMLParser

import pytest
from sweeps import sweep_of

from sparsify.errors import SparsifyError
from sparsify.pruning.sweep import Sweep, SweepRow


def rows(criterion: str = "l1", *, layers: str = "conv3", draw: int = 0, last: float = 0.5) -> list[SweepRow]:
    return [
        SweepRow(criterion, "filter", "layer", layers, ratio, draw, int(100 * accuracy), 100, accuracy, *left)
        for ratio, accuracy, left in (
            (0.0, 0.9, (2000, 1000, 1.0, 1.0)),
            (0.25, last, (1500, 0, 4 / 3, math.inf)),
        )
    ]


def with_controls() -> Sweep:
    return sweep_of(
        [*rows(), *rows("random", last=0.2), *rows("random", draw=1, last=0.4), *rows("l1-reversed", last=0.1)]
    )


def test_a_sweep_is_its_points():
    sweep = with_controls()
    assert len(sweep) == 8
    assert list(sweep) == list(sweep.rows)


def test_the_table_has_a_row_a_point_and_a_column_a_field():
    table = with_controls().table()
    assert list(table) == [field.name for field in dataclasses.fields(SweepRow)]
    assert table.criterion.tolist() == ["l1"] * 2 + ["random"] * 4 + ["l1-reversed"] * 2
    assert table[["draw", "ratio", "accuracy", "params"]].iloc[5].tolist() == [1, 0.25, 0.4, 1500]
    assert table.speedup.iloc[1] == math.inf
    unmeasured = table[["recalibrated_accuracy", "finetuned_accuracy"]]
    assert unmeasured.isna().all(axis=None)
    assert set(unmeasured.dtypes.astype(str)) == {"float64"}


def test_a_sweep_is_shown_in_one_line():
    sweep = sweep_of([*rows(), *rows(layers="conv3,fc1")])
    assert repr(sweep) == f"<Sweep {sweep.id}: l1, 0% to 25% of conv3 | conv3,fc1, 4 points>"
    one = sweep_of(rows()[:1])
    assert repr(one) == f"<Sweep {one.id}: l1, 0% of conv3, 1 point>"


class Cells(HTMLParser):
    """The texts of the cells of a page, row by row."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag == "tr":
            self.rows.append([])

    def handle_data(self, data: str) -> None:
        if data.strip() and self.rows:
            self.rows[-1].append(data.strip())


def test_a_notebook_shows_the_means_over_the_draws():
    head, *body = Cells(with_controls()._repr_html_()).rows
    assert head == ["criterion", "layers", "ratio", "accuracy", "params", "macs", "compression", "speedup"]
    assert body[1] == ["l1", "conv3", "25%", "50.00%", "1,500", "0", "1.33×", "inf×"]
    assert body[3][:4] == ["random", "conv3", "25%", "30.00%"]
    assert len(body) == 6


def test_a_notebook_shows_names_as_text():
    page = sweep_of(rows(layers="<b>&"))._repr_html_()
    assert "<b>" not in page
    assert page.count("&lt;b&gt;&amp;") == 3  # in the line, and in two rows


def test_a_long_sweep_is_cut_in_a_notebook():
    many = [dataclasses.replace(row, ratio=ratio / 100) for ratio in range(100) for row in rows()[:1]]
    assert len(Cells(sweep_of(many)._repr_html_()).rows) == 22  # the head, ten rows at each end, and dots between


def test_a_plot_draws_the_points_of_the_plan_and_its_controls():
    (axis,) = with_controls().plot(title="mine").axes
    assert [line.get_ydata()[0] for line in axis.lines] == pytest.approx([90, 90, 90])
    assert [line.get_ydata()[1] for line in axis.lines] == pytest.approx([50, 30, 10])
    assert [line.get_xdata().tolist() for line in axis.lines] == [[0, 25]] * 3
    assert axis.get_ylabel() == "accuracy (%), log scale of the error"
    assert with_controls().plot(title="mine").get_suptitle() == "mine"
    (axis,) = with_controls().plot("compression").axes
    assert axis.lines[0].get_xdata().tolist() == [1, 4 / 3]


def test_a_plot_of_what_was_not_measured_is_refused():
    with pytest.raises(SparsifyError, match=r"unknown measure 'finetuned_accuracy' .*choose from: accuracy$"):
        with_controls().plot(measure="finetuned_accuracy")
    with pytest.raises(SparsifyError, match="unknown axis 'ratios'; did you mean 'ratio'"):
        with_controls().plot("ratios")
