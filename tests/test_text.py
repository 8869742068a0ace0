"""Numbers, p values and counts as text."""

from __future__ import annotations

import pytest

from sparsify.text import (
    arms_in_words,
    factor,
    in_markdown,
    minus,
    numbers_in_words,
    p_in_words,
    p_value,
    percentage,
    plural,
    points,
    printable,
    shortest,
    thousands,
    unbroken,
    written,
)


def test_what_a_terminal_would_obey_is_shown_as_escapes():
    assert printable("a\x1b[2J\r\n\t\x9b\u202eb\udcff é ± 中") == r"a\x1b[2J\r\n\t\x9b\u202eb\udcff é ± 中"
    assert printable("A\nB\x07", keep="\n") == "A\nB\\x07"
    assert printable("\u0645\u06cc\u200c\u062e a\u00a0b") == "\u0645\u06cc\u200c\u062e a\u00a0b"


def test_markdown_shows_names_as_text():
    assert in_markdown("<img src=x> &lt; a|b [x](http://y)\n# c") == r"&lt;img src=x> &amp;lt; a\|b [x]\(http://y)\n# c"
    assert in_markdown("a < b & slbi [ours] <!-- </b>") == "a < b & slbi [ours] &lt;!-- &lt;/b>"


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (None, 6, "–"),
        (0.05, 6, "0.05"),
        (1 / 3, 10, "0.3333333333"),
        (1e-5, 6, "1e-05"),
        (4, 6, "4"),
        ("sgd", 6, "sgd"),
    ],
)
def test_a_setting_is_written(value, digits, text):
    assert written(value, digits) == text


@pytest.mark.parametrize(("value", "text"), [(0.1, "0.1"), (1 / 3, "0.3333333333333333"), (1e6, "1e+06"), (0.0, "0")])
def test_the_shortest_text_reads_back_as_the_same_number(value, text):
    assert shortest(value) == text
    assert float(text) == value


def test_numbers():
    assert [percentage(value) for value in (0, 0.6, 0.125, 1)] == ["0%", "60%", "12.5%", "100%"]
    assert [points(value) for value in (0.0031, -0.012, 0.0)] == ["+0.31", "−1.20", "0.00"]
    assert (factor(2.512), thousands(10080)) == ("2.51×", "10,080")
    assert [plural(count, "epoch") for count in (0, 1, 2)] == ["0 epochs", "1 epoch", "2 epochs"]


def test_the_sign_of_a_number_is_a_minus_and_other_hyphens_stay():
    assert minus("-1.20 to +0.31, [-.5]") == "−1.20 to +0.31, [−.5]"
    assert minus("slbi-2 of 2026-01-02 at 1e-05, -s, conv1--3") == "slbi-2 of 2026-01-02 at 1e-05, -s, conv1--3"


def test_p_values():
    assert [p_value(p) for p in (1.0, 0.0213, 0.001, 0.00099)] == ["1.000", "0.021", "0.001", "< 0.001"]
    assert [p_in_words(p) for p in (1.0, 0.0213, 0.001, 0.00099)] == ["p = 1", "p = 0.021", "p = 0.001", "p < 0.001"]


def test_what_is_not_to_be_broken_over_two_lines_has_no_break_spaces():
    text = "Holm's p: n = 5 seeds, p = 0.02, p < 0.001 and Holm-adjusted p = 1; a < b, ≥ 60%"
    joined = "Holm's_p: n_=_5 seeds, p_=_0.02, p_<_0.001 and Holm-adjusted p_=_1; a < b, ≥_60%"
    assert unbroken(text) == joined.replace("_", "\N{NO-BREAK SPACE}")
    assert in_markdown("p = 1") == unbroken("p = 1")


def test_a_difference_of_nothing_has_no_sign():
    assert [points(value) for value in (0.0, -0.00001, 0.00001, 0.001, -0.001)] == [
        "0.00",
        "0.00",
        "0.00",
        "+0.10",
        "−0.10",
    ]


def test_a_label_with_a_comma_is_in_quotation_marks_in_a_sentence() -> None:
    assert arms_in_words(["sgd", "adam, L2", "slbi"]) == 'sgd, "adam, L2" and slbi'


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ([5], "5"),
        ([0, 1, 2], "0, 1 and 2"),
        ([0, 1, 2, 3], "0 to 3"),
        ([7, *range(100, 110), 200, 201], "7, 100 to 109, 200 and 201"),
        ([4, 3, 2, 1], "4, 3, 2 and 1"),  # in the order in which they are given
    ],
)
def test_numbers_that_follow_each_other_are_not_spelt_out(numbers, words):
    assert numbers_in_words(numbers) == words
