"""Where a result comes from: versions, device, threads, commit."""

from __future__ import annotations

import datetime
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from sparsify.devices import describe

PACKAGES = ("torch", "torchvision", "torch-pruning", "numpy", "safetensors")


def describe_environment(device: torch.device, precision: str) -> dict[str, Any]:
    """What `environment.json` holds."""
    return {
        "device": describe(device),
        "threads": torch.get_num_threads(),
        "precision": precision,
        **{package: metadata.version(package) for package in PACKAGES},
        "sparsify": metadata.version("sparsify-study"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "git_commit": _git_commit(),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _git_commit() -> str | None:
    """The commit of the code that runs, if it runs from a checkout of its own."""
    folder = Path(__file__).parent
    try:
        top = _git(folder, "rev-parse", "--show-toplevel")
        return _git(folder, "rev-parse", "HEAD") if Path(top) == folder.parent else None
    except (OSError, subprocess.SubprocessError):
        return None  # no git, or no checkout


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
