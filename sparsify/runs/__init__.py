"""Runs: the folder of one trained Config, what its files hold, and how runs are listed and found."""

from sparsify.runs.listing import find_run, finished_runs, list_runs, newest_run
from sparsify.runs.records import LOST, METRICS, Epoch, Summary
from sparsify.runs.run import Run

__all__ = ["LOST", "METRICS", "Epoch", "Run", "Summary", "find_run", "finished_runs", "list_runs", "newest_run"]
