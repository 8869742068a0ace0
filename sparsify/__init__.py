"""Which parts of a network can go, and what does it cost?"""

from __future__ import annotations

import importlib
from typing import Any

_EXPORTS = {
    "AdaBreg": "sparsify.optim.bregman",
    "Config": "sparsify.config",
    "Evaluation": "sparsify.evaluation",
    "InclusionPath": "sparsify.inclusion",
    "LinBreg": "sparsify.optim.bregman",
    "Mask": "sparsify.mask",
    "ProxSGD": "sparsify.optim.prox_sgd",
    "Run": "sparsify.runs",
    "SLBI": "sparsify.optim.slbi",
    "SLBIAdam": "sparsify.optim.slbi_adam",
    "SparsifyError": "sparsify.errors",
    "Split": "sparsify.data.dataset",
    "Subject": "sparsify.pruning",
    "Sweep": "sparsify.sweep",
    "compare": "sparsify.comparison",
    "compare_criteria": "sparsify.agreement",
    "estimate": "sparsify.statistics",
    "evaluate": "sparsify.evaluation",
    "find": "sparsify.findings",
    "load": "sparsify.runs",
    "load_dataset": "sparsify.data",
    "load_study": "sparsify.studyfile",
    "paired": "sparsify.statistics",
    "prune": "sparsify.pruning",
    "read_study": "sparsify.studyfolder",
    "run_study": "sparsify.study",
    "shrink": "sparsify.shrinking",
    "train": "sparsify.training",
    "train_all": "sparsify.parallel",
}

__all__ = list(_EXPORTS)


def __getattr__(name: str) -> Any:
    """Import on first use, so that `import sparsify` and `sparsify --help` do not wait for torch."""
    if name not in _EXPORTS:
        raise AttributeError(f"module 'sparsify' has no attribute '{name}'")
    return getattr(importlib.import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_EXPORTS])
