"""The environment of a training: versions, device, threads, commit."""

from __future__ import annotations

import datetime
import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import torch

from sparsify.devices import arithmetic, describe
from sparsify.training.distributed import ranks

DIRTY = "-dirty"
"""The end of a commit if the code that ran had changes that were not committed."""

PACKAGES = ("torchvision", "torch-pruning", "numpy", "safetensors")


def describe_environment(device: torch.device, precision: str) -> dict[str, Any]:
    """Return the content of `environment.json`."""
    return {
        **_arithmetic(device),
        "precision": precision,
        "arithmetic": arithmetic(precision, device),  # that of "fast" depends on the device
        **{package: metadata.version(package) for package in PACKAGES},
        "sparsify": metadata.version("sparsify-study"),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",  # the kernel tells whose machine it is
        "git_commit": _git_commit(),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _arithmetic(device: torch.device) -> dict[str, Any]:
    """Return the settings that can change the last bits of a training."""
    return {
        "device": describe(device),
        "threads": torch.get_num_threads(),
        "world_size": ranks().size,
        "torch": metadata.version("torch"),
    }


def changed_bits(before: Mapping[str, Any], device: torch.device) -> str:
    """Return the changes of an environment that can change last bits of a training, as in "threads 1 → 2", or "".

    The arithmetic, bfloat16 or float32, changes more than these.
    """
    precision = before.get("precision", "exact")
    old = {"arithmetic": "bfloat16" if precision == "fast" else "float32", "world_size": 1}  # as it was until 0.4
    then = old | dict(before)
    now = {**_arithmetic(device), "arithmetic": arithmetic(precision, device)}
    return ", ".join(f"{name} {then.get(name)} → {now[name]}" for name in now if then.get(name) != now[name])


def _git_commit() -> str | None:
    """Return the commit of the wheel or the checkout that runs, with "-dirty" if files have been changed."""
    folder = Path(str(resources.files("sparsify")))
    if (folder / "COMMIT").is_file():  # written by hatch_build.py
        return (folder / "COMMIT").read_text().strip()
    try:
        if Path(_git(folder, "rev-parse", "--show-toplevel")) != folder.parent:
            return None
        dirty = _git(folder, "status", "--porcelain", "--", ".") != ""
        return _git(folder, "rev-parse", "HEAD") + DIRTY * dirty
    except (OSError, subprocess.SubprocessError):
        return None  # no git, or no checkout


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    # git with arguments of our own, without a shell
    return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()  # nosec B603
