"""What the summary of a run holds, for runs that are made up, and what it held before each file had a sum."""

from __future__ import annotations

import json
from pathlib import Path

SUMMARY = {
    "status": "finished",
    "held_out": "test",
    "accuracy": 0.9,
    "count": 100,
    "epochs": 1,
    "steps": 1,
    "seconds_per_epoch": 1.0,
    "support": {},
    "shape": [1, 28, 28],
    "classes": ["0", "1"],
    "sha256": {"model.safetensors": ""},
}


def before_sums(record: Path) -> None:
    """Rewrite a record of SHA-256 sums, such as a summary.json, as it was when only files of tensors had one."""
    values = json.loads(record.read_text())
    del values["format"]
    values["sha256"] = {name: one for name, one in values["sha256"].items() if not name.startswith(OTHERS)}
    record.write_text(json.dumps(values))


OTHERS = ("summary", "shrunk", "sweep-", "mask-", "config", "environment", "metrics")
