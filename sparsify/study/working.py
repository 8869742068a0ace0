"""A worker: one of several processes, on any number of machines or GPUs, that share a study and a folder of runs."""

from __future__ import annotations

import random
import time
from pathlib import Path

from sparsify.study.leases import LIFETIME, Lease, LeaseLostError, claim, clear
from sparsify.study.planning import Planner
from sparsify.study.stages import Note, Stage, TrainingStage, ready
from sparsify.study.tasks import Plan
from sparsify.training.trainer import Listener, Progress

WAIT, LONGEST = 1.0, 60.0
"""Seconds between two looks at the disk while others work on all that is ready: at least and, where a look takes long,
at most."""

SHARE = 0.05
"""Of a worker's time, what looks at the disk may take while it has work to do."""


def leases_of(runs_dir: Path) -> Path:
    """Return the folder of the leases of a folder of runs."""
    return runs_dir / ".leases"


def work(
    planner: Planner,
    plan: Plan,
    *,
    listener: Listener | None = None,
    note: Note | None = None,
    lifetime: float = LIFETIME,
) -> int:
    """Work on a study until nothing of it is missing, beside other workers; return the number of stages done here.

    A stage (`ready`) is done by the worker that has claimed its run. What is claimed is passed over, and what a killed
    worker has left behind is taken over (`claim`): its training resumes from its last epoch. Stages begin when what
    they need is there, not in waves. Each result has the bits that it has without workers, on the same hardware. Raises
    SparsifyError as `claim`, `train` and `prune` do.
    """
    leases = leases_of(planner.places.runs_dir)
    clear(leases)
    count, looked = 0, 0.0
    while not plan.done:
        stages, begun, done = ready(plan, planner), time.monotonic(), 0
        random.Random().shuffle(stages)  # nosec B311: so workers seldom ask for the same
        for stage in stages:
            done += _try(stage, leases, planner, listener, note, lifetime)
            if done and (time.monotonic() - begun) * SHARE > looked:
                break  # what has become ready meanwhile comes first
        count += done
        if not done:
            time.sleep(min(max(WAIT, 4 * looked), LONGEST))
        began = time.monotonic()
        plan = planner.plan()
        looked = time.monotonic() - began
    return count


def _try(
    stage: Stage, leases: Path, planner: Planner, listener: Listener | None, note: Note | None, lifetime: float
) -> bool:
    """Do a stage if nobody has done it, or is doing it; return whether it was done here."""
    if stage.done:
        return False
    with claim(leases, stage.run.name, lifetime) as lease:
        if lease is None or stage.done:  # another worker has done it in this moment
            return False
        if note is not None and isinstance(stage, TrainingStage):
            note(f"{stage.run.name}: training")
        try:
            stage.do(planner.places, _Kept(lease, listener), note)
        except LeaseLostError as error:
            if note is not None:
                note(str(error))
            return False
    return True


class _Kept:
    """A listener that ends a training whose lease is lost."""

    def __init__(self, lease: Lease, listener: Listener | None) -> None:
        self.lease, self.listener = lease, listener

    def __call__(self, progress: Progress) -> None:
        self.lease.require()
        if self.listener is not None:
            self.listener(progress)
