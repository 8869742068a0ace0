"""Which parts of a network can go, and what does it cost?"""

from __future__ import annotations

import importlib
from typing import Any

_EXPORTS = {
    "AdaBreg": "sparsify.optim.bregman",
    "Config": "sparsify.config",
    "Evaluation": "sparsify.nets.evaluation",
    "InclusionPath": "sparsify.optim.inclusion",
    "LinBreg": "sparsify.optim.bregman",
    "Mask": "sparsify.nets.mask",
    "ProxSGD": "sparsify.optim.prox_sgd",
    "Run": "sparsify.runs",
    "SLBI": "sparsify.optim.slbi",
    "SLBIAdam": "sparsify.optim.slbi",
    "SparsifyError": "sparsify.errors",
    "Split": "sparsify.data.dataset",
    "Subject": "sparsify.pruning.subject",
    "Sweep": "sparsify.pruning.sweep",
    "compare": "sparsify.analysis.comparison",
    "compare_criteria": "sparsify.analysis.agreement",
    "estimate": "sparsify.analysis.statistics",
    "evaluate": "sparsify.nets.evaluation",
    "find": "sparsify.study.findings",
    "load": "sparsify.pruning.shrunk",
    "load_dataset": "sparsify.data.registry",
    "load_study": "sparsify.study.toml",
    "paired": "sparsify.analysis.statistics",
    "prune": "sparsify.pruning.measuring",
    "read_study": "sparsify.study.folder",
    "run_study": "sparsify.study.running",
    "shrink": "sparsify.nets.shrinking",
    "train": "sparsify.training.launch",
    "train_all": "sparsify.training.launch",
    "write_study": "sparsify.report.writing",
}

__all__ = list(_EXPORTS)


def __getattr__(name: str) -> Any:
    """Import on first use, so that `import sparsify` and `sparsify --help` do not wait for torch."""
    if name not in _EXPORTS:
        raise AttributeError(f"module 'sparsify' has no attribute '{name}'")
    return getattr(importlib.import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_EXPORTS])
