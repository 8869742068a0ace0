"""Where files are looked for, and in which order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from datafiles import RAW_FILES, error_of, write_raw

from sparsify.data.places import Roots
from sparsify.data.registry import DATASETS


def test_the_roots_are_data_dir_then_the_variable_then_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, variable, cache = tmp_path / "data", tmp_path / "variable", tmp_path / "cache"
    assert Roots.of(data) == Roots((data, variable, cache), download=data, cache=cache)
    assert Roots.of() == Roots((variable, cache), download=cache, cache=cache)
    monkeypatch.delenv("SPARSIFY_DATA")
    assert Roots.of() == Roots((cache,), download=cache, cache=cache)
    monkeypatch.setenv("SPARSIFY_DATA", "")
    assert Roots.of().search == (cache,)


def test_a_root_may_begin_with_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("SPARSIFY_DATA", "~/variable")
    assert Roots.of("~/data").search[:2] == (tmp_path / "data", tmp_path / "variable")


def test_files_are_taken_from_the_first_root_that_has_any(tmp_path: Path, fake_raw: Callable) -> None:
    content = fake_raw(None, "MNIST")
    read_from = []
    for place in ("cache", "variable", "data"):  # each found before the one that was there
        write_raw(tmp_path / place, "MNIST", {**content, RAW_FILES[0]: place.encode()})
        message = error_of("mnist", tmp_path / "data")
        read_from.append(Path(message.split(" is truncated")[0]).relative_to(tmp_path).parts[0])
    assert read_from == ["cache", "variable", "data"]
    assert str(tmp_path / "variable") in error_of("mnist")


def test_a_data_dir_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "missing", tmp_path / "file"):
        assert error_of("digits", path) == f"--data-dir {path} is not a folder"


def test_an_unknown_name_is_refused_with_the_choices_and_the_nearest() -> None:
    assert error_of("minst") == (
        f"unknown data set 'minst'; did you mean 'mnist'? choose from: {', '.join(DATASETS)}, folder:PATH"
    )
