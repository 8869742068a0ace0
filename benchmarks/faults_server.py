"""Starts commands of sparsify quickly: a process that has imported all that they need, and forks for each.

    python -m benchmarks.faults_server

It reads orders from its standard input, one a line, as JSON: `argv`, `folder`, `out`, `err` and `cores`. For each it
prints the number of the process that was forked and, when that has ended, its exit status. The forked process begins a
session of its own, and runs `python -m sparsify` in `folder` from there on. What differs from a fresh interpreter: its
start and its imports are over, and the parent of the process is this one. No import may have started a thread.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import threading
from typing import Any

IMPORTED = (
    "sparsify.cli.app",
    "sparsify.nets.deployment",
    "sparsify.training.many",
    "sparsify.pruning.measuring",
    "sparsify.pruning.shrunk",
    "sparsify.pruning.tickets",
    "sparsify.study.running",
    "sparsify.report.writing",
    "sparsify.report.tables",
    "torch._dynamo",  # the first step of an optimizer imports it, which takes longer than a small training
)


def orders() -> dict[str, Any] | None:
    """Fork for each order. Return it in the forked process, and None in this one when there are no more."""
    for line in sys.stdin:
        number = os.fork()
        if number == 0:
            order: dict[str, Any] = json.loads(line)
            return order
        print(number, flush=True)
        _, status = os.waitpid(number, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
    return None


def become(order: dict[str, Any]) -> None:
    """Run `python -m sparsify` in this process as an order says."""
    os.setsid()
    os.chdir(order["folder"])
    os.sched_setaffinity(0, order["cores"])
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    for number, name in ((0, os.devnull), (1, order["out"]), (2, order["err"])):
        handle = os.open(name, flags if number else os.O_RDONLY, 0o644)
        os.dup2(handle, number)
        os.close(handle)
    sys.argv[1:] = order["argv"]
    runpy.run_module("sparsify", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    for name in IMPORTED:
        __import__(name)
    if threading.active_count() > 1 or len(os.listdir("/proc/self/task")) > 1:
        sys.exit("a thread was started by an import: a fork is not what a start would be")
    print("ready", flush=True)
    asked = orders()
    if asked is not None:
        become(asked)
