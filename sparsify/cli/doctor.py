"""The command `sparsify doctor`: what is installed, what computes, which data are there, and what is missing."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import Requirement

from sparsify.cli import console
from sparsify.cli.options import Where
from sparsify.config import HERE, Places
from sparsify.data.places import Roots
from sparsify.data.registry import DATASETS
from sparsify.errors import SparsifyError, first_line, of_a_file

_PACKAGE = "sparsify-study"
_WIDTH = 20


def doctor(*, where: Where = HERE) -> int:
    """What is installed, what computes and how, which data are found where, extras, and what is missing."""
    _say("sparsify", metadata.version(_PACKAGE))
    _say("Python", f"{platform.python_version()}, {platform.system()} {platform.machine()}")
    needed = [one for one in _requirements() if one.marker is None or one.marker.evaluate({"extra": ""})]
    for one in needed:
        _say(one.name, _version(one) or "missing")
    for label, text in _computing(where):
        _say(label, text)
    for label, text in _data(where):
        _say(label, text)
    for extra in metadata.metadata(_PACKAGE).get_all("Provides-Extra") or []:
        _say(f"extra {extra}", _extra(extra))
    unfit = [one for one in needed if _unfit(one)]
    for one in unfit:
        console.fail(f"{_unfit(one)}; pip install '{one.name}{one.specifier}'")
    if not unfit and (broken := _unlike_torch()):
        console.fail(f"{broken}; install both anew, from one place: pip install --force-reinstall torch torchvision")
        return 1
    return 1 if unfit else 0


def _say(label: str, text: str) -> None:
    console.say(f"{label:<{_WIDTH}}{text}")


def _requirements() -> list[Requirement]:
    return [Requirement(line) for line in metadata.requires(_PACKAGE) or []]


def _version(requirement: Requirement) -> str | None:
    """The version that is installed; None if there is none."""
    try:
        return metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return None


def _unfit(requirement: Requirement) -> str | None:
    """What is wrong with what is installed for a requirement; None if nothing is."""
    version = _version(requirement)
    if version is None:
        return f"{requirement.name} is missing"
    if not requirement.specifier.contains(version, prereleases=True):
        return f"{requirement.name} is {version}, and {requirement.specifier} is needed"
    return None


def _unlike_torch() -> str | None:
    """What keeps torchvision from being imported, as one that was built for another torch; None if nothing does."""
    try:
        import torchvision  # noqa: F401
    except (ImportError, OSError, RuntimeError) as error:
        return f"torchvision cannot be imported with this torch: {first_line(error)}"
    return None


def _extra(name: str) -> str:
    """Whether all that an extra brings is there; what is missing, and the line that installs it."""
    brought = [one for one in _requirements() if one.marker is not None and not one.marker.evaluate({"extra": ""})]
    missing = [text for one in brought if one.marker and one.marker.evaluate({"extra": name}) and (text := _unfit(one))]
    return f"{', '.join(missing)}: pip install '{_PACKAGE}[{name}]'" if missing else "is there"


def _computing(where: Places) -> Iterator[tuple[str, str]]:
    """The device, the precisions, and the threads; what keeps torch from being imported if it cannot be."""
    try:
        import torch

        from sparsify.devices import arithmetic, describe, resolve_device
    except (ImportError, OSError) as error:  # a library that it loads is missing or damaged
        yield "device", f"torch cannot be imported: {first_line(error)}"
        return
    try:
        device = resolve_device(where.device)
    except SparsifyError as error:
        yield "device", str(error)
        return
    yield "device", describe(device) if str(device) == describe(device) else f"{device}, {describe(device)}"
    yield "exact", "float32, deterministic: the default"
    fast = arithmetic("fast", device)
    yield "fast", fast if fast == "bfloat16" else f"{fast}: this device has no units for bfloat16"
    limits = [f"{name}={os.environ[name]}" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if name in os.environ]
    yield "threads", ", ".join([f"{torch.get_num_threads()} of {os.cpu_count()} cores", *limits])


def _data(where: Places) -> Iterator[tuple[str, str]]:
    """Each data set, and where its files are found first."""
    roots = Roots.of(where.data_dir)
    for name, spec in DATASETS.items():
        label, folder = f"data {name}", spec.folder
        if folder is None:
            yield label, "comes with scikit-learn"
            continue
        try:
            found = next((root for root in roots.search if (root / folder).is_dir()), None)
        except OSError as error:  # as of a folder that may not be read
            yield label, of_a_file(error)
            continue
        yield label, f"in {found / folder}" if found else f"not found; it is downloaded to {roots.download} when used"
    yield "data are sought in", ", ".join(map(str, roots.search))
