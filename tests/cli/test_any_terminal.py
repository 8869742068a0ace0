"""Whatever is typed, and whatever the terminal can show: one line, status 2."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ASCII = {"PYTHONIOENCODING": "ascii"}
C = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def answer(tmp_path: Path, *line: str | bytes, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """The answer of a process of its own, as from a shell."""
    command = [sys.executable, "-m", "sparsify", *line]
    kept = {name: value for name, value in os.environ.items() if name not in ("LANG", "LC_ALL", "LC_CTYPE")}
    places = os.pathsep.join([os.getcwd(), *sys.path])
    return subprocess.run(
        command, cwd=tmp_path, env=kept | environment | {"PYTHONPATH": places}, capture_output=True, timeout=60
    )


@pytest.mark.parametrize("environment", [ASCII, C, {"PYTHONUTF8": "1"}], ids=["ascii", "C", "utf-8"])
def test_help_and_errors_are_shown_on_any_terminal(environment, tmp_path):
    helped = answer(tmp_path, "train", "--help", **environment)
    assert (helped.returncode, helped.stderr) == (0, b"")
    assert (
        "learning rate α".encode(
            "utf-8" if "PYTHONUTF8" in environment and "LC_ALL" not in environment else "ascii", "replace"
        )
        in helped.stdout
    )
    (tmp_path / "it.toml").write_text('[[arms]]\nopt = "µ"\nlabel = "α→β"\n', encoding="utf-8")
    refused = answer(tmp_path, "study", "it.toml", **environment)
    assert refused.returncode == 2
    assert refused.stderr.startswith(b"error: study it.toml: unknown optimizer '")
    assert refused.stderr.count(b"\n") == 1
    assert refused.stdout == b""


@pytest.mark.parametrize("environment", [C, {"PYTHONUTF8": "1"}], ids=["C", "utf-8"])
def test_an_argument_that_is_no_text_is_named(environment, tmp_path):
    refused = answer(tmp_path, "train", "--init", b"run-\xff", **environment)
    assert refused.returncode == 2
    assert refused.stderr == rb"error: argument 3 is 'run-\udcff'; it must be text without NUL, and in UTF-8" + b"\n"


def test_a_name_that_the_system_cannot_have_is_named(tmp_path):
    (tmp_path / "it.toml").write_text('[base]\ndata = "folder:é"\n[[arms]]\nopt = "sgd"\n', encoding="utf-8")
    refused = answer(tmp_path, "study", "it.toml", **C)
    assert refused.returncode == 2
    assert refused.stderr.count(b"\n") == 1
    assert b"cannot be a file's name here, in ascii; set PYTHONUTF8=1" in refused.stderr


@pytest.mark.parametrize(
    ("line", "fragment"),
    [
        ("train --seeds 99999999999999999999", "are too many; at most 10,000"),
        ("train --seeds 0-99999999999", "is malformed"),
        (f"train --epochs {'9' * 4096}", "9…"),
        ("train --epochs 99999999999", "it must be at most 1000000"),
        (f"train --opt {'x' * 4000}", f"unknown optimizer '{'x' * 80}…'; choose from"),
        (f"train --opt {'x' * 5000}", "unknown optimizer 'xxx"),
        ("train --opt ''", "unknown optimizer ''"),
        ("train --data ''", "unknown data set ''"),
        ("train --init ''", "--init is ''"),
        ("train --model 'a\nb\x1b[31m'", r"unknown network 'a\nb\x1b[31m'"),
        (f"prune {'a' * 300} --layers conv3", "File name too long"),
        ("prune none --layers conv3 --ratios 0:1:1e999999", "which must be at most 100"),
        ("prune none --layers conv3 --ratios 0:1:1e-300", "more than 10,000 values"),
        ("prune none --layers conv3 --ratios nan", "'nan' is not finite"),
        ("prune none --layers conv3 --rounds 99999999", "--rounds is 99999999; it must be at most 10000"),
        ("study /dev/zero", "unknown study '/dev/zero'"),
        ("'a\nb'", "Unknown command"),
    ],
)
def test_what_nobody_would_type_is_refused_in_one_line(line, fragment, refused):
    assert fragment in refused(line).err
