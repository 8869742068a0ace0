"""What a report says of threads: how many the trainings had, and what was measured of their number."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from sparsify.report import threads
from sparsify.report.threads import Difference, Measured, threads_in_words

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "threads.json"
MEASURED = Measured(
    "lenet",
    "mnist",
    "conv3,fc1",
    2,
    [Difference(0.0, 4, 0.01, 0.02), Difference(0.6, 4, 0.1, 0.21), Difference(0.9, 4, 3, 6.4)],
)


def study(*environments: dict[str, object]) -> SimpleNamespace:
    return SimpleNamespace(arms=[SimpleNamespace(runs=[SimpleNamespace(environment=one) for one in environments])])


def test_the_threads_of_the_trainings_are_said_with_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "measured", lambda: MEASURED)
    cpu = {"device": "cpu", "threads": 1}
    assert threads_in_words(study(cpu, cpu, cpu | {"threads": 2}, {"device": "cuda", "threads": 8})) == (
        "Of the trainings on a CPU 2 had 1 thread each and 1 had 2 threads: their number changes the last bits, and so "
        "accuracies, between 1 and 2 threads by up to 0.02 points with nothing removed, 0.21 with up to 60% removed, "
        "and 6.40 with 90% removed (lenet on mnist, 2 epochs, conv3 and fc1 by magnitude, n = 4 pairs)."
    )
    alike = threads_in_words(study(cpu, cpu, {"device": "cuda", "threads": 8}))
    assert alike is not None
    assert alike.startswith("All 2 trainings on a CPU had 1 thread each: their number changes the last bits")
    alone = threads_in_words(study(cpu | {"threads": 2}))
    assert alone is not None
    assert alone.startswith("The training on a CPU had 2 threads: their number changes")
    assert threads_in_words(study({"device": "cuda", "threads": 8})) is None


def test_what_reports_quote_is_what_the_benchmark_has_written() -> None:
    kept, found = json.loads(RESULTS.read_text(encoding="utf-8")), threads.measured()
    assert (found.model, found.data, found.layers, found.epochs) == tuple(
        kept[name] for name in ("model", "data", "layers", "epochs")
    )
    assert [one.largest for one in found.differences] == [
        max(100 * abs(row["1"][place] - row["2"][place]) for row in kept["rows"])
        for place in range(len(kept["ratios"]))
    ]
