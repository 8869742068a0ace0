"""The check of pages names what is wrong with a page, and nothing of one that is right."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.accessibility import check, chromium, pages_in

PAGE = '<!doctype html><html lang="en"><head><title>A</title></head><body><main><h1>A</h1>{}</main></body></html>'


@pytest.mark.skipif(chromium() is None, reason="there is no chromium")
def test_a_pale_word_and_a_picture_without_a_text_are_named_in_light_and_dark(tmp_path: Path) -> None:
    pytest.importorskip("axe_playwright_python", reason="pip install '.[test]'")
    (tmp_path / "right.html").write_text(PAGE.format("<p>plain</p>"))
    (tmp_path / "wrong.html").write_text(PAGE.format('<img src="a.png"><p style="color:#bbb;background:#fff">pale</p>'))
    found = list(check(pages_in([tmp_path]), str(chromium())))
    named = [line.removeprefix(f"{tmp_path}/").partition(" (")[0] for line in found]
    assert named == [
        "wrong.html, light, 1400 px: color-contrast",
        "wrong.html, light, 1400 px: image-alt",
        "wrong.html, dark, 390 px: color-contrast",
        "wrong.html, dark, 390 px: image-alt",
    ]


def test_the_page_of_what_is_not_found_is_left_out(tmp_path: Path) -> None:
    for name in ("index.html", "404.html"):
        (tmp_path / name).write_text(PAGE.format(""))
    assert pages_in([tmp_path]) == [tmp_path / "index.html"]
