"""What stands below a study's tables: what they mean, which runs are not counted, and what to beware of."""

from __future__ import annotations

import statistics

from sparsify.pruning.ledger import BEFORE_UNITS
from sparsify.pruning.subject import subject_without_data
from sparsify.report.prose import weak_support
from sparsify.report.table import Column, Table, to_csv
from sparsify.runs import Run
from sparsify.study.results import StudyResult
from sparsify.training.starting import MASK_BEFORE_UNITS, mask_before_units

NOTES = (
    "n is the number of seeds; ± is one sample standard deviation",
    "p, seeds: would other seeds differ, too (paired t-test)? p, images: would these networks differ on other images"
    " (the exact test that flips the sign of each image's difference)? Holm's p is of the first, or, at a star, of the"
    " second, and allows for the comparisons of its family: the primary ones, fixed before the study was run, or the"
    " exploratory ones",
    "change: from the accuracy with nothing removed; both ways: a bootstrap over seeds and images, which takes the"
    " spread of few seeds for the true one",
    "*: one seed, or seeds without spread, so that only images are sampled; ≥: nothing larger was swept; 0%: not even"
    " the smallest ratio is shown to cost so little; too few images: it could not be shown on so few",
)
"""What the tables mean."""


def notes(result: StudyResult) -> tuple[str, ...]:
    """What the tables mean, and which sweeps and masks are of a version of the package that made other ones."""
    return (*NOTES, *lost_runs(result), *sources(result), *weak_supports(result), *from_before(result))


def lost_runs(result: StudyResult) -> list[str]:
    """A sentence for each run that is no result: what became of it, and that it is not counted."""
    return [
        f"not counted: {run.name} of {arm.label}, which {run.status} ({run.lost})"
        for arm in result.arms
        for run in arm.lost
    ]


def lost_csv(result: StudyResult) -> str:
    """One row for each run that is no result: its arm, seed and name, how it ended, and why."""
    names = ("arm", "seed", "run", "status", "collapsed")
    rows = [(arm.label, run.config.seed, run.name, run.status, run.lost) for arm in result.arms for run in arm.lost]
    return to_csv(Table.of("", [Column(name) for name in names], rows))


def sources(result: StudyResult) -> list[str]:
    """A sentence on where the published figures stand, if there are any."""
    named = dict.fromkeys(arm.published.source for arm in result.study.arms if arm.published is not None)
    return [f"published: {'; '.join(named)}"] if named else []


def weak_supports(result: StudyResult) -> list[str]:
    """A sentence on the arms whose support is not yet a network, in the mean over the seeds, if there are any."""
    found = {}
    for arm in result.arms:
        summaries = [run.summary for run in arm.finished if "support_accuracy" in run.summary]
        if summaries:
            whole = statistics.mean(summary["accuracy"] for summary in summaries)
            found[arm.label] = (whole, statistics.mean(summary["support_accuracy"] for summary in summaries))
    return weak_support(found)


def from_before(result: StudyResult) -> list[str]:
    """A sentence on the sweeps that are `before_units`, and one on the runs that were trained under such a mask.

    There are some in a study that was read back, and where a mask was given by its file.
    """
    found = [
        f"sweep-{sweep.id} of {run.name}"
        for arm in result.arms
        for _, run, sweep in arm.every_sweep
        if sweep.before_units
    ]
    sentences = [f"each of these {BEFORE_UNITS}: {', '.join(dict.fromkeys(found))}"] if found else []
    runs = dict.fromkeys(run.name for arm in result.arms for run in arm.finished if _under_old_mask(run))
    if runs:
        sentences.append(f"the mask that each of these was trained under {MASK_BEFORE_UNITS}: {', '.join(runs)}")
    return sentences


def _under_old_mask(run: Run) -> bool:
    mask = run.config.mask
    if mask is None:
        return False
    return mask_before_units(mask, run.path.parent, lambda: subject_without_data(run, run.model()).structure)
