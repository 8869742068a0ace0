"""The check on a GPU runs, at tiny sizes on the CPU, so that it works at once where there is a GPU.

What the shell script starts is run in one process, because an import of torch takes seconds: an `echo` in the place of
Python says what that is. Left out are what takes longer than a test may (`study`, `seeds`, `vgg`), what tests this
package anew (`tests`, `alltests`), and of `setup` the installation of the wheels.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from processes import MODULES, said_by

from benchmarks.gpu.verdicts import unequal

ROOT = Path(__file__).parent.parent.parent
GPU = ROOT / "benchmarks" / "gpu"
SECONDS = 1200  # for all, also where other work takes most of the cores; it is stopped then

pytestmark = pytest.mark.skipif(
    shutil.which("bash") is None or shutil.which("timeout") is None or shutil.which("xz") is None,
    reason="needs bash, GNU's timeout and xz",
)


def settings(folder: Path, **more: str) -> dict[str, str]:
    """The environment of a tiny check on the CPU, which writes to a folder."""
    places = {name.upper(): str(folder / name) for name in ("out", "data", "work", "site")}
    own = {"TINY": "1", "DEVICE": "cpu", "PYTHON": sys.executable, "TOTAL": str(SECONDS - 20), "SLOW": "10"}
    return {**os.environ, **places, **own, "XDG_CACHE_HOME": str(folder / "cache"), "OMP_NUM_THREADS": "1", **more}


def check(parts: str, folder: Path, **more: str) -> str:
    """What the command prints."""
    command = ["bash", str(GPU / "gpu_check.sh")]
    environment = settings(folder, PARTS=parts, **more)
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=SECONDS
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def started(text: str) -> list[str]:
    """The modules that an `echo` in the place of Python has printed, each with its arguments."""
    return re.findall(r"^-m (benchmarks\S+ .+)$", text, re.MULTILINE)


def exits(folder: Path) -> dict[str, int]:
    """The exit status of each part that has ended, from the log."""
    log = (folder / "out" / "log.txt").read_text()
    return {name: int(status) for name, status in re.findall(r"^== (\S+): exit (\d+)", log, re.MULTILINE)}


def test_each_part_ends_well_and_no_check_fails(tmp_path: Path) -> None:
    text = check("setup smoke correct capture speed profile bench", tmp_path, PYTHON="echo")
    assert set(exits(tmp_path).values()) == {0}, text
    commands = started(text)
    modules = [command.split()[0] for command in commands]
    assert modules == ["benchmarks.gpu.probe"] * 5 + ["benchmarks.run", "benchmarks.sweep"]
    results = tmp_path / "out" / "results.jsonl"
    places = {"RESULTS": str(results), "RUNS": str(tmp_path / "work" / "runs"), "SPARSIFY_DATA": str(tmp_path / "data")}
    said = said_by(MODULES, *commands, **settings(tmp_path, **places))
    assert said.splitlines()[-1] == "all ended well", said
    assert check("pack", tmp_path)
    assert exits(tmp_path)["pack"] == 0
    found = {result["what"]: result for result in map(json.loads, results.read_text().splitlines())}
    assert not [result for result in found.values() if "FAILED" in result]
    assert {
        "versions",
        "graph = eager, bits: lenet sgd",
        "masks",
        "resumed",
        "side_by_side",
        "one_pass",
        "deployed",
        "product_peaks",
        "LeNet on MNIST, here and on the CPU",
        "resumed, MNIST",
        "VGG-A slbi exact, batch 16",
        "profile VGG-A slbi exact",
    } <= found.keys()
    assert found["side_by_side"]["bits_equal"]
    assert found["resumed, MNIST"]["bits_equal"]
    assert found["LeNet on MNIST, here and on the CPU"]["slbi"]["apart_of_the_way"] == 0
    names = {path.name.split("-")[0] for path in (tmp_path / "work" / "benchmarks").iterdir()}
    assert names == {"step", "lenet", "sweep"}
    assert (tmp_path / "out" / "studies.tar.xz").stat().st_size > 0


def test_what_should_be_equal_and_is_not_is_a_failure() -> None:
    fine = {
        "from 0": {"zeros": True, "bits_equal": True, "relative": 0.0},
        "lenet exact": "equal",
        "lenet l1": "same twice",
    }
    assert list(unequal(fine)) == []
    wrong = {"from 0": {"zeros": False, "bits_equal": True}, "b": {"bits_equal": False}, "c": "DIFFERS: 3 and 4"}
    assert list(unequal(wrong)) == ["from 0: zeros", "b: bits_equal", "c"]


def test_the_parts_of_the_probe_are_asked_for_by_their_names(tmp_path: Path) -> None:
    """An `echo` in the place of Python says what is run."""
    parts = "smoke correct capture speed profile"
    text = check(parts, tmp_path, PYTHON="echo")
    assert [command.split()[-1] for command in started(text)] == parts.split()


def test_a_check_that_fails_says_so_and_the_next_goes_on(tmp_path: Path) -> None:
    """On a device that is not there every check of `correct` fails, with status 1, and `setup` follows what does so."""
    results = tmp_path / "out" / "results.jsonl"
    text = check("correct nonsense setup", tmp_path, PYTHON="false")
    assert exits(tmp_path) == {"correct": 1, "setup": 0}, text
    assert "== no part is called nonsense" in text
    said = said_by(MODULES, "benchmarks.gpu.probe correct", **settings(tmp_path, DEVICE="cpu:x", RESULTS=str(results)))
    assert "benchmarks.gpu.probe correct: 1\n" in said
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    assert [line["what"] for line in lines] == ["LeNet on MNIST, here and on the CPU", "resumed, MNIST"]
    assert all("--device 'cpu:x' is unknown" in line["FAILED"] for line in lines)
