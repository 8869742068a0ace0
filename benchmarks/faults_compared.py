"""What the commands that were killed have left, compared with what an undisturbed one leaves: all but times."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TIMES = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00")
TIMED = ("metrics.csv", "environment.json", "summary.json")  # files of a run that hold times


def comparable(path: Path) -> bytes:
    """The content of a file without what differs from one undisturbed run to the next, which is only time.

    That is: in metrics.csv the seconds of each epoch; in environment.json when the training began, in summary.json when
    it ended, the median of the seconds, the sums of files that hold times, and the order of the others, as a mask and a
    sweep of one run are made in any; in the report of a study the times of day. All else is compared, byte by byte.
    """
    content = path.read_bytes()
    if path.name == "metrics.csv":
        return b"\n".join(line.rpartition(b",")[0] for line in content.splitlines())
    if path.name in ("environment.json", "summary.json"):
        values: dict[str, Any] = json.loads(content)
        for name in ("started", "finished", "seconds_per_epoch"):
            values.pop(name, None)
        values["sha256"] = {file: one for file, one in sorted(values.get("sha256", {}).items()) if file not in TIMED}
        return json.dumps(values).encode()
    if path.name == "report.html":
        return TIMES.sub(b"", content)
    return content


def state(folder: Path) -> dict[str, str]:
    """The sum of the `comparable` content of each file in a folder; locks, which are empty and stay, are left out."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(comparable(path)).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def differences(found: Mapping[str, str], expected: Mapping[str, str]) -> str:
    """The first files in which two states differ, and how, in words; "" if there are none."""
    words = []
    for file in sorted(found.keys() | expected.keys()):
        if file not in found:
            words.append(f"{file} is missing")
        elif file not in expected:
            words.append(f"{file} is too much")
        elif found[file] != expected[file]:
            words.append(f"{file} differs")
    return ", ".join(words[:5])
