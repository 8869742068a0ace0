"""One part of the check on a GPU: `python -m benchmarks.gpu.probe PART`; a line of JSON a result, to $RESULTS.

TINY=1 makes everything small and DEVICE=cpu runs what a CPU can: a dry run. Each check is by itself, so that one that
fails says so and the next goes on; the exit status is 1 then.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from benchmarks.gpu.capture import capture
from benchmarks.gpu.common import failures
from benchmarks.gpu.correct import correct
from benchmarks.gpu.profiling import profiles
from benchmarks.gpu.smoke import smoke
from benchmarks.gpu.speed import seeds, speed
from benchmarks.gpu.vgg import one, vgg

PARTS: dict[str, Callable[[], None]] = {
    "smoke": smoke,
    "correct": correct,
    "capture": capture,
    "speed": speed,
    "seeds": seeds,
    "profile": profiles,
    "one": one,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=[*PARTS, "vgg"])
    parser.add_argument("settings", nargs="*", help="of the study, for vgg: data=folder:DIR seeds=[0]")
    arguments = parser.parse_args()
    if arguments.part == "vgg":
        vgg(arguments.settings)
    else:
        PARTS[arguments.part]()
    sys.exit(min(failures(), 1))


if __name__ == "__main__":
    main()
