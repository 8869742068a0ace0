"""The check on a GPU runs, at tiny sizes on the CPU, so that it works at once where there is a GPU.

Two of it run at once. Left out are what takes longer than a test may (`study`, `seeds`, `vgg`), what tests this package
anew (`tests`, `alltests`), and of `setup` the installation of the wheels.
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

ROOT = Path(__file__).parent.parent.parent
PARTS = ("setup smoke correct profile", "capture speed bench pack")
SECONDS = 400  # for all; it is stopped then, so that nothing waits for ever

pytestmark = pytest.mark.skipif(
    shutil.which("bash") is None or shutil.which("timeout") is None or shutil.which("xz") is None,
    reason="needs bash, GNU's timeout and xz",
)


def start(parts: str, folder: Path, **more: str) -> subprocess.Popen[str]:
    settings = {
        "PARTS": parts,
        "TINY": "1",
        "DEVICE": "cpu",
        "PYTHON": sys.executable,
        "TOTAL": str(SECONDS - 20),
        "OUT": str(folder / "out"),
        "DATA": str(folder / "data"),
        "WORK": str(folder / "work"),
        "SITE": str(folder / "site"),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "OMP_NUM_THREADS": "1",
        **more,
    }
    command = ["bash", str(ROOT / "benchmarks" / "gpu" / "gpu_check.sh")]
    return subprocess.Popen(
        command, env={**os.environ, **settings}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def exits(folder: Path) -> dict[str, int]:
    """The exit status of each part that has ended, from the log."""
    log = (folder / "out" / "log.txt").read_text()
    return {name: int(status) for name, status in re.findall(r"^== (\S+): exit (\d+)", log, re.MULTILINE)}


def test_each_part_ends_well_and_no_check_fails(tmp_path: Path) -> None:
    folders = [tmp_path / str(number) for number in range(len(PARTS))]
    processes = [start(parts, folder) for parts, folder in zip(PARTS, folders, strict=True)]
    output = [process.communicate(timeout=SECONDS)[0] for process in processes]
    found: dict[str, dict] = {}
    for parts, folder, text in zip(PARTS, folders, output, strict=True):
        assert exits(folder) == dict.fromkeys(parts.split(), 0), text
        lines = (folder / "out" / "results.jsonl").read_text().splitlines()
        found |= {result["what"]: result for result in map(json.loads, lines)}
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
    names = {path.name.split("-")[0] for path in (folders[1] / "work" / "benchmarks").iterdir()}
    assert names == {"step", "lenet", "sweep"}
    assert (folders[1] / "out" / "studies.tar.xz").stat().st_size > 0


def test_a_check_that_fails_says_so_and_the_next_goes_on(tmp_path: Path) -> None:
    """On a device that is not there every check of `correct` fails, and `setup` follows it."""
    process = start("correct nonsense setup", tmp_path, DEVICE="cpu:x")
    output, _ = process.communicate(timeout=SECONDS)
    assert exits(tmp_path) == {"correct": 1, "setup": 0}, output
    assert "== no part is called nonsense" in output
    lines = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert [line["what"] for line in lines] == ["LeNet on MNIST, here and on the CPU", "resumed, MNIST"]
    assert all("--device 'cpu:x' is unknown" in line["FAILED"] for line in lines)
