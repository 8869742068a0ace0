"""What every part of the check shares: its settings, the images of a tiny run, and the file of results."""

from __future__ import annotations

import json
import os
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.gpu.verdicts import Found, unequal

BEGAN = time.perf_counter()

TINY = os.environ.get("TINY") == "1"
DEVICE = os.environ.get("DEVICE", "cuda")
CUDA = DEVICE.startswith("cuda")
# on a borrowed machine with one user, which is wiped after the check
DATA = os.environ.get("DATA", "/tmp/d")  # nosec B108
WORK = Path(os.environ.get("WORK", "/tmp/run"))  # nosec B108
RUNS = Path(os.environ.get("RUNS", WORK / "runs"))
RESULTS = Path(os.environ.get("RESULTS", WORK / "results.jsonl"))

PRECISIONS = ("exact",) if TINY else ("exact", "fast")  # bfloat16 takes minutes on many a CPU
MADE_IMAGES = 40 if TINY else 300

WORK.mkdir(parents=True, exist_ok=True)
TMP = Path(tempfile.mkdtemp(prefix="probe-", dir=WORK))
"""The runs that this process trains; those of the study go to RUNS."""

_failed: list[str] = []


def tell(name: str, found: Found) -> None:
    """Print one line of JSON, and append it to the results."""
    values = {key: round(value, 6) if isinstance(value, float) else value for key, value in found.items()}
    line = json.dumps({"what": name, **values}, default=str)
    print(line, flush=True)
    with RESULTS.open("a") as file:
        file.write(line + "\n")


def check(name: str, function: Callable[..., Found], *arguments: Any) -> None:
    """Call `function`, and tell what it found, its warnings and its seconds; an error is told as "FAILED".

    So is what should be equal or 0 and is not (`unequal`).
    """
    began = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = function(*arguments)
            synchronize()
            wrong = list(unequal(found))
            if wrong:
                _failed.append(name)
                found["FAILED"] = f"not as it should be: {', '.join(wrong)}"
        except Exception as error:
            traceback.print_exc()
            _failed.append(name)
            found = {"FAILED": f"{type(error).__name__}: {error}"[:900]}
    texts = sorted({f"{one.category.__name__}: {str(one.message)[:260]}" for one in caught})
    found = {"seconds": time.perf_counter() - began, **found}
    tell(name, {**found, "warnings": texts} if texts else found)


def failures() -> int:
    """How many checks of this process have failed."""
    return len(_failed)


def synchronize() -> None:
    """Wait until the GPU has done what it was given."""
    if CUDA:
        torch.cuda.synchronize()


def made_images() -> str:
    """The data set of a Config: coloured noise of 32×32 in four classes that differ in brightness.

    It lies in WORK, where every part finds it again.
    """
    folder = WORK / f"images-{MADE_IMAGES}"
    if not folder.exists():
        random = np.random.default_rng(0)
        for split, count in (("train", MADE_IMAGES), ("test", 40 if TINY else 100)):
            for label in range(4):
                (folder / split / str(label)).mkdir(parents=True)
                for number in range(count // 4):
                    pixels = (random.integers(0, 200, (32, 32, 3)) + 14 * label).astype(np.uint8)
                    Image.fromarray(pixels).save(folder / split / str(label) / f"{number}.png")
    return f"folder:{folder}"


def data_of(name: str) -> str:
    """What a Config calls "digits", "mnist" or "cifar10" here: the made images in a tiny run."""
    if TINY:
        return made_images()
    return f"folder:{DATA}/cifar10" if name == "cifar10" else name


def batch_of(size: int) -> int:
    """The size of a batch: 16 in a tiny run, whose 40 images make two whole batches and a smaller one."""
    return 16 if TINY else size


def peak_memory() -> Found:
    """The most memory that tensors took on the GPU since `torch.cuda.reset_peak_memory_stats`, in MiB."""
    return {"peak_mib": torch.cuda.max_memory_allocated() / 2**20} if CUDA else {}
