"""What the number of torch's threads changes of accuracies, as benchmarks/threads.py has measured: threads.json."""

from __future__ import annotations

from collections import Counter
from importlib import resources

from msgspec import Struct

from sparsify.files import parse_json
from sparsify.study.contrasts import LARGEST
from sparsify.study.results import StudyResult
from sparsify.text import layers_in_words, listed, percentage, plural


class Difference(Struct):
    """What 1 and 2 threads differ by at a ratio, over `n` pairs of trainings: |difference| of accuracies in points."""

    ratio: float
    n: int
    mean: float
    largest: float


class Measured(Struct):
    """The trainings that were measured, and the differences at each ratio of the layers."""

    model: str
    data: str
    layers: str
    epochs: int
    differences: list[Difference]


def measured() -> Measured:
    """What benchmarks/threads.py has written last."""
    return parse_json(resources.files("sparsify.report").joinpath("threads.json").read_bytes(), Measured)


def threads_in_words(result: StudyResult) -> str | None:
    """How many threads the study's trainings on a CPU had, and what other numbers of them change; None without any."""
    kinds = [run.environment for arm in result.arms for run in arm.runs]
    counts = Counter(one["threads"] for one in kinds if one.get("device") == "cpu" and "threads" in one)
    if not counts:
        return None
    each = {threads: f"{plural(threads, 'thread')}{' each' if count > 1 else ''}" for threads, count in counts.items()}
    had = f"Of the trainings on a CPU {listed(f'{counts[threads]} had {each[threads]}' for threads in sorted(counts))}"
    if len(counts) == 1:
        (count,) = counts.values()
        had = f"{f'All {count} trainings' if count > 1 else 'The training'} on a CPU had {listed(each.values())}"
    found = measured()
    whole = found.differences[0]
    worst = max((one for one in found.differences if one.ratio <= LARGEST), key=lambda one: one.largest)
    last = max(found.differences, key=lambda one: one.largest)
    how = (
        f"{found.model} on {found.data}, {plural(found.epochs, 'epoch')}, {layers_in_words(found.layers)} by magnitude"
    )
    return (
        f"{had}: their number changes the last bits, and so accuracies, between 1 and 2 threads "
        f"by up to {whole.largest:.2f} points with nothing removed, {worst.largest:.2f} with up to "
        f"{percentage(LARGEST)} removed, and {last.largest:.2f} with {percentage(last.ratio)} removed ({how}, n = "
        f"{plural(whole.n, 'pair')})."
    )
