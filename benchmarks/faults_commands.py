"""Commands of sparsify that are started to be killed: forked by `faults_server`, or each a fresh interpreter."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class Started:
    """A command that runs, in a session of its own: by the server, or in a fresh interpreter if there is none."""

    def __init__(self, command: str, folder: Path, count: int, server: subprocess.Popen[bytes] | None) -> None:
        self.out, self.err = folder.with_name("out"), folder.with_name("err")
        self._server = server
        self._status: int | None = None
        argv, cores = command.split(), sorted(os.sched_getaffinity(0))[:count]
        if server is None:
            mine = os.sched_getaffinity(0)
            os.sched_setaffinity(0, cores)  # what is started inherits them
            with open(self.out, "wb") as out, open(self.err, "wb") as err:
                # commands of this module, without a shell
                self._process = subprocess.Popen(  # nosec B603
                    [sys.executable, "-m", "sparsify", *argv],
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    start_new_session=True,
                    env=_environment(),
                )
            os.sched_setaffinity(0, mine)
            self.number = self._process.pid
        else:
            order = {"argv": argv, "folder": str(folder), "out": str(self.out), "err": str(self.err)}
            assert server.stdin is not None
            server.stdin.write(json.dumps({**order, "cores": cores}).encode() + b"\n")
            self.number = int(_line(server))

    def wait(self, seconds: float) -> int | None:
        """Return the exit status, or None if it still runs after so many seconds."""
        if self._status is None and self._server is None:
            try:
                self._status = self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                return None
        elif self._status is None:
            assert self._server is not None
            assert self._server.stdout is not None
            if not select.select([self._server.stdout], [], [], seconds)[0]:
                return None
            self._status = int(_line(self._server))
        return self._status

    def living(self) -> list[int]:
        """The processes of its session that live."""
        found = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                state, _, _, session = path.read_text().rpartition(")")[2].split()[:4]
            except (OSError, ValueError):
                continue  # it has just ended
            if int(session) == self.number and state not in "ZX":
                found.append(int(path.parent.name))
        return found

    def said(self) -> str:
        """What it has printed on its standard error."""
        return self.err.read_text(errors="replace")


def _environment() -> dict[str, str]:
    return {**os.environ, **ONE_THREAD, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}


def _line(server: subprocess.Popen[bytes]) -> bytes:
    assert server.stdout is not None
    line = server.stdout.readline()
    if not line:
        raise RuntimeError("the server that starts the commands has ended")
    return line


def start_server() -> subprocess.Popen[bytes]:
    """Start `faults_server`; it is ready when this returns."""
    command = [sys.executable, "-m", "benchmarks.faults_server"]
    pipe = subprocess.PIPE
    # not buffered: `select` must see every line that has not been read
    # a module of our own, without a shell
    server = subprocess.Popen(  # nosec B603
        command, cwd=ROOT, stdin=pipe, stdout=pipe, bufsize=0, env=_environment()
    )
    _line(server)
    return server
