"""The table of how fast it is: chosen from results, and the page of today."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks import speed_table


def test_the_newest_file_is_told(tmp_path: Path) -> None:
    for name, threads in (("lenet-20260101T000000Z", 2), ("lenet-20251231T235959Z", 1)):
        (tmp_path / f"{name}.json").write_text(json.dumps({"threads": threads}), encoding="utf-8")
    assert speed_table.newest(tmp_path, "lenet-*.json") == {"threads": 2}


def test_the_page_has_the_table_of_the_results() -> None:
    page = speed_table.PAGE.read_text(encoding="utf-8")
    assert speed_table.filled(page, speed_table.markdown()) == page, "python -m benchmarks.speed_table writes it"


def test_what_stands_around_the_table_stays() -> None:
    page = f"before\n{speed_table.BEGIN}old\n{speed_table.END}after\n"
    assert speed_table.filled(page, r"\1 new") == f"before\n{speed_table.BEGIN}\n\\1 new\n{speed_table.END}after\n"
