"""Processes end with the one that started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PARENT = """
import multiprocessing, time
from sparsify.training.spawning import end_with_parent, starting_processes

def work():
    end_with_parent()
    print("child", flush=True)
    time.sleep(120)

if __name__ == "__main__":
    with starting_processes():
        child = multiprocessing.get_context("spawn").Process(target=work)
        child.start()
    print(child.pid, flush=True)
    time.sleep(120)
"""


def alive(pid: int) -> bool:
    """Whether a process lives; one that has ended, and that nobody waits for, does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="it looks at processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_ends_when_its_parent_is_killed(number: signal.Signals, tmp_path: Path) -> None:
    file = tmp_path / "parent.py"
    file.write_text(PARENT)
    with subprocess.Popen([sys.executable, str(file)], stdout=subprocess.PIPE, text=True) as parent:
        said = {parent.stdout.readline().strip() for _ in range(2)}
        (child,) = map(int, said - {"child"})
        assert alive(child)
        os.kill(child, signal.SIGINT)  # Ctrl-C is left to the parent
        parent.send_signal(number)
        parent.wait()
        deadline = time.monotonic() + 20
        while alive(child) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not alive(child)
