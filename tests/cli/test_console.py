"""What a person sees: tables that are wider than the terminal."""

from __future__ import annotations

import pytest
from rich.console import Console

from sparsify.cli import console
from sparsify.report.table import TEXT, Column, Table


def wide() -> Table:
    columns = [Column(name, TEXT) for name in ("removed", "first column", "second column", "third column")]
    return Table.of("Wide", columns, [("10%", "one", "two", "three")])


def shown(table: Table, width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, **how) -> str:
    monkeypatch.setattr(console, "out", Console(width=width, **how))
    console.show(table)
    return capsys.readouterr().out


def test_a_terminal_shows_a_wide_table_in_parts(capsys, monkeypatch):
    text = shown(wide(), 45, capsys, monkeypatch, force_terminal=True)
    assert all(len(line) <= 45 for line in text.splitlines())
    assert text.count("Wide") == 1
    assert text.count("removed") == text.count("10%") == 2
    assert [text.count(name) for name in ("first column", "second column", "third column", "three")] == [1, 1, 1, 1]
    narrow = shown(wide(), 15, capsys, monkeypatch, force_terminal=True)
    assert narrow.count("removed") == 3
    assert "third column" in narrow


@pytest.mark.parametrize("text", ["slbi [ours]", "odd [/b]", ":zap: [red]", "a\\[b]"])
@pytest.mark.parametrize("terminal", [True, False])
def test_text_is_shown_as_its_author_wrote_it(text, terminal, capsys, monkeypatch):
    table = Table.of(f"On {text}", [Column("arm", TEXT), Column(text)], [(text, 1)])
    lines = shown(table, 60, capsys, monkeypatch, force_terminal=terminal, color_system=None).splitlines()
    assert all(text in line for line in (lines[0], lines[2], lines[4]))
    console.say(text)
    console.tell(text)
    assert capsys.readouterr().out.splitlines() == [text, text]


def test_a_table_of_any_width_has_each_row_in_one_line(capsys, monkeypatch):
    arms = (f"an arm with quite a long label, number {number}" for number in range(60))
    table = Table.of("Wide", [Column("removed"), *map(Column, arms)], [("10%", *range(60))])
    text = shown(table, 80, capsys, monkeypatch, force_terminal=False)
    assert any(all(f"number {number} " in line for number in range(60)) for line in text.splitlines())


@pytest.mark.parametrize(("width", "terminal"), [(100, True), (45, False)])
def test_elsewhere_and_where_there_is_room_it_is_whole(width, terminal, capsys, monkeypatch):
    text = shown(wide(), width, capsys, monkeypatch, force_terminal=terminal)
    assert text.count("removed") == 1
    assert any("first column" in line and "third column" in line for line in text.splitlines())


def test_a_sentence_is_wrapped_between_words_on_a_terminal_only(capsys, monkeypatch):
    for terminal, lines in ((True, ["a sentence of", "words [3]"]), (False, ["a sentence of words [3]"])):
        monkeypatch.setattr(console, "out", Console(width=15, force_terminal=terminal, highlight=False))
        console.tell("a sentence of words [3]")
        assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == lines
