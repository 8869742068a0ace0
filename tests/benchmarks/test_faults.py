"""Commands that are killed at random moments: a few of them, what is compared, and what is said to be wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import faults, faults_compared

ROOT = Path(__file__).parent.parent.parent
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it needs Linux")


FEW_IMAGES = """
import dataclasses
from benchmarks import faults
for name, one in faults.SCENARIOS.items():
    command, *before = (text.replace("digits", "colour-digits") for text in (one.command, *one.before))
    faults.SCENARIOS[name] = dataclasses.replace(one, command=command, before=tuple(before))
faults.main()
"""
"""The program with 256 images in the place of 1,437."""


def options(kills: int, folder: Path) -> list[str]:
    return ["--kills", str(kills), "--output", str(folder), "--only", "training", "pruning"]


def killed(kills: int, folder: Path) -> dict[str, object]:
    """The content of the JSON file after so many kills."""
    done = subprocess.run(
        [sys.executable, "-c", FEW_IMAGES, *options(kills, folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    (path,) = folder.glob("faults-*.json")
    assert done.returncode == 0, path.read_text() + done.stderr[-2000:]
    return json.loads(path.read_text())


def test_commands_are_killed_four_times_and_begun_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With these draws by each signal, both commands, and one of them as a fresh interpreter."""
    found = killed(4, tmp_path)
    assert found["failures"] == []
    assert found["kills"] >= 4
    counts = [counts for by_signal in found["counts"].values() for counts in by_signal.values()]
    assert sum(one["killed"] for one in counts) == sum(one["stopped"] for one in counts) == found["kills"]
    assert sum(one["the same"] for one in counts) == found["kills"]
    assert {name for by_signal in found["counts"].values() for name in by_signal} == {"SIGKILL", "SIGTERM", "SIGINT"}
    (table,) = tmp_path.glob("faults-*.md")
    assert f"{found['kills']} kills of {found['commands']} commands" in table.read_text()
    assert "All of it held." in table.read_text()
    (path,) = tmp_path.glob("faults-*.json")
    before = path.read_bytes()
    monkeypatch.setattr(sys, "argv", ["faults", *options(4, tmp_path)])
    with pytest.raises(SystemExit) as ended:
        faults.main()
    assert ended.value.code == 0
    assert path.read_bytes() == before, "all is done"


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("metrics.csv", "epoch,loss,seconds\n1,0.5,0.1\n", "epoch,loss,seconds\n1,0.5,0.2\n"),
        ("environment.json", '{"threads": 1, "started": "a"}', '{"threads": 1, "started": "b"}'),
        (
            "summary.json",
            '{"loss": 1, "finished": "a", "sha256": {"metrics.csv": "a", "z": "c"}}',
            '{"loss": 1, "finished": "b", "sha256": {"metrics.csv": "b", "z": "c"}}',
        ),
        ("report.html", "<td>1</td><td>2026-11-28T08:24:04+00:00</td>", "<td>1</td><td>2026-11-28T08:25:04+00:00</td>"),
    ],
)
def test_all_but_times_is_compared(name: str, one: str, other: str, tmp_path: Path) -> None:
    states = []
    for text in (one, other, one.replace("1", "3")):
        (tmp_path / name).write_text(text)
        states.append(faults_compared.state(tmp_path))
    assert states[0] == states[1] != states[2]
    (tmp_path / f".{name}.abcdefgh.tmp").touch()
    assert len(faults_compared.state(tmp_path)) == 2, "a temporary file is a difference"


@pytest.mark.parametrize(
    ("status", "said", "wrong"),
    [
        (143, "stopped; the same command goes on\n", ""),
        (143, "warning: the path may be too short\nstopped\n", ""),
        (-15, "", ""),
        (0, "", ""),
        (143, "Traceback (most recent call last):\n  …\nstopped\n", "says 3 lines"),
        (143, "", "says 0 lines"),
        (2, "error: a training process was killed\n", "ends with 2, not 143"),
    ],
)
def test_how_a_command_stops(status: int, said: str, wrong: str) -> None:
    found = faults._misbehaviour(status, signal.SIGTERM, said)
    assert found.startswith(wrong)
    assert bool(found) is bool(wrong)


def test_a_result_that_was_written_before_is_read_and_gives_the_same_table() -> None:
    path = max((ROOT / "benchmarks" / "results").glob("faults-*.json"))
    result = faults.Result.read(path)
    assert set(result.scenarios) <= set(faults.SCENARIOS)
    assert faults._markdown(result) == path.with_suffix(".md").read_text()


def test_what_differs_is_named() -> None:
    assert (
        faults_compared.differences({"a": "1", "c": "1"}, {"a": "2", "b": "1", "c": "1"}) == "a differs, b is missing"
    )
    assert faults_compared.differences({"a": "1", "b": "1"}, {"a": "1"}) == "b is too much"
    assert faults_compared.differences({"a": "1"}, {"a": "1"}) == ""
