"""An error is one line, whatever the values in it are."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsify.data.places import DataNotFoundError
from sparsify.errors import (
    MOST_NAMES,
    PAGES,
    SparsifyError,
    first_line,
    one_line,
    quoted,
    reason_given,
    see,
    shown,
    some,
    unknown,
)
from sparsify.text import printable


def test_a_value_is_cut_at_80_characters_and_what_cannot_be_printed_is_escaped():
    assert shown("a" * 80) == "a" * 80
    assert shown("a" * 81) == "a" * 80 + "…"
    assert shown("a\nb\x1b[31m\u202e\udcff\0") == r"a\nb\x1b[31m\u202e\udcff\x00"
    assert quoted("a" * 81) == f"'{'a' * 80}…'"
    assert (quoted("it"), quoted(3), quoted(["a"]), shown(None)) == ("'it'", "3", "['a']", "None")


def test_the_reason_of_an_error_of_the_system_is_given_without_its_number_and_its_path():
    assert reason_given(FileNotFoundError(2, "No such file or directory", "a")) == "No such file or directory"
    assert reason_given(OSError("it is away")) == "it is away"
    assert reason_given(ValueError("3")) == "3"
    assert first_line(PermissionError(13, "Permission denied", "a")) == "Permission denied"


def test_what_python_does_not_write_is_named():
    nested: list[object] = []
    for _ in range(100_000):
        nested = [nested]
    assert shown(10**5000) == "a whole number of more than 4,300 digits"
    assert shown([10**5000]) == "a list with a whole number of more than 4,300 digits"
    assert shown(nested) == "a list that is nested very deep"


def test_an_error_is_one_line_wherever_it_is_made_and_stays_itself():
    error = SparsifyError("first\nsecond \x1b[31m " + "x" * 1000 + "/a file of " + "y" * 100)
    assert str(error) == r"first\nsecond \x1b[31m " + "x" * 80 + "…/a file of " + "y" * 100
    assert str(SparsifyError(error)) == str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert len(str(SparsifyError("a " * 100_000))) == 10_001


def test_an_error_of_many_lines_is_its_first_and_one_without_words_its_type():
    assert first_line(RuntimeError("\na\nb")) == "a"
    assert first_line(KeyError()) == "KeyError"


def test_a_path_is_shown_whole():
    path = "/".join(["a-folder-with-quite-a-long-name"] * 20)
    assert one_line(f"{path} is damaged") == f"{path} is damaged"


def test_at_most_50_names_are_listed():
    names = [f"run-{number}" for number in range(10_000)]
    assert some(names[:50]).endswith("run-48, run-49")
    message = str(unknown("run", "rum-1", names))
    assert message.endswith("run-48, run-49, and 9,950 more")
    assert message.count("run-") == MOST_NAMES
    assert "did you mean 'run-1'?" in str(unknown("run", "rum-1", names[:60]))


@pytest.mark.parametrize(
    ("value", "nearest"),
    [("lenet", "lenet-mnist"), ("mnist", "lenet-mnist"), ("lent", "alexnet"), ("control", "lenet-control")],
)
def test_a_name_that_holds_what_was_typed_is_nearer_than_one_that_looks_like_it(value, nearest):
    studies = ["alexnet", "lenet-control", "lenet-mnist", "quick"]
    assert f"; did you mean '{nearest}'? " in str(unknown("study", value, studies))


def test_nothing_is_near_to_nothing():
    assert "did you mean" not in str(unknown("study", "", ["alexnet", "quick"]))


@given(st.text(st.characters(exclude_categories=()), max_size=300))
def test_any_text_is_one_line_that_can_be_printed(text):
    for line in (one_line(text), shown(text), quoted(text), str(unknown("word", text, [text]))):
        assert printable(line) == line
        assert len(line.splitlines()) <= 1
        assert "\n" not in line
        assert one_line(line) == line


@pytest.mark.parametrize("about", PAGES)
def test_an_error_names_the_page_about_it_in_its_one_line(about: str) -> None:
    error = SparsifyError("a reason", about=about)
    assert str(error) == "a reason"  # the page is the command line's
    assert see(error) == f"; see docs/{PAGES[about]}"
    assert see(pickle.loads(pickle.dumps(error))) == see(error)  # as a process hands it on


def test_the_page_of_what_an_error_came_from_is_named() -> None:
    outer = SparsifyError("study mine: a reason")
    outer.__cause__ = unknown("layer", "conv9", ["conv1"])
    assert see(outer) == "; see docs/how-to/network.md"
    assert see(SparsifyError("a reason")) == ""
    assert see(unknown("optimizer", "sgdd", ["sgd"])) == "; see docs/how-to/optimizer.md"
    assert see(unknown("grain", "atom", ["filter"])) == ""
    assert see(DataNotFoundError("a reason")) == "; see docs/how-to/data.md"


def test_every_page_that_an_error_names_is_there() -> None:
    docs = Path(__file__).parent.parent / "docs"
    if not (docs / "index.md").exists():
        pytest.skip("the site is not in this checkout: docs/ has no index.md")
    assert [page for page in PAGES.values() if not (docs / page).exists()] == []
