"""The examples in the docstrings of the public optimizers run and say what is so."""

from __future__ import annotations

import doctest
import importlib
import importlib.util

import pytest

EXAMPLES = {
    "sparsify.optim.slbi": ["SLBI", "SLBIAdam"],
    "sparsify.optim.bregman": ["LinBreg", "AdaBreg"],
    "sparsify.optim.prox_sgd": ["ProxSGD"],
    "sparsify.optim.penalties": ["parameter_groups"],
}


def run(module: str, name: str) -> None:
    found = doctest.DocTestFinder(recurse=False).find(getattr(importlib.import_module(module), name), name, globs={})
    results = doctest.DocTestRunner().run(found[0])
    assert results.attempted > 3
    assert results.failed == 0


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in EXAMPLES.items() for name in names])
def test_an_example_runs(module: str, name: str) -> None:
    run(module, name)


@pytest.mark.cuda
@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
def test_the_example_of_the_fused_step_runs_on_a_gpu() -> None:
    run("sparsify.optim.fused", "FusedSLBI")
