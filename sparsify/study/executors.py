"""Workers on what Parsl or Ray offers: a cluster's nodes, a cloud's, or this machine's cores and GPUs.

An executor only starts workers (`working`). What one of them does, what is taken over from one that was lost, and where
a training goes on is settled by leases, as among workers that are started by hand.
"""

from __future__ import annotations

import contextlib
import logging
import runpy
from collections.abc import Callable, Iterator
from concurrent.futures import Future, as_completed
from contextlib import AbstractContextManager
from pathlib import Path

from sparsify.config import Places
from sparsify.errors import SparsifyError, first_line, of_a_file, unknown
from sparsify.study.design import Study
from sparsify.study.planning import Planner
from sparsify.study.stages import Note
from sparsify.study.tasks import Plan
from sparsify.study.working import work
from sparsify.text import plural

Start = Callable[[Study, Places, str], "Future[str]"]
"""Starts `work_on` with what it is given, as soon as there is a place for it."""


def work_on(study: Study, places: Places, folder: str) -> str:
    """Be a worker (`work`) in a folder that all of them see; return "", or why it could not go on."""
    try:
        with contextlib.chdir(folder):  # what study and places name may be relative to it
            planner = Planner(study, places)
            work(planner, planner.plan())
    except SparsifyError as error:  # of an error only the text is sure to come back from there
        return str(error)
    except OSError as error:
        return of_a_file(error)
    return ""


@contextlib.contextmanager
def parsl_workers(file: str, places: Places) -> Iterator[Start]:
    """Start workers by Parsl. `file` is a Python file, which is run, and in which `config` is a parsl.Config.

    Which GPU a worker sees is said by its `available_accelerators`. Leaving it ends the workers. Raises SparsifyError
    if Parsl is not installed, and for a file that is not like that.
    """
    try:
        import parsl
    except ImportError as error:
        raise _not_installed("parsl") from error
    if not Path(file).is_file():
        raise SparsifyError(
            f"--executor parsl needs a Python file in which config is a parsl.Config, as in parsl=FILE.py; {file!r} is "
            "no file"
        )
    config = runpy.run_path(file).get("config")
    if not isinstance(config, parsl.Config):
        raise SparsifyError(f"--executor parsl={file}: config is a {type(config).__name__}, it must be a parsl.Config")
    with parsl.load(config) as kernel:
        yield parsl.python_app(work_on, data_flow_kernel=kernel)


@contextlib.contextmanager
def ray_workers(address: str, places: Places) -> Iterator[Start]:
    """Start workers by Ray: at an address, or, without one, where `ray.init` finds a cluster, else on this machine.

    Each has a GPU, if the cluster has some and the CPU is not asked for, else a core. Leaving it ends the workers.
    Raises SparsifyError if Ray is not installed, and if there is no cluster at the address.
    """
    try:
        import ray
    except ImportError as error:
        raise _not_installed("ray") from error
    try:
        ray.init(address or None, logging_level=logging.WARNING)
    except ConnectionError as error:
        raise SparsifyError(f"--executor ray={address}: {first_line(error)}") from error
    try:
        gpus = 0 if places.device == "cpu" else min(1, ray.cluster_resources().get("GPU", 0))
        remote = ray.remote(num_cpus=1, num_gpus=gpus)(work_on)
        yield lambda *given: remote.remote(*given).future()
    finally:
        ray.shutdown()


EXECUTORS: dict[str, Callable[[str, Places], AbstractContextManager[Start]]] = {
    "parsl": parsl_workers,
    "ray": ray_workers,
}
"""What can start workers, by the name of its extra; what it takes is where they are started."""


def run_workers(executor: str, study: Study, planner: Planner, plan: Plan, *, note: Note) -> None:
    """Have workers do what is missing of a study, one for each run at most, until one of them finds nothing more to do.

    `executor` is a name in EXECUTORS, or a name and where, as in "parsl=cluster.py". A worker that is lost is said by
    `note`; the others go on. Raises SparsifyError for an unknown executor, as that one does, and if every worker is
    lost.
    """
    name, _, where = executor.partition("=")
    if name not in EXECUTORS:
        raise unknown("executor", name, EXECUTORS)
    with EXECUTORS[name](where, planner.places) as start:
        count = sum(not task.done for task in plan.tasks)
        workers = [start(study, planner.places, str(Path.cwd())) for _ in range(count)]
        note(f"{plural(count, 'worker')} by {name} at most; what they have done: sparsify runs")
        why = ""
        for worker in as_completed(workers):
            error = worker.exception()
            why = worker.result() if error is None else first_line(error)
            if not why:
                return  # it ends only when nothing is missing
            note(f"a worker is lost: {why}")
    raise SparsifyError(
        f"every worker by {name} is lost, the last one because of this: {why}; the same command goes on"
    )


def _not_installed(name: str) -> SparsifyError:
    way = f"install it with: pip install 'sparsify-study[{name}]'"
    return SparsifyError(f"--executor {name} needs {name}; {way}", about="cluster")
