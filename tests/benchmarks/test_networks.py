"""The table of what works on which network: two small networks of torchvision, and what becomes of those that fail."""

from __future__ import annotations

import json
import os
import shlex
import signal
import time
from pathlib import Path

import pytest
from processes import MODULES, said_by

from benchmarks import networks, networks_table
from sparsify import SparsifyError

SMALL = ("shufflenet_v2_x0_5", "squeezenet1_1")


def run(path: Path, *names: str) -> str:
    """What the command prints."""
    words = ["benchmarks.networks", "--output", str(path), "--onnx", "--only", *names]
    said = said_by(MODULES, shlex.join(words), OMP_NUM_THREADS="1")
    assert said.splitlines()[-1] == "all ended well", said[-2000:]
    return said


def test_two_small_networks_are_measured_once(tmp_path: Path) -> None:
    path = tmp_path / "networks-20260101.json"
    printed = run(path, SMALL[0])
    assert f"{SMALL[0]}: " in printed  # after a line on timm, if that is not installed
    content = json.loads(path.read_text())
    content["networks"][0]["seconds"] = 12345  # so that it shows if it is measured again
    path.write_text(json.dumps(content))
    assert SMALL[0] not in run(path, *SMALL)
    first, second = json.loads(path.read_text())["networks"]
    assert (first["network"], first["seconds"]) == (SMALL[0], 12345)
    assert first["failed"] == ""
    assert first["shrunk"]
    assert first["params"] == 1_366_792
    assert second["network"] == SMALL[1]
    assert second["failed"] == ""
    assert second["shrunk"] == "yes"
    assert second["images"] == "3 × 64 × 64"
    assert (second["taken"], list(second["left_out"])) == (25, ["classifier.1"])
    assert second["macs"] == second["macs_counted"]
    assert second["macs_left"] == second["macs_shrunk_counted"] < 0.6 * second["macs"]
    assert second["params_left"] == second["params_shrunk"] < 0.6 * second["params"]
    lines = (tmp_path / "networks.md").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("| squeezenet1_1"))
    assert [cell.strip() for cell in line.split("|")][7:10] == [
        f"{second['macs_left'] / second['macs']:.1%}",
        "yes",
        "equal",
    ]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["networks-20260101.json", "networks.md"]


def sleeps(*_: object) -> None:
    time.sleep(60)


def dies(pipe, *_: object) -> None:
    pipe.send({"params": 7})
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_network_that_hangs_or_dies_has_a_row_that_says_so() -> None:
    row = networks.row_of("one", export=False, limit=0.2, work=sleeps)
    assert (row.unfinished, row.failed, networks_table.shrinks(row)) == ("not done in 0.2 s", "", "– not done in 0.2 s")
    row = networks.row_of("one", export=False, limit=60, work=dies)
    assert (row.failed, row.unfinished, row.params) == ("died of SIGKILL", "", 7)
    assert networks_table.shrinks(row) == "FAILED: died of SIGKILL"


def test_a_refusal_and_an_error_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(error: Exception) -> list:
        def fails(*_: object) -> None:
            raise error

        monkeypatch.setattr(networks, "shrink_by", fails)
        monkeypatch.setattr(networks, "build", lambda network: networks.nn.Sequential(*layers))
        found: list = []
        networks.measure("one", False, found.append)
        return found[2:]

    nn = networks.nn
    layers = (nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(1), nn.Linear(4, 2))
    macs = {"macs": 4096 * 12 + 8, "params_left": 26 - 4 - 2, "macs_left": 4096 * 9 + 6}
    assert measured(SparsifyError("it is so")) == [macs, {"shrunk": "it is so"}]
    assert measured(ValueError("two\nlines")) == [macs, {"failed": "shrinking: ValueError: two"}]


def test_what_is_left_out_and_what_does_not_agree_in_short() -> None:
    row = networks_table.Row(
        network="one",
        left_out={"a": "'a' is shared", "b": "'b' is shared", "fc": "the output"},
        macs=1000,
        macs_counted=1200,
        macs_left=500,
        macs_shrunk_counted=500,
    )
    assert networks_table.left_out(row) == "2: … is shared; 1: the output"
    assert networks_table.agreement(row) == "MACs: 1,000, counted 1,200"
    assert networks_table.agreement(networks_table.Row(network="one", macs=5, macs_counted=5)) == "equal (whole)"
    assert networks_table.agreement(networks_table.Row(network="one", macs_counted=5)) == ""


def test_unknown_networks_are_refused_and_timms_are_left_out_without_it() -> None:
    assert len([name for name in networks.known(True) if name.startswith("timm/")]) == 20
    assert not [name for name in networks.known(False) if name.startswith("timm/")]
    assert networks.chosen(["resnet18"], networks.known(False)) == ["resnet18"]
    with pytest.raises(SparsifyError, match="unknown network 'resnet17'; did you mean 'resnet1"):
        networks.chosen(["resnet17"], networks.known(False))
