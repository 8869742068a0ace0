"""A table of two rows in its four forms, what its cells sort by, and what users wrote in it."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pandas as pd
import pytest

from sparsify.analysis.statistics import Estimate, estimate
from sparsify.files import frame_as_csv
from sparsify.nets.deployment import Deployed
from sparsify.report.sections import Section, Source
from sparsify.report.table import (
    COUNT,
    FACTOR,
    MEAN,
    PERCENT,
    POINTS,
    RATIO,
    TEXT,
    Column,
    Format,
    Table,
    Turned,
    estimated,
    in_percent,
    percent,
    to_csv,
    to_html,
    to_markdown,
    to_rich,
)
from sparsify.report.tables import deployed_table, runs_table
from sparsify.runs import Run
from sparsify.text import plain_console

COLUMNS = [Column("arm", TEXT), Column("accuracy (%)", MEAN)]
ROWS = [("sgd", Estimate(2, 97.5, 0.5, 93.0, 102.0)), ("slbi", None)]


def printed(table: Table) -> list[str]:
    """The lines that a terminal shows."""
    console = plain_console(width=60, no_color=True)
    with console.capture() as capture:
        console.print(to_rich(table))
    return [line.rstrip() for line in capture.get().splitlines()]


def html(table: Table) -> list[list[tuple[str, float | None]]]:
    """Text and sort key of each cell."""
    return [[(cell.text, cell.key) for cell in row] for row in to_html(table).rows]


def test_two_by_two_on_a_terminal():
    assert printed(Table.of("accuracy", COLUMNS, ROWS, subject="Mine", spacing="narrow")) == [
        "Mine: accuracy",
        "",
        " arm   accuracy (%)",
        " ──────────────────",
        " sgd   97.50 ± 0.50",
        " slbi             –",
        "",
    ]


def test_two_by_two_in_markdown():
    assert to_markdown(Table.of("accuracy", COLUMNS, ROWS, subject="Mine")) == (
        "**Mine: accuracy**\n"
        "\n"
        "| arm  | accuracy (%) |\n"
        "|------|--------------|\n"
        "| sgd  | 97.50 ± 0.50 |\n"
        "| slbi |            – |\n"
    )


def test_two_by_two_in_csv():
    """An Estimate has a column for each of its fields; None is empty."""
    name = "accuracy (%)"
    assert to_csv(Table.of("accuracy", COLUMNS, ROWS)) == (
        f"arm,{name}: n,{name}: mean,{name}: deviation,{name}: low,{name}: high\nsgd,2,97.5,0.5,93.0,102.0\nslbi,,,,,\n"
    )
    plain = Table.of("", [Column("seed"), Column("accuracy", PERCENT)], [(0, 1 / 3), (1, None)])
    assert to_csv(plain) == "seed,accuracy\n0,0.3333333333333333\n1,\n"


def test_two_by_two_in_html():
    shown = to_html(Table.of("accuracy", COLUMNS, ROWS, subject="Mine"))
    assert (shown.caption, shown.head) == ("Accuracy", ("arm", "accuracy (%)"))
    assert [[(cell.text, cell.key) for cell in row] for row in shown.rows] == [
        [("sgd", None), ("97.50 ±\xa00.50", 97.5)],
        [("slbi", None), ("–", None)],
    ]


def test_a_turned_table_has_a_column_an_arm_but_in_html():
    columns = [Column("arm", TEXT), Column("0%", PERCENT), Column("n")]
    table = Table.of("t", columns, [("a", 0.5, 2), ("b", 0.25, 3)], turned=Turned("removed", "right"))
    assert to_markdown(table) == (
        "**t**\n\n| removed |     a |     b |\n|---------|-------|-------|\n|      0% | 50.00 | 25.00 |\n"
        "|       n |     2 |     3 |\n"
    )
    assert printed(table)[2].split() == ["removed", "a", "b"]
    assert to_html(table).head == ("arm", "0%", "n")
    assert html(table) == [[("a", None), ("50.00", 0.5), ("2", 2.0)], [("b", None), ("25.00", 0.25), ("3", 3.0)]]
    assert to_csv(table) == "arm,0%,n\na,0.5,2\nb,0.25,3\n"


def test_groups_are_headed_but_in_html_and_csv():
    columns = [Column("arm", TEXT), Column("removed", TEXT), Column("points", POINTS)]
    rows = [("slbi", "60% of conv3", 0.01), ("sgd", "60% of conv3", 0.02), ("slbi", "60% of fc1", -0.03)]
    table = Table.of("", columns, rows, group=1)
    assert to_markdown(table) == (
        "| arm          | points |\n"
        "|--------------|--------|\n"
        "| 60% of conv3 |        |\n"
        "|   slbi       |  +1.00 |\n"
        "|   sgd        |  +2.00 |\n"
        "| 60% of fc1   |        |\n"
        "|   slbi       |  −3.00 |\n"
    )
    assert to_html(table).head == ("arm", "removed", "points")
    assert html(table)[2] == [("slbi", None), ("60% of fc1", None), ("−3.00", -0.03)]
    assert to_csv(table).splitlines()[3] == "slbi,60% of fc1,-0.03"


@pytest.mark.parametrize(
    ("form", "value", "text", "key"),
    [
        (MEAN, Estimate(2, 99.16, 0.14, None, None), "99.16 ±\xa00.14", 99.16),
        (MEAN, Estimate(1, 99.16, None, None, None), "99.16", 99.16),
        (MEAN, "diverged", "diverged", None),
        (MEAN, None, "–", None),
        (MEAN, math.nan, "–", None),
        (RATIO, 0.6, "60%", 0.6),
        (RATIO, 1 / 8, "12.5%", 0.125),
        (FACTOR, 2.512, "2.51×", 2.512),
        (COUNT, 10080, "10,080", 10080.0),
        (POINTS, -0.0028, "−0.28", -0.0028),
        (PERCENT, 0.9876, "98.76", 0.9876),
        (TEXT, "0.003", "0.003", None),
        (TEXT, 3, "3", 3.0),
        (TEXT, True, "True", None),
        (Format(lambda one: f"[{one[0]}]", key=lambda one: one[1]), ("a", 7), "[a]", 7),
    ],
)
def test_a_cell_sorts_by_its_value_not_by_its_text(form, value, text, key):
    assert html(Table.of("", [Column("x", form)], [(value,)])) == [[(text, key)]]


def test_the_frame_has_types():
    table = Table.of("", [Column(name) for name in "abcd"], [(1, 0.5, "x", None), (2, 1.5, "y", 3)])
    assert [kind.kind for kind in table.frame.dtypes] == ["i", "f", "O", "O"]
    assert table.texts() == [["1", "0.5", "x", "–"], ["2", "1.5", "y", "3"]]  # 3 does not become 3.0
    assert table.frame.b.mean() == 1.0


def test_a_table_without_rows():
    table = Table.of("Nothing", COLUMNS, [])
    assert to_csv(table) == "arm,accuracy (%)\n"
    assert to_html(table).rows == ()
    assert to_markdown(table).startswith("**Nothing**\n\n| arm | accuracy (%) |\n")
    assert printed(table)[0].strip() == "Nothing"


@pytest.mark.parametrize("label", ["a|b", "slbi [ours]", "odd [/b]", ":zap: [red]", "<b>&amp;</b>", "n"])
def test_what_users_wrote_stands_as_they_wrote_it(label):
    """As a value and as a heading, even if another column has it, too."""
    table = Table.of(label, [Column("n", TEXT), Column(label)], [(label, 1)])
    assert label in printed(table)[0]
    assert all(label in line for line in (printed(table)[2], printed(table)[4]))
    heading, rule, row = to_markdown(table).splitlines()[2:]
    escaped = {"<b>&amp;</b>": "&lt;b>&amp;amp;&lt;/b>"}.get(label, label.replace("|", r"\|"))
    assert [line.split(" | ")[place].strip(" |") for line, place in ((heading, 1), (row, 0))] == [escaped, escaped]
    assert rule.count("|") == 3
    assert to_html(table).head[1] == html(table)[0][0][0] == label
    assert to_csv(table) == f"n,{label}\n{label},1\n"


def test_a_csv_shows_what_cannot_be_printed_as_escapes():
    """A terminal that shows the file does not obey it; numbers are as they were."""
    frame = pd.DataFrame(
        {"arm": ["a\x1b[31m\nb", None], "\x07n": [1, 2], "mixed": ["\u202ex", 0.1], "yes": [True, False]}
    )
    assert frame_as_csv(frame) == ("arm,\\x07n,mixed,yes\na\\x1b[31m\\nb,1,\\u202ex,True\n,2,0.1,False\n")
    assert frame["mixed"][0] == "\u202ex", "the table itself stays"
    assert to_csv(Table.of("", [Column("\x9b")], [("\x85",)])) == "\\x9b\n\\x85\n"


def test_estimates_of_nothing_are_none():
    assert estimated([]) is in_percent([]) is None
    assert estimated([1.0, 3.0]) == estimate([1.0, 3.0])
    assert in_percent([0.25, 0.75]).mean == 50
    assert (percent([]), percent([0.5]), percent([0.4, 0.6])) == ("–", "50.00", "50.00 ± 14.14")


def test_latencies_sort_by_their_median():
    row = Deployed("fc1", 0.5, "cpu", 1, 9, 4096, 2048, 0.002, 0.0019, 0.0021, 0.001, 0.0009, 0.0012, 1.5, 2.0, True)
    (cells,) = html(deployed_table([row], title="mine"))
    assert cells == [
        ("fc1", None),
        ("50%", 0.5),
        ("2 KiB", 2048),
        ("1", 1),
        ("2 (1.9 to 2.1)", 0.002),
        ("1 (0.9 to 1.2)", 0.001),
        ("2.00×", 2.0),
        ("1.50×", 1.5),
        ("9", 9),
        ("", None),
    ]


def test_a_run_that_cannot_be_read_is_damaged(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text("{")
    reason = "config.json is damaged: it is no JSON: Input data was truncated; delete the folder and train it again"
    assert runs_table([Run(tmp_path / "mine")]).texts() == [["mine", "damaged", *[""] * 5, reason]]


def test_a_section_of_figures_alone_is_left_out_without_one():
    picture = SimpleNamespace(drawn=SimpleNamespace(section="filters"))
    source = Source(None, None, [picture], [], [])
    assert Section("filters", "Filters").of(source) == {}
    assert Section("sparsity", "Accuracy").of(source) is None
    assert Section("sparsity", "Accuracy", lambda _: {"words": "…"}).of(source) == {"words": "…"}


def test_columns_without_a_value_can_be_left_out():
    table = Table.of("", [Column("arm", TEXT), Column("p"), Column("n")], [("a", None, 1), ("b", math.nan, None)])
    assert [column.heading for column in table.without_empty().columns] == ["arm", "n"]
    assert table.without_empty().texts() == [["a", "1"], ["b", "–"]]


def test_the_sign_of_a_number_is_a_minus_and_csv_keeps_the_hyphen():
    table = Table.of(
        "", [Column("x-1", POINTS), Column("y", MEAN), Column("z", TEXT)], [(-0.01, estimate([-2.5]), "a-1")]
    )
    assert table.texts() == [["−1.00", "−2.50", "a-1"]]
    assert "-0.01,1,-2.5" in to_csv(table)
