"""Which parts of a network can go, and what does it cost?

>>> import sparsify
>>> config = sparsify.Config(model="lenet", data="digits", opt="adabreg", epochs=3)
>>> run = sparsify.train(config, device="cpu")
>>> sweep = sparsify.prune(run, layers="conv3,fc1", ratios="0:0.8:0.4", device="cpu")

These are the `run` and the `sweep` in the examples of the docstrings; `study` and `result` are those of `load_study`
and `run_study`; `np`, `torch` and `Path` are NumPy, PyTorch and `pathlib.Path`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # type checkers see what `__getattr__` imports
    import sparsify.viz  # noqa: F401  # as an attribute
    from sparsify.analysis.agreement import compare_criteria
    from sparsify.analysis.comparison import compare
    from sparsify.analysis.statistics import estimate, paired
    from sparsify.config import Config, Places
    from sparsify.data.dataset import Split
    from sparsify.data.registry import load_dataset
    from sparsify.errors import SparsifyError
    from sparsify.nets.deployment import to_onnx
    from sparsify.nets.evaluation import Evaluation, evaluate
    from sparsify.nets.mask import Mask
    from sparsify.nets.shrinking import shrink
    from sparsify.nets.structure import prunable
    from sparsify.optim.bregman import AdaBreg, LinBreg
    from sparsify.optim.inclusion import InclusionPath, predict_entry
    from sparsify.optim.penalties import parameter_groups
    from sparsify.optim.prox_sgd import ProxSGD
    from sparsify.optim.release import RandomRelease
    from sparsify.optim.slbi import SLBI, SLBIAdam
    from sparsify.pruning.cuts import make_mask
    from sparsify.pruning.measuring import prune
    from sparsify.pruning.plan import PointPlan, SweepPlan
    from sparsify.pruning.shrunk import load
    from sparsify.pruning.subject import Subject
    from sparsify.pruning.sweep import Sweep
    from sparsify.report.writing import write_study
    from sparsify.runs import Run
    from sparsify.study.contrasts import contrasts
    from sparsify.study.findings import find
    from sparsify.study.folder import read_study
    from sparsify.study.running import run_study
    from sparsify.study.toml import load_study
    from sparsify.training.launch import train
    from sparsify.training.many import train_all

    __version__: str

_EXPORTS = {
    "AdaBreg": "sparsify.optim.bregman",
    "Config": "sparsify.config",
    "Evaluation": "sparsify.nets.evaluation",
    "InclusionPath": "sparsify.optim.inclusion",
    "LinBreg": "sparsify.optim.bregman",
    "Mask": "sparsify.nets.mask",
    "Places": "sparsify.config",
    "PointPlan": "sparsify.pruning.plan",
    "ProxSGD": "sparsify.optim.prox_sgd",
    "RandomRelease": "sparsify.optim.release",
    "Run": "sparsify.runs",
    "SLBI": "sparsify.optim.slbi",
    "SLBIAdam": "sparsify.optim.slbi",
    "SparsifyError": "sparsify.errors",
    "Split": "sparsify.data.dataset",
    "Subject": "sparsify.pruning.subject",
    "Sweep": "sparsify.pruning.sweep",
    "SweepPlan": "sparsify.pruning.plan",
    "compare": "sparsify.analysis.comparison",
    "compare_criteria": "sparsify.analysis.agreement",
    "contrasts": "sparsify.study.contrasts",
    "estimate": "sparsify.analysis.statistics",
    "evaluate": "sparsify.nets.evaluation",
    "find": "sparsify.study.findings",
    "load": "sparsify.pruning.shrunk",
    "load_dataset": "sparsify.data.registry",
    "load_study": "sparsify.study.toml",
    "make_mask": "sparsify.pruning.cuts",
    "paired": "sparsify.analysis.statistics",
    "parameter_groups": "sparsify.optim.penalties",
    "predict_entry": "sparsify.optim.inclusion",
    "prunable": "sparsify.nets.structure",
    "prune": "sparsify.pruning.measuring",
    "read_study": "sparsify.study.folder",
    "run_study": "sparsify.study.running",
    "shrink": "sparsify.nets.shrinking",
    "to_onnx": "sparsify.nets.deployment",
    "train": "sparsify.training.launch",
    "train_all": "sparsify.training.many",
    "write_study": "sparsify.report.writing",
}

__all__ = [
    "SLBI",
    "AdaBreg",
    "Config",
    "Evaluation",
    "InclusionPath",
    "LinBreg",
    "Mask",
    "Places",
    "PointPlan",
    "ProxSGD",
    "RandomRelease",
    "Run",
    "SLBIAdam",
    "SparsifyError",
    "Split",
    "Subject",
    "Sweep",
    "SweepPlan",
    "compare",
    "compare_criteria",
    "contrasts",
    "estimate",
    "evaluate",
    "find",
    "load",
    "load_dataset",
    "load_study",
    "make_mask",
    "paired",
    "parameter_groups",
    "predict_entry",
    "prunable",
    "prune",
    "read_study",
    "run_study",
    "shrink",
    "to_onnx",
    "train",
    "train_all",
    "write_study",
]


def __getattr__(name: str) -> Any:
    """Import on first use, so that `import sparsify` and `sparsify --help` do not wait for torch."""
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("sparsify-study")
    if name == "viz":
        return importlib.import_module("sparsify.viz")
    if name not in _EXPORTS:
        raise AttributeError(f"module 'sparsify' has no attribute '{name}'")
    return getattr(importlib.import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_EXPORTS, "__version__", "viz"])
